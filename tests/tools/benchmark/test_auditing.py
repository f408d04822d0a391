"""Tests of tools/benchmark/auditing.py."""

from tests.tools.benchmark.samples import Bank, processors_of
from tools.benchmark.auditing import audit, compare
from tools.benchmark.endpoints import Gateway, Processor, free_port
from tools.benchmark.events import Totals, differs
from tools.benchmark.openloop.windows import Window

NOW_MS = 1_753_000_000_123


class TestAudit:
    """The contest's question."""

    def test_asks_all_three_for_the_same_window(self, bank: Bank) -> None:
        """From 15 to 2 s ago."""
        bank.rows[0].extend([["a", 100, NOW_MS - 2_000], ["b", 100, NOW_MS - 1_999]])
        found = audit(Gateway(bank.gateway.url), processors_of(bank), NOW_MS)
        assert (found.from_ms, found.to_ms) == (NOW_MS - 15_000, NOW_MS - 2_000)
        assert found.processors == found.gateway == (Totals(1, 100), Totals(0, 0))
        assert not differs(found)
        paths = [server.asked[-1].path.partition("?")[2] for server in (bank.gateway, *bank.processors)]
        assert len(set(paths)) == 1

    def test_who_does_not_answer_has_none(self, bank: Bank) -> None:
        """That differs."""
        gone = f"http://127.0.0.1:{free_port()}"
        window = Window("x", 5, 6)
        found = compare(Gateway(gone), (processors_of(bank)[0], Processor("fallback", gone)), window, NOW_MS)
        assert (found.processors, found.gateway) == ((Totals(0, 0), None), None)
        assert differs(found)

"""Tests of tools/benchmark/exactness.py."""

import json

import pytest

from tests.tools.benchmark.samples import Bank, processors_of
from tools.benchmark.endpoints import Gateway
from tools.benchmark.exactness import BEGINNING_MS, END_MS, NAMED_MAX, Compared, compare, windows_of
from tools.benchmark.openloop.messages import Sample
from tools.benchmark.openloop.windows import Window

AT_MS = 1_753_000_010_500


def body(count: int, cents: int, **more: object) -> str:
    """A summary of so many payments, all at default."""
    default = {"totalRequests": count, "totalAmount": cents / 100}
    return json.dumps({"default": default, "fallback": {"totalRequests": 0, "totalAmount": 0}, **more})


class TestWindowsOf:
    """What an answer may be about."""

    def test_is_its_own_window(self) -> None:
        """Processors need both ends."""
        assert windows_of(5, 6, widened=False) == [Window("", 5, 6)]
        assert windows_of(None, None, widened=False) == [Window("", BEGINNING_MS, END_MS)]

    def test_or_one_of_whole_seconds_if_it_says_so(self) -> None:
        """Either end may have been widened, and the beginning to that of all time."""
        found = {(each.from_ms, each.to_ms) for each in windows_of(1_500, 2_500, widened=True)}
        assert found == {(start, end) for start in (1_500, 1_000, BEGINNING_MS) for end in (2_500, 2_999)}


class TestCompare:
    """Answers and processors."""

    @pytest.fixture
    def filled(self, bank: Bank) -> Bank:
        """Two payments, half a second apart."""
        bank.rows[0].extend([["a", 100, AT_MS - 500], ["b", 250, AT_MS]])
        return bank

    def compared(self, bank: Bank, *samples: Sample, quiet: bool = False) -> Compared:
        """These answers with what the bank has."""
        return compare(samples, Gateway(bank.gateway.url), processors_of(bank), quiet=quiet)

    def test_an_exact_answer_is_right(self, filled: Bank) -> None:
        """To the cent."""
        found = self.compared(filled, Sample("long", AT_MS, AT_MS, AT_MS + 9_000, body(1, 250)))
        assert (found.count, found.wrong, found.widened, found.open) == (1, 0, 0, 0)

    def test_a_cent_more_is_wrong(self, filled: Bank) -> None:
        """And shown with both sides."""
        found = self.compared(filled, Sample("long", AT_MS, AT_MS, AT_MS + 9_000, body(1, 251)))
        assert found.wrong == 1
        assert (
            "the gateway said 1 payments, 251 cents and 0 payments, 0 cents, it is 1 payments, 250" in found.examples[0]
        )

    def test_a_widened_answer_is_right_only_if_it_says_so(self, filled: Bank) -> None:
        """It is about the whole second then."""
        sample = Sample("long", AT_MS, AT_MS, AT_MS + 9_000, body(2, 350))
        assert self.compared(filled, sample).wrong == 1
        found = self.compared(filled, sample._replace(body=body(2, 350, resolution="whole seconds")))
        assert (found.wrong, found.widened) == (0, 1)

    def test_open_windows_are_compared_only_at_rest(self, filled: Bank) -> None:
        """While payments go on they change."""
        samples = [
            Sample("all", None, None, AT_MS + 9_000, body(2, 350)),
            Sample("recent", AT_MS, AT_MS + 8_000, AT_MS + 9_000, body(1, 250)),
        ]
        assert self.compared(filled, *samples).open == 2
        found = self.compared(filled, *samples, quiet=True)
        assert (found.count, found.wrong) == (2, 0)

    def test_what_is_no_summary_is_wrong(self, filled: Bank) -> None:
        """Some of them are shown."""
        samples = [Sample("all", None, None, AT_MS, "not now")] * (NAMED_MAX + 5)
        found = self.compared(filled, *samples, quiet=True)
        assert (found.wrong, len(found.examples)) == (NAMED_MAX + 5, NAMED_MAX)
        assert "showed not now instead of totals" in found.examples[0]

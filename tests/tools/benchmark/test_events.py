"""Tests of tools/benchmark/events.py."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tools.benchmark.samples import summaries
from tools.benchmark.events import Audited, Changed, Ended, Failed, Started, Summaries, Totals, differs, parse


def console(said: object) -> str:
    """A line as k6 logs what a script tells."""
    return json.dumps({"level": "info", "msg": json.dumps(said), "source": "console"})


SHOWN = {
    "at_ms": 9,
    "from_ms": 1,
    "to_ms": 8,
    "statuses": [200, 500, 200],
    "processors": [{"count": 2, "cents": 300}, None],
    "gateway": [{"count": 2, "cents": 300}, {"count": 0, "cents": 0}],
}
READ = Summaries(9, 1, 8, (Totals(2, 300), None), (Totals(2, 300), Totals(0, 0)))


class TestParse:
    """From a line of k6's log to an event."""

    @pytest.mark.parametrize(
        ("said", "event"),
        [
            ({"event": "started", "at_ms": 5}, Started(5)),
            ({"event": "changed", "at_ms": 5, "stage": 3}, Changed(5, 3)),
            (
                {"event": "failed", "at_ms": 5, "user": 1, "turn": 2, "status": 503, "error": ""},
                Failed(5, 1, 2, 503, ""),
            ),
            ({"event": "audited"} | SHOWN, Audited(READ)),
            ({"event": "ended"} | SHOWN, Ended(READ)),
            ({"event": "ended"} | SHOWN | {"gateway": None}, Ended(READ._replace(gateway=None))),
        ],
        ids=["started", "changed", "failed", "audited", "ended", "ended unanswered"],
    )
    def test_each_event_is_read(self, said: object, event: object) -> None:
        """Each event that load.js tells has its type."""
        assert parse(console(said)) == event

    @pytest.mark.parametrize(
        ("line", "remark"),
        [
            (console({"event": "sneezed", "at_ms": 5}), '{"event": "sneezed", "at_ms": 5}'),
            (console([1]), "[1]"),
            ('{"level":"warning","msg":"Request Failed","error":"dial tcp"}', "Request Failed: dial tcp"),
            ('{"level":"error","msg":"no such file"}', "no such file"),
            ("panic: out of memory", "panic: out of memory"),
            ("17", "17"),
        ],
        ids=["unknown event", "a list", "a warning", "an error", "no JSON", "other JSON"],
    )
    def test_what_is_no_event_is_a_remark(self, line: str, remark: str) -> None:
        """Whatever else k6 says is kept as text, for when the run fails."""
        assert parse(line) == remark

    def test_an_empty_line_is_nothing(self) -> None:
        """Blank lines carry nothing."""
        assert parse("  ") is None

    @given(line=st.text())
    def test_no_line_makes_it_fail(self, line: str) -> None:
        """Any text is read as something."""
        parse(line)


class TestDiffers:
    """Whether an audit found a difference."""

    def test_equal_totals_do_not_differ(self) -> None:
        """Both sides showing the same is right."""
        assert not differs(summaries((1, 1)))

    @pytest.mark.parametrize("gateway", [(2, 1), (1, 0), (0, 2), None])
    def test_anything_else_differs(self, gateway: tuple[int, int] | None) -> None:
        """One payment too many or too few at either processor differs, also if it cancels out; so does no answer."""
        assert differs(summaries(gateway))

    def test_cents_count_too(self) -> None:
        """Equal counts with other sums differ."""
        assert differs(summaries((1, 1))._replace(gateway=(Totals(1, 2), Totals(1, 1))))

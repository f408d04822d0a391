"""Tests of tools/benchmark/text.py."""

from decimal import Decimal

from tests.tools.benchmark.samples import LATENCY, RIGHT, summaries
from tools.benchmark.events import Totals
from tools.benchmark.latencies import NONE
from tools.benchmark.text import (
    alarm_lines,
    audit_lines,
    difference_lines,
    finding_lines,
    latency_cells,
    moment,
    money,
    number,
    table,
    totals,
    verdict_lines,
)


class TestTable:
    """Columns."""

    def test_names_stand_left_and_numbers_right(self) -> None:
        """Every column is as wide as its widest cell."""
        assert list(table([["name", "n"], ["x", "100"]])) == ["  name    n", "  x     100"]


class TestCells:
    """Single values."""

    def test_numbers_and_money(self) -> None:
        """Thousands are separated, and what is not known is a dash."""
        assert (number(1234.56), number(None), money(123_456), money(Decimal("0.5"))) == (
            "1,234.6",
            "–",
            "1,234.56",
            "0.00",
        )

    def test_a_moment_has_milliseconds(self) -> None:
        """UTC."""
        assert moment(1_753_000_000_123) == "08:26:40.123"

    def test_no_answers_have_no_latency(self) -> None:
        """A zero would look like a measurement."""
        assert latency_cells(LATENCY) == ["1.00", "2.00", "3.00", "4.00", "5.00"]
        assert latency_cells(NONE) == ["–"] * 5

    def test_totals_have_a_name(self) -> None:
        """Or none were shown."""
        assert totals("gateway", Totals(2, 199)) == "gateway 2 (1.99)"
        assert totals("gateway", None) == "gateway no answer"


class TestLines:
    """Longer pieces."""

    def test_findings_say_how_they_were_found(self) -> None:
        """Row by row, or by totals."""
        assert next(finding_lines(RIGHT)).startswith("books, row by row: charged twice 0, lost 0")

    def test_only_audits_that_differ_are_shown(self) -> None:
        """With both sides' figures."""
        lines = list(audit_lines([summaries((1, 1)), summaries((1, 2))]))
        assert lines[0] == "audits 2, different 1"
        assert lines[1:] == list(difference_lines(summaries((1, 2))))

    def test_an_audit_that_differs_is_told_of_at_once(self) -> None:
        """With both sides' figures; of one where they are the same nothing is said."""
        assert alarm_lines(summaries((1, 1))) == []
        assert alarm_lines(summaries((1, 2))) == ["an audit differs", *difference_lines(summaries((1, 2)))]


class TestVerdictLines:
    """The last lines of a report."""

    def test_name_every_fault_or_none(self) -> None:
        """Nothing wrong is said too."""
        assert list(verdict_lines(["so", "and so"])) == ["WRONG: so", "WRONG: and so"]
        assert list(verdict_lines([])) == ["Nothing wrong."]

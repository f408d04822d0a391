"""Tests of tools/benchmark/settling.py."""

import io

import pytest

from tests.tools.benchmark.samples import Bank, processors_of
from tools.benchmark import settling
from tools.benchmark.endpoints import Gateway, free_port
from tools.benchmark.events import Totals
from tools.benchmark.openloop.windows import Window
from tools.benchmark.payments import Sent
from tools.benchmark.progress import Screen
from tools.benchmark.reconcile import Answered, Books
from tools.benchmark.settling import check, is_quiet, totals_of, wait_until_quiet


def answered(accepted: int, unanswered: int = 0) -> Answered:
    """So many accepted payments of one cent."""
    return Answered(accepted, accepted, 0, unanswered, {})


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long."""
    monkeypatch.setattr(settling, "POLL_S", 0.01)


class TestIsQuiet:
    """When the wait is over."""

    def test_needs_all_paid_and_both_sides_alike(self) -> None:
        """Then at once, if every payment was answered."""
        both = (Totals(2, 2), Totals(1, 1))
        assert is_quiet(answered(3), None, Books(both, both))
        assert not is_quiet(answered(4), None, Books(both, both))
        assert not is_quiet(answered(3), None, Books(both, (Totals(3, 3), Totals(0, 0))))
        assert not is_quiet(answered(3), None, None)

    def test_waits_for_what_was_never_answered(self) -> None:
        """An unanswered payment may still come: nothing must move any more."""
        both = (Totals(2, 2), Totals(1, 1))
        books = Books(both, both)
        assert not is_quiet(answered(3, unanswered=1), None, books)
        assert is_quiet(answered(3, unanswered=1), books, books)


class TestWaitUntilQuiet:
    """The wait after a load."""

    def test_ends_when_all_is_paid(self, bank: Bank) -> None:
        """At once here."""
        bank.rows[0].append(["id", 100, 5])
        gateway = Gateway(bank.gateway.url)
        books, quiet = wait_until_quiet(gateway, processors_of(bank), answered(1), Screen(io.StringIO()), 5.0)
        both = (Totals(1, 100), Totals(0, 0))
        assert (books, quiet) == (Books(both, both), True)

    def test_has_an_end(self, bank: Bank) -> None:
        """What is lost never comes; the last books are there all the same."""
        gateway = Gateway(bank.gateway.url)
        books, quiet = wait_until_quiet(gateway, processors_of(bank), answered(1), Screen(io.StringIO()), 0.05)
        assert not quiet
        assert books is not None

    def test_goes_on_while_nobody_answers(self, bank: Bank) -> None:
        """A gateway that is gone leaves no books."""
        gone = Gateway(f"http://127.0.0.1:{free_port()}")
        assert wait_until_quiet(gone, processors_of(bank), answered(0), Screen(io.StringIO()), 0.05) == (None, False)


class TestTotalsOf:
    """The processors' own."""

    def test_are_asked_for_the_window(self, bank: Bank) -> None:
        """Both of them."""
        at_ms = 1_753_000_010_500
        bank.rows[1].extend([["a", 100, at_ms], ["b", 100, at_ms + 1]])
        window = Window("", at_ms, at_ms)
        assert totals_of(processors_of(bank), window.query) == (Totals(0, 0), Totals(1, 100))


class TestCheck:
    """Which comparison."""

    def found_by_row(self, bank: Bank, sent: dict[str, Sent] | None) -> bool:
        """Whether the bank's books were compared row by row."""
        books = Books(totals_of(processors_of(bank)), totals_of(processors_of(bank)))
        return check(processors_of(bank), answered(0), {}, books, None if sent is None else lambda: sent).by_row

    def test_by_row_if_rows_are_shown_and_wanted(self, bank: Bank) -> None:
        """Else by totals: the contest's processors list none, and millions are too many."""
        assert self.found_by_row(bank, {})
        assert not self.found_by_row(bank, None)
        bank.lists_rows = False
        assert not self.found_by_row(bank, {})

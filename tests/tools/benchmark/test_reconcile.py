"""Tests of tools/benchmark/reconcile.py."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from tools.benchmark.events import Totals
from tools.benchmark.payments import Sent
from tools.benchmark.reconcile import NAMED_MAX, Answered, Books, Findings, Row, by_rows, by_totals, disagreements

SENT = {f"id-{user}-{turn}": Sent(user, turn, 100 + turn) for user in range(1, 5) for turn in range(10)}
"""What four users could have sent in ten turns each."""


def row(user: int, turn: int, amount_cents: int | None = None) -> Row:
    """A payment as it should be stored, or with another amount."""
    return Row(f"id-{user}-{turn}", 100 + turn if amount_cents is None else amount_cents, 0)


def totals(rows: Iterable[Row]) -> Totals:
    """Totals of rows."""
    listed = list(rows)
    return Totals(len(listed), sum(each.amount_cents for each in listed))


def answers(accepted: int, failed: dict[str, int] | None = None, untold: int = 0) -> tuple[Answered, dict[str, int]]:
    """So many accepted, these failed with their status, and so many unanswered that were never told by id."""
    failed = failed or {}
    unanswered = sum(1 for status in failed.values() if not status)
    return Answered(accepted, 0, len(failed) - unanswered, unanswered + untold, {}), failed


def checked(answers: tuple[Answered, dict[str, int]], default: list[Row], fallback: list[Row]) -> Findings:
    """Findings for these rows, with a gateway that says what the processors do."""
    both = totals(default), totals(fallback)
    return by_rows(*answers, Books(both, both), (default, fallback), SENT)


def counts(findings: Findings) -> tuple[int, int, int, int]:
    """Twice, lost, unasked, altered."""
    return findings.twice.count, findings.lost.count, findings.unasked.count, findings.altered.count


class TestByRows:
    """Every payment looked at."""

    @given(placed=st.dictionaries(st.sampled_from(sorted(SENT)), st.booleans()))
    def test_each_accepted_payment_once_is_right(self, placed: dict[str, bool]) -> None:
        """However payments are spread over the processors, nothing is wrong if each is there once."""
        rows = {each: Row(each, SENT[each].amount_cents, 0) for each in placed}
        default = [rows[each] for each, there in placed.items() if there]
        fallback = [rows[each] for each, there in placed.items() if not there]
        findings = checked(answers(len(placed)), default, fallback)
        assert (counts(findings), findings.disagreements) == ((0, 0, 0, 0), [])

    def test_an_id_at_both_processors_is_charged_twice(self) -> None:
        """The same id on both sides is found and named."""
        findings = checked(answers(2), [row(1, 0), row(2, 0)], [row(2, 0)])
        assert counts(findings) == (1, 0, 0, 0)
        assert findings.twice.ids == ["id-2-0"]

    def test_a_double_charge_does_not_hide_a_loss(self) -> None:
        """One paid twice and one not at all: the counts agree, and both are found."""
        findings = checked(answers(3), [row(1, 0), row(1, 2)], [row(1, 0)])
        assert counts(findings) == (1, 1, 0, 0)

    def test_a_lost_payment_between_two_paid_ones_is_named(self) -> None:
        """A user's turn that is missing before a later one that is there was sent and lost."""
        findings = checked(answers(3), [row(1, 0), row(1, 2)], [])
        assert findings.lost.count == 1
        assert findings.lost.ids == ["id-1-1"]

    def test_a_lost_last_payment_is_counted(self) -> None:
        """Which one it was can't be told, that one is missing can."""
        findings = checked(answers(3), [row(1, 0), row(1, 1)], [])
        assert (findings.lost.count, findings.lost.ids) == (1, [])

    def test_a_refused_payment_is_not_lost(self) -> None:
        """What was answered with an error need not be there."""
        assert counts(checked(answers(2, {"id-1-1": 503}), [row(1, 0), row(1, 2)], [])) == (0, 0, 0, 0)

    def test_a_refused_payment_that_is_paid_was_not_asked_for(self) -> None:
        """The client was told that it was refused, and would pay again."""
        findings = checked(answers(1, {"id-1-1": 503}), [row(1, 0), row(1, 1)], [])
        assert counts(findings) == (0, 0, 1, 0)
        assert findings.unasked.ids == ["id-1-1"]

    def test_an_unanswered_payment_may_be_paid_or_not(self) -> None:
        """Without an answer both are right."""
        unanswered = answers(1, {"id-1-1": 0})
        assert counts(checked(unanswered, [row(1, 0), row(1, 1)], [])) == (0, 0, 0, 0)
        assert counts(checked(unanswered, [row(1, 0)], [])) == (0, 0, 0, 0)

    def test_failures_never_told_by_id_are_allowed_for(self) -> None:
        """The generator doesn't tell all of very many failures: as many more may be there."""
        assert counts(checked(answers(1, untold=1), [row(1, 0), row(1, 1)], [])) == (0, 0, 0, 0)
        assert counts(checked(answers(1), [row(1, 0), row(1, 1)], [])) == (0, 0, 1, 0)

    def test_a_stranger_was_not_asked_for(self) -> None:
        """An id that this run can't have made is counted and named."""
        findings = checked(answers(1), [row(1, 0), Row("stranger", 100, 0)], [])
        assert counts(findings) == (0, 0, 1, 0)
        assert findings.unasked.ids == ["stranger"]

    def test_another_amount_is_altered(self) -> None:
        """One cent off is found."""
        findings = checked(answers(1), [row(1, 0, amount_cents=101)], [])
        assert counts(findings) == (0, 0, 0, 1)

    def test_names_are_few(self) -> None:
        """Many faults are counted, some are named."""
        both = [row(user, turn) for user in range(1, 5) for turn in range(10)]
        findings = checked(answers(40), both, both)
        assert (findings.twice.count, len(findings.twice.ids)) == (40, NAMED_MAX)


class TestByTotals:
    """Without the rows."""

    def test_equal_totals_are_right(self) -> None:
        """Counts and cents that agree have no findings."""
        both = (Totals(2, 200), Totals(1, 100))
        findings = by_totals(Answered(3, 300, 0, 0, {}), Books(both, both))
        assert (counts(findings), findings.disagreements, findings.by_row) == ((0, 0, 0, 0), [], False)

    def test_fewer_are_lost_and_more_not_asked_for(self) -> None:
        """The difference in numbers is what can be told."""
        both = (Totals(2, 200), Totals(1, 100))
        assert counts(by_totals(Answered(5, 500, 0, 0, {}), Books(both, both))) == (0, 2, 0, 0)
        assert counts(by_totals(Answered(1, 100, 0, 1, {}), Books(both, both))) == (0, 0, 1, 0)

    def test_other_cents_are_a_disagreement(self) -> None:
        """As many payments as accepted with another sum."""
        both = (Totals(2, 200), Totals(1, 100))
        told = by_totals(Answered(3, 301, 0, 0, {}), Books(both, both)).disagreements
        assert told == ["accepted are 301 cents, the processors have 300"]


class TestDisagreements:
    """Gateway against processors."""

    def test_says_both_sides_per_processor(self) -> None:
        """Only the processor that is told otherwise is named, with all four numbers."""
        books = Books((Totals(1, 100), Totals(2, 200)), (Totals(1, 100), Totals(3, 300)))
        assert disagreements(books) == [
            "fallback: the gateway says 3 payments, 300 cents; the processor has 2, 200 cents"
        ]

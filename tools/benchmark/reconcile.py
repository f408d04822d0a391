"""Is the money right? Compares what was accepted with what the processors have stored and the gateway reports. Pure.

Done once everything is settled. With the processors' rows every payment is checked. Without them (the contest's own
processors list none) only counts and sums are, and a payment charged twice can cancel out one that was lost.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tools.benchmark.events import SIDES, Totals
from tools.benchmark.payments import Sent

NAMED_MAX = 20  # ids shown per kind of fault: enough to investigate

Pair = tuple[Totals, Totals]


class Row(NamedTuple):
    """One payment as a processor stored it; `requested_at_ms` is UTC."""

    correlation_id: str
    amount_cents: int
    requested_at_ms: int


@dataclass(frozen=True, slots=True)
class Answered:
    """How payments were answered; `by_status` counts the failures (0: no answer), `cents` is the sum accepted."""

    accepted: int
    cents: int
    refused: int
    unanswered: int
    by_status: dict[int, int]


@dataclass(frozen=True, slots=True)
class Books:
    """Totals at the end, at the processors and at the gateway."""

    processors: Pair
    gateway: Pair


@dataclass(frozen=True, slots=True)
class Finding:
    """How many payments have this fault, and the first few of their ids."""

    count: int
    ids: list[str]


@dataclass(frozen=True, slots=True)
class Findings:
    """What is wrong with the money; all counts are 0 when nothing is.

    Attributes:
        by_row: whether every row was looked at; if not, `twice` and `altered` are unknown and stay 0.
        twice: ids charged more than once, at both processors or at one.
        lost: payments accepted and not paid; its ids are those surely sent and neither stored nor refused.
        unasked: payments paid although this load never sent them, or got a refusal for them.
        altered: payments whose amount at the processor is not the one sent.
        disagreements: a message for each total that differs between the gateway and a processor.
    """

    by_row: bool
    twice: Finding
    lost: Finding
    unasked: Finding
    altered: Finding
    disagreements: list[str]


def _finding(ids: list[str], count: int | None = None) -> Finding:
    return Finding(len(ids) if count is None else count, ids[:NAMED_MAX])


def disagreements(books: Books) -> list[str]:
    """One message per processor whose totals the gateway reports wrongly."""
    return [
        f"{side}: the gateway says {ours.count:,} payments, {ours.cents:,} cents; "
        f"the processor has {theirs.count:,}, {theirs.cents:,} cents"
        for side, ours, theirs in zip(SIDES, books.gateway, books.processors, strict=True)
        if ours != theirs
    ]


def by_totals(answered: Answered, books: Books) -> Findings:
    """Compares counts and sums only: all that is possible without the rows."""
    settled = sum(side.count for side in books.processors)
    settled_cents = sum(side.cents for side in books.processors)
    wrong = disagreements(books)
    if not answered.unanswered and settled == answered.accepted and settled_cents != answered.cents:
        wrong.append(f"accepted are {answered.cents:,} cents, the processors have {settled_cents:,}")
    return Findings(
        by_row=False,
        twice=_finding([]),
        lost=_finding([], max(answered.accepted - settled, 0)),
        unasked=_finding([], max(settled - answered.accepted - answered.unanswered, 0)),
        altered=_finding([]),
        disagreements=wrong,
    )


def by_rows(
    answered: Answered,
    failed: Mapping[str, int],
    books: Books,
    rows: tuple[list[Row], list[Row]],
    sent: Mapping[str, Sent],
) -> Findings:
    """Compares row by row.

    Args:
        answered: how all payments were answered.
        failed: by id, the HTTP status of those without success (0: no answer); if very many, not all are in it.
        books: the totals.
        rows: what each processor has stored.
        sent: by id, every payment that this run could have sent.
    """
    stored = Counter(row.correlation_id for side in rows for row in side)
    amounts = {row.correlation_id: row.amount_cents for side in rows for row in side}
    strangers = [each for each in stored if each not in sent]
    altered = [each for each, cents in amounts.items() if each in sent and sent[each].amount_cents != cents]
    refused_but_paid = [each for each in stored if failed.get(each, 0)]
    # an unanswered payment may or may not have been accepted: both are right
    paid = sum(1 for each in stored if each in sent and each not in failed)
    untold = max(answered.refused + answered.unanswered - len(failed), 0)
    lost_count = max(answered.accepted - paid, 0)
    surplus = max(paid - answered.accepted - untold, 0)
    return Findings(
        by_row=True,
        twice=_finding([each for each, times in stored.items() if times > 1]),
        lost=_finding(_gaps(stored, failed, sent) if lost_count else [], lost_count),
        unasked=_finding(strangers + refused_but_paid, len(strangers) + len(refused_but_paid) + surplus),
        altered=_finding(altered),
        disagreements=disagreements(books),
    )


def _gaps(stored: Mapping[str, int], failed: Mapping[str, int], sent: Mapping[str, Sent]) -> list[str]:
    """Ids surely sent, by the order of each user's turns, and neither stored nor refused."""
    last_turn: dict[int, int] = {}
    for each in stored:
        if each in sent:
            user, turn, _ = sent[each]
            last_turn[user] = max(turn, last_turn.get(user, turn))
    return [
        each
        for each, (user, turn, _) in sent.items()
        if turn < last_turn.get(user, 0) and each not in stored and each not in failed
    ]

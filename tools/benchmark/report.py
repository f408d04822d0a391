"""Score cards and comparisons as text for a terminal. Pure."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from tools.benchmark.card import Card, Settled
from tools.benchmark.compare import Figures
from tools.benchmark.events import SIDES
from tools.benchmark.latencies import Latency
from tools.benchmark.oracle import Oracle
from tools.benchmark.score import Score
from tools.benchmark.text import (
    LATENCY_COLUMNS,
    NOT_KNOWN,
    audit_lines,
    finding_lines,
    latency_cells,
    money,
    number,
    table,
    totals,
    verdict_lines,
)
from tools.benchmark.usage import usage_lines


def card_lines(card: Card) -> Iterator[str]:
    """Yields the whole score card."""
    at = datetime.fromtimestamp(card.started_at_ms // 1000, UTC)
    load = card.scenario.load
    yield f"{card.scenario.name} on {card.target}, {at:%Y-%m-%d %H:%M:%S} UTC, run {card.run}, seed {card.seed}"
    yield f"up to {load.users_end:,} users in {load.duration_s} s"
    yield from _latency_lines(card)
    yield from _answer_lines(card)
    if card.settled is not None:
        yield from _settled_lines(card.settled)
    if card.score is not None:
        yield from _score_lines(card.score)
        if card.oracle is not None:
            yield _oracle_line(card.oracle, card.score)
    yield from audit_lines(card.audits)
    yield from usage_lines(card.used, card.answered.accepted)
    yield from (f"note: {note}" for note in card.notes)
    yield from verdict_lines(card.faults())


def _latency_lines(card: Card) -> Iterator[str]:
    rows = [["latency, ms", "requests", *LATENCY_COLUMNS]]
    rows.append(_latency_row("all", card.latencies.every))
    rows += [_latency_row(kind, latency) for kind, latency in card.latencies.kinds.items()]
    for stage, latency in zip(card.scenario.stages, card.latencies.stages, strict=True):
        rows.append(_latency_row(f"  from {stage.at_s} s ({stage.default} | {stage.fallback})", latency))
    yield from table(rows)


def _latency_row(name: str, latency: Latency) -> list[str]:
    return [name, f"{latency.count:,}", *latency_cells(latency)]


def _answer_lines(card: Card) -> Iterator[str]:
    answered = card.answered
    by_status = ", ".join(f"{status or 'none'}: {count:,}" for status, count in sorted(answered.by_status.items()))
    told = f" (by status {by_status})" if by_status else ""
    yield (
        f"accepted {answered.accepted:,} ({money(answered.cents)}), refused {answered.refused:,}, "
        f"unanswered {answered.unanswered:,}{told}"
    )


def _settled_lines(settled: Settled) -> Iterator[str]:
    at_end = ", ".join(totals(side, shown) for side, shown in zip(SIDES, settled.at_end, strict=True))
    yield f"settled at the end: {at_end}; waiting {settled.waiting_at_end:,}"
    if settled.quiet_s is not None:
        yield f"all settled {settled.quiet_s:.1f} s after the end"
    if settled.findings is not None:
        yield from finding_lines(settled.findings)


def _score_lines(score: Score) -> Iterator[str]:
    of_ceiling = NOT_KNOWN if score.of_ceiling is None else f"{score.of_ceiling:.2%}"
    yield (
        f"amount {money(score.amount_cents)} - fees {money(score.fees_cents)} = profit {money(score.profit_cents)}; "
        f"bonus {score.bonus:.2%}, fine {score.fine:.0%}"
    )
    yield f"score {money(score.score_cents)}, {of_ceiling} of {money(score.ceiling_cents)}, the most this p99 allows"


def _oracle_line(oracle: Oracle, score: Score) -> str:
    share = oracle.share_of(score.profit_cents)
    best_cents = oracle.profit_cents * (1 + score.bonus)
    return (
        f"oracle: default {oracle.default:,}, fallback {oracle.fallback:,}, unpaid {oracle.unpaid:,}, profit "
        f"{money(oracle.profit_cents)}: ours is {NOT_KNOWN if share is None else f'{share:.2%}'} of it; "
        f"its score with this p99 is {money(best_cents)}"
    )


def medians_lines(medians: Mapping[str, Figures], ratios: Mapping[str, float] | None) -> Iterator[str]:
    """Yields a table of each target's medians; with two targets, `ratios` is first to second."""
    targets = list(medians)
    header = ["median", *targets] + (["ratio"] if ratios is not None else [])
    names = dict.fromkeys(name for figures in medians.values() for name in figures)
    rows = [header]
    for name in names:
        row = [name, *(number(medians[target].get(name), 2) for target in targets)]
        rows.append(row + ([number(ratios.get(name), 2)] if ratios is not None else []))
    yield from table(rows)

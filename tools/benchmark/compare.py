"""Several runs together: each target's medians, and their ratios. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from math import isinf
from statistics import median

from tools.benchmark.card import Card

Figures = Mapping[str, float | None]
"""Figures of one run or one target by name (units in the name); None where a run has none.

Infinite, of a run alone, is the time of what never came.
"""


def figures(card: Card) -> dict[str, float | None]:
    """Return the figures of a run that are worth a median."""
    every, payment = card.latencies.every, card.latencies.kinds["payment"]
    found: dict[str, float | None] = {
        "p50 ms": every.p50_ms,
        "p90 ms": every.p90_ms,
        "p99 ms": every.p99_ms,
        "p99.9 ms": every.p999_ms,
        "max ms": every.max_ms,
        "payments p99 ms": payment.p99_ms,
        "CPU µs/payment": card.cpu_us_per_payment,
        "accepted": card.answered.accepted,
        "refused": card.answered.refused + card.answered.unanswered,
        "audits differing": len(card.differences),
        "waiting at end": card.settled.waiting_at_end if card.settled else None,
        "score": float(card.score.score_cents) / 100 if card.score else None,
        "% of ceiling": _percent(card.score.of_ceiling if card.score else None),
        "profit % of oracle": _percent(_of_oracle(card)),
        "machine idle %": card.used.machine_idle_percent,
    }
    for each in card.used.containers:
        found[f"{each.service} throttled periods"] = each.usage.throttled_periods if each.usage else None
    return found


def _of_oracle(card: Card) -> Decimal | None:
    return card.oracle.share_of(card.score.profit_cents) if card.oracle and card.score else None


def _percent(share: Decimal | None) -> float | None:
    return None if share is None else float(share) * 100


def medians(by_run: Sequence[Figures]) -> dict[str, float | None]:
    """Return the median of every figure over the runs that have it; all runs are of one target.

    What never came is longer than anything; None if it is so in the middle, as JSON has no infinity.
    """
    names = dict.fromkeys(name for run in by_run for name in run)
    known = {name: [value for run in by_run if (value := run.get(name)) is not None] for name in names}
    middle = {name: median(values) if values else None for name, values in known.items()}
    return {name: None if value is None or isinf(value) else value for name, value in middle.items()}


def ratios(ours: Figures, theirs: Figures) -> dict[str, float]:
    """Return ours / theirs for each figure that both have, above zero."""
    return {
        name: value / other
        for name, value in ours.items()
        if value is not None and (other := theirs.get(name)) is not None and other > 0
    }

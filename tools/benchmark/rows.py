"""A load's phases as rows of a sheet: what was told, stored and used in each. Pure but for nothing it asks itself."""

from __future__ import annotations

from tools.benchmark.card import Used, per_payment_us
from tools.benchmark.histogram import Histogram
from tools.benchmark.openloop.told import LATE
from tools.benchmark.openrun import Observed
from tools.benchmark.sheet import PhaseRow


def rows_of(observed: Observed, used: list[Used]) -> list[PhaseRow]:
    """Return one row per phase; `used` says what each of them used."""
    rows = []
    accepted = 0
    for index, (phase, cost) in enumerate(zip(observed.phases, used, strict=True)):
        counts = observed.tally.counts(index)
        accepted += counts.accepted
        begin, end = observed.at_edges[index : index + 2]
        rows.append(
            PhaseRow(
                name=phase.name,
                rate_per_s=phase.payments_per_s,
                duration_s=phase.duration_ms / 1000,
                sent=counts.sent,
                accepted=counts.accepted,
                refused=counts.refused,
                unanswered=counts.unanswered,
                held=counts.held,
                by_status=dict(counts.statuses),
                settled=None if begin is None or end is None else end.stored - begin.stored,
                waiting=None if end is None else max(accepted - end.stored, 0),
                answers=counts.answers.latency(),
                late=counts.latencies.get(LATE, Histogram()).latency(),
                cpu_us_per_payment=per_payment_us(cost.cpu_ns, counts.accepted),
                machine_idle_percent=cost.machine_idle_percent,
            )
        )
    return rows

"""Makes the sheet of an observed load: what was answered, stored and used in each phase and in all of them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from tools.benchmark.histogram import Histogram
from tools.benchmark.openloop.messages import LATE
from tools.benchmark.openrun import Observed, OpenRun, Settlement
from tools.benchmark.outcome import per_payment_us
from tools.benchmark.sheet import Goal, PhaseRow, Sheet, memory_goal
from tools.benchmark.tally import Counts


def rows_of(run: OpenRun, observed: Observed) -> list[PhaseRow]:
    """One row per phase."""
    rows = []
    accepted = observed.accepted_before
    for index, phase in enumerate(observed.phases):
        cost = run.used(observed, index, index)
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


def over_time(observed: Observed) -> list[dict[str, float]]:
    """The intervals of payments, about a second each: seconds since the first, counts, latencies."""
    intervals = observed.tally.intervals
    shown = []
    for interval in intervals:
        counts = Counts()
        counts.add(interval)
        latency = counts.answers.latency()
        shown.append(
            {
                "at_s": round((interval.at_ns - intervals[0].at_ns) / 1e9, 3),
                "phase": interval.phase,
                "sent": interval.sent,
                "accepted": counts.accepted,
                "failed": counts.failed,
                "waiting": interval.waiting,
                "p50_ms": latency.p50_ms,
                "p99_ms": latency.p99_ms,
                "max_ms": latency.max_ms,
            }
        )
    return shown


@dataclass(frozen=True, slots=True)
class Own:
    """What a command adds to its sheet; see `Sheet` for what each is.

    Attributes:
        metered: first and last of the phases that the table of containers is about.
    """

    command: str
    main: int
    metered: tuple[int, int]
    goals: Sequence[Goal]
    lines: Sequence[str] = ()
    more: dict[str, Any] = field(default_factory=dict)
    faults: Sequence[str] = ()
    may_refuse: Collection[str] = ()


def sheet_of(run: OpenRun, observed: Observed, rows: Sequence[PhaseRow], settlement: Settlement, own: Own) -> Sheet:
    """Puts the sheet together; every command's last goal is the memory at the end."""
    first, last = own.metered
    metered = rows[first : last + 1]
    return Sheet(
        command=own.command,
        target=run.setup.target.name,
        run=run.run,
        seed=run.setup.seed,
        started_at_ms=observed.started_at_ms,
        phases=rows,
        main=own.main,
        used=run.used(observed, first, last),
        metered_payments=sum(row.accepted for row in metered),
        settles=run.setup.target.settles,
        quiet_s=settlement.quiet_s,
        findings=settlement.findings,
        audits=run.audits,
        goals=[*own.goals, memory_goal(run.used(observed))],
        may_refuse=own.may_refuse,
        lines=own.lines,
        more=own.more | {"over_time": over_time(observed)},
        more_faults=own.faults,
        notes=run.notes,
    )

"""The sheet of an open-loop command as text for a terminal. Pure."""

from collections.abc import Iterator
from datetime import UTC, datetime

from tools.benchmark.sheet import Goal, Sheet
from tools.benchmark.text import (
    LATENCY_COLUMNS,
    NOT_KNOWN,
    audit_lines,
    finding_lines,
    latency_cells,
    number,
    table,
    verdict_lines,
)
from tools.benchmark.usage import usage_lines

LATE_MS_MAX = 5.0  # beyond this the generator itself is too slow
COUNTS = ("phase", "/s", "s", "sent", "accepted", "503", "other", "no answer", "not sent", "settled", "waiting")


def sheet_lines(sheet: Sheet) -> Iterator[str]:
    """Yields the whole sheet."""
    at = datetime.fromtimestamp(sheet.started_at_ms // 1000, UTC)
    yield f"{sheet.command} on {sheet.target}, {at:%Y-%m-%d %H:%M:%S} UTC, run {sheet.run}, seed {sheet.seed}"
    yield from _phase_lines(sheet)
    yield from sheet.lines
    if sheet.settles:
        shown = f"{sheet.quiet_s:.1f} s after the end" if sheet.quiet_s is not None else "not in the time allowed"
        yield f"all settled: {shown}"
        if sheet.findings is not None:
            yield from finding_lines(sheet.findings)
        yield from audit_lines(sheet.audits)
    yield from usage_lines(sheet.used, sheet.metered_payments)
    yield from (f"note: {note}" for note in sheet.notes)
    late_ms = max((phase.late.p99_ms for phase in sheet.phases), default=0.0)
    if late_ms > LATE_MS_MAX:
        yield f"note: the generator itself sent up to {late_ms:.1f} ms late (p99); latencies include that"
    yield from (_goal_line(goal) for goal in sheet.goals)
    yield from verdict_lines(sheet.faults())


def _phase_lines(sheet: Sheet) -> Iterator[str]:
    counts = [list(COUNTS)]
    times = [["latency from when it was due, ms", *LATENCY_COLUMNS, "sent late p99", "µs/payment", "idle %"]]
    for phase in sheet.phases:
        full = phase.by_status.get(503, 0)
        counts.append(
            [
                phase.name,
                f"{phase.rate_per_s:,}",
                f"{phase.duration_s:g}",
                *(
                    f"{n:,}"
                    for n in (phase.sent, phase.accepted, full, phase.refused - full, phase.unanswered, phase.held)
                ),
                *(NOT_KNOWN if n is None else f"{n:,}" for n in (phase.settled, phase.waiting)),
            ]
        )
        times.append(
            [
                phase.name,
                *latency_cells(phase.answers),
                number(phase.late.p99_ms, 2),
                number(phase.cpu_us_per_payment, 0),
                number(phase.machine_idle_percent, 0),
            ]
        )
    yield from table(counts)
    yield from table(times)


def _goal_line(goal: Goal) -> str:
    wanted = f"at most {goal.at_most:g}" if goal.at_most is not None else f"at least {goal.at_least:g}"
    verdict = "met" if goal.is_met else "MISSED" if goal.never or goal.value is not None else "not measured"
    return f"goal: {goal.name} {'never' if goal.never else number(goal.value, 2)}, {wanted}: {verdict}"

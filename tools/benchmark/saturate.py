"""`bench saturate`: can a constant rate be sustained, which rate is the highest, and what happens at twice the rate?"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from tools.benchmark.openloop.messages import Interval
from tools.benchmark.openloop.plan import Phase
from tools.benchmark.openrun import Observed, OpenRun, Setup
from tools.benchmark.progress import Screen
from tools.benchmark.rows import Own, rows_of, sheet_of
from tools.benchmark.search import CLOSE_ENOUGH, Search
from tools.benchmark.sheet import Goal, PhaseRow, Sheet
from tools.benchmark.tally import Counts

WARM_UP_MS = 2_000  # the meters are read after it, so that the cost of the start is left out
BEYOND_S = 10
AFTER_S = 20
BEYOND_FACTOR = 2
PROBE_S = 10
P99_MS_MAX = 25.0
CPU_US_MAX = 250.0
WAITING_SHARE_MAX = 0.01  # of the payments accepted: settling keeps up if no more than this share waits at the end
WAITING_S_MAX = 0.4  # or seconds of arrivals: payments gather for 0.2 s, and as many may be on their way
ACCEPTED_BEYOND_MIN = 0.8  # of the sustained rate: less would be a collapse
CONFIRM_MAX = 3
_MS_PER_S = 1000
_NS_PER_S = 1e9
_LOAD, _BEYOND, _AFTER = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Ask:
    """The rate and its duration; `beyond`: then twice the rate for `BEYOND_S`, then half of it for `AFTER_S`."""

    rate_per_s: int
    duration_s: int
    beyond: bool


def phases_of(ask: Ask) -> list[Phase]:
    """The load's phases."""
    phases = [
        Phase("warm-up", WARM_UP_MS, ask.rate_per_s),
        Phase("load", ask.duration_s * _MS_PER_S, ask.rate_per_s),
    ]
    if ask.beyond:
        phases.append(Phase("beyond", BEYOND_S * _MS_PER_S, ask.rate_per_s * BEYOND_FACTOR))
        phases.append(Phase("after", AFTER_S * _MS_PER_S, max(ask.rate_per_s // 2, 1)))
    return phases


def is_sustained(row: PhaseRow) -> bool:
    """Whether everything due was accepted in time, and settling kept up."""
    if row.failed or row.answers.p99_ms >= P99_MS_MAX:
        return False
    return row.waiting is None or row.waiting <= _waiting_max(row)


def _waiting_max(row: PhaseRow) -> float:
    """How many payments may wait at the end of a phase if settling keeps up."""
    return max(WAITING_SHARE_MAX * row.accepted, WAITING_S_MAX * row.rate_per_s)


def recovered_after_s(intervals: Sequence[Interval], began_ns: int) -> float | None:
    """How long after `began_ns` the answers were good and stayed so; None if they never were.

    An interval is good if nothing failed, nothing waited for a connection at its end, and p99 is below the limit.
    """
    bad_until_ns = began_ns
    later = [each for each in intervals if each.at_ns > began_ns and (each.sent or each.statuses)]
    for each in later:
        counts = Counts()
        counts.add(each)
        if counts.failed or each.waiting or counts.answers.latency().p99_ms >= P99_MS_MAX:
            bad_until_ns = each.at_ns
    if not later or bad_until_ns == later[-1].at_ns:
        return None
    return (bad_until_ns - began_ns) / _NS_PER_S


def measure(setup: Setup, ask: Ask, screen: Screen) -> Sheet:
    """Runs it once; raises BenchError if the load could not be run."""
    with OpenRun(setup, screen) as run:
        observed = run.load(phases_of(ask))
        settlement = run.settle()
    rows = rows_of(run, observed)
    row = rows[_LOAD]
    requests = sum(each.sent for each in rows)
    own_us = observed.tally.cpu_s / requests * 1e6 if requests else 0.0
    lines = [f"the generator used {own_us:.0f} µs of CPU per request"]
    goals = _goals(row, settles=setup.target.settles)
    if ask.beyond:
        more, line = _beyond(observed, rows)
        goals += more
        lines.append(line)
    own = Own(
        command=f"saturate at {ask.rate_per_s:,}/s",
        main=_LOAD,
        metered=(_LOAD, _LOAD),
        goals=goals,
        lines=lines,
        more={"sustained": is_sustained(row), "generator_us_per_request": own_us},
        may_refuse=("beyond", "after"),
    )
    return sheet_of(run, observed, rows, settlement, own)


def _goals(row: PhaseRow, *, settles: bool) -> list[Goal]:
    goals = [
        Goal("accepted/s", row.accepted / row.duration_s, at_least=row.rate_per_s * (1 - WAITING_SHARE_MAX)),
        Goal("refused or unanswered", float(row.failed), at_most=0),
        Goal("p99 ms", row.answers.p99_ms, at_most=P99_MS_MAX),
    ]
    if settles:
        settled = None if row.settled is None else row.settled / row.duration_s
        waiting = None if row.waiting is None else float(row.waiting)
        goals.append(Goal("settled/s", settled, at_least=row.rate_per_s * (1 - WAITING_SHARE_MAX)))
        goals.append(Goal("waiting when the load ends", waiting, at_most=_waiting_max(row)))
        goals.append(Goal("CPU µs/payment", row.cpu_us_per_payment, at_most=CPU_US_MAX))
    return goals


def _beyond(observed: Observed, rows: Sequence[PhaseRow]) -> tuple[list[Goal], str]:
    """The goals for the phases after the load, and a line on them."""
    beyond = rows[_BEYOND]
    recovered_s = recovered_after_s(observed.tally.intervals, observed.tally.began[_AFTER].at_ns)
    accepted_per_s = beyond.accepted / beyond.duration_s
    full = beyond.by_status.get(503, 0)
    goals = [
        Goal("accepted/s beyond", accepted_per_s, at_least=ACCEPTED_BEYOND_MIN * rows[_LOAD].rate_per_s),
        Goal("recovered after s", recovered_s, at_most=AFTER_S, never=recovered_s is None),
    ]
    when = "never recovered" if recovered_s is None else f"recovered {recovered_s:.1f} s after it"
    line = f"beyond, at {beyond.rate_per_s:,}/s: {accepted_per_s:,.0f}/s accepted, {full:,} answered 503; {when}"
    return goals, line


def search(setup: Setup, ask: Ask, screen: Screen) -> Sheet:
    """Finds the highest rate that short probes from `ask.rate_per_s` on sustain; returns its sheet at full length."""
    probes: list[tuple[int, bool]] = []
    dropped: list[Sheet] = []
    looking = Search(ask.rate_per_s)
    while not looking.is_over:
        rate = looking.rate
        dropped.append(measure(setup, Ask(rate, PROBE_S, beyond=False), screen))
        row = dropped[-1].phases[_LOAD]
        sustained = is_sustained(row)
        probes.append((rate, sustained))
        screen.say(
            f"  {rate:,}/s for {PROBE_S} s: p99 {row.answers.p99_ms:.1f} ms, refused {row.refused:,}, waiting "
            f"{row.waiting}, machine idle {row.machine_idle_percent:.0f} %: {'' if sustained else 'not '}sustained"
        )
        looking.tell(sustained=sustained)
    rate = looking.best or looking.rate
    sheet = measure(setup, dataclasses.replace(ask, rate_per_s=rate), screen)
    for _ in range(CONFIRM_MAX):
        if is_sustained(sheet.phases[_LOAD]):
            break
        screen.say(f"  {rate:,}/s was not sustained for {ask.duration_s} s")
        dropped.append(sheet)
        rate = int(rate / CLOSE_ENOUGH)
        sheet = measure(setup, dataclasses.replace(ask, rate_per_s=rate), screen)
    verdict = "sustained" if is_sustained(sheet.phases[_LOAD]) else "not even this was sustained"
    lines = [*sheet.lines, f"searched: {rate:,}/s, {verdict}"]
    return dataclasses.replace(
        sheet,
        lines=lines,
        more=sheet.more | {"probes": probes},
        audits=[audit for each in (*dropped, sheet) for audit in each.audits],
        more_faults=[*sheet.more_faults, *(fault for each in dropped for fault in _faults_of_probe(each))],
    )


def _faults_of_probe(sheet: Sheet) -> list[str]:
    """The faults of a probe. Refused payments are none: finding the rate at which they begin is its purpose."""
    every = [phase.name for phase in sheet.phases]
    return [f"{sheet.command}: {fault}" for fault in dataclasses.replace(sheet, may_refuse=every, audits=()).faults()]

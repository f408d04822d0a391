"""`bench drain`: both processors fail for a while. How soon is the backlog gone after it, and does accepting suffer?"""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tools.benchmark.endpoints import Processors
from tools.benchmark.openloop.messages import SUCCESS
from tools.benchmark.openloop.plan import Phase
from tools.benchmark.openrun import Hooks, Observed, OpenRun, Poll, Setup
from tools.benchmark.preparing import behave, calm
from tools.benchmark.progress import Screen
from tools.benchmark.rows import Own, rows_of, sheet_of
from tools.benchmark.saturate import WARM_UP_MS
from tools.benchmark.scenario import Condition
from tools.benchmark.sheet import Goal, Sheet

GONE_S_MAX = 10.0
P99_RATIO_MAX = 2.0
POLL_S = 0.1
UNDER_WAY_S = 0.1  # of arrivals: as many are between acceptance and settlement at any moment
FAILING = Condition(0, failing=True)
_CALM, _OUTAGE, _DRAIN = 1, 2, 3
_MS_PER_S = 1000
_NS_PER_S = 1e9


@dataclass(frozen=True, slots=True)
class Ask:
    """The rate, and the seconds of calm, outage and drain."""

    rate_per_s: int
    calm_s: int
    outage_s: int
    drain_s: int


def phases_of(ask: Ask) -> list[Phase]:
    """The load's phases."""
    spans = (("calm", ask.calm_s), ("outage", ask.outage_s), ("drain", ask.drain_s))
    phases = [Phase(name, seconds * _MS_PER_S, ask.rate_per_s) for name, seconds in spans]
    return [Phase("warm-up", WARM_UP_MS, ask.rate_per_s), *phases]


def gone_at_ns(
    stored: tuple[Sequence[str], Sequence[str]], early: Collection[str], polls: Sequence[Poll]
) -> int | None:
    """When the last early payment was seen to be stored; None if not all were stored by the last poll.

    Args:
        stored: ids at each processor, in the order of storing.
        early: ids of the payments that were due before the recovery.
        polls: how many each processor had stored at which moment, in order.
    """
    if len(early) > sum(each in early for side in stored for each in side):
        return None
    last = [max((place for place, each in enumerate(side, 1) if each in early), default=0) for side in stored]
    for poll in polls:
        if poll.default >= last[0] and poll.fallback >= last[1]:
            return poll.at_ns
    return None


def caught_up_at_ns(observed: Observed, recovered_ns: int, rate_per_s: int) -> int | None:
    """When no more payments waited than usual, by counts alone: for processors that list no rows."""
    accepted, intervals = 0, iter(observed.tally.intervals)
    interval = next(intervals, None)
    last_ns = recovered_ns
    for poll in observed.polls:
        while interval is not None and interval.at_ns <= poll.at_ns:
            accepted += sum(count for status, count in interval.statuses.items() if status in SUCCESS)
            last_ns = interval.at_ns
            interval = next(intervals, None)
        by_now = accepted + (poll.at_ns - last_ns) / _NS_PER_S * rate_per_s
        if poll.at_ns > recovered_ns and poll.stored >= by_now - UNDER_WAY_S * rate_per_s:
            return poll.at_ns
    return None


class _Outage:
    """Switches the processors to failing and back when the phases begin."""

    def __init__(self, processors: Processors) -> None:
        self._processors = processors
        self.recovered_ns = 0

    def on_phase(self, name: str) -> None:
        """Makes the processors fail when the outage begins, and calm when the drain does."""
        if name == "outage":
            behave(self._processors, FAILING)
        elif name == "drain":
            calm(self._processors)
            self.recovered_ns = time.monotonic_ns()


def measure(setup: Setup, ask: Ask, screen: Screen) -> Sheet:
    """Runs it once; raises BenchError if the load could not be run."""
    outage = _Outage(setup.processors)
    with OpenRun(setup, screen) as run:
        observed = run.load(phases_of(ask), Hooks(on_phase=outage.on_phase), tick_s=POLL_S)
        settlement = run.settle()
        gone_ns = _gone_at_ns(run, observed, outage.recovered_ns, ask)
    rows = rows_of(run, observed)
    calm_ms, outage_ms = rows[_CALM].answers.p99_ms, rows[_OUTAGE].answers.p99_ms
    gone_s = None if gone_ns is None else (gone_ns - outage.recovered_ns) / _NS_PER_S
    # a payment's interval ends up to a second after its answer
    until_ns = observed.tally.intervals[-1].at_ns if gone_ns is None else gone_ns + int(_NS_PER_S)
    drain_ms = observed.tally.between(outage.recovered_ns, until_ns).latency().p99_ms
    worst = max(outage_ms, drain_ms) / calm_ms if calm_ms else None
    was_looked_at = any(poll.at_ns > outage.recovered_ns for poll in observed.polls)
    when = "not while the load lasted" if gone_s is None else f"{gone_s:.1f} s after the recovery"
    own = Own(
        command=f"drain at {ask.rate_per_s:,}/s, {ask.outage_s} s of outage",
        main=_DRAIN,
        metered=(_CALM, _DRAIN),
        goals=[
            Goal("backlog gone after s", gone_s, at_most=GONE_S_MAX, never=gone_s is None and was_looked_at),
            Goal("p99 in outage or drain to calm", worst, at_most=P99_RATIO_MAX),
        ],
        lines=[
            f"backlog of {rows[_OUTAGE].waiting or 0:,} gone: {when}",
            f"p99 of accepting, ms: calm {calm_ms:.2f}, outage {outage_ms:.2f}, drain {drain_ms:.2f}",
        ],
        more={"gone_s": gone_s, "p99_ms": {"calm": calm_ms, "outage": outage_ms, "drain": drain_ms}},
    )
    return sheet_of(run, observed, rows, settlement, own)


def _gone_at_ns(run: OpenRun, observed: Observed, recovered_ns: int, ask: Ask) -> int | None:
    """Gets the rows and finds out when the last payment from before the recovery was stored."""
    default, fallback = (processor.rows() for processor in run.setup.processors)
    polls = [poll for poll in observed.polls if poll.at_ns > recovered_ns]
    if default is None or fallback is None:
        return caught_up_at_ns(observed, recovered_ns, ask.rate_per_s)
    early = {run.correlation_id(turn) for turn in range(observed.tally.began[_DRAIN].first_turn)}
    early -= {run.correlation_id(turn) for turn in observed.tally.failed}
    stored = [row.correlation_id for row in default], [row.correlation_id for row in fallback]
    return gone_at_ns(stored, early, polls)

"""`bench soak`: payments for an hour. Does the memory of any container grow?

Bounded tables and rings are filled first, by many payments in a short time: as long as they grow, they would hide what
grows without a bound.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from tools.benchmark import meters
from tools.benchmark.containers import Container
from tools.benchmark.openloop.plan import Phase
from tools.benchmark.openrun import TICK_S, Hooks, Observed, OpenRun, Setup
from tools.benchmark.progress import Screen
from tools.benchmark.rows import Own, rows_of, sheet_of
from tools.benchmark.saturate import WARM_UP_MS
from tools.benchmark.sheet import Goal, Sheet
from tools.benchmark.summary import fill
from tools.benchmark.text import LATENCY_COLUMNS, NOT_KNOWN, latency_cells, number, table

GROWTH_PERCENT_MAX = 2.0
SAMPLES_MIN = 3  # two points always lie on a line
PARTS = 6  # of the load: latencies are shown for each part
_SOAK = 1
_MS_PER_S = 1000
_NS_PER_S = 1e9
_HOUR_S = 3600
_BYTES_PER_MB = 1e6


@dataclass(frozen=True, slots=True)
class Ask:
    """`fill` payments at `fill_per_s`; then a constant rate, with memory read every `sample_s`."""

    fill: int
    fill_per_s: int
    rate_per_s: int
    duration_s: int
    sample_s: float


class Sampled(NamedTuple):
    """Memory of every container, by its service, `at_s` after the first reading."""

    at_s: float
    memory_bytes: dict[str, int]


class Growth(NamedTuple):
    """A container's first and last reading, and its slope in percent of its mean per hour.

    `late_percent` is the slope of the second half: by then every ring and table of a bounded size has been filled once.
    Both slopes are None for a container that was not always there: a restart would look like a decrease.
    """

    service: str
    first_bytes: int
    last_bytes: int
    percent: float | None
    late_percent: float | None


def slope_percent(points: Sequence[tuple[float, float]]) -> float | None:
    """The slope of the best straight line through (seconds, value), in percent of the mean value per hour.

    None with fewer than `SAMPLES_MIN` points, or if all values are 0.
    """
    if len(points) < SAMPLES_MIN:
        return None
    mean_s, mean = fmean(at_s for at_s, _ in points), fmean(value for _, value in points)
    spread = sum((at_s - mean_s) ** 2 for at_s, _ in points)
    if not mean or not spread:
        return None
    slope = sum((at_s - mean_s) * (value - mean) for at_s, value in points) / spread
    return slope * _HOUR_S / mean * 100


def growths(samples: Sequence[Sampled]) -> list[Growth]:
    """The growth of every container that was ever read."""
    found = []
    for service in dict.fromkeys(service for each in samples for service in each.memory_bytes):
        points = [(each.at_s, float(each.memory_bytes[service])) for each in samples if service in each.memory_bytes]
        slopes: tuple[float | None, float | None] = (None, None)
        if len(points) == len(samples):
            slopes = (slope_percent(points), slope_percent(points[len(points) // 2 :]))
        found.append(Growth(service, int(points[0][1]), int(points[-1][1]), *slopes))
    return found


def greatest_late(grown: Sequence[Growth]) -> float | None:
    """The greatest slope of the second half; None unless that of every container is known."""
    late = [each.late_percent for each in grown if each.late_percent is not None]
    return max(late, default=None) if len(late) == len(grown) else None


class _Sampler:
    """Reads the memory of the target's containers now and then."""

    def __init__(self, run: OpenRun, every_s: float) -> None:
        self._run = run
        self._every_s = every_s
        self._next_s = 0.0
        self._since_s = time.monotonic()
        self.samples: list[Sampled] = []
        self.soaking = False

    def on_phase(self, name: str) -> None:
        """Begins with the soak, after the warm-up."""
        self.soaking = name == "soak"

    def on_tick(self) -> None:
        """Reads memory if it is time."""
        at_s = time.monotonic() - self._since_s
        if not self.soaking or at_s < self._next_s:
            return
        self._next_s = at_s + self._every_s
        readings = meters.snapshot(self._run.ours).readings
        by_service = {
            container.service: readings[container.container_id].memory_bytes
            for container in self._run.ours
            if container.container_id in readings
        }
        self.samples.append(Sampled(at_s, by_service))


def measure(setup: Setup, ask: Ask, screen: Screen) -> Sheet:
    """Runs it once; raises BenchError if the load could not be run."""
    phases = [
        Phase("warm-up", WARM_UP_MS, ask.rate_per_s),
        Phase("soak", ask.duration_s * _MS_PER_S, ask.rate_per_s),
    ]
    with OpenRun(setup, screen) as run:
        if not run.ours:
            screen.say("No containers were found behind the target: their memory can't be measured.")
        fill(run, ask.fill, ask.fill_per_s)
        sampler = _Sampler(run, ask.sample_s)
        hooks = Hooks(sampler.on_phase, sampler.on_tick)
        observed = run.load(phases, hooks, tick_s=min(TICK_S, ask.sample_s))
        settlement = run.settle()
    rows = rows_of(run, observed)
    grown = growths(sampler.samples)
    own = Own(
        command=f"soak at {ask.rate_per_s:,}/s",
        main=_SOAK,
        metered=(_SOAK, _SOAK),
        goals=[Goal("memory growth % per hour, second half", greatest_late(grown), at_most=GROWTH_PERCENT_MAX)],
        lines=[*_growth_lines(grown, run.ours), *_part_lines(observed)],
        more={"memory": sampler.samples, "growth": grown},
    )
    return sheet_of(run, observed, rows, settlement, own)


def _growth_lines(grown: Sequence[Growth], ours: Sequence[Container]) -> list[str]:
    if not ours:
        return ["memory: no containers were found behind the target"]
    rows = [["memory", "first MB", "last MB", "% per hour", "second half"]]
    for each in grown:
        sizes = (number(value / _BYTES_PER_MB) for value in (each.first_bytes, each.last_bytes))
        rows.append([each.service, *sizes, number(each.percent, 2), number(each.late_percent, 2)])
    never_read = {each.service for each in ours} - {each.service for each in grown}
    rows += [[service, "not readable", *[NOT_KNOWN] * 3] for service in sorted(never_read)]
    return list(table(rows))


def _part_lines(observed: Observed) -> list[str]:
    """Latencies of equal parts of the load, so that a slow worsening shows."""
    begin_ns, end_ns = (observed.tally.began[index].at_ns for index in (_SOAK, _SOAK + 1))
    rows = [["latency over time, ms", *LATENCY_COLUMNS]]
    for part in range(PARTS):
        from_ns, to_ns = (begin_ns + (end_ns - begin_ns) * edge // PARTS for edge in (part, part + 1))
        latency = observed.tally.between(from_ns, to_ns).latency()
        rows.append([f"  from {(from_ns - begin_ns) / _NS_PER_S:,.0f} s", *latency_cells(latency)])
    return list(table(rows))

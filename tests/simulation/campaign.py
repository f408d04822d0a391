"""Many seeds on all cores: their coverage added up, their failures kept."""

import os
import signal
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import NamedTuple

from server.child import die_with_parent
from tests.simulation.coverage import Coverage
from tests.simulation.mutations import mutated
from tests.simulation.runner import run_seed

SEEDS_ENOUGH = 3000  # to meet every fault and transition: the rarest is met by one seed in some 700
SEEDS_AT_ONCE = 20  # half a second of work: the progress bar moves, and handing over costs nothing
FAILURES_KEPT = 20


class Failure(NamedTuple):
    """A seed that failed, and the sentence on why."""

    seed: int
    reason: str


class Tally:
    """What came of some seeds.

    Attributes:
        seeds: how many were run.
        coverage: what they met.
        failures: those that failed.
        virtual_s: virtual time they took together.
        summaries: summaries that were given and compared.
    """

    def __init__(self) -> None:
        """Begins with no seed."""
        self.seeds = 0
        self.coverage = Coverage()
        self.failures: list[Failure] = []
        self.virtual_s = 0.0
        self.summaries = 0

    def add(self, other: "Tally") -> None:
        """Adds another's."""
        self.seeds += other.seeds
        self.coverage.add(other.coverage)
        self.failures += other.failures
        self.virtual_s += other.virtual_s
        self.summaries += other.summaries


def run_some(seeds: Iterable[int], mutation: str | None = None) -> Tally:
    """Runs some seeds, one after the other, in this process."""
    tally = Tally()
    with mutated(mutation):
        for seed in seeds:
            outcome = run_seed(seed)
            tally.seeds += 1
            tally.coverage.add(outcome.coverage)
            tally.virtual_s += outcome.virtual_s
            tally.summaries += outcome.summaries
            if outcome.failures:
                tally.failures.append(Failure(seed, outcome.failures[0]))
    return tally


def run_many(
    seeds: range,
    *,
    processes: int,
    mutation: str | None = None,
    failures_max: int = FAILURES_KEPT,
    on_progress: Callable[[Tally], None] = lambda _: None,
) -> Tally:
    """Runs seeds in several processes; stops early once enough have failed.

    Args:
        seeds: which.
        processes: how many at once.
        mutation: name of the rule to be broken, if any.
        failures_max: how many are enough.
        on_progress: told of what there is so far.
    """
    tally = Tally()
    batches = [seeds[start : start + SEEDS_AT_ONCE] for start in range(0, len(seeds), SEEDS_AT_ONCE)]
    with ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_leave_signals, initargs=(os.getpid(),)
    ) as pool:
        waiting = {pool.submit(run_some, batch, mutation) for batch in batches}
        try:
            for done in as_completed(waiting):
                tally.add(done.result())
                on_progress(tally)
                if len(tally.failures) >= failures_max:
                    break
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return tally


def _leave_signals(parent: int) -> None:
    """A terminal's Ctrl-C goes to all; only the parent decides. One that was killed can't: they are killed with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(parent)

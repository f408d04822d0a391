"""The simulator: it finds nothing in the code as it is, and finds every rule that is broken on purpose."""

import asyncio
import re

import pytest

from server.shared_totals import SharedTotals
from tests.simulation.campaign import SEEDS_ENOUGH, run_many, run_some
from tests.simulation.coverage import Coverage, Fault
from tests.simulation.mutations import MUTATIONS
from tests.simulation.plan import draw_plan
from tests.simulation.runner import run_seed

PROCESSES = 2
PAIR_SEED = 17  # of two instances with one web worker each
HALTS_SEED = 194  # of processes that stand still in the midst of a step

SEEDS_TO_NOTICE = 2000
"""Within how many seeds every mutation must be noticed; the worst takes some seven hundred."""

RARELY_NOTICED = {
    "return-unverified",
    "forget-at-once",
    "read-once",
    "overlook-brief-returns",
    "make-do-with-what-is-kept",
    "ignore-leaving",
    "miss-what-comes-while-reading",
}
"""Left to long runs, and to the tests of the files they break. Living siblings follow each other, so verification after
an absence is a second net; few copies lie in a lane at the moment when their payment is forgotten; few runs have
absences that follow each other just so; few copies come while an instance leaves, a second or two at its end; and few
processes stand still for long while they read a sibling that accepts more meanwhile than is known as its latest.
"""


class TestRun:
    """One run."""

    def test_a_few_seeds_hold(self) -> None:
        """Every invariant holds."""
        assert run_some(range(4)).failures == []

    @pytest.mark.parametrize("seed", [137, HALTS_SEED])
    def test_same_seed_same_story(self, seed: int) -> None:
        """A seed decides everything, to the microsecond."""
        first, second = (run_seed(seed, tracing=True) for _ in range(2))
        assert len(first.trace) > 100
        assert first.trace == second.trace

    def test_telling_changes_nothing(self) -> None:
        """A failing seed fails the same when it is replayed with its story told."""
        silent, told = run_seed(12), run_seed(12, tracing=True)
        assert silent.trace == []
        assert (silent.callbacks, silent.virtual_s) == (told.callbacks, told.virtual_s)

    def test_a_summary_that_never_comes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A run that waits for it ends, and says so."""

        async def wait_forever(*_: object) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(SharedTotals, "summary", wait_forever)
        assert run_seed(PAIR_SEED).failures == ["a summary is never answered although all is well"]

    def test_stands_still(self) -> None:
        """In the midst of a step, and others go on meanwhile; without the plan's `halts` nobody does."""
        halted, other = run_seed(HALTS_SEED), run_seed(137)
        assert (halted.failures, other.failures) == ([], [])
        assert halted.coverage.faults[Fault.HALTED] > 0
        assert other.coverage.faults[Fault.HALTED] == 0

    def test_mends_that_halts_have_led_to(self) -> None:
        """A broken rule that only matters to who stands still while it reads a sibling is noticed."""
        assert run_some([HALTS_SEED], "drop-what-was-read-slowly").failures

    def test_plans_differ(self) -> None:
        """Seeds are not all alike: each has its own sizes and faults."""
        plans = [draw_plan(seed) for seed in range(50)]
        assert len({plan.geometry for plan in plans}) > 30
        assert {plan.instances for plan in plans} == {1, 2}
        assert len({tuple(plan.chances) for plan in plans}) > 30
        assert {plan.halts for plan in plans} == {True, False}


class TestCoverage:
    """The count of what was met."""

    def test_names_what_was_never_met(self) -> None:
        """Everything, at first."""
        coverage = Coverage()
        everything = coverage.missing()
        coverage.faults[Fault.PAUSED] += 1
        assert [name for name in everything if name not in coverage.missing()] == [Fault.PAUSED.value]

    def test_no_other_worker_where_there_is_one(self) -> None:
        """A fault that is drawn, and can't happen, was not met."""
        plan = draw_plan(PAIR_SEED)
        assert plan.chances[Fault.OTHER_WORKER] > 0
        assert (plan.config.web_workers, plan.chances.get(Fault.COPIED)) == (1, None)
        assert run_seed(PAIR_SEED).coverage.faults[Fault.OTHER_WORKER] == 0


@pytest.mark.slow
class TestCampaign:
    """Many runs."""

    def test_all_seeds_hold_and_everything_is_met(self) -> None:
        """No invariant breaks, and every fault and every transition of the state table occurs."""
        tally = run_many(range(SEEDS_ENOUGH), processes=PROCESSES)
        assert tally.failures == []
        assert tally.coverage.missing() == []

    @pytest.mark.parametrize("mutation", [name for name in MUTATIONS if name not in RARELY_NOTICED])
    def test_mutations_are_noticed(self, mutation: str) -> None:
        """A broken rule is noticed within a known number of seeds, by what it does and not by an error of its own."""
        tally = run_many(range(SEEDS_TO_NOTICE), processes=PROCESSES, mutation=mutation, failures_max=1)
        assert tally.failures
        assert not re.search("AttributeError|NameError|TypeError", str(tally.failures))

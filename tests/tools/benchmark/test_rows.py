"""Tests of tools/benchmark/rows.py."""

import io

import pytest

from tests.tools.benchmark.samples import RIGHT, Bank, processors_of, target_of
from tests.tools.benchmark.test_tally import interval
from tools.benchmark.meters import Snapshot
from tools.benchmark.openloop.messages import Began
from tools.benchmark.openloop.plan import Phase
from tools.benchmark.openrun import Observed, OpenRun, Poll, Settlement, Setup
from tools.benchmark.progress import Screen
from tools.benchmark.rows import Own, over_time, rows_of, sheet_of
from tools.benchmark.sheet import Goal
from tools.benchmark.tally import Tally

PHASES = [Phase("warm-up", 1000, 3), Phase("load", 2000, 3)]


@pytest.fixture
def observed() -> Observed:
    """After five payments of before: one accepted and none stored in the first phase, two and one in the second."""
    tally = Tally(2)
    for message in (
        Began(1, 0, 0, 0.1),
        interval(2),
        Began(3, 1, 3, 0.3),
        interval(4, phase=1),
        interval(5, phase=1),
        Began(6, 2, 9, 0.6),
    ):
        tally.on_message(message)
    snapshots = [Snapshot({}, (0, 0), 5.0), Snapshot({}, (1, 10), 6.0), Snapshot({}, (6, 20), 8.5)]
    return Observed(PHASES, tally, 77, 5, snapshots, [Poll(1, 5, 0), Poll(3, 5, 0), Poll(6, 5, 1)])


@pytest.fixture
def run(bank: Bank) -> OpenRun:
    """A run that is over."""
    return OpenRun(Setup(target_of(bank), processors_of(bank), 7, 4, 1.0), Screen(io.StringIO()))


class TestRowsOf:
    """Phases."""

    def test_what_was_told_stored_and_used_in_each(self, run: OpenRun, observed: Observed) -> None:
        """What waits is everything accepted so far and not stored."""
        first, second = rows_of(run, observed)
        assert (first.name, first.rate_per_s, first.duration_s) == ("warm-up", 3, 1.0)
        assert (first.sent, first.accepted, first.refused, first.unanswered, first.held) == (3, 1, 1, 1, 1)
        assert (first.settled, first.waiting, second.settled, second.waiting) == (0, 1, 1, 2)
        assert (first.machine_idle_percent, second.machine_idle_percent) == (10, 50)
        assert (first.answers.count, first.late.count, first.cpu_us_per_payment) == (2, 1, None)

    def test_what_was_not_polled_is_not_known(self, run: OpenRun, observed: Observed) -> None:
        """Neither what was settled nor what waits."""
        observed.at_edges = [None, None, None]
        assert [(row.settled, row.waiting) for row in rows_of(run, observed)] == [(None, None)] * 2


class TestSheetOf:
    """All of it together."""

    def test_is_metered_over_the_phases_asked_for(self, run: OpenRun, observed: Observed) -> None:
        """By the clock, not by their plan; and it has the goal that every command has, beside its own."""
        own = Own("trial", 1, (1, 1), [Goal("x", 1.0)], lines=["a"], more={"b": 1}, faults=["c"], may_refuse=("load",))
        sheet = sheet_of(run, observed, rows_of(run, observed), Settlement(0.5, RIGHT), own)
        assert (sheet.metered_payments, sheet.used.metered_s, sheet.used.machine_idle_percent) == (2, 2.5, 50)
        assert [goal.name for goal in sheet.goals] == ["x", "memory at the end, % of cap"]
        assert (sheet.command, sheet.main, sheet.quiet_s, sheet.started_at_ms) == ("trial", 1, 0.5, 77)
        assert (sheet.lines, sheet.more, sheet.more_faults, sheet.may_refuse) == (
            ["a"],
            {"b": 1, "over_time": over_time(observed)},
            ["c"],
            ("load",),
        )


class TestOverTime:
    """Second by second."""

    def test_is_what_was_told(self, observed: Observed) -> None:
        """Counts and latencies of payments."""
        first, *_, last = over_time(observed)
        assert (first["at_s"], first["phase"], last["phase"]) == (0.0, 0, 1)
        assert (first["sent"], first["accepted"], first["failed"], first["waiting"]) == (3, 1, 3, 0)
        assert (first["p50_ms"], first["max_ms"]) == (0.1, 0.9)

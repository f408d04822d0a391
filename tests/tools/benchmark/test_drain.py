"""Tests of tools/benchmark/drain.py."""

import dataclasses
import io

import pytest

from tests.tools.benchmark.samples import Bank, processors_of, target_of
from tests.tools.benchmark.test_tally import interval
from tools.benchmark import containers, drain
from tools.benchmark.drain import Ask, caught_up_at_ns, gone_at_ns, measure, phases_of
from tools.benchmark.openloop.plan import Phase
from tools.benchmark.openrun import Observed, Poll, Setup
from tools.benchmark.progress import Screen
from tools.benchmark.tally import Tally

SECOND_NS = 1_000_000_000


@pytest.fixture(autouse=True)
def without_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    """No containers, whatever runs on this machine; a short warm-up."""
    monkeypatch.setattr(containers, "running", list)
    monkeypatch.setattr(drain, "WARM_UP_MS", 200)


class TestGoneAtNs:
    """When the last payment of before the recovery was stored."""

    POLLS = (Poll(1, 0, 0), Poll(2, 2, 0), Poll(3, 3, 1), Poll(4, 4, 1))

    def test_is_the_first_poll_that_counted_it(self) -> None:
        """Wherever among newer ones it was stored, and on either side."""
        assert gone_at_ns((["a", "b", "new"], ["c"]), {"a", "b"}, self.POLLS) == 2
        assert gone_at_ns((["a", "new", "b"], ["c"]), {"a", "b"}, self.POLLS) == 3
        assert gone_at_ns((["a"], ["c"]), {"a", "c"}, self.POLLS) == 3
        assert gone_at_ns((["new"], []), set(), self.POLLS) == 1

    def test_is_not_known_if_one_is_missing(self) -> None:
        """It was lost, or came after the last poll."""
        assert gone_at_ns((["a"], []), {"a", "b"}, self.POLLS) is None
        assert gone_at_ns((["a", "new", "new", "new", "b"], []), {"a", "b"}, self.POLLS) is None


class TestCaughtUpAtNs:
    """The same without rows."""

    def observed(self, stored: list[int]) -> Observed:
        """Ten payments a second for three seconds, and what was stored at each second's end."""
        tally = Tally(1)
        for second in (1, 2, 3):
            tally.on_message(interval(second * SECOND_NS, statuses={202: 10}))
        polls = [Poll(second * SECOND_NS + 1, count, 0) for second, count in enumerate(stored, 1)]
        return Observed([Phase("x", 3000, 10)], tally, polls=polls)

    def test_is_when_as_many_are_stored_as_accepted(self) -> None:
        """But for what is always under way; only after the recovery."""
        assert caught_up_at_ns(self.observed([10, 12, 30]), SECOND_NS + 5, 10) == 3 * SECOND_NS + 1

    def test_is_not_known_if_it_never_was(self) -> None:
        """The backlog was still there at the end."""
        assert caught_up_at_ns(self.observed([10, 12, 20]), SECOND_NS + 5, 10) is None


@pytest.mark.slow
class TestMeasure:
    """A small outage of the bank's processors."""

    ASK = Ask(rate_per_s=40, calm_s=1, outage_s=1, drain_s=1)

    def test_phases(self) -> None:
        """Warm-up, calm, outage, drain, all at one rate."""
        assert [(each.name, each.duration_ms) for each in phases_of(self.ASK)] == [
            ("warm-up", 200),
            ("calm", 1000),
            ("outage", 1000),
            ("drain", 1000),
        ]

    def test_a_whole_run(self, bank: Bank) -> None:
        """What waited in the outage is stored soon after it, and nothing is wrong."""
        setup = Setup(target_of(bank), processors_of(bank), 7, 4, 2.0)
        sheet = measure(setup, self.ASK, Screen(io.StringIO()))
        assert sheet.faults() == []
        failures = [change[2]["failure"] for change in bank.changes if change[1] == "failure"]
        assert failures == [False, False, True, True, False, False, False, False]
        assert sheet.phases[2].waiting is not None
        assert sheet.phases[2].waiting > 20
        assert 0 <= sheet.more["gone_s"] < 1
        assert sheet.goals[0].is_met
        assert sheet.metered_payments == sum(row.accepted for row in sheet.phases[1:])

    def test_processors_that_list_no_rows(self, bank: Bank) -> None:
        """Counts are enough then."""
        bank.lists_rows = False
        setup = Setup(target_of(bank), processors_of(bank), 7, 4, 2.0)
        assert measure(setup, self.ASK, Screen(io.StringIO())).more["gone_s"] is not None

    def test_a_backlog_that_never_goes_is_a_goal_missed(self, bank: Bank) -> None:
        """The floor has none: nothing is measured there."""
        bank.lose = 1
        setup = Setup(target_of(bank), processors_of(bank), 7, 4, 0.2)
        goal = measure(setup, self.ASK, Screen(io.StringIO())).goals[0]
        assert (goal.value, goal.never) == (None, True)
        setup = dataclasses.replace(setup, target=dataclasses.replace(setup.target, settles=False))
        goal = measure(setup, self.ASK, Screen(io.StringIO())).goals[0]
        assert (goal.value, goal.never) == (None, False)

"""Tests of tools/benchmark/saturate.py."""

import dataclasses
import io

import pytest

from tests.tools.benchmark.samples import LATENCY, RIGHT, Bank, a_row, a_sheet, processors_of, summaries, target_of
from tests.tools.benchmark.test_tally import histogram, interval
from tools.benchmark import containers, saturate
from tools.benchmark.openloop.messages import LATE, Interval
from tools.benchmark.openrun import Setup
from tools.benchmark.progress import Screen
from tools.benchmark.reconcile import Finding
from tools.benchmark.saturate import Ask, is_sustained, measure, phases_of, recovered_after_s, search
from tools.benchmark.sheet import PhaseRow, Sheet
from tools.benchmark.targets import Target

SECOND_NS = 1_000_000_000
SLOW = dataclasses.replace(LATENCY, p99_ms=25.0)


@pytest.fixture(autouse=True)
def without_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    """No containers, whatever runs on this machine; short phases."""
    monkeypatch.setattr(containers, "running", list)
    monkeypatch.setattr(saturate, "WARM_UP_MS", 200)
    monkeypatch.setattr(saturate, "BEYOND_S", 1)
    monkeypatch.setattr(saturate, "AFTER_S", 1)


def setup_for(bank: Bank, *, settles: bool = True) -> Setup:
    """A run on the bank."""
    return Setup(dataclasses.replace(target_of(bank), settles=settles), processors_of(bank), 7, 4, 2.0)


class TestPhasesOf:
    """What is sent when."""

    def test_twice_as_many_beyond_then_half(self) -> None:
        """After the warm-up and the load itself."""
        assert [(each.name, each.payments_per_s) for each in phases_of(Ask(100, 5, beyond=True))] == [
            ("warm-up", 100),
            ("load", 100),
            ("beyond", 200),
            ("after", 50),
        ]
        assert len(phases_of(Ask(100, 5, beyond=False))) == 2


class TestIsSustained:
    """Accepted, in time, and settled."""

    @pytest.mark.parametrize(
        ("row", "sustained"),
        [
            (a_row(), True),
            (a_row(waiting=None, settled=None), True),
            (a_row(waiting=40), True),
            (a_row(waiting=41), False),
            (a_row(accepted=10_000, waiting=100), True),
            (a_row(accepted=3_000, rate_per_s=300, waiting=66), True),
            (a_row(refused=1), False),
            (a_row(unanswered=1), False),
            (a_row(held=1), False),
            (a_row(answers=SLOW), False),
        ],
    )
    def test_needs_all_of_it(self, row: PhaseRow, sustained: bool) -> None:  # noqa: FBT001
        """At most 1 % may wait, or two gatherings of payments."""
        assert is_sustained(row) is sustained


class TestRecoveredAfterS:
    """When it was well again."""

    def second(self, number: int, *, good: bool, **changes: object) -> Interval:
        """The `number`-th second after the overload."""
        statuses = {202: 3} if good else {202: 2, 503: 1}
        made = interval(
            number * SECOND_NS, statuses=statuses, held=0, latencies={"accepted": histogram(9), LATE: histogram(1)}
        )
        return made._replace(**changes)  # type: ignore[arg-type]

    def test_is_the_end_of_the_last_bad_second(self) -> None:
        """Those before the overload's end don't count; nor does one in which nothing happened."""
        seconds = [self.second(n, good=n not in {9, 11, 13}) for n in range(8, 16)]
        seconds.append(self.second(16, good=True, sent=0, statuses={}, waiting=5))
        assert recovered_after_s(seconds, 10 * SECOND_NS) == 3.0
        assert recovered_after_s(seconds, 13 * SECOND_NS) == 0.0

    @pytest.mark.parametrize("bad", [{"waiting": 1}, {"held": 1}, {"latencies": {"accepted": histogram(25_000)}}])
    def test_never_if_it_ends_badly(self, bad: dict[str, object]) -> None:
        """Something waits, was not sent, or was late."""
        assert recovered_after_s([self.second(1, good=True), self.second(2, good=True, **bad)], 0) is None
        assert recovered_after_s([], 0) is None


@pytest.mark.slow
class TestMeasure:
    """Small loads on the bank."""

    def test_a_whole_run(self, bank: Bank) -> None:
        """Its phases, goals and figures; nothing is wrong."""
        sheet = measure(setup_for(bank), Ask(40, 1, beyond=True), Screen(io.StringIO()))
        assert sheet.faults() == []
        assert [row.accepted for row in sheet.phases][2] >= 79
        assert sheet.command == "saturate at 40/s"
        assert [goal.name for goal in sheet.goals] == [
            "accepted/s",
            "refused or unanswered",
            "p99 ms",
            "settled/s",
            "waiting when the load ends",
            "CPU µs/payment",
            "accepted/s beyond",
            "recovered after s",
            "memory at the end, % of cap",
        ]
        assert sheet.more["generator_us_per_request"] > 0
        assert sheet.lines[1].startswith("beyond, at 80/s: ")

    def test_one_that_never_recovers_has_missed_its_goal(self, bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
        """Not left it unmeasured."""
        monkeypatch.setattr(saturate, "recovered_after_s", lambda *_: None)
        sheet = measure(setup_for(bank), Ask(40, 1, beyond=True), Screen(io.StringIO()))
        (goal,) = (goal for goal in sheet.goals if goal.name == "recovered after s")
        assert (goal.value, goal.never) == (None, True)

    def test_the_floor_has_no_goals_of_money(self, bank: Bank) -> None:
        """Nothing is settled there."""
        sheet = measure(setup_for(bank, settles=False), Ask(40, 1, beyond=False), Screen(io.StringIO()))
        assert sheet.faults() == []
        assert "settled/s" not in [goal.name for goal in sheet.goals]


class TestSearch:
    """The highest rate sustained."""

    @pytest.mark.parametrize(
        ("capacity", "long_capacity", "found"), [(1000, 1000, 984), (1000, 930, 892), (1000, 0, None)]
    )
    def test_probes_then_confirms_at_full_length(
        self, bank: Bank, monkeypatch: pytest.MonkeyPatch, capacity: int, long_capacity: int, found: int | None
    ) -> None:
        """A rate that lasts 10 s but not the whole time is lowered, a few times."""
        asked: list[Ask] = []

        def measured(_setup: Setup, ask: Ask, _screen: Screen) -> Sheet:
            asked.append(ask)
            held = int(ask.rate_per_s > (capacity if ask.duration_s == saturate.PROBE_S else long_capacity))
            rows = [a_row(name="warm-up"), a_row(held=held, rate_per_s=ask.rate_per_s)]
            return a_sheet(phases=rows, main=1)

        monkeypatch.setattr(saturate, "measure", measured)
        setup = dataclasses.replace(setup_for(bank), target=Target("gateway", "http://localhost:1"))
        sheet = search(setup, Ask(500, 60, beyond=True), Screen(io.StringIO()))
        assert asked[0] == Ask(500, 10, beyond=False)
        assert asked[-1].duration_s == 60
        assert asked[-1].beyond
        assert len(sheet.more["probes"]) == len([each for each in asked if each.duration_s == 10])
        if found is None:
            assert "not even this was sustained" in sheet.lines[-1]
        else:
            assert asked[-1].rate_per_s == found
            assert sheet.lines[-1] == f"searched: {found:,}/s, sustained"

    def test_what_a_probe_finds_wrong_is_wrong(self, bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
        """That it was refused payments is not: this is what it is to find out."""
        twice = dataclasses.replace(RIGHT, twice=Finding(1, ["a"]))

        def measured(_setup: Setup, ask: Ask, _screen: Screen) -> Sheet:
            refused = int(ask.rate_per_s > 500)
            row = a_row(refused=refused, by_status={503: refused}, rate_per_s=ask.rate_per_s)
            changes = {"findings": twice, "audits": [summaries((1, 2))]} if ask.rate_per_s == 625 else {}
            return a_sheet(command=f"at {ask.rate_per_s}/s", phases=[a_row(name="warm-up"), row], main=1, **changes)

        monkeypatch.setattr(saturate, "measure", measured)
        sheet = search(setup_for(bank), Ask(500, 60, beyond=False), Screen(io.StringIO()))
        probes = [rate for rate, _ in sheet.more["probes"]]
        assert {500, 625, 750} < set(probes)
        assert len(sheet.audits) == len(probes) + 1
        assert sheet.faults() == [
            f"1 of {len(probes) + 1} audits differ.",
            "at 625/s: 1 payments charged more than once.",
        ]

"""Tests of tools/benchmark/soak.py."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tools.benchmark.samples import USAGE, Bank, processors_of, target_of
from tools.benchmark import soak
from tools.benchmark.cgroup import Reading
from tools.benchmark.containers import Container
from tools.benchmark.meters import Snapshot
from tools.benchmark.openrun import Setup
from tools.benchmark.preparing import Found
from tools.benchmark.progress import Screen
from tools.benchmark.soak import Ask, Growth, Sampled, greatest_late, growths, measure, slope_percent

HOUR_S = 3600


class TestSlopePercent:
    """How fast something grows."""

    def test_is_percent_of_the_mean_per_hour(self) -> None:
        """From 99 to 101 in an hour is 2 %."""
        assert slope_percent([(0, 99), (HOUR_S / 2, 100), (HOUR_S, 101)]) == pytest.approx(2)
        assert slope_percent([(0, 101), (HOUR_S / 2, 100), (HOUR_S, 99)]) == pytest.approx(-2)

    @given(st.integers(3, 60), st.integers(1, 10**9), st.floats(-100, 100))
    def test_of_a_line_is_the_lines_own(self, count: int, start: int, percent: float) -> None:
        """Wherever it begins and however often it is read."""
        points = [(at_s * 60.0, start * (1 + percent / 100 * at_s / 60)) for at_s in range(count)]
        mean = sum(value for _, value in points) / count
        if abs(mean) > start / 10:
            assert slope_percent(points) == pytest.approx(percent * start / mean, abs=1e-6)

    @pytest.mark.parametrize("points", [[], [(0, 1), (1, 2)], [(0, 0), (1, 0), (2, 0)], [(5, 1), (5, 2), (5, 3)]])
    def test_needs_points_apart(self, points: list[tuple[float, float]]) -> None:
        """Two make a line of anything; at one moment nothing grows."""
        assert slope_percent(points) is None


class TestGrowths:
    """Containers."""

    def test_the_second_half_is_told_apart(self) -> None:
        """A ring that fills once grows at first, and is flat then."""
        sizes = [100, 150, 200, 200, 200, 200]
        samples = [Sampled(60.0 * minute, {"app1": size}) for minute, size in enumerate(sizes)]
        (found,) = growths(samples)
        assert (found.service, found.first_bytes, found.last_bytes, found.late_percent) == ("app1", 100, 200, 0)
        assert found.percent is not None
        assert found.percent > 0

    def test_one_that_was_not_always_there_has_no_slope(self) -> None:
        """Started anew, it would look like a loss. It is not dropped either: the greatest slope is not known then."""
        samples = [Sampled(each, {"a": 4, "b": 2} if each < 5 else {"b": 2}) for each in range(6)]
        gone, flat = growths(samples)
        assert gone == Growth("a", 4, 4, None, None)
        assert (flat.service, flat.late_percent) == ("b", 0)
        assert (greatest_late([flat]), greatest_late([gone, flat])) == (0, None)
        assert (growths([]), greatest_late([])) == ([], None)


@pytest.mark.slow
class TestMeasure:
    """A few seconds on the bank."""

    @pytest.fixture(autouse=True)
    def growing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One container, which has a megabyte more each time it is looked at."""
        monkeypatch.setattr(soak, "WARM_UP_MS", 200)
        found = Found([Container("id", "", "app1", 1, frozenset())], [], [])
        monkeypatch.setattr("tools.benchmark.openrun.metered", lambda *_: found)
        looked = [0]

        def snapshot(_: list[Container]) -> Snapshot:
            looked[0] += 1
            memory_bytes = 10_000_000 + looked[0] * 1_000_000
            return Snapshot(
                {"id": Reading(looked[0], 0, 0, 0, memory_bytes, memory_bytes, 40_000_000, None)},
                (0, looked[0]),
                float(looked[0]),
            )

        monkeypatch.setattr("tools.benchmark.meters.snapshot", snapshot)

    def test_growth_is_a_goal_that_is_missed(self, bank: Bank) -> None:
        """The table shows it, and latencies over time."""
        setup = Setup(target_of(bank), processors_of(bank), 7, 4, 2.0)
        sheet = measure(setup, Ask(40, 40, 20, 3, 0.2), Screen(io.StringIO()))
        assert sheet.faults() == []
        assert sheet.notes[0].startswith("filled with 40 payments")
        assert len(sheet.more["memory"]) >= 3
        assert not sheet.goals[0].is_met
        assert sheet.lines[0].split()[:3] == ["memory", "first", "MB"]
        assert sum("  from " in line for line in sheet.lines) == soak.PARTS
        assert USAGE.cpus_limit is not None

    def test_without_containers_that_is_said_at_once(self, bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
        """Not after an hour: memory is what a soak is about. Why there are none is a note."""
        monkeypatch.setattr("tools.benchmark.openrun.metered", lambda *_: Found([], [], ["no meters: so and so"]))
        stream = io.StringIO()
        setup = Setup(target_of(bank), processors_of(bank), 7, 4, 2.0)
        sheet = measure(setup, Ask(40, 40, 20, 1, 0.2), Screen(stream))
        assert stream.getvalue().startswith("No containers were found behind the target")
        assert sheet.notes[0] == "no meters: so and so"

    def test_a_container_that_ends_is_a_fault(self, bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whenever it was; another one that can't be read is told in the table."""
        names = ("app1", "haproxy")
        found = Found([Container(name, "", name, 1, frozenset()) for name in names], [], [])
        monkeypatch.setattr("tools.benchmark.openrun.metered", lambda *_: found)
        looked = [0]

        def snapshot(_: list[Container]) -> Snapshot:
            looked[0] += 1
            reading = Reading(looked[0], 0, 0, 0, 10_000_000, 10_000_000, 40_000_000, None)
            return Snapshot({"app1": reading} if looked[0] == 1 else {}, (0, looked[0]), float(looked[0]))

        monkeypatch.setattr("tools.benchmark.meters.snapshot", snapshot)
        setup = Setup(target_of(bank), processors_of(bank), 7, 4, 2.0)
        sheet = measure(setup, Ask(40, 40, 20, 1, 0.2), Screen(io.StringIO()))
        assert sheet.faults() == ["app1 ended during the load, and was started anew or is gone."]
        assert [line.split()[:3] for line in sheet.lines[1:3]] == [[name, "not", "readable"] for name in names]
        assert not sheet.goals[0].is_met

"""Tests of tools/benchmark/meters.py."""

import dataclasses
import os

import pytest

from tests.tools.benchmark.test_cgroup import READING
from tools.benchmark.cgroup import Reading
from tools.benchmark.containers import Container
from tools.benchmark.meters import Metered, Snapshot, between, ended_between, idle_percent, machine_ticks, snapshot

APP = Container("abc", "gateway", "app1", os.getpid(), frozenset())
PROC_STAT = "cpu  100 1 20 800 50 3 4 2 30 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n"


class TestMachineTicks:
    """/proc/stat."""

    def test_idle_and_all(self) -> None:
        """Waiting for a disk is idle; time lent to guests is in user time already and not counted twice."""
        assert machine_ticks(PROC_STAT) == (850, 980)


class TestSnapshot:
    """All meters at one moment."""

    def test_what_can_not_be_read_is_left_out(self) -> None:
        """A container whose process is gone has no reading, and the others are read all the same."""
        gone = dataclasses.replace(APP, container_id="gone", pid=2**22 + 1)
        assert "gone" not in snapshot([gone]).readings


class TestBetween:
    """What was used between two snapshots."""

    def test_each_container_has_its_usage(self) -> None:
        """The difference of its own readings."""
        later = dataclasses.replace(READING, cpu_ns=READING.cpu_ns + 5)
        (metered,) = between([APP], Snapshot({"abc": READING}, (0, 0), 0.0), Snapshot({"abc": later}, (0, 0), 0.0))
        assert metered.service == "app1"
        assert metered.usage is not None
        assert metered.usage.cpu_ns == 5

    def test_without_a_first_reading_it_is_not_known(self) -> None:
        """It can't be read, or came later."""
        start, end = Snapshot({}, (0, 0), 0.0), Snapshot({"abc": READING}, (0, 0), 0.0)
        assert between([APP], start, end) == [Metered("app1", None)]
        assert ended_between([APP], start, end) == set()

    @pytest.mark.parametrize("last", [{}, {"abc": dataclasses.replace(READING, cpu_ns=READING.cpu_ns - 1)}])
    def test_one_that_was_read_and_is_not_now_has_ended(self, last: dict[str, Reading]) -> None:
        """Gone, or its counters began anew."""
        start, end = Snapshot({"abc": READING}, (0, 0), 0.0), Snapshot(last, (0, 0), 0.0)
        assert between([APP], start, end) == [Metered("app1", None, ended=True)]
        assert ended_between([APP], start, end) == {"abc"}

    def test_one_that_ended_later_is_told(self) -> None:
        """What it used in between is known all the same."""
        moment = Snapshot({"abc": READING}, (0, 0), 0.0)
        (metered,) = between([APP], moment, moment, ended={"abc"})
        assert metered.ended
        assert metered.usage is not None


class TestIdlePercent:
    """How much of the machine was left."""

    def test_is_the_idle_share_of_the_ticks_in_between(self) -> None:
        """30 of 40 ticks are 75 %."""
        assert idle_percent(Snapshot({}, (10, 100), 0.0), Snapshot({}, (40, 140), 1.0)) == 75

    def test_no_time_is_no_share(self) -> None:
        """Two snapshots in one tick say nothing, shown as 0."""
        assert idle_percent(Snapshot({}, (1, 1), 0.0), Snapshot({}, (1, 1), 0.0)) == 0

"""Tests of tools/benchmark/meters.py."""

import dataclasses
import os

from tests.tools.benchmark.test_cgroup import READING
from tools.benchmark.containers import Container
from tools.benchmark.meters import Metered, Snapshot, between, idle_percent, machine_ticks, snapshot

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

    def test_without_both_readings_it_is_not_known(self) -> None:
        """A container that came or went meanwhile has no usage."""
        start, end = Snapshot({}, (0, 0), 0.0), Snapshot({"abc": READING}, (0, 0), 0.0)
        assert between([APP], start, end) == [Metered("app1", None)]


class TestIdlePercent:
    """How much of the machine was left."""

    def test_is_the_idle_share_of_the_ticks_in_between(self) -> None:
        """30 of 40 ticks are 75 %."""
        assert idle_percent(Snapshot({}, (10, 100), 0.0), Snapshot({}, (40, 140), 1.0)) == 75

    def test_no_time_is_no_share(self) -> None:
        """Two snapshots in one tick say nothing, shown as 0."""
        assert idle_percent(Snapshot({}, (1, 1), 0.0), Snapshot({}, (1, 1), 0.0)) == 0

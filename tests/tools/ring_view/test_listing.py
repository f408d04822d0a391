"""All segments at a glance."""

import os

from shm import DispatcherCount, take_role
from tests.tools.ring_view.segments import Filled, unique_instance
from tools.ring_view.listing import list_segments, look_at
from tools.ring_view.locks import read_locks
from tools.ring_view.snapshot import Listed, Moment

NOBODY = 65534  # its uid in Debian


class TestListSegments:
    """`list_segments`."""

    def test_every_segment_is_listed(self, filled: Filled) -> None:
        """A segment in /dev/shm is on the list, its lock files are not."""
        take_role(filled.instance, "worker-0").release()
        listed = [row.instance for row in list_segments(read_locks(), Moment.now())]
        assert listed.count(filled.instance) == 1
        assert not [name for name in listed if "worker-0" in name]


class TestLookAt:
    """`look_at`."""

    def test_a_left_over_segment(self, filled: Filled) -> None:
        """A segment that nobody runs shows what waits in it, whatever its dispatcher counted last."""
        filled.publish(1)
        filled.wait(2)
        filled.wait(3)
        filled.settle(4, 0)
        filled.damage_slot(filled.wait(5))  # nobody knows whether that one was settled
        filled.segment.dispatcher_counters(0).put(DispatcherCount.WAITING, 1)
        assert look_at(filled.instance, read_locks(), Moment.now()) == Listed(
            instance=filled.instance,
            problem=None,
            segment_id=f"{filled.segment.segment_id:016x}",
            size_bytes=filled.file.stat().st_size,
            created_at_ms=filled.segment.created_at_ms,
            supervisor_pid=None,
            alive=(),
            unsettled=4,
        )

    def test_a_running_instance(self, filled: Filled) -> None:
        """Roles that are played are named, with the supervisor's pid."""
        filled.segment.supervisor_counters().begin(os.getpid(), 1000)
        with take_role(filled.instance, "supervisor"), take_role(filled.instance, "worker-1"):
            row = look_at(filled.instance, read_locks(), Moment.now())
        assert row.alive == ("supervisor", "worker-1")
        assert row.supervisor_pid == os.getpid()

    def test_a_running_instances_tables_are_not_scanned(self, filled: Filled) -> None:
        """That takes up to a second; its dispatchers' gauges tell as much, though a beat later."""
        filled.publish(1)
        filled.wait(2)
        filled.segment.dispatcher_counters(0).put(DispatcherCount.WAITING, 3)
        filled.segment.dispatcher_counters(0).put(DispatcherCount.UNKNOWN, 2)
        with take_role(filled.instance, "worker-0"):
            assert look_at(filled.instance, read_locks(), Moment.now()).unsettled == 6

    def test_seen_from_another_container(self, filled: Filled) -> None:
        """Where locks can't be seen, a heartbeat of now is a sign of life."""
        filled.segment.dispatcher_counters(0).begin(7, 1000)
        assert look_at(filled.instance, {}, Moment.now()).alive == ("dispatcher-0",)

    def test_no_segment(self) -> None:
        """One that is gone again when it is looked at is listed with the reason."""
        instance = unique_instance()
        assert look_at(instance, {}, Moment.now()) == Listed(instance, f"there is no segment /gateway-{instance}")

    def test_a_segment_without_magic(self, filled: Filled) -> None:
        """One that is being made, or whose maker died, is listed as such."""
        filled.put_word(0, 0)
        problem = look_at(filled.instance, {}, Moment.now()).problem
        assert problem is not None
        assert "has no magic" in problem

    def test_another_users_segment(self, filled: Filled) -> None:
        """One that may not be read is listed as another user's."""
        filled.file.chmod(0)
        me = os.geteuid()
        try:
            if me == 0:  # who may read everything
                os.seteuid(NOBODY)
            row = look_at(filled.instance, {}, Moment.now())
        finally:
            os.seteuid(me)
        assert row.problem == f"segment /gateway-{filled.instance} is another user's"

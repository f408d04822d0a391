"""What is told as an alarm, and what is not."""

import dataclasses

from tools.ring_view.alarms import ALARMING, LOCK_REMOVED, find_alarms
from tools.ring_view.snapshot import Area, JournalView, LaneView, Process, TableView

PID = 12


def process(
    role: str, *, phase: str = "ready", lock_pid: int | None = PID, age_ms: int | None = 0, **counts: int
) -> Process:
    """A process with some signs of life and some counts."""
    return Process(role, PID, phase, 1000, lock_pid, age_ms, sleeping=False, counts=counts)


class TestFindAlarms:
    """`find_alarms`."""

    def test_a_healthy_instance_has_none(self) -> None:
        """Heartbeats of now and innocent counts are no alarm."""
        rows = [process("supervisor"), process("worker-0", full=3), process("dispatcher-0", unclear=9, set_aside=0)]
        assert list(find_alarms(rows, [], [])) == []

    def test_each_alarming_count(self) -> None:
        """What may never be counted is told with its count and its meaning."""
        rows = [process("dispatcher-0", set_aside=2, misconfigured=1000)]
        assert list(find_alarms(rows, [], [])) == [
            f"dispatcher-0: set_aside 2: {ALARMING['set_aside']}",
            f"dispatcher-0: misconfigured 1,000: {ALARMING['misconfigured']}",
        ]

    def test_a_missing_process_of_a_running_instance(self) -> None:
        """A role that nobody plays is told while the supervisor runs."""
        rows = [process("supervisor"), process("worker-0", lock_pid=None, age_ms=None)]
        assert list(find_alarms(rows, [], [])) == ["worker-0: not running, though its supervisor is"]

    def test_an_instance_that_stops(self) -> None:
        """Its web workers end before its dispatchers have settled what they can."""
        rows = [process("supervisor", phase="leaving"), process("worker-0", lock_pid=None, age_ms=None)]
        assert list(find_alarms(rows, [], [])) == []

    def test_nobody_runs_a_left_over_segment(self) -> None:
        """Where the supervisor is gone too, nothing is missing."""
        rows = [process(role, lock_pid=None, age_ms=None) for role in ("supervisor", "worker-0")]
        assert list(find_alarms(rows, [], [])) == []

    def test_a_stuck_process(self) -> None:
        """Who holds a lock and has stopped beating is stuck."""
        rows = [process("worker-0", age_ms=9000)]
        assert list(find_alarms(rows, [], [])) == ["worker-0: holds its lock but has no heartbeat"]

    def test_a_removed_lock_file(self) -> None:
        """Who lives by its heartbeat had a lock; of the dead nothing is missing."""
        rows = [
            dataclasses.replace(process(role, lock_pid=None, age_ms=age_ms), lock_missing=True)
            for role, age_ms in (("supervisor", 0), ("dispatcher-0", 0), ("worker-0", None))
        ]
        assert list(find_alarms(rows, [], [])) == [
            f"supervisor: {LOCK_REMOVED}",
            f"dispatcher-0: {LOCK_REMOVED}",
            "worker-0: not running, though its supervisor is",
        ]
        assert "start no second instance of that name; stop this one, then start it again" in LOCK_REMOVED

    def test_a_recovery(self) -> None:
        """Who reads a full table as it starts does not beat meanwhile."""
        assert list(find_alarms([process("dispatcher-0", phase="starting", age_ms=9000)], [], [])) == []

    def test_damage(self) -> None:
        """Damaged lanes, tables and journals are told with what is known."""
        lane = LaneView(1, 0, 9, 0, 4, 4, None, "the slot of position 0 is torn")
        table = TableView(16, 14, {}, 2, (3, 5))
        journal = JournalView(1, 1, 8, "record 0 is damaged")
        assert list(find_alarms([], [lane], [Area(0, table, journal, ())])) == [
            "lane worker-1 to dispatcher-0: the slot of position 0 is torn",
            "table of dispatcher-0: damaged slots: 2 (3, 5)",
            "journal of dispatcher-0: record 0 is damaged",
        ]

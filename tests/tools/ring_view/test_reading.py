"""A whole look into real segments."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import pytest

from shm import VERSION, Accepted, DispatcherCount, Lane, Member, Phase, WorkerCount, lock_path, take_role
from tests.tools.ring_view.segments import Filled
from tools.ring_view.alarms import LOCK_REMOVED
from tools.ring_view.locks import Holders, read_locks
from tools.ring_view.reading import AHEAD_US_MAX, read_lane, read_processes, take_snapshot
from tools.ring_view.snapshot import Moment, Money, Snapshot

NOW = Moment(10_000_000, 10_000_000)
NOBODY: Holders = {}


class Clock:
    """A clock that moves on by 3 ms at each look."""

    def __init__(self) -> None:
        self._us = 0

    def __call__(self) -> Moment:
        """The moment before it moves on."""
        self._us += 3000
        return Moment(NOW.utc_us + self._us - 3000, NOW.monotonic_us + self._us - 3000)


def look(filled: Filled, holders: Holders = NOBODY) -> Snapshot:
    """A look at 10 s after the beginning of time."""
    return take_snapshot(filled.attach(), filled.instance, holders, Clock())


@contextmanager
def roles(filled: Filled, *names: str) -> Iterator[None]:
    """Holds the locks of some roles."""
    locks = [take_role(filled.instance, name) for name in names]
    yield
    for lock in locks:
        lock.release()


class TestTakeSnapshot:
    """`take_snapshot`."""

    def test_header(self, filled: Filled) -> None:
        """The header says whose it is, which, how big, and how it is divided."""
        header = look(filled).header
        assert header.instance == filled.instance
        assert header.segment_id == f"{filled.segment.segment_id:016x}"
        assert header.version == VERSION
        assert header.created_at_ms == filled.segment.created_at_ms
        assert header.size_bytes == filled.file.stat().st_size
        assert header.geometry == {
            "workers": 2,
            "dispatchers": 1,
            "lane_slots": 4,
            "waiting_slots": 8,
            "journal_records": 8,
            "table_slots": 16,
        }

    def test_when_and_how_long(self, filled: Filled) -> None:
        """A look says when it began and how long it took."""
        view = look(filled)
        assert (view.taken_at_ms, view.took_ms) == (10_000, 3)

    def test_a_left_over_segment_is_not_running(self, filled: Filled) -> None:
        """Without locks and heartbeats nobody runs it, and that alone is no alarm."""
        filled.segment.supervisor_counters().begin(1, 1000)
        view = take_snapshot(filled.attach(), filled.instance, NOBODY, lambda: Moment(NOW.utc_us, 10**18))
        assert not view.running
        assert view.alarms == ()

    def test_payments_not_ended_are_counted_wherever_they_are(self, filled: Filled) -> None:
        """Payments in lanes and waiting ones in the table have not ended; settled ones have."""
        filled.publish(1)
        filled.publish(2, worker=1)
        filled.wait(3)
        filled.settle(4, 0)
        assert look(filled).unsettled == 3

    def test_totals_of_all_dispatchers(self, filled: Filled) -> None:
        """Totals add up what each dispatcher has settled."""
        filled.settle(1, 0, amount_cents=150)
        filled.settle(2, 1, amount_cents=250)
        assert look(filled).totals == {"default": Money(1, 150), "fallback": Money(1, 250)}

    def test_no_totals_without_a_readable_journal(self, filled: Filled) -> None:
        """Part of the truth is not shown as the whole."""
        filled.settle(1, 0)
        filled.damage_record()
        view = look(filled)
        assert view.totals is None
        assert view.alarms == ("journal of dispatcher-0: record 0 is damaged",)

    def test_roster(self, filled: Filled) -> None:
        """Members are named as the Redis hash's fields are."""
        filled.segment.roster(0).add(Member(0xABC, 1))
        assert look(filled).areas[0].roster == ("0000000000000abc.1",)

    def test_looking_changes_nothing(self, filled: Filled) -> None:
        """Not one byte of the segment is another afterwards."""
        filled.publish(1)
        filled.settle(2, 0)
        before = filled.file.read_bytes()
        look(filled, read_locks())
        assert filled.file.read_bytes() == before

    def test_all_is_seen_in_a_damaged_segment(self, filled: Filled) -> None:
        """Each damage is an alarm, and the rest is shown nevertheless."""
        filled.publish(1)
        filled.damage_lane_slot()
        filled.damage_slot(filled.wait(2))
        filled.damage_phase()
        view = look(filled)
        assert view.alarms == (
            "supervisor: its phase is damaged",
            "lane worker-0 to dispatcher-0: the slot of position 0 is torn",
            "table of dispatcher-0: damaged slots: 1 (0)",
        )
        assert view.lanes[0].depth == 1


class TestReadProcesses:
    """`read_processes`."""

    def test_every_role_has_its_row(self, filled: Filled) -> None:
        """The supervisor comes first, then the workers, then the dispatchers."""
        rows = look(filled).processes
        assert [row.role for row in rows] == ["supervisor", "worker-0", "worker-1", "dispatcher-0"]
        assert {row.phase for row in rows} == {"none"}

    def test_what_a_process_says_of_itself(self, filled: Filled) -> None:
        """Pid, phase, start, sleep and counts are those it stored."""
        counters = filled.segment.dispatcher_counters(0)
        counters.begin(4711, 9_000)
        counters.phase = Phase.READY
        counters.sleeping = True
        counters.add(DispatcherCount.TAKEN, 5)
        counters.put(DispatcherCount.WAITING, 3)
        row = look(filled).processes[-1]
        assert (row.pid, row.phase, row.started_at_ms, row.sleeping) == (4711, "ready", 9_000, True)
        assert (row.counts["taken"], row.counts["waiting"], row.counts["settled_default"]) == (5, 3, 0)
        assert len(row.counts) == len(DispatcherCount)

    def test_workers_have_their_own_counts(self, filled: Filled) -> None:
        """A worker's row does not show a dispatcher's names."""
        filled.segment.worker_counters(1).add(WorkerCount.ACCEPTED, 2)
        rows = look(filled).processes
        assert (rows[1].counts["accepted"], rows[2].counts["accepted"]) == (0, 2)
        assert "settled_default" not in rows[2].counts

    def test_a_held_lock_names_its_holder(self, filled: Filled) -> None:
        """Who holds a role's lock is alive."""
        with roles(filled, "supervisor", "dispatcher-0"):
            rows = look(filled, read_locks()).processes
        assert [row.lock_pid for row in rows] == [os.getpid(), None, None, os.getpid()]
        assert [row.alive for row in rows] == [True, False, False, True]

    def test_a_lock_file_that_was_removed(self, filled: Filled) -> None:
        """Who holds that lock lives by its heartbeat, and it is told; of who never ran there is no file either."""
        filled.segment.supervisor_counters().begin(os.getpid(), 1000)
        with roles(filled, "supervisor"):
            lock_path(filled.instance, "supervisor").unlink()
            view = take_snapshot(filled.attach(), filled.instance, read_locks(), Moment.now)
        assert [(row.alive, row.lock_pid, row.lock_missing) for row in view.processes[:2]] == [
            (True, None, True),
            (False, None, True),
        ]
        assert [alarm for alarm in view.alarms if "was removed" in alarm] == [f"supervisor: {LOCK_REMOVED}"]

    @pytest.mark.parametrize(
        ("beat_us", "age_ms"),
        [
            (0, None),
            (NOW.monotonic_us - 1_400_000, 1_400),
            (NOW.monotonic_us + 1_000, 0),
            (NOW.monotonic_us + AHEAD_US_MAX + 1, None),
        ],
    )
    def test_heartbeats(self, filled: Filled, beat_us: int, age_ms: int | None) -> None:
        """Without a heartbeat there is no age, nor with one of the machine's last boot; one during the look is new."""
        filled.put_word(filled.segment.geometry.counters_offset(0), beat_us)
        rows = read_processes(filled.attach(), filled.instance, NOBODY, NOW)
        assert rows[0].heartbeat_age_ms == age_ms


class ChangingLane:
    """A lane whose head and tail are others at each look; stands for one in use."""

    def __init__(self, places: list[tuple[int, int]], payment: Accepted | None) -> None:
        self._places = places
        self._payment = payment

    @property
    def tail(self) -> int:
        """The next tail."""
        return self._places[0][0]

    @property
    def head(self) -> int:
        """The head that belongs to it."""
        return self._places.pop(0)[1]

    def peek(self, position: int) -> Accepted | None:
        """Only position 7 can be read."""
        return self._payment if position == 7 else None


class TestReadLane:
    """`read_lane`."""

    def test_depth_and_age(self, filled: Filled) -> None:
        """A lane shows what it holds and how long its oldest payment has been there."""
        filled.publish(1, accepted_at_us=9_000_000)
        filled.publish(2, accepted_at_us=9_900_000)
        filled.segment.lane(0, 0).advance(1)
        first, second = look(filled).lanes
        assert (first.head, first.tail, first.depth, first.slots, first.oldest_age_ms) == (2, 1, 1, 4, 100)
        assert (second.depth, second.oldest_age_ms, second.problem) == (0, None, None)

    def test_a_full_lane(self, filled: Filled) -> None:
        """A full lane is as deep as it has slots, and that is no problem."""
        for number in range(4):
            filled.publish(number)
        lane = look(filled).lanes[0]
        assert (lane.depth, lane.problem) == (4, None)

    def test_an_impossible_head_is_a_problem_and_no_depth(self, filled: Filled) -> None:
        """A head beyond the lane is told, and the depth stays within the slots."""
        filled.put_word(filled.segment.geometry.lane_offset(0, 0), 1 << 60)
        lane = look(filled).lanes[0]
        assert lane.problem == f"head {1 << 60} and tail 0 do not fit 4 slots"
        assert lane.depth == 4

    def test_a_lane_in_use_is_looked_at_again(self) -> None:
        """A payment taken between two looks at its lane is no problem."""
        accepted = Accepted(bytes(16), 1990, NOW.utc_us - 5000)
        lane = cast("Lane", ChangingLane([(0, 9), (6, 8), (7, 8)], accepted))
        view = read_lane(lane, 0, 0, 4, NOW.utc_us)
        assert (view.depth, view.oldest_age_ms, view.problem) == (1, 5, None)

"""shm/counters.py: one row per process, read by all."""

from enum import IntEnum
from typing import cast

import pytest

from shm import layout
from shm.counters import Counters, DispatcherCount, Phase, SupervisorCount, WorkerCount


def fresh_row() -> tuple[Counters, bytearray]:
    """A row never used, and its bytes."""
    data = bytearray(layout.COUNTERS_LENGTH)
    return Counters(memoryview(data)), data


class TestCounts:
    """What may be counted."""

    @pytest.mark.parametrize("counts", [SupervisorCount, WorkerCount, DispatcherCount])
    def test_all_counts_fit_the_row(self, counts: type[IntEnum]) -> None:
        """They have one word after the other, and the last does not run into the next process's row."""
        assert [*counts] == [*range(len(counts))]
        assert layout.COUNTERS_COUNTS + (max(counts) + 1) * layout.WORD <= layout.COUNTERS_LENGTH


class TestCounters:
    """Counters: heartbeat, pid, phase, counts."""

    def test_zeroed_memory_is_nobody(self) -> None:
        """A row never used has no pid, no heartbeat and no phase, and asks for no wake-up."""
        row, _ = fresh_row()
        assert (row.pid, row.heartbeat_us, row.phase, row.started_at_ms) == (0, 0, Phase.NONE, 0)
        assert not row.sleeping

    def test_begin_announces_the_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A new process is starting, awake, and has a heartbeat at once."""
        row, _ = fresh_row()
        row.sleeping = True
        monkeypatch.setattr("time.monotonic_ns", lambda: 7_000_999)
        row.begin(123, 5_000)
        assert (row.pid, row.started_at_ms, row.phase, row.heartbeat_us) == (123, 5_000, Phase.STARTING, 7_000)
        assert not row.sleeping

    def test_a_beat_may_tell_an_earlier_moment(self) -> None:
        """What a dispatcher has handled by then, which it says when it has."""
        row, _ = fresh_row()
        row.beat(5)
        assert row.heartbeat_us == 5

    def test_counts_outlive_the_process(self) -> None:
        """A successor goes on counting where its predecessor stopped."""
        row, data = fresh_row()
        row.add(WorkerCount.FULL)
        row.add(WorkerCount.FULL, 5)
        successor = Counters(memoryview(data))
        successor.begin(2, 1)
        successor.add(WorkerCount.FULL)
        assert row.get(WorkerCount.FULL) == 7

    def test_a_gauge_holds_what_was_put_last(self) -> None:
        """A gauge holds what was put last."""
        row, _ = fresh_row()
        row.put(DispatcherCount.WAITING, 2**63)
        row.put(DispatcherCount.WAITING, 3)
        assert row.get(DispatcherCount.WAITING) == 3

    def test_counts_do_not_touch_each_other(self) -> None:
        """Every count has its own word, apart from the heartbeat, pid, phase and sleeping words."""
        row, _ = fresh_row()
        row.begin(123, 5_000)
        row.phase = Phase.READY
        row.sleeping = True
        beat = row.heartbeat_us
        for count in DispatcherCount:
            row.put(count, 1000 + count)
        assert [row.get(count) for count in DispatcherCount] == [1000 + count for count in DispatcherCount]
        assert (row.pid, row.started_at_ms, row.phase, row.heartbeat_us) == (123, 5_000, Phase.READY, beat)
        assert row.sleeping

    @pytest.mark.parametrize("phase", Phase)
    def test_each_phase_can_be_stored_and_read(self, phase: Phase) -> None:
        """Each phase can be stored and read."""
        row, _ = fresh_row()
        row.phase = phase
        assert row.phase is phase

    @pytest.mark.parametrize("word", [max(Phase) + 1, 2**64 - 1])
    def test_a_damaged_phase_is_none_until_the_next_store(self, word: int) -> None:
        """It reads as None and raises nothing: a damaged row must not end the processes that look at it."""
        row, _ = fresh_row()
        row.phase = cast("Phase", word)
        assert row.phase is None
        row.phase = Phase.READY
        assert row.phase is Phase.READY

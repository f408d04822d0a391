"""server/liveness.py: whether a dispatcher may know less than has happened, by its lock and its row."""

from typing import cast

import pytest

from server.liveness import BEATS_WITHIN_MS, is_at_work, reason_for_doubt, silent_for_ms
from shm import Counters, Phase
from shm.layout import COUNTERS_LENGTH
from tests.fakes import FakeClock

CLOCK = FakeClock()
AT_WORK = {Phase.READY, Phase.LEAVING}


@pytest.fixture
def row() -> Counters:
    """Of a dispatcher that is at work, and whose last heartbeat is now."""
    made = Counters(memoryview(bytearray(COUNTERS_LENGTH)))
    made.phase = Phase.READY
    made.beat(CLOCK.ticks_ms() * 1000)
    return made


class TestIsAtWork:
    """is_at_work."""

    @pytest.mark.parametrize("phase", Phase)
    def test_who_has_recovered(self, row: Counters, phase: Phase) -> None:
        """Also while it leaves, but not before it is ready, and never without its lock."""
        row.phase = phase
        assert is_at_work(lambda _: False, 1, row) == (phase in AT_WORK)
        assert not is_at_work({"dispatcher-1"}.__contains__, 1, row)
        assert is_at_work({"dispatcher-1"}.__contains__, 0, row) == (phase in AT_WORK)

    def test_the_lock_comes_first(self, row: Counters) -> None:
        """The phase that counts is that of whoever holds the lock, not of one that died before it was looked at."""

        def is_free(_: str) -> bool:
            row.phase = Phase.STARTING
            return False

        assert not is_at_work(is_free, 0, row)


class TestSilentForMs:
    """silent_for_ms."""

    def test_since_the_last_beat(self, row: Counters) -> None:
        """In whole milliseconds."""
        clock = FakeClock()
        clock.advance(7)
        assert silent_for_ms(row, clock) == 7
        row.beat(clock.ticks_ms() * 1000)
        assert silent_for_ms(row, clock) == 0


class TestReasonForDoubt:
    """reason_for_doubt."""

    @staticmethod
    def of(row: Counters, clock: FakeClock = CLOCK, *, at_work: bool = True) -> str | None:
        """The sentence on dispatcher 1, if there is one."""
        return reason_for_doubt("1", row, clock, at_work=at_work, otherwise="is away")

    def test_none(self, row: Counters) -> None:
        """At work, and its last heartbeat is not old."""
        assert self.of(row) is None

    def test_not_at_work(self, row: Counters) -> None:
        """It is called by its name, and the rest is what whoever asks says of such a one."""
        assert self.of(row, at_work=False) == "dispatcher 1 is away"

    @pytest.mark.parametrize("at_work", [False, True])
    def test_a_damaged_row(self, row: Counters, *, at_work: bool) -> None:
        """Whether it is at work is not known, whatever was made of it."""
        row.phase = cast("Phase", 99)
        assert self.of(row, at_work=at_work) == (
            "the row of dispatcher 1 is damaged: nobody can tell whether it is at work"
        )

    def test_an_old_heartbeat(self, row: Counters) -> None:
        """Two beats may be missing, and no more; of one that is dead it is no news."""
        clock = FakeClock()
        clock.advance(BEATS_WITHIN_MS)
        assert self.of(row, clock) is None
        clock.advance(1)
        assert self.of(row, clock) == f"dispatcher 1 has been silent for {BEATS_WITHIN_MS + 1} ms"
        assert self.of(row, clock, at_work=False) == "dispatcher 1 is away"

"""server/clock.py: one clock for what is told to others, one for intervals."""

import time

from server.clock import Clock, SystemClock


class TestSystemClock:
    """The machine's clocks."""

    def test_wall_is_utc_in_microseconds(self) -> None:
        """What time.time says, in whole microseconds."""
        before = time.time_ns() // 1000
        assert before <= SystemClock().wall_us() <= time.time_ns() // 1000

    def test_ticks_never_go_back(self) -> None:
        """Milliseconds of the monotonic clock, whatever happens to the wall's."""
        clock: Clock = SystemClock()
        ticks = [clock.ticks_ms() for _ in range(100)]
        assert ticks == sorted(ticks)
        assert abs(ticks[0] - time.monotonic_ns() // 1_000_000) < 1000

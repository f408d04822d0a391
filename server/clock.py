"""What time it is: two clocks, passed as arguments so that tests and the simulator can set them."""

import time
from typing import Protocol

LONG_AGO_MS = -(1 << 40)  # before anything on a ticking clock


class Clock(Protocol):
    """The two clocks that an instance uses."""

    def wall_us(self) -> int:
        """Microseconds UTC; may step. For times that others are told."""

    def ticks_ms(self) -> int:
        """Milliseconds that only go forward, from an arbitrary start. For measuring intervals."""


class SystemClock:
    """The machine's clocks."""

    def wall_us(self) -> int:
        """Microseconds UTC."""
        return time.time_ns() // 1000

    def ticks_ms(self) -> int:
        """Milliseconds of CLOCK_MONOTONIC."""
        return time.monotonic_ns() // 1_000_000

"""The two limits of the contest's processor as state machines: which request runs, waits or is refused. Pure.

A request is any hashable object; the caller keeps it and is told when its turn comes. Both serve the oldest first.
Numbers and rules: `Endpoints.cs` (`AddConcurrencyLimiter`, `AddFixedWindowLimiter`) and, for what those mean,
`ConcurrencyLimiter.cs` and `FixedWindowRateLimiter.cs` of .NET.
"""

from collections import OrderedDict
from enum import Enum, unique
from typing import Generic, TypeVar

RUNNING_MAX = 800
WAITING_MAX = 500

HEALTH_WINDOW_S = 5.0
HEALTH_WAITING_MAX = 2
HEALTH_IDLE_S = 10.0
"""A limiter unused for this long is discarded; the next call starts its windows anew."""

W = TypeVar("W")
"""A request; hashable."""


@unique
class Passage(Enum):
    """Whether a request may run."""

    NOW = 1
    LATER = 2
    REFUSED = 3


class RunningLimit(Generic[W]):
    """At most `running_max` at a time, and `waiting_max` more that wait for a place."""

    def __init__(self, running_max: int = RUNNING_MAX, waiting_max: int = WAITING_MAX) -> None:
        self._running_max = running_max
        self._waiting_max = waiting_max
        self._waiting: OrderedDict[W, None] = OrderedDict()
        self.running = 0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def enter(self, waiter: W) -> Passage:
        """Asks for a place. `LATER`: `leave` will return the waiter once it has one."""
        if self.running < self._running_max:
            self.running += 1
            return Passage.NOW
        if len(self._waiting) < self._waiting_max:
            self._waiting[waiter] = None
            return Passage.LATER
        return Passage.REFUSED

    def leave(self) -> W | None:
        """Gives a place back; it goes to the oldest waiter, who is returned and must `leave` in turn."""
        if self._waiting:
            return self._waiting.popitem(last=False)[0]
        self.running -= 1
        return None

    def abandon(self, waiter: W) -> bool:
        """Stops waiting; False if it did not wait (any more)."""
        return self._waiting.pop(waiter, self) is None


class WindowLimit(Generic[W]):
    """One per window of `HEALTH_WINDOW_S`, and `HEALTH_WAITING_MAX` more that wait for a window of their own.

    Windows follow one another without a gap, used or not: two calls may be close together on either side of an edge.
    Times are seconds of any monotonic clock.
    """

    def __init__(self, idle_s: float = HEALTH_IDLE_S) -> None:
        self._idle_s = idle_s
        self._waiting: OrderedDict[W, None] = OrderedDict()
        self._began_s: float | None = None
        self._free_since_s: float | None = None

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def next_window_s(self) -> float | None:
        """When `roll` should be called; None if nobody waits."""
        if self._began_s is None or not self._waiting:
            return None
        return self._began_s + HEALTH_WINDOW_S

    def enter(self, waiter: W, now_s: float) -> Passage:
        """Asks for the present window. `LATER`: a `roll` will return the waiter. Call `roll` with the time first."""
        if self._began_s is None or (self._free_since_s is not None and now_s - self._free_since_s >= self._idle_s):
            self._began_s = now_s
            self._free_since_s = now_s
        if self._free_since_s is not None:
            self._free_since_s = None
            return Passage.NOW
        if len(self._waiting) < HEALTH_WAITING_MAX:
            self._waiting[waiter] = None
            return Passage.LATER
        return Passage.REFUSED

    def roll(self, now_s: float) -> list[W]:
        """Goes on to the window of `now_s`, and returns the waiters whose turn has come, oldest first."""
        passed: list[W] = []
        if self._began_s is None:
            return passed
        windows = max(0, int((now_s - self._began_s) // HEALTH_WINDOW_S))
        while windows and self._waiting:
            passed.append(self._waiting.popitem(last=False)[0])
            self._began_s += HEALTH_WINDOW_S
            windows -= 1
        if windows:
            if self._free_since_s is None:
                self._free_since_s = self._began_s + HEALTH_WINDOW_S
            self._began_s += windows * HEALTH_WINDOW_S
        return passed

    def abandon(self, waiter: W) -> bool:
        """Stops waiting; False if it did not wait (any more)."""
        return self._waiting.pop(waiter, self) is None

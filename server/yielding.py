"""Offers the core to other processes between two payments, so that none of them waits for a whole batch.

A batch keeps the dispatcher busy for a millisecond. The kernel lets it use up its time slice (1.4 ms here) before it
runs another process on that core, even while the other core is idle. A request whose HAProxy, web worker or client was
woken on that core waited for the whole batch, and those were most of the slowest requests. An offer takes under a
microsecond (docs/performance.md has the effect). Between two offers there should be little work: 50 µs or so.

A process that takes the offer may keep the core for a whole slice. Beside a process that never sleeps, a dispatcher
that kept offering would hardly run any more; `REST_FACTOR` bounds what others get.

`run_what_is_ready` does the like within the process: it lets the event loop handle what has come.
"""

import asyncio
import os
import time
from collections.abc import Callable

REST_FACTOR = 4  # no offer for so many times as long as the last one took: others get a fifth of the time at most


class CoreYielder:
    """Offers the core to others, within bounds.

    Args:
        clock_ns: a ticking clock.
        sched_yield: lets a process that waits for the core run first; returns at once if none does.
    """

    def __init__(self, clock_ns: Callable[[], int], sched_yield: Callable[[], None]) -> None:
        self._clock_ns = clock_ns
        self._sched_yield = sched_yield
        self._rest_until_ns = 0

    def __call__(self) -> None:
        """Has the kernel run another process first, if one waits, unless others have had enough lately."""
        left_ns = self._clock_ns()
        if left_ns >= self._rest_until_ns:
            self._sched_yield()
            back_ns = self._clock_ns()
            self._rest_until_ns = back_ns + REST_FACTOR * (back_ns - left_ns)


yield_core = CoreYielder(time.monotonic_ns, os.sched_yield)
"""One for the whole process: what counts is how long it was without the core, whatever it was doing."""


async def run_what_is_ready() -> None:
    """Lets the event loop handle what has come by now: after a freeze it runs its timers before it reads its sockets.

    The first round has it read them; the second puts the caller behind the tasks that the first has woken.
    """
    await asyncio.sleep(0)
    await asyncio.sleep(0)

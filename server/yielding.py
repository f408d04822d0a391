"""Gives the core away between two payments, so that nobody waits for a whole batch.

A batch keeps the dispatcher busy for a millisecond. The kernel lets it use up its slice (1.4 ms here) before it runs
anybody else on that core, even while the other core is idle. A request whose HAProxy, web worker or client woke up
there waited for all of it, and those were most of the slowest requests. Asking the kernel takes under a microsecond
(docs/performance.md has the effect). Between two questions there should be little work: 50 µs or so.

Whoever is let in may keep the core for a whole slice. Beside a process that never sleeps, a dispatcher that always
asked would hardly run any more; `REST_FACTOR` bounds what others get.
"""

import asyncio
import os
import time
from collections.abc import Callable

REST_FACTOR = 4  # times as long as it was away, nobody is asked: others get a fifth of its time at most


class CoreYielder:
    """Offers the core to others, within bounds.

    Args:
        clock_ns: a ticking clock.
        yield_core: runs whoever waits for the core first; returns at once if nobody does.
    """

    def __init__(self, clock_ns: Callable[[], int], yield_core: Callable[[], None]) -> None:
        self._clock_ns = clock_ns
        self._yield_core = yield_core
        self._rest_until_ns = 0

    def __call__(self) -> None:
        """Asks the kernel to run somebody else first, unless others have had enough lately."""
        left_ns = self._clock_ns()
        if left_ns >= self._rest_until_ns:
            self._yield_core()
            back_ns = self._clock_ns()
            self._rest_until_ns = back_ns + REST_FACTOR * (back_ns - left_ns)


give_way = CoreYielder(time.monotonic_ns, os.sched_yield)
"""This process's: what counts is how long the process was away, whatever it was doing."""


async def catch_up() -> None:
    """Lets the event loop do what has come by now. After a freeze it runs its timers before it looks at its sockets.

    Once round, so that it looks at them; and once more, to come behind those whom that woke.
    """
    await asyncio.sleep(0)
    await asyncio.sleep(0)

"""Giving the core away between two payments.

A batch keeps the dispatcher busy for a millisecond. The kernel lets it finish its slice (1.4 ms on two cores) before it
runs anybody else on that core, even while the other core is idle: a request whose HAProxy, web worker or client was
woken there waited for the whole batch, and those were most of the slowest ones. Asking in between whether anybody waits
costs 0.4 µs and took a third off the p99 of accepting (docs/performance.md). Each step between two such questions
should be short: 50 µs or so.
"""

import os


def give_way() -> None:
    """Lets another process that waits for this core run first, if there is one."""
    os.sched_yield()

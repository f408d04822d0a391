"""What every child process does first and last, whatever its role."""

import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Collection

from shm import Counters

CANCEL_AGAIN_S = 0.05  # longer than a task takes to end
_PR_SET_PDEATHSIG = 1  # prctl(2)

EXIT_CRASH = 1

BEAT_S = 0.5  # every heart; a tenth of STUCK_S's default

_libc = ctypes.CDLL(None, use_errno=True)
_log = logging.getLogger(__name__)


def die_with_parent(parent: int) -> None:
    """Has the kernel kill this process when its parent dies: nobody would replace or stop it any more.

    Raises:
        OSError: the kernel won't.
    """
    if _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it died before the call
        os._exit(EXIT_CRASH)


def unblock_sigterm() -> None:
    """Lets SIGTERM through, also one that came before: to be called once its handler is in place."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def begin(counters: Counters) -> None:
    """Takes up a role's row of counters, and keeps the collector away from what was made before the fork."""
    counters.begin(os.getpid(), time.time_ns() // 1_000_000)
    gc.freeze()


def crash_on_bugs(loop: asyncio.AbstractEventLoop) -> None:
    """Ends the process when a callback or task fails unforeseen: its successor recovers, a half-dead loop would not."""
    loop.set_exception_handler(_crash)


def _crash(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    try:
        error = context.get("exception")
        _log.critical("%s", context["message"], exc_info=error if isinstance(error, BaseException) else None)
    finally:  # whatever the log says: uvloop would go on with whatever comes out of here
        os._exit(EXIT_CRASH)


async def end_tasks(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancels tasks until they have ended; what they end with is for whoever watches them.

    Once may not be enough: in Python 3.11 a cancellation that meets the end of what `asyncio.wait_for` waits for is
    lost, and a library may wait so. A task that never ends is ended with its process, which the supervisor kills in the
    end.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)


def run(name: str, parent: int, work: Callable[[], int]) -> int:
    """Called in the child: does its work from beginning to end. SIGTERM waits until it calls `unblock_sigterm`.

    Args:
        name: of its role, for the log.
        parent: pid of the supervisor.
        work: the role; returns the exit status.

    Returns:
        The exit status. The caller ends the process with it at once: the frames above it are the supervisor's.
    """
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGHUP):  # a terminal's go to all; only the supervisor decides
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGTERM})
    try:
        die_with_parent(parent)
        return work()
    except BaseException:  # noqa: BLE001  nothing may pass into the supervisor's stack: it would close its sockets
        _log.critical("%s failed", name, exc_info=True)
        return EXIT_CRASH
    finally:
        for stream in filter(None, (sys.stdout, sys.stderr)):  # None: closed by whoever started it all
            with contextlib.suppress(OSError, ValueError):  # nobody can be told
                stream.flush()

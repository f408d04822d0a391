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

BEAT_S = 0.5  # between two heartbeats of every child; a tenth of STUCK_S's default

_libc = ctypes.CDLL(None, use_errno=True)
_log = logging.getLogger(__name__)


def die_with_parent(parent: int) -> None:
    """Has the kernel kill this process when its parent dies: nobody would replace or stop it any more.

    Args:
        parent: the pid that its parent had at the fork.

    Raises:
        OSError: the kernel refuses.
    """
    if _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # the parent died before the call
        os._exit(EXIT_CRASH)


def unblock_sigterm() -> None:
    """Lets SIGTERM through, even one that came before. To be called once its handler is in place."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def begin(counters: Counters) -> None:
    """Takes up a role's row of counters, and keeps the garbage collector away from what was made before the fork."""
    counters.begin(os.getpid(), time.time_ns() // 1_000_000)
    gc.freeze()


def crash_on_bugs(loop: asyncio.AbstractEventLoop) -> None:
    """Has unforeseen errors of callbacks and tasks end the process: a successor recovers, a half-dead loop does not."""
    loop.set_exception_handler(_crash)


def _crash(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    try:
        error = context.get("exception")
        _log.critical("%s", context["message"], exc_info=error if isinstance(error, BaseException) else None)
    finally:  # even if logging fails: uvloop would go on after any exception from here
        os._exit(EXIT_CRASH)


async def end_tasks(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancels tasks until they have ended; what they end with is for whoever watches them.

    Once may not be enough: in Python 3.11 a cancellation is lost if it comes just as `asyncio.wait_for` has what it
    waited for, and libraries use that. A task that never ends is ended with its process, which the
    supervisor kills after a while.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)


def run(name: str, parent: int, work: Callable[[], int]) -> int:
    """Called in the child: does its work from beginning to end. SIGTERM is kept until `work` unblocks it.

    Args:
        name: of its role, for the log.
        parent: pid of the supervisor.
        work: what the role does; returns the exit status.

    Returns:
        The exit status. The caller must end the process with it at once: its own frames are the supervisor's.
    """
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGHUP):  # a terminal sends them to all; the supervisor decides
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGTERM})
    try:
        die_with_parent(parent)
        return work()
    except BaseException:  # noqa: BLE001  none may reach the supervisor's frames: they would close its sockets
        _log.critical("%s failed", name, exc_info=True)
        return EXIT_CRASH
    finally:
        for stream in filter(None, (sys.stdout, sys.stderr)):  # None: closed by whoever started the supervisor
            with contextlib.suppress(OSError, ValueError):  # nobody can be told
                stream.flush()

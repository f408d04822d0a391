"""Real processes for tests: forked children that say when they are ready, and are gone afterwards."""

import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

READY_TIMEOUT_S = 10
POLL_S = 0.005


@contextmanager
def forked(prepare: Callable[[], object]) -> Iterator[int]:
    """Forks a child that runs `prepare` and then waits to be killed; gives its pid once `prepare` is done."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _live(prepare, writer)
    os.close(writer)
    try:
        assert select.select([reader], [], [], READY_TIMEOUT_S)[0], "the child did not get ready in time"
        assert os.read(reader, 1) == b"1", "the child could not do what it was forked for"
        yield pid
    finally:
        os.close(reader)
        end(pid)


def end(pid: int) -> int | None:
    """Kills a child at once and reaps it; its exit code, -9 if it was still alive, or None if it is not a child now."""
    try:
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return None
    return os.waitstatus_to_exitcode(status)


def fork(work: Callable[[], object]) -> int:
    """Forks a child that does `work` and leaves, with 0 if it went well; gives its pid."""
    pid = os.fork()
    if pid == 0:
        _work(work)
    return pid


def wait_for(pids: list[int], timeout_s: float) -> None:
    """Waits until these children have left, each with 0; a traceback of one that has not is on standard error."""
    deadline = time.monotonic() + timeout_s
    left = set(pids)
    while left:
        assert time.monotonic() < deadline, f"children still at work after {timeout_s} s: {left}"
        for child in sorted(left):
            pid, status = os.waitpid(child, os.WNOHANG)
            exit_code = os.waitstatus_to_exitcode(status)
            assert exit_code == 0, f"child {pid} failed with {exit_code}"
            left.discard(pid)
        time.sleep(POLL_S)


def _work(work: Callable[[], object]) -> NoReturn:
    sys.settrace(None)  # what such a child is for is speed; coverage is measured elsewhere
    status = 1
    try:
        work()
        status = 0
    except BaseException:  # noqa: BLE001  a forked child must leave here, and tell why
        traceback.print_exc()
    finally:
        os._exit(status)


def _live(prepare: Callable[[], object], writer: int) -> NoReturn:
    keep = None
    try:
        keep = prepare()
        os.write(writer, b"1")
        signal.pause()
    finally:
        del keep
        os._exit(1)

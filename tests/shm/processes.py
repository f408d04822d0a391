"""Real processes for tests: forked children that say when they are ready, and are gone afterwards."""

import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

READY_TIMEOUT_S = 10


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


def end(pid: int) -> None:
    """Kills a child at once and reaps it; harmless when that was done before."""
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _live(prepare: Callable[[], object], writer: int) -> NoReturn:
    keep = None
    try:
        keep = prepare()
        os.write(writer, b"1")
        signal.pause()
    finally:
        del keep
        os._exit(1)

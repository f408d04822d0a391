"""What every child process does first and last; in forked processes where it changes the process."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import uvloop

from server import child
from shm import Counters, Phase, RoleTaken
from shm.layout import COUNTERS_LENGTH
from tests.shm.processes import forked
from tests.shm.segments import refuse

ENDS_WITHIN_S = 10.0


def status_of(work: Callable[[], int]) -> int:
    """The exit status of a forked process that does `work`; it is killed if it does not end."""
    pid = os.fork()
    if pid == 0:
        logging.disable()
        os._exit(work())
    deadline_s = time.monotonic() + ENDS_WITHIN_S
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline_s:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)


def run(work: Callable[[], int]) -> int:
    """The exit status of a child of this process with that work."""
    parent = os.getpid()
    return status_of(lambda: child.run("worker-0", parent, work))


class TestRun:
    """From the fork to the exit status."""

    def test_status(self) -> None:
        """The work's own status."""
        assert [run(lambda: 0), run(lambda: 5)] == [0, 5]

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (ValueError("a bug"), child.EXIT_CRASH),
            (RoleTaken("taken"), child.EXIT_CRASH),
            (KeyboardInterrupt(), child.EXIT_CRASH),
            (asyncio.CancelledError(), child.EXIT_CRASH),
            (SystemExit(0), child.EXIT_CRASH),
        ],
    )
    def test_errors(self, error: BaseException, status: int) -> None:
        """Whatever is raised becomes a status: the supervisor's stack, with its sockets, is below and must not run."""
        assert run(refuse(error)) == status

    def test_a_log_that_cannot_be_written(self) -> None:
        """It is no reason to go on in the supervisor's stack either."""

        def work() -> int:
            sys.stderr = Path("/dev/full").open("w")  # noqa: SIM115  the process ends with it
            sys.stderr.write("what nobody will read")
            raise ValueError("a bug")

        assert run(work) == child.EXIT_CRASH

    def test_last_words(self, tmp_path: Path) -> None:
        """What it has written comes out, though the process ends without tidying up."""

        def work() -> int:
            sys.stderr = (tmp_path / "log").open("w")
            sys.stderr.write("why")
            return 0

        assert run(work) == 0
        assert (tmp_path / "log").read_text() == "why"

    def test_signals(self) -> None:
        """A stop waits until it is listened to; nothing else is as in the supervisor, and Ctrl-C is not for a child."""

        def look() -> int:
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, set())
            ignored = {signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
            usual = {signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGCHLD)}
            return 0 if (blocked, ignored, usual) == ({signal.SIGTERM}, {signal.SIG_IGN}, {signal.SIG_DFL}) else 1

        others = {signal.SIGINT: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL, signal.SIGTERM: signal.SIG_IGN}
        previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
        handlers = {number: signal.signal(number, handler) for number, handler in others.items()}
        try:
            assert run(look) == 0
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.pthread_sigmask(signal.SIG_SETMASK, previous)

    def test_told_before_it_listens(self) -> None:
        """A stop that comes early is not the end of it: it is heard later, by what is there for it."""

        def work() -> int:
            told: list[int] = []
            os.kill(os.getpid(), signal.SIGTERM)
            signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
            before = len(told)
            child.unblock_sigterm()
            return 0 if (before, told) == (0, [signal.SIGTERM]) else 1

        assert run(work) == 0

    def test_parent_died_before(self) -> None:
        """A child whose parent is gone already ends at once."""
        assert status_of(lambda: child.run("worker-0", 1 << 30, lambda: 0)) == child.EXIT_CRASH

    def test_a_kernel_that_will_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A child that would outlive its parent does not begin."""
        monkeypatch.setattr(child, "_libc", SimpleNamespace(prctl=lambda *_: -1))
        with pytest.raises(OSError, match="PR_SET_PDEATHSIG"):
            child.die_with_parent(os.getppid())

    @pytest.mark.slow
    def test_parent_dies_later(self) -> None:
        """The kernel ends a child when its parent ends, however that comes."""
        reader, writer = os.pipe()

        def live() -> int:
            os.write(writer, b"1")
            time.sleep(ENDS_WITHIN_S)
            return 0

        def parent() -> None:
            mine = os.getpid()
            if os.fork() == 0:
                os._exit(child.run("worker-0", mine, live))

        with forked(parent) as pid:
            os.close(writer)
            assert os.read(reader, 1) == b"1"
            os.kill(pid, signal.SIGKILL)
            begun_s = time.monotonic()
            assert os.read(reader, 1) == b""  # its end of the pipe is closed: it is gone
            assert time.monotonic() - begun_s < ENDS_WITHIN_S / 2
        os.close(reader)


class TestBegin:
    """Taking up a row of counters."""

    def test_row(self) -> None:
        """The row says who is starting and has its first heartbeat; the collector leaves alone what was made before."""
        counters = Counters(memoryview(bytearray(COUNTERS_LENGTH)))
        counters.phase = Phase.GONE
        child.begin(counters)
        frozen = gc.get_freeze_count()
        gc.unfreeze()
        assert (counters.phase, counters.pid) == (Phase.STARTING, os.getpid())
        assert abs(counters.started_at_ms - time.time() * 1000) < 5_000
        assert abs(counters.heartbeat_us - time.monotonic_ns() // 1000) < 5_000_000
        assert frozen > 0


class TestBugs:
    """A half-dead loop is worse than a dead process."""

    @pytest.mark.parametrize("kind", ["callback", "task", "done callback"])
    def test_end_the_process(self, kind: str) -> None:
        """An unforeseen error in a callback or a task ends the process with 1."""

        async def live() -> None:
            loop = asyncio.get_running_loop()
            child.crash_on_bugs(loop)
            if kind == "callback":
                loop.call_soon(refuse(ValueError("a bug")))
            elif kind == "done callback":
                loop.create_task(asyncio.sleep(0)).add_done_callback(lambda _: [].pop())
            else:
                task = loop.create_task(_fail())
                await asyncio.sleep(0)
                del task  # an error that nobody has asked for is told when its task is collected
            while True:
                await asyncio.sleep(0.001)

        def work() -> int:
            with asyncio.Runner() as runner:
                runner.run(live())
            return 0

        assert run(work) == child.EXIT_CRASH

    def test_are_logged(self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
        """The log says what it was, with the traceback."""
        ends: list[int] = []
        monkeypatch.setattr(os, "_exit", ends.append)
        loop = asyncio.new_event_loop()
        child.crash_on_bugs(loop)
        try:
            raise ValueError("a bug")
        except ValueError as error:
            loop.call_exception_handler({"message": "something failed", "exception": error})
        loop.call_exception_handler({"message": "no error at hand"})
        loop.close()
        assert ends == [child.EXIT_CRASH] * 2
        assert [record.levelno for record in caplog.records] == [logging.CRITICAL] * 2
        assert "something failed" in caplog.text
        assert "ValueError: a bug" in caplog.text

    def test_end_it_though_the_log_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """No word of it, but no half-dead loop either."""

        async def live() -> None:
            loop = asyncio.get_running_loop()
            child.crash_on_bugs(loop)
            loop.call_soon(refuse(ValueError("a bug")))
            while True:
                await asyncio.sleep(0.001)

        def work() -> int:
            monkeypatch.setattr(logging.Logger, "critical", refuse(MemoryError()))
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(live())
            return 0

        assert run(work) == child.EXIT_CRASH


async def _fail() -> None:
    raise ValueError("a bug")


class TestEndTasks:
    """Cancelling for good."""

    async def test_lost_cancellations(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A task that loses a cancellation or two is cancelled again; errors stay with the task."""
        monkeypatch.setattr(child, "CANCEL_AGAIN_S", 0.001)

        async def deaf(times: int) -> None:
            for _ in range(times):
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()
            await asyncio.Event().wait()

        tasks = [asyncio.ensure_future(deaf(times)) for times in range(3)]
        tasks += [asyncio.ensure_future(_fail()), asyncio.ensure_future(asyncio.sleep(0))]
        await asyncio.sleep(0)
        await child.end_tasks(tasks)
        assert [task.cancelled() for task in tasks] == [True, True, True, False, True]
        assert isinstance(tasks[3].exception(), ValueError)

    async def test_none(self) -> None:
        """With nothing to end it returns at once."""
        await child.end_tasks([])

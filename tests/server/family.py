"""A supervisor in a process of its own, with children that do what a test wants instead of serving and paying."""

import ctypes
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from server import child, dispatcher_process, worker
from server.config import Config, load
from server.supervisor import Supervisor
from shm import Counters, Phase, Segment, SupervisorCount
from tests.shm.segments import fresh_instance

PATIENCE_S = 10.0
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2): as the first process of a container, it gets orphans to reap

Life = Callable[[Counters], int]
"""What a child does once its row is its own: returns its exit status."""


def patient(counters: Counters) -> int:
    """Beats until told to stop."""
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    child.unblock_sigterm()
    counters.phase = Phase.READY
    while not told:
        counters.beat()
        time.sleep(0.005)
    return 0


def lingering(counters: Counters) -> int:
    """Beats until told to stop, and ends a while later, as web workers do that let their clients finish."""
    status = patient(counters)
    time.sleep(2.0)
    return status


def stubborn(counters: Counters) -> int:
    """Beats, whatever it is told."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    counters.phase = Phase.READY
    while True:
        counters.beat()
        time.sleep(0.005)


def silent(counters: Counters) -> int:
    """Never beats, nor hears."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    counters.phase = Phase.READY
    while True:
        time.sleep(PATIENCE_S)


def with_orphan(counters: Counters) -> int:
    """Leaves a process behind that ends after it was orphaned."""
    if os.fork() == 0:
        if os.fork() == 0:
            time.sleep(0.02)
        os._exit(0)
    return patient(counters)


class Event(NamedTuple):
    """What a child wrote down: who it was, and `begins` or `ends`."""

    role: str
    what: str


class Family:
    """One running supervisor; use `running`."""

    def __init__(self, config: Config, segment: Segment, pid: int, diary: Path) -> None:
        self.config = config
        self.segment = segment
        self.pid = pid
        self._diary = diary
        self.exit_status: int | None = None

    def rows(self) -> list[Counters]:
        """The rows of all children, dispatchers first."""
        segment = self.segment
        dispatchers = [segment.dispatcher_counters(index) for index in range(self.config.dispatchers)]
        return dispatchers + [segment.worker_counters(index) for index in range(self.config.web_workers)]

    def pids(self) -> list[int]:
        """The pids of all children, dispatchers first."""
        return [row.pid for row in self.rows()]

    def count(self, what: SupervisorCount) -> int:
        """One of the supervisor's counts."""
        return self.segment.supervisor_counters().get(what)

    def diary(self) -> list[Event]:
        """What the children wrote down, in order."""
        return [Event(*line.split(" ")) for line in self._diary.read_text().splitlines()]

    def wait_ready(self) -> None:
        """Waits until every child is ready."""
        self.wait_for(lambda: all(row.phase is Phase.READY for row in self.rows()), "somebody is not ready")

    def wait_for(self, condition: Callable[[], bool], message: str, within_s: float = PATIENCE_S) -> float:
        """Waits until something holds; how long that took, in seconds."""
        begun_s = time.monotonic()
        while not condition():
            assert time.monotonic() - begun_s < within_s, message
            time.sleep(0.002)
        return time.monotonic() - begun_s

    def tell(self, number: int = signal.SIGTERM) -> None:
        """Sends the supervisor a signal."""
        os.kill(self.pid, number)

    def wait_end(self, within_s: float = PATIENCE_S) -> int:
        """Waits until the supervisor has ended; its exit status."""
        self.wait_for(self._has_ended, "the supervisor did not end", within_s)
        assert self.exit_status is not None
        return self.exit_status

    def _has_ended(self) -> bool:
        if self.exit_status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.exit_status = os.waitstatus_to_exitcode(status)
        return self.exit_status is not None


def is_alive(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@contextmanager
def running(
    folder: Path, worker_life: Life = patient, dispatcher_life: Life = patient, **settings: str
) -> Iterator[Family]:
    """Gives a supervisor with two web workers and one dispatcher; nothing of it is left afterwards.

    Args:
        folder: for the diary.
        worker_life: what each web worker does.
        dispatcher_life: what the dispatcher does.
        settings: of the environment.
    """
    with fresh_instance() as instance:
        small = {"WEB_WORKERS": "2", "LANE_SLOTS": "8", "WAITING_SLOTS": "8", "JOURNAL_RECORDS": "32", "LEAVE_S": "5"}
        config = load({"INSTANCE": instance, **small, **settings})
        segment = Segment.create(instance, config.geometry)
        diary = folder / "diary"
        diary.touch()
        pid = os.fork()
        if pid == 0:
            os._exit(_supervise(config, segment, diary, worker_life, dispatcher_life))
        family = Family(config, segment, pid, diary)
        try:
            yield family
        finally:
            if family.exit_status is None:
                os.kill(pid, signal.SIGKILL)
                family.wait_end()
            family.wait_for(lambda: not any(is_alive(each) for each in family.pids() if each), "a child outlived all")


def _supervise(config: Config, segment: Segment, diary: Path, worker_life: Life, dispatcher_life: Life) -> int:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # as some leave it who start programs

    def play(role: str, counters: Counters, life: Life) -> int:
        counters.begin(os.getpid(), 0)
        with diary.open("a") as book:
            book.write(f"{role} begins\n")
        status = life(counters)
        with diary.open("a") as book:
            book.write(f"{role} ends\n")
        return status

    def serve(config: Config, segment: Segment, worker: int, listener: socket.socket, doorbells: list[int]) -> int:
        return play("worker", segment.worker_counters(worker), worker_life)

    def pay(config: Config, segment: Segment, index: int, doorbell: int) -> int:
        return play("dispatcher", segment.dispatcher_counters(index), dispatcher_life)

    worker.serve, dispatcher_process.serve = serve, pay
    worker.STOP_WITHIN_S = 0
    dispatcher_process.LAST_FLUSH_WITHIN_MS = 0
    listeners = [socket.socket() for _ in range(config.web_workers)]
    Supervisor(config, segment, listeners).run()
    return 0

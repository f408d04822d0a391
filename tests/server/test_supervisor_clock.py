"""The supervisor without processes: who is forked, waited for and killed is made up, and so is the time."""

import gc
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from server.children import PAUSE_MIN_MS
from server.config import load
from server.redis_client import CALL_TIMEOUT_S
from server.supervisor import LOOK_MS, SAME_MS, START_WITHIN_MS, Supervisor, stop_within_ms
from server.worker import STOP_WITHIN_S
from shm import Phase, Segment, SupervisorCount
from tests.shm.segments import fresh_instance

STUCK_MS = 2000
DISPATCHER, WORKER = 1 << 40, (1 << 40) + 1  # pids of the first two processes, for which there are none


def _nothing() -> None:
    """During a wait."""


class Machine:
    """A supervisor of a dispatcher and a web worker, and all that it asks the system for.

    Attributes:
        now_ms: on the ticking clock; the supervisor's waits move it.
        forks: how often one was tried.
        born_at_ms: when one succeeded.
        sent: when a signal was sent, to which pid, and its number.
        waits: what happens at the end of each wait to come, and which signal it brings.
        obedient: whether children end when they are told to.
        full: whether no process can be made.
        told_at_ms: when `stop` was called.
    """

    def __init__(self, instance: str) -> None:
        small = {"LANE_SLOTS": "8", "WAITING_SLOTS": "8", "JOURNAL_RECORDS": "16", "LEAVE_S": "1"}
        self.config = load({"INSTANCE": instance, "STUCK_S": str(STUCK_MS // 1000), **small})
        self.segment = Segment.create(instance, self.config.geometry)
        self.row = self.segment.supervisor_counters()
        self.rows = [self.segment.dispatcher_counters(0), self.segment.worker_counters(0)]
        self.supervisor = Supervisor(self.config, self.segment, [])
        self.now_ms = 1_000_000
        self.forks = 0
        self.born_at_ms: list[int] = []
        self.sent: list[tuple[int, int, int]] = []
        self.waits: list[Callable[[], int | None]] = []
        self.obedient = True
        self.full = False
        self.told_at_ms = 0
        self._ended: list[tuple[int, int]] = []

    def run(self, *waits: Callable[[], int | None]) -> None:
        """Has the supervisor live through these waits, and then through its end."""
        self.waits = [*waits]
        self.supervisor.run()

    def get_ready(self) -> None:
        """All children are, and have heartbeats."""
        for row in self.rows:
            row.phase = Phase.READY
            row.beat()

    def stop(self) -> int:
        """Everybody is told to."""
        self.told_at_ms = self.now_ms
        return signal.SIGTERM

    def killed(self) -> list[int]:
        """The pids of those that did not end by themselves."""
        return [pid for _, pid, number in self.sent if number == signal.SIGKILL]

    def fork(self) -> int:
        """Stands for `os.fork`, in the parent."""
        self.forks += 1
        if self.full:
            raise BlockingIOError("Resource temporarily unavailable")
        self.born_at_ms.append(self.now_ms)
        return DISPATCHER + self.forks - 1

    def kill(self, pid: int, number: int) -> None:
        """Stands for `os.kill`."""
        self.sent.append((self.now_ms, pid, number))
        if self.obedient or number == signal.SIGKILL:
            self.end(pid, 0 if number == signal.SIGTERM else number)

    def end(self, pid: int, status: int) -> None:
        """A child ends, with a status as `os.waitpid` tells it."""
        self._ended.append((pid, status))

    def waitpid(self, _: int, how: int) -> tuple[int, int]:
        """Stands for `os.waitpid`."""
        assert self._ended or how == os.WNOHANG, "it waits for ever"
        return self._ended.pop(0) if self._ended else (0, 0)

    def sigtimedwait(self, _: set[int], timeout_s: float) -> SimpleNamespace | None:
        """Stands for `signal.sigtimedwait`."""
        assert self.row.heartbeat_us == self.now_ms * 1000, "it has not beaten before"
        self.now_ms += round(timeout_s * 1000)
        number = self.waits.pop(0)() if self.waits else None
        if number is None and self._ended:
            number = signal.SIGCHLD
        return None if number is None else SimpleNamespace(si_signo=number)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine; what the supervisor changes of this process is undone."""
    before = signal.getsignal(signal.SIGCHLD)
    with fresh_instance() as instance:
        made = Machine(instance)
        monkeypatch.setattr(time, "monotonic_ns", lambda: made.now_ms * 1_000_000)
        monkeypatch.setattr(signal, "pthread_sigmask", lambda *_: None)
        monkeypatch.setattr(signal, "sigtimedwait", made.sigtimedwait)
        monkeypatch.setattr(os, "fork", made.fork)
        monkeypatch.setattr(os, "kill", made.kill)
        monkeypatch.setattr(os, "waitpid", made.waitpid)
        yield made
    gc.unfreeze()
    signal.signal(signal.SIGCHLD, before)


class TestForks:
    """Roles are filled."""

    def test_one_that_fails(self, machine: Machine) -> None:
        """It is tried again, with growing pauses between."""
        machine.full = True
        tries = list[tuple[int, int]]()

        def note() -> None:
            tries.append((machine.forks, machine.now_ms - 1_000_000))
            assert {row.phase for row in machine.rows} == {Phase.GONE}  # nobody waits for them when the instance stops

        machine.run(note, note, note, machine.stop)
        assert tries == [(2, 0), (4, PAUSE_MIN_MS), (6, 3 * PAUSE_MIN_MS)]  # one for each of both roles

    def test_doorbells_are_not_waited_for(self, machine: Machine) -> None:
        """A dispatcher that waited for one would be killed as stuck."""
        doorbells = machine.supervisor._doorbells  # noqa: SLF001  what children are given
        assert [(os.get_blocking(doorbell), os.get_inheritable(doorbell)) for doorbell in doorbells] == [(False, False)]


class TestDeaths:
    """What is told of them."""

    @pytest.mark.parametrize(
        ("status", "how"),
        [
            (3 << 8, "status 3"),
            (signal.SIGKILL, "signal SIGKILL"),
            (signal.SIGRTMIN + 5, f"signal {signal.SIGRTMIN + 5}"),
        ],
    )
    def test_how(self, machine: Machine, caplog: pytest.LogCaptureFixture, status: int, how: str) -> None:
        """By its status, or by the signal."""
        machine.run(machine.get_ready, lambda: machine.end(WORKER, status), machine.stop)
        assert [record.getMessage() for record in caplog.records] == [f"worker-0 ended with {how}"]


class TestHearts:
    """Who is silent is killed."""

    @pytest.mark.parametrize("stood_still_ms", [0, 10 * STUCK_MS])
    @pytest.mark.parametrize(("silent_ms", "killed"), [(STUCK_MS, []), (STUCK_MS + LOOK_MS, [DISPATCHER])])
    def test_silence(self, machine: Machine, stood_still_ms: int, silent_ms: int, killed: list[int]) -> None:
        """After its time, which begins anew when nobody could run for a while; not who goes on beating."""

        def stand_still() -> None:
            machine.get_ready()
            machine.now_ms += stood_still_ms

        machine.run(stand_still, *[machine.rows[1].beat] * (silent_ms // LOOK_MS), machine.stop)
        assert machine.killed() == killed
        assert machine.row.get(SupervisorCount.KILLS_OF_STUCK) == len(killed)

    def test_time_to_begin(self, machine: Machine) -> None:
        """Who was just forked has it, however long ago the last one was that played the role."""
        machine.full = True

        def make_room() -> None:
            machine.full = False

        long = [_nothing] * (3 * START_WITHIN_MS // LOOK_MS)
        machine.run(*long, make_room, *long, machine.stop)
        first, second = machine.born_at_ms[:2]
        killed = [at_ms for at_ms, _, number in machine.sent if number == signal.SIGKILL]
        assert killed[:2] == [first + START_WITHIN_MS + LOOK_MS, second + START_WITHIN_MS + LOOK_MS]


class TestName:
    """Whether a later life will find the segment."""

    def test_is_looked_at(self, machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
        """While it runs: nobody else would tell."""
        machine.run(_nothing, lambda: Segment.unlink(machine.config.instance), _nothing, _nothing, machine.stop)
        assert [record.levelname for record in caplog.records].count("CRITICAL") == 1


class TestStop:
    """How long it takes."""

    def test_each_kind_has_its_time(self, machine: Machine) -> None:
        """Web workers first, and what they do not use up is not the dispatchers'."""
        machine.obedient = False
        machine.run(machine.get_ready, machine.stop)
        within_ms = stop_within_ms(machine.config)
        begun_ms, end_ms = machine.told_at_ms + within_ms["worker"], machine.now_ms
        assert machine.sent == [
            (machine.told_at_ms, WORKER, signal.SIGTERM),
            (begun_ms, WORKER, signal.SIGKILL),
            (begun_ms, DISPATCHER, signal.SIGTERM),
            (end_ms, DISPATCHER, signal.SIGKILL),
        ]
        assert end_ms == begun_ms + within_ms["dispatcher"]
        assert machine.row.get(SupervisorCount.DEATHS) == 2
        assert [row.phase for row in (machine.row, *machine.rows)] == [Phase.GONE] * 3

    @pytest.mark.parametrize(
        ("later_ms", "killed"), [(SAME_MS - 1, [WORKER, DISPATCHER]), (SAME_MS, [DISPATCHER, WORKER])]
    )
    def test_a_second_signal(self, machine: Machine, later_ms: int, killed: list[int]) -> None:
        """It ends all at once, unless it comes with the first."""
        machine.obedient = False

        def again() -> int:
            machine.now_ms = machine.told_at_ms + later_ms
            return signal.SIGINT

        machine.run(machine.get_ready, machine.stop, again)
        assert machine.killed() == killed
        assert (machine.now_ms == machine.told_at_ms + later_ms) is (later_ms == SAME_MS)

    def test_told_once_more_as_it_ended(self, machine: Machine) -> None:
        """That is no death either; before anybody was told, it is one."""
        machine.run(
            machine.get_ready,
            lambda: machine.end(WORKER, signal.SIGTERM),
            machine.stop,
            lambda: machine.end(DISPATCHER, signal.SIGTERM),
        )
        assert machine.row.get(SupervisorCount.DEATHS) == 1

    def test_whoever_ends_is_not_waited_for(self, machine: Machine) -> None:
        """Nor is it a death."""
        machine.run(machine.get_ready, machine.stop)
        assert machine.now_ms <= machine.told_at_ms + 2 * LOOK_MS
        assert machine.row.get(SupervisorCount.DEATHS) == 0


class TestStopWithin:
    """stop_within_ms."""

    def test_there_is_time_for_all(self) -> None:
        """For requests under way, and for the last flush: without it, summaries wait for the dispatcher to return."""
        within_ms = stop_within_ms(load({"LEAVE_S": "1", "DRAIN_S": "4"}))
        assert within_ms["worker"] > (1 + STOP_WITHIN_S) * 1000
        assert within_ms["dispatcher"] > (4 + 3 * CALL_TIMEOUT_S) * 1000
        assert list(within_ms) == ["worker", "dispatcher"]

    def test_docker_waits_longer(self) -> None:
        """As docker-compose.yml has it, with the defaults."""
        compose = (Path(__file__).parents[2] / "docker-compose.yml").read_text(encoding="utf-8")
        grace = re.search(r"^x-app:.*?stop_grace_period: (\d+)s", compose, re.DOTALL | re.MULTILINE)
        assert grace is not None
        assert int(grace[1]) * 1000 > sum(stop_within_ms(load({})).values())

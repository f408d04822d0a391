"""The supervisor with real children that do what the test wants: fills roles, replaces, kills, stops in order."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from server import child, supervisor
from server.config import load
from server.supervisor import Supervisor
from shm import Counters, Phase, Segment, SupervisorCount
from tests.server.family import Event, is_alive, lingering, patient, running, silent, stubborn, with_orphan
from tests.shm.segments import refuse

pytestmark = pytest.mark.slow


class TestRoles:
    """Every role is played, whoever dies."""

    def test_filled(self, tmp_path: Path) -> None:
        """One process per role."""
        with running(tmp_path) as family:
            family.wait_ready()
            assert len(set(family.pids())) == 3
            family.wait_for(lambda: family.count(SupervisorCount.FORKS) == 3, "not counted")
            assert family.segment.supervisor_counters().phase is Phase.READY
            assert family.segment.supervisor_counters().pid == family.pid

    @pytest.mark.parametrize("place", [0, 2])
    def test_replaced(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int) -> None:
        """A killed child has a successor within a moment; the others don't notice."""
        monkeypatch.setattr(supervisor, "LOOK_MS", 8000)
        with running(tmp_path) as family:
            family.wait_ready()
            before = family.pids()
            os.kill(before[place], signal.SIGKILL)
            took_s = family.wait_for(lambda: family.pids()[place] != before[place], "not replaced")
            assert took_s < supervisor.LOOK_MS / 2000  # at once, not at the next look
            family.wait_ready()
            assert [one for one, (old, new) in enumerate(zip(before, family.pids(), strict=True)) if old != new] == [
                place
            ]
            assert family.count(SupervisorCount.DEATHS) == 1

    def test_a_signal_without_a_name(self, tmp_path: Path) -> None:
        """A death of that kind is like any other."""
        with running(tmp_path) as family:
            family.wait_ready()
            before = family.pids()[0]
            os.kill(before, signal.SIGRTMIN + 5)
            family.wait_for(lambda: family.pids()[0] != before, "not replaced")
            family.wait_ready()

    def test_short_lives(self, tmp_path: Path) -> None:
        """Children that die at once are tried again with growing pauses, not without end at once."""
        with running(tmp_path, worker_life=lambda _: 1) as family:
            family.wait_for(
                lambda: family.pids()[0] != 0 and family.count(SupervisorCount.FORKS) > 4, "not tried again"
            )
            time.sleep(1.0)
            forks = family.count(SupervisorCount.FORKS) - 1
            assert 2 * 2 <= forks <= 2 * 7  # at 0, 0, 0.1, 0.3, 0.7, 1.5, 3.1 s, or later on a busy machine
            assert is_alive(family.pids()[0])

    def test_leaving_unasked(self, tmp_path: Path) -> None:
        """A child that ends well without being told is replaced as well."""
        with running(tmp_path, worker_life=lambda _: 0) as family:
            family.wait_for(lambda: family.count(SupervisorCount.FORKS) > 4, "not replaced")
            assert family.count(SupervisorCount.DEATHS) == 0

    def test_stuck(self, tmp_path: Path) -> None:
        """A child without a heartbeat for too long is killed and replaced; a stopped one, too."""
        with running(tmp_path, worker_life=patient, dispatcher_life=silent, STUCK_S="1") as family:
            family.wait_ready()
            silent_pid, worker_pid, _ = family.pids()
            os.kill(worker_pid, signal.SIGSTOP)
            took_s = family.wait_for(
                lambda: family.pids()[0] != silent_pid and family.pids()[1] != worker_pid, "not replaced"
            )
            assert took_s > 0.9
            assert not is_alive(worker_pid)
            assert family.count(SupervisorCount.KILLS_OF_STUCK) >= 2

    def test_a_damaged_row(self, tmp_path: Path) -> None:
        """Whoever beats in it lives on, and so does the supervisor; who is silent in it is killed as ever."""
        with running(tmp_path, dispatcher_life=silent, STUCK_S="2", DRAIN_S="0.2") as family:
            family.wait_ready()
            before = family.pids()
            for row in family.rows():
                row.phase = cast("Phase", 99)
            family.wait_for(lambda: family.pids()[0] != before[0], "the silent one is not replaced")
            assert family.pids()[1:] == before[1:]
            assert family.rows()[0].phase in {Phase.STARTING, Phase.READY}  # mended with the successor
            assert family.count(SupervisorCount.KILLS_OF_STUCK) >= 1
            family.tell()
            assert family.wait_end() == 0
            assert [row.phase for row in family.rows()] == [Phase.GONE] * 3

    def test_slow_start(self, tmp_path: Path) -> None:
        """A child that is still starting is given longer: recovery of a full table is silent."""

        def slow(counters: Counters) -> int:
            time.sleep(2.0)
            return patient(counters)

        with running(tmp_path, dispatcher_life=slow, STUCK_S="1") as family:
            family.wait_ready()
            assert family.count(SupervisorCount.KILLS_OF_STUCK) == 0

    def test_a_child_stays_in_its_own_stack(self, instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever fails there, even what should catch it: below are the supervisor's loop and sockets."""
        config = load({"INSTANCE": instance, "LANE_SLOTS": "8", "WAITING_SLOTS": "8", "JOURNAL_RECORDS": "16"})
        one, mine = Supervisor(config, Segment.create(instance, config.geometry), []), os.getpid()
        monkeypatch.setattr(child, "run", refuse(MemoryError()))
        try:
            one._fill_roles()  # noqa: SLF001  what `run` does in a loop
        finally:
            if os.getpid() != mine:
                os._exit(0)
        statuses = [os.waitpid(born.pid, 0)[1] for born in one._children.alive().values()]  # noqa: SLF001  its memory of them
        assert [os.waitstatus_to_exitcode(status) for status in statuses] == [child.EXIT_CRASH] * 2

    def test_a_pause_of_all(self, tmp_path: Path) -> None:
        """Who could not beat because nobody ran is not killed for it."""
        with running(tmp_path, STUCK_S="1") as family:
            family.wait_ready()
            everybody = [family.pid, *family.pids()]
            for _ in range(3):
                for pid in everybody:
                    os.kill(pid, signal.SIGSTOP)
                time.sleep(1.5)
                for pid in everybody:
                    os.kill(pid, signal.SIGCONT)
                time.sleep(0.7)
            assert family.count(SupervisorCount.KILLS_OF_STUCK) == 0

    def test_orphans(self, tmp_path: Path) -> None:
        """As the first process of a container it reaps what is not its own."""
        with running(tmp_path, worker_life=with_orphan) as family:
            family.wait_ready()

            def children() -> list[str]:
                return Path(f"/proc/{family.pid}/task/{family.pid}/children").read_text().split()

            family.wait_for(lambda: len(children()) == 3, "zombies are left")
            assert sorted(map(int, children())) == sorted(family.pids())

    def test_own_death(self, tmp_path: Path) -> None:
        """When the supervisor is killed, so is everyone: nobody would replace or stop them any more."""
        with running(tmp_path, stubborn, stubborn) as family:
            family.wait_ready()
            family.tell(signal.SIGKILL)
            family.wait_end()
            family.wait_for(lambda: not any(is_alive(pid) for pid in family.pids()), "a child outlived it")


@pytest.fixture
def _sighup_is_heeded() -> Iterator[None]:
    """Whoever runs these tests may have had it ignored, with nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


class TestStop:
    """An orderly stop, and the other."""

    def test_a_hang_up_under_nohup(self, tmp_path: Path) -> None:
        """Who has it ignored before the start has it ignored."""
        usual = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            with running(tmp_path) as family:
                family.wait_ready()
                family.tell(signal.SIGHUP)
                beat_us = family.segment.supervisor_counters().heartbeat_us
                row = family.segment.supervisor_counters()
                family.wait_for(lambda: row.heartbeat_us != beat_us, "it has no heartbeat")
                assert row.phase is Phase.READY
                family.tell()
                assert family.wait_end() == 0
        finally:
            signal.signal(signal.SIGHUP, usual)

    @pytest.mark.usefixtures("_sighup_is_heeded")
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    def test_order(self, tmp_path: Path, number: int) -> None:
        """First the web workers end, then the dispatchers: what was accepted can still be paid."""
        with running(tmp_path) as family:
            family.wait_ready()
            family.tell(number)
            assert family.wait_end() == 0
            ends = [event for event in family.diary() if event.what == "ends"]
            assert ends == [Event("worker", "ends"), Event("worker", "ends"), Event("dispatcher", "ends")]
            assert family.segment.supervisor_counters().phase is Phase.GONE
            assert [row.phase for row in family.rows()] == [Phase.GONE] * 3
            assert family.count(SupervisorCount.DEATHS) == 0

    def test_says_that_it_is_leaving(self, tmp_path: Path) -> None:
        """While it stops, its row says so: siblings then count its ids."""
        with running(tmp_path, worker_life=stubborn, LEAVE_S="4") as family:
            family.wait_ready()
            family.tell()
            row = family.segment.supervisor_counters()
            family.wait_for(lambda: row.phase is Phase.LEAVING, "it does not say so", 3)
            beat_us = row.heartbeat_us
            family.wait_for(lambda: row.heartbeat_us != beat_us, "it has no heartbeat")

    def test_second_signal(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A second signal ends everything at once; one right after the first is the same wish."""
        monkeypatch.setattr(supervisor, "SAME_MS", 2000)
        with running(tmp_path, stubborn, stubborn, LEAVE_S="30") as family:
            family.wait_ready()
            family.tell()
            row = family.segment.supervisor_counters()
            family.wait_for(lambda: row.phase is Phase.LEAVING, "it does not stop")
            family.tell()
            time.sleep(2.1)
            assert is_alive(family.pid)
            family.tell()
            assert family.wait_end(5) == 0

    def test_in_time(self, tmp_path: Path) -> None:
        """Who does not end in the time given is killed, and the dispatchers have their own time all the same."""
        with running(tmp_path, stubborn, patient, LEAVE_S="0.2") as family:
            family.wait_ready()
            family.tell()
            begun_s = time.monotonic()
            assert family.wait_end() == 0
            assert Event("dispatcher", "ends") in family.diary()
            assert [row.phase for row in family.rows()] == [Phase.GONE] * 3
            assert family.count(SupervisorCount.DEATHS) == 2
            assert time.monotonic() - begun_s > 0.6  # LEAVE_S and LOOK_MS

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_a_dispatcher_ends_before_the_workers(self, tmp_path: Path, number: int) -> None:
        """It is replaced, so that what the workers still accept is paid; systemd tells the whole group at once."""
        with running(tmp_path, worker_life=lingering) as family:
            family.wait_ready()
            family.tell()
            row = family.segment.supervisor_counters()
            family.wait_for(lambda: row.phase is Phase.LEAVING, "it does not stop")
            os.kill(family.pids()[0], number)
            assert family.wait_end() == 0
            diary = family.diary()
            assert diary.count(Event("dispatcher", "begins")) == 2
            assert diary[-3:] == [Event("worker", "ends"), Event("worker", "ends"), Event("dispatcher", "ends")]

    def test_a_worker_dies_while_stopping(self, tmp_path: Path) -> None:
        """A web worker is not replaced any more, nor is a dispatcher that is told and has to be killed."""
        with running(tmp_path, lingering, stubborn, DRAIN_S="0.2") as family:
            family.wait_ready()
            family.tell()
            row = family.segment.supervisor_counters()
            family.wait_for(lambda: row.phase is Phase.LEAVING, "it does not stop")
            os.kill(family.pids()[1], signal.SIGKILL)
            assert family.wait_end() == 0
            assert family.count(SupervisorCount.FORKS) == 3

    def test_before_anybody_is_ready(self, tmp_path: Path) -> None:
        """A signal right after the start stops the start."""

        def slow(counters: Counters) -> int:
            time.sleep(0.2)
            return patient(counters)

        with running(tmp_path, slow, slow) as family:
            family.wait_for(lambda: family.count(SupervisorCount.FORKS) > 0, "nobody was forked")
            family.tell()
            assert family.wait_end() == 0
            assert family.count(SupervisorCount.DEATHS) == 0, "who was told is no death: it hears so once it listens"

"""Tests of tools/launcher/fleet.py, with real processes that do as little as they can."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.launcher.trial import wait_until
from tools.launcher import fleet as tested
from tools.launcher.errors import LaunchError, Stop
from tools.launcher.fleet import Fleet
from tools.launcher.plan import Service

pytestmark = pytest.mark.slow

LISTENING = """
import os, socket, sys, time
path = sys.argv[1]
if os.path.exists(path): os.unlink(path)
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen()
print("hello", flush=True)
"""
WAITING = LISTENING + "time.sleep(60)"
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WAITING
SHORT_LIVED = LISTENING + "time.sleep(0.1)\nsys.exit(7)"
FAILING = "import sys; print('no room'); sys.exit(3)"
SILENT = "import time; time.sleep(60)"


class Trial:
    """A fleet whose words are kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.stop_after = 10_000
        self.fleet = Fleet([], folder, self.pause, self.said.append)

    def service(self, name: str, code: str, *, is_gateway: bool = False, stop_rank: int = 2) -> Service:
        """A service that runs a few lines of Python."""
        path = self.folder / f"{name}.sock"
        command = (sys.executable, "-S", "-c", code, str(path))
        log = self.folder / f"{name}.log"
        return Service(name, command, {}, path, log, "", is_gateway, stop_rank, signal.SIGTERM, stop_within_s=0.5)

    def of(self, *services: Service) -> Fleet:
        """The fleet of these."""
        self.fleet = Fleet(services, self.folder, self.pause, self.said.append)
        return self.fleet

    def pause(self, seconds: float) -> None:
        """Waits, until it is the time to stop."""
        self.stop_after -= 1
        if self.stop_after < 0:
            raise Stop
        time.sleep(seconds)


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Trial]:
    """Nothing of it outlives the test."""
    trial = Trial(tmp_path)
    yield trial
    trial.fleet.kill()


def pid_of(path: Path) -> int:
    """The process that listens on a unix socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        return int.from_bytes(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], sys.byteorder)


class TestStart:
    """Fleet.start."""

    def test_one_after_the_other(self, trial: Trial) -> None:
        """Each takes connections when it is told of; a gateway's words are told, another's are not."""
        first, second = trial.service("one", WAITING), trial.service("two", WAITING, is_gateway=True)
        for service in trial.of(first, second).start():
            assert isinstance(service.listens, Path)
            pid_of(service.listens)
            assert (trial.folder / "two.sock").exists() == (service is second)
        assert trial.said == ["two: hello"]

    def test_one_that_ends(self, trial: Trial) -> None:
        """Its status and its last words are the reason."""
        with pytest.raises(LaunchError, match="one ended with status 3 while it was started:\n  no room"):
            list(trial.of(trial.service("one", FAILING)).start())

    def test_one_that_never_listens(self, trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
        """Is not waited for for ever."""
        monkeypatch.setattr(tested, "UP_WITHIN_S", 0.2)
        with pytest.raises(LaunchError, match="one was not up within 0 s$"):
            list(trial.of(trial.service("one", SILENT)).start())

    def test_a_stop_while_waiting(self, trial: Trial) -> None:
        """What was begun is known, and ends."""
        trial.stop_after = 2
        fleet = trial.of(trial.service("one", SILENT))
        with pytest.raises(Stop):
            list(fleet.start())
        trial.stop_after = 100
        fleet.stop()
        assert trial.said == ["stopping one"]


class TestLookAfter:
    """Fleet.look_after."""

    def test_what_is_logged_is_told(self, trial: Trial) -> None:
        """With the name of who said it."""
        service = trial.service("one", WAITING)
        fleet = trial.of(service)
        list(fleet.start())
        fleet.look_after()
        time.sleep(tested.BEGINNING_S)
        with service.log.open("a") as log:
            log.write("trouble\n")
        fleet.look_after()
        assert trial.said == ["one: trouble"]

    def test_how_it_began_matters_if_it_ended_so(self, trial: Trial) -> None:
        """Then its first words are its last."""
        fleet = trial.of(trial.service("one", WAITING))
        list(fleet.start())
        fleet.look_after()
        assert trial.said == []
        os.kill(pid_of(trial.folder / "one.sock"), signal.SIGKILL)

        def is_told() -> bool:
            fleet.look_after()
            return "one ended with status -9; started again" in trial.said

        wait_until(is_told, "it is started again")
        assert trial.said == ["one: hello", "one ended with status -9; started again"]

    def test_what_dies_comes_back(self, trial: Trial) -> None:
        """On the same socket, once it has been away for a moment."""
        service = trial.service("one", WAITING)
        fleet = trial.of(service)
        list(fleet.start())
        os.kill(pid_of(trial.folder / "one.sock"), signal.SIGKILL)

        def is_told() -> bool:
            fleet.look_after()
            return "one ended with status -9; started again" in trial.said

        wait_until(is_told, "it is started again")
        wait_until(lambda: tested._takes_connections(trial.folder / "one.sock"), "it listens again")  # noqa: SLF001

    def test_what_cannot_live_ends_the_run(self, trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
        """After some tries."""
        monkeypatch.setattr(tested, "RESTART_PAUSE_S", 0.0)
        fleet = trial.of(trial.service("one", SHORT_LIVED))
        list(fleet.start())

        def look_on() -> None:
            deadline_s = time.monotonic() + 30
            while time.monotonic() < deadline_s:
                fleet.look_after()
                time.sleep(0.02)

        with pytest.raises(LaunchError, match="one ended 5 times right after its start, last with status 7"):
            look_on()
        assert trial.said.count("one ended with status 7; started again") == 4


class TestStop:
    """Fleet.stop and Fleet.kill."""

    def test_by_rank(self, trial: Trial) -> None:
        """Those of one rank together; the dead are passed over, a gateway's last words told."""
        services = [
            trial.service("one", WAITING),
            trial.service("two", WAITING, is_gateway=True, stop_rank=0),
            trial.service("three", WAITING, stop_rank=0),
            trial.service("four", WAITING, stop_rank=1),
        ]
        fleet = trial.of(*services)
        list(fleet.start())
        os.kill(pid_of(trial.folder / "four.sock"), signal.SIGKILL)
        time.sleep(0.05)
        with services[1].log.open("a") as log:
            log.write("bye\n")
        trial.said.clear()
        fleet.stop()
        assert trial.said == ["stopping two, three", "two: bye", "stopping one"]

    def test_the_stubborn_are_killed(self, trial: Trial) -> None:
        """When their time is over."""
        fleet = trial.of(trial.service("one", STUBBORN))
        list(fleet.start())
        fleet.stop()
        assert trial.said == ["stopping one", "one did not stop within 0 s: killed"]
        assert not tested._takes_connections(trial.folder / "one.sock")  # noqa: SLF001

    def test_a_second_stop_hands_over_to_kill(self, trial: Trial) -> None:
        """Which ends everything at once."""
        fleet = trial.of(trial.service("one", STUBBORN))
        list(fleet.start())
        trial.stop_after = 1
        with pytest.raises(Stop):
            fleet.stop()
        fleet.kill()
        assert not tested._takes_connections(trial.folder / "one.sock")  # noqa: SLF001


class TestEndWithParent:
    """end_with_parent."""

    def test_a_child_does_not_outlive_a_killed_parent(self, tmp_path: Path) -> None:
        """It is told to stop, whatever became of the parent."""
        code = (
            "import os, subprocess, sys, time\n"
            "from functools import partial\n"
            "from tools.launcher.fleet import end_with_parent\n"
            "child = subprocess.Popen(['sleep', '60'], preexec_fn=partial(end_with_parent, os.getpid()))\n"
            "print(child.pid, flush=True)\n"
            "time.sleep(60)\n"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
            assert parent.stdout is not None
            child = int(parent.stdout.readline())
            parent.kill()
        wait_until(lambda: not Path(f"/proc/{child}").exists() or _is_dead(child), "the child has ended")

    def test_a_child_born_too_late_ends_at_once(self) -> None:
        """Its parent died before the kernel knew of them."""
        code = "from tools.launcher.fleet import end_with_parent; end_with_parent(1 << 30); print('alive')"
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stdout) == (1, "")


def _is_dead(pid: int) -> bool:
    """Whether a process only waits to be reaped: in a container the first process may not reap strangers."""
    try:
        return b") Z " in Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return True

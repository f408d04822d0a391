"""`tools/run` as a person uses it: from the first line to nothing left behind."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shm import is_role_free, lock_path
from tests.ports import free_ports
from tests.shm.segments import remove
from tests.tools.launcher.trial import (
    DEADLINE_S,
    PROGRAM,
    ROOT,
    SEGMENTS,
    Trial,
    segments_present,
    wait_until,
)
from tools.launcher.docker import PROJECT

pytestmark = pytest.mark.slow

DOCKER_PORTS = [9999, 9990, 8001, 8002]
BUILT_WITHIN_S = 600.0  # the images, from nothing
FULL = ("app1", "app2", "default", "fallback", "haproxy", "redis-server")


@pytest.fixture
def alone() -> Iterator[None]:
    """The instances' names are fixed, so nobody else may use them, and what somebody else has left is not ours."""
    if segments_present():
        pytest.skip(f"another run's segments are there: {segments_present()}")
    yield
    for instance in SEGMENTS:  # of a test that has failed
        if lock_path(instance, "supervisor").exists() and is_role_free(instance, "supervisor"):
            remove(instance)


def settled(line: str) -> int:
    """How many a line says are settled: what was on its way to one of the two as a run ended is asked for there."""
    return sum(map(int, re.findall(r"(?:default|fallback) (\d+)", line)))


class TestCommandLine:
    """What is wrong is a sentence."""

    def test_a_fresh_clone_can_explain_itself(self, tmp_path: Path) -> None:
        """--help needs no package, makes nothing, and works with any Python."""
        shutil.copytree(ROOT / "tools", tmp_path / "tools", ignore=shutil.ignore_patterns("__pycache__"))
        command = [sys.executable, "-S", "-B", str(tmp_path / "tools" / "run"), "--help"]  # -S: without any packages
        shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=DEADLINE_S)
        assert "Ctrl-C (or SIGTERM) stops everything in order" in shown.stdout
        assert [path.name for path in tmp_path.iterdir()] == ["tools"]

    def test_a_wrong_option(self) -> None:
        """Exit status 2 and the option named."""
        shown = subprocess.run([PROGRAM, "--port", "0"], capture_output=True, text=True, check=False)
        assert (shown.returncode, shown.stdout) == (2, "")
        assert "'0' is not a port from 1 to 65535" in shown.stderr

    def test_a_port_in_use(self) -> None:
        """The port and what it is for are named, and nothing is started."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with Trial(ports=[*free_ports(3), port]) as trial:
                assert trial.end(None) == 1
        remedy = "stop what uses it, or choose another (see --help)"
        assert trial.lines == [f"tools/run: port {port} (for processor fallback) is in use: {remedy}"]


@pytest.mark.usefixtures("alone")
class TestRun:
    """A run from its first line to its last."""

    def test_the_printed_lines_work(self) -> None:
        """Everything is up when it says so: both commands to try do what they are for, as they are printed."""
        with Trial() as trial:
            post = trial.wait_for("curl -i")
            summary = trial.wait_for("curl")
            trial.ready()
            answer = subprocess.run(["sh", "-c", f"{post} -sS"], capture_output=True, text=True, check=True)
            assert answer.stdout.startswith("HTTP/1.1 202")
            trial.wait_for("accepted 1  settled: default 1, fallback 0  waiting 0")
            answer = subprocess.run(["sh", "-c", f"{summary} -sS"], capture_output=True, text=True, check=True)
            assert '"default":{"totalRequests":1,"totalAmount":19.90}' in answer.stdout
            assert trial.end() == 0
            assert trial.left() == []
        assert trial.lines[-1] == "stopped"
        assert [line for line in trial.lines if "killed" in line or "WARNING" in line] == []

    def test_single_needs_neither_haproxy_nor_redis(self) -> None:
        """One instance answers on the port itself; SIGTERM is a stop as well."""
        with Trial("--single") as trial:
            trial.ready()
            assert sorted(trial.services()) == ["default", "fallback", "local"]
            assert trial.post() == 202
            trial.wait_for("accepted 1  settled: default 1")
            assert trial.end(signal.SIGTERM) == 0
            assert trial.left() == []

    def test_it_can_stop_by_itself(self) -> None:
        """After the seconds given, for scripts."""
        with Trial("--single", "--seconds", "0.5") as trial:
            assert trial.ready().end(None) == 0
            assert trial.left() == []

    def test_what_dies_comes_back(self) -> None:
        """Whichever service is killed, it is started again, and payments are taken and counted as before."""
        with Trial() as trial:
            trial.ready()
            assert tuple(sorted(trial.services())) == FULL
            assert trial.post() == 202
            wait_until(lambda: trial.has_settled(1), "the first payment settled")
            for service in ("redis-server", "app1", "app2", "haproxy"):
                os.kill(trial.services()[service], signal.SIGKILL)
                trial.wait_for("ended with status -9; started again")
            wait_until(lambda: tuple(sorted(trial.services())) == FULL, "everything runs again")
            wait_until(lambda: self._answers(trial), "the totals are whole again")
            assert trial.post() == 202
            wait_until(lambda: trial.has_settled(2), "the second payment settled")
            assert trial.end() == 0
            assert trial.left() == []

    @staticmethod
    def _answers(trial: Trial) -> bool:
        try:
            return trial.has_settled(1)
        except OSError:
            return False

    def test_what_cannot_live_ends_the_run(self) -> None:
        """A setting that is wrong for the instances is named, and everything else is stopped."""
        os.environ["AMOUNT_MAX"] = "much"
        try:
            with Trial("--single") as trial:
                assert trial.end(None) == 1
                assert trial.left() == []
        finally:
            del os.environ["AMOUNT_MAX"]
        assert "instance local ended with status 2 while it was started" in "\n".join(trial.lines)
        assert "AMOUNT_MAX must be an amount from 0.01" in "\n".join(trial.lines)

    def test_nobody_reads_any_more(self) -> None:
        """Piped into a program that reads a line and goes, it stops and leaves nothing."""
        ports = free_ports(3)
        command = f"{PROGRAM} --single --port {ports[0]} --processor-ports {ports[1]} {ports[2]} | head -n 1"
        shown = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, timeout=DEADLINE_S)
        assert (shown.stdout.count("\n"), shown.stderr) == (1, "")
        assert segments_present() == []


@pytest.mark.usefixtures("alone")
class TestStopping:
    """Ctrl-C at any moment, and worse."""

    @pytest.mark.parametrize("after_s", [0.0, 0.1, 0.4, 0.7, 1.0, 1.5, 2.5])
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_while_it_starts(self, after_s: float, number: signal.Signals) -> None:
        """Whatever was started by then is gone, without a traceback."""
        with Trial() as trial:
            time.sleep(after_s)
            status = trial.end(number)
            wait_until(lambda: not trial.pids(), "no process is left", within_s=0.5)
            assert trial.left() == []
        said = "\n".join(trial.lines)
        assert status in {0, 130, -number}
        assert "Traceback" not in said

    def test_unsettled_payments_wait_for_the_next_run(self) -> None:
        """Both processors fail: the segments stay and are named, and the next run settles what is in them."""
        with Trial() as trial:
            trial.ready()
            trial.fail_processors()
            assert [trial.post() for _ in range(6)] == [202] * 6
            trial.wait_for("accepted 6  settled: default 0, fallback 0  waiting 6")
            assert trial.end() == 0
            named = [line for line in trial.lines if "accepted payments that are not settled" in line]
            assert named
            assert trial.pids() == []
        with Trial() as trial:
            told = [trial.wait_for("taking up segment") for _ in named]
            assert settled(trial.ready().wait_for("waiting 0")) == 6
            assert trial.end() == 0
            assert trial.left() == []
        assert sum(int(line.split()[-1]) for line in told) == 6

    def test_a_second_ctrl_c_stops_at_once(self) -> None:
        """Without waiting for payments that can't be settled now; they stay all the same."""
        with Trial("--single") as trial:
            trial.ready()
            trial.fail_processors()
            assert trial.post() == 202
            trial.wait_for("waiting 1")
            trial.process.send_signal(signal.SIGINT)
            trial.wait_for("stopping instance local")
            time.sleep(1)
            begun_s = time.monotonic()
            assert trial.end() == 0
            assert time.monotonic() - begun_s < 4  # DRAIN_S is five
            assert trial.pids() == []
        assert "stopping at once" in trial.lines
        with Trial("--single") as trial:
            trial.ready().wait_for("settled: default 1")
            assert trial.end() == 0
            assert trial.left() == []

    def test_a_killed_run_leaves_no_process(self) -> None:
        """`kill -9` of the launcher: the others end by themselves, in order, and the next run can begin."""
        with Trial() as trial:
            trial.ready()
            assert trial.post() == 202
            trial.end(signal.SIGKILL)
            wait_until(lambda: not trial.pids(), "the services have ended", within_s=20)
        with Trial(ports=trial.ports) as trial:
            # Ready is who has one instance up; the other may have what the killed run did not get to settle.
            trial.ready().wait_for("waiting 0")
            assert trial.end() == 0
            assert trial.left() == []


@pytest.mark.usefixtures("alone")
class TestTwoRuns:
    """The second run of a machine leaves the first alone."""

    def test_the_second_says_what_is_in_the_way(self) -> None:
        """Whatever ports it has: the run. The first one and its segment do not notice."""
        with Trial("--single") as first:
            first.ready()
            assert first.post() == 202
            for ports in (first.ports, None):
                with Trial("--single", ports=ports) as second:
                    assert second.end(None) == 1
                assert "an instance named local is running already on this machine" in second.lines[-1]
            assert "gateway-local" in segments_present()
            wait_until(lambda: first.has_settled(1), "the first run goes on")
            assert first.end() == 0
            assert first.left() == []


@pytest.mark.containers
class TestDocker:
    """`--docker`, on a machine whose ports for it are free."""

    @pytest.fixture(autouse=True)
    def _ports_are_free(self) -> None:
        for port in DOCKER_PORTS:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    pytest.skip(f"port {port} is in use")

    @staticmethod
    def left() -> str:
        """Containers, volumes and networks of the run."""
        wanted = f"label=com.docker.compose.project={PROJECT}"
        kinds = (["ps", "--all"], ["volume", "ls"], ["network", "ls"])
        commands = (["docker", *kind, "--quiet", "--filter", wanted] for kind in kinds)
        return "".join(subprocess.run(words, capture_output=True, text=True, check=True).stdout for words in commands)

    def test_unsettled_payments_wait_for_the_next_run(self) -> None:
        """The same as without Docker, with a volume for the segments; nothing else is left, in the end nothing."""
        with Trial("--docker", ports=DOCKER_PORTS) as trial:
            trial.ready(within_s=BUILT_WITHIN_S)
            trial.fail_processors()
            assert [trial.post() for _ in range(6)] == [202] * 6
            trial.wait_for("accepted 6  settled: default 0, fallback 0  waiting 6")
            assert trial.end() == 0
            assert trial.pids() == []
        assert [line for line in trial.lines if f"stays in the volume {PROJECT}_shm" in line]
        with Trial("--docker", ports=DOCKER_PORTS) as trial:
            assert settled(trial.ready().wait_for("waiting 0")) == 6
            assert trial.end() == 0
            assert trial.pids() == []
        assert self.left() == ""

    def test_while_it_starts(self) -> None:
        """Ctrl-C interrupts Docker, and what was made by then is removed."""
        with Trial("--docker", ports=DOCKER_PORTS) as trial:
            trial.wait_for("building and starting Redis", within_s=BUILT_WITHIN_S)
            assert trial.end() == 0
            assert trial.pids() == []
        assert self.left() == ""

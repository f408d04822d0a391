"""Tests of tools/launcher/machine.py."""

import socket
import sys
import time
from pathlib import Path

import pytest

from shm import FileLock, Geometry, Segment, lock_path, take_role
from tests.tools.ring_view.segments import Filled, unique_instance
from tests.tools.test_debian import FakeMachine
from tools.debian import SetupError
from tools.environment import ROOT
from tools.launcher.errors import LaunchError
from tools.launcher.leftovers import clear
from tools.launcher.machine import exclusive_run, find_programs, found_segments, require_nobody_runs, require_ports
from tools.launcher.plan import Programs


@pytest.fixture
def fake(tmp_path: Path) -> FakeMachine:
    """A machine with apt, and neither HAProxy nor Redis."""
    return FakeMachine(tmp_path / "policy-rc.d")


class TestRequirePorts:
    """require_ports."""

    def test_free_ports_pass(self) -> None:
        """And stay free."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        require_ports({port: "payments"}, "stop it")
        require_ports({port: "payments"}, "stop it")

    @pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
    def test_a_port_in_use_is_named(self, host: str) -> None:
        """Whether it is taken on this address or on all."""
        with socket.create_server((host, 0)) as server:
            port = server.getsockname()[1]
            with pytest.raises(LaunchError, match=rf"port {port} \(for payments\) is in use: stop it"):
                require_ports({port: "payments"}, "stop it")

    def test_a_port_of_roots_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """That is another sentence: nobody has to be stopped."""

        class OrdinaryUsers(socket.socket):
            def bind(self, _address: object) -> None:
                raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("tools.launcher.machine.socket.socket", OrdinaryUsers)
        with pytest.raises(LaunchError, match=r"port 80 \(for payments\) can't be used: Permission denied"):
            require_ports({80: "payments"}, "stop it")


class TestFindPrograms:
    """find_programs."""

    def test_a_single_instance_needs_none(self, fake: FakeMachine) -> None:
        """Beside Python."""
        assert find_programs(single=True, machine=fake.machine()) == Programs(Path(sys.executable), None, None, ROOT)

    def test_what_is_there_is_used(self, fake: FakeMachine) -> None:
        """Without a word to apt, as any user."""
        fake.programs |= {"haproxy", "redis-server"}
        programs = find_programs(single=False, machine=fake.machine(is_root=False))
        assert (programs.haproxy, programs.redis) == (Path("/usr/sbin/haproxy"), Path("/usr/sbin/redis-server"))
        assert fake.commands == []

    def test_an_ordinary_user_is_told_everything_at_once(self, fake: FakeMachine) -> None:
        """What is missing, what root would do, and what works without."""
        with pytest.raises(SetupError) as told:
            find_programs(single=False, machine=fake.machine(is_root=False))
        assert str(told.value) == (
            "`haproxy` and `redis-server` are missing. Run this once as root, or install it yourself: "
            "sudo apt-get install haproxy redis-server\nWithout them: ./tools/run --single"
        )

    def test_root_gets_what_is_missing(self, fake: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
        """And only that."""
        fake.programs.add("haproxy")
        fake.installable.add("redis-server")
        assert find_programs(single=False, machine=fake.machine()).redis == Path("/usr/sbin/redis-server")
        assert "`redis-server` is missing: installing" in capsys.readouterr().err


class TestRequireNobodyRuns:
    """require_nobody_runs."""

    def test_nobody(self, filled: Filled) -> None:
        """A segment that was left is no instance, and looking leaves nothing."""
        require_nobody_runs([filled.instance, unique_instance()])
        assert not lock_path(filled.instance, "supervisor").exists()

    def test_a_dead_instance(self, filled: Filled) -> None:
        """Its lock file is there, its lock is free."""
        take_role(filled.instance, "supervisor").release()
        require_nobody_runs([filled.instance])

    def test_a_living_instance(self, filled: Filled) -> None:
        """Is named."""
        with (
            take_role(filled.instance, "supervisor"),
            pytest.raises(LaunchError, match=f"an instance named {filled.instance} is running already"),
        ):
            require_nobody_runs([filled.instance])

    def test_another_users(self, filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
        """The file is named."""
        path = lock_path(filled.instance, "supervisor")
        path.touch()

        def refuse(*_: object, **__: object) -> FileLock:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr("tools.launcher.machine.take_role", refuse)
        with pytest.raises(LaunchError, match=f"{path} can't be opened"):
            require_nobody_runs([filled.instance])


class TestOnlyRun:
    """exclusive_run."""

    @pytest.mark.slow
    def test_one_at_a_time(self) -> None:
        """A second one is told whose turn it is, also while the first clears up; nothing of the lock is left."""
        instance = unique_instance()
        with exclusive_run([instance, "other"]):
            Segment.create(instance, Geometry(1, 1, 4, 4, 4))
            take_role(instance, "supervisor").release()
            for _ in range(2):
                with pytest.raises(LaunchError, match=f"another tools/run has {instance} and other"):
                    exclusive_run([instance, "other"]).__enter__()
                assert clear([instance], time.sleep) == []
        assert not lock_path(f"run-{instance}", "run").exists()

    def test_another_users(self, filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
        """The file is named."""

        def refuse(*_: object, **__: object) -> FileLock:
            raise PermissionError(13, "Permission denied", "/dev/shm/lock")

        monkeypatch.setattr("tools.launcher.machine.take_role", refuse)
        with pytest.raises(LaunchError, match="/dev/shm/lock can't be opened"):
            exclusive_run([filled.instance]).__enter__()


class TestTakenUp:
    """found_segments."""

    def test_unsettled_payments_are_told(self, filled: Filled) -> None:
        """With their number."""
        filled.wait(1)
        filled.publish(2)
        told = found_segments([filled.instance, unique_instance()])
        assert told == [f"taking up segment /gateway-{filled.instance} of an earlier run: payments to settle: 2"]

    def test_settled_payments_are_told(self, filled: Filled) -> None:
        """Summaries count them, and simulated processors begin empty."""
        filled.settle(1, 0)
        filled.settle(2, 1)
        (told,) = found_segments([filled.instance])
        assert told.endswith("payments to settle: 0; settled, and unknown to the processors: 2")

    def test_an_empty_segment_is_not(self, filled: Filled) -> None:
        """Nothing in it makes a difference."""
        assert found_segments([filled.instance]) == []

"""Tests of tools/benchmark/containers.py."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tools.benchmark import containers
from tools.benchmark.containers import ComposeProject, Container, address_of, beside_port, limits_of, parse
from tools.benchmark.errors import DockerError


def inspected(name: str, project: str | None, port: int | None = None, pid: int = 7) -> dict[str, Any]:
    """What `docker inspect` prints of a container, as far as it matters."""
    labels = None if project is None else {"com.docker.compose.project": project, "com.docker.compose.service": name}
    ports = {"9999/tcp": None if port is None else [{"HostIp": "0.0.0.0", "HostPort": str(port)}]}
    networks = {"hidden": {"IPAddress": ""}} if port is None else {"edge": {"IPAddress": "172.26.0.2"}}
    return {
        "Id": f"id-{name}",
        "Name": f"/{name}",
        "State": {"Pid": pid},
        "Config": {"Labels": labels},
        "NetworkSettings": {"Ports": ports, "Networks": networks},
    }


RUNNING = parse([inspected("haproxy", "main", 9999), inspected("app1", "main"), inspected("lonely", None, 8001)])


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A docker command of ours, first on the path: a shell script to be filled in."""
    command = tmp_path / "docker"
    command.touch()
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return command


class TestParse:
    """`docker inspect`."""

    def test_reads_project_service_and_ports(self) -> None:
        """A compose service has its project; another container is called by its name."""
        assert list(RUNNING) == [
            Container("id-lonely", "", "lonely", 7, frozenset({8001}), {8001: ("172.26.0.2", 9999)}),
            Container("id-app1", "main", "app1", 7, frozenset()),
            Container("id-haproxy", "main", "haproxy", 7, frozenset({9999}), {9999: ("172.26.0.2", 9999)}),
        ]

    def test_what_does_not_run_is_left_out(self) -> None:
        """A container without a process has no meters."""
        assert parse([inspected("app1", "main", pid=0)]) == []


class TestBesidePort:
    """Which containers belong to an address."""

    def test_the_whole_project_behind_the_port(self) -> None:
        """The one that publishes the port brings the others of its project along."""
        assert [each.service for each in beside_port(RUNNING, 9999)] == ["app1", "haproxy"]

    def test_a_container_of_no_project_is_alone(self) -> None:
        """Containers started by hand have nothing in common."""
        assert [each.service for each in beside_port(RUNNING, 8001)] == ["lonely"]

    def test_a_port_of_no_container_has_none(self) -> None:
        """A gateway that runs without containers."""
        assert beside_port(RUNNING, 18_000) == []


class TestAddressOf:
    """Past docker's proxy."""

    def test_is_the_containers_own(self) -> None:
        """Its address in its network, and the port that it listens on there."""
        assert address_of(RUNNING, 8001) == ("172.26.0.2", 9999)

    def test_is_not_known_without_a_container(self) -> None:
        """A gateway without containers is where it is."""
        assert address_of(RUNNING, 18_000) is None


class TestRunning:
    """Asking docker."""

    def test_no_docker_is_no_containers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A machine without docker is measured without meters."""
        monkeypatch.setenv("PATH", "/nonexistent")
        assert containers.running() == []

    def test_asks_for_ids_and_inspects_them(self, docker: Path) -> None:
        """The ids of `docker ps` are inspected."""
        docker.write_text(
            '#!/bin/sh\n[ "$1" = ps ] && echo abc && exit\n'
            '[ "$*" = "inspect abc" ] && echo \'[{"Id": "abc", "Name": "/x", "State": {"Pid": 3}, "Config": {}}]\'\n',
            encoding="ascii",
        )
        assert containers.running() == [Container("abc", "", "x", 3, frozenset())]

    def test_one_that_ended_meanwhile_does_not_hide_the_others(self, docker: Path) -> None:
        """`docker inspect` fails then, and prints those it has found."""
        docker.write_text(
            '#!/bin/sh\n[ "$1" = ps ] && echo abc def && exit\n'
            'echo \'[{"Id": "abc", "Name": "/x", "State": {"Pid": 3}, "Config": {}}]\'\n'
            'echo "Error: No such object: def" >&2\nexit 1\n',
            encoding="ascii",
        )
        assert [each.container_id for each in containers.running()] == ["abc"]

    @pytest.mark.parametrize("fails", ["ps", "inspect"])
    def test_a_docker_that_does_not_tell_is_a_sentence(self, docker: Path, fails: str) -> None:
        """It is there and refuses: that is not the same as no containers."""
        docker.write_text(
            f'#!/bin/sh\n[ "$1" = {fails} ] && echo permission denied >&2 && exit 1\necho abc\n', encoding="ascii"
        )
        with pytest.raises(DockerError, match=f"`docker {fails}.* failed: permission denied"):
            containers.running()


class TestLimitsOf:
    """`docker compose config`."""

    def test_reads_cpus_and_memory(self) -> None:
        """As the strings that a compose file takes."""
        limits = {"deploy": {"resources": {"limits": {"cpus": 0.2, "memory": "36700160"}}}}
        assert limits_of({"services": {"haproxy": limits}}, "haproxy") == ("0.2", "36700160")

    def test_no_limits_is_a_sentence(self) -> None:
        """A floor without limits would be none."""
        with pytest.raises(DockerError, match="sets no limits of CPU and memory for haproxy"):
            limits_of({"services": {"haproxy": {}}}, "haproxy")


class TestComposeProject:
    """Starting and stopping."""

    def test_variables_reach_compose(self, docker: Path, tmp_path: Path) -> None:
        """What the file's ${…} need is in the command's environment, and whether volumes stay is a word."""
        docker.write_text(f'#!/bin/sh\necho "$BARE_PORT $*" >>{tmp_path}/said\n', encoding="ascii")
        project = ComposeProject(tmp_path / "some.yml", {"BARE_PORT": "18070"})
        project.start()
        project.stop()
        ComposeProject(tmp_path / "some.yml", {"BARE_PORT": "1"}, keep_volumes=False).stop()
        assert (tmp_path / "said").read_text(encoding="ascii").splitlines() == [
            f"18070 compose --file {tmp_path}/some.yml up --detach --build --quiet-pull",
            f"18070 compose --file {tmp_path}/some.yml down",
            f"1 compose --file {tmp_path}/some.yml down --volumes",
        ]

    def test_is_stopped_in_a_session_of_its_own(self, docker: Path, tmp_path: Path) -> None:
        """Where no Ctrl-C at the keyboard reaches docker."""
        docker.write_text(f"#!/bin/sh\ncut -d' ' -f6 /proc/$$/stat >{tmp_path}/session\n", encoding="ascii")
        ComposeProject(tmp_path / "some.yml").stop()
        assert int((tmp_path / "session").read_text(encoding="ascii")) != os.getsid(0)

    def test_a_stop_has_a_bound(self, docker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As nothing interrupts it."""
        monkeypatch.setattr(containers, "STOP_TIMEOUT_S", 0.05)
        docker.write_text("#!/bin/sh\nexec sleep 20\n", encoding="ascii")
        with pytest.raises(DockerError, match="did not end within"):
            ComposeProject(tmp_path / "some.yml").stop()

    def test_a_failure_carries_the_last_words(self, docker: Path, tmp_path: Path) -> None:
        """What docker complained about is in the message."""
        docker.write_text("#!/bin/sh\necho no such network >&2\nexit 3\n", encoding="ascii")
        with pytest.raises(DockerError, match="failed: no such network"):
            ComposeProject(tmp_path / "some.yml").start()

"""Containers and compose projects, through the `docker` command. `parse` and `limits_of` are pure."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.benchmark.errors import DockerError

ASK_TIMEOUT_S = 20.0
START_TIMEOUT_S = 900.0  # images may have to be built
STOP_TIMEOUT_S = 60.0  # docker kills what has not ended within the file's `stop_grace_period` (by default 10 s)
LAST_WORDS = 400  # characters of docker's complaint worth showing

_PROJECT = "com.docker.compose.project"
_SERVICE = "com.docker.compose.service"


@dataclass(frozen=True, slots=True)
class Container:
    """A running container.

    Attributes:
        service: its compose service, or its name if compose did not start it.
        ports: published on this machine.
        direct: by published port, the container's own (address, port).
    """

    container_id: str
    project: str
    service: str
    pid: int
    ports: frozenset[int]
    direct: dict[int, tuple[str, int]] = field(default_factory=dict)


def parse(inspected: Any) -> list[Container]:
    """Reads what `docker inspect` prints; containers that don't run are left out."""
    containers = []
    for each in inspected:
        labels = each["Config"].get("Labels") or {}
        settings = each.get("NetworkSettings") or {}
        addresses = [net["IPAddress"] for net in (settings.get("Networks") or {}).values() if net["IPAddress"]]
        inner = {
            int(host["HostPort"]): int(name.partition("/")[0])
            for name, hosts in (settings.get("Ports") or {}).items()
            for host in hosts or []
        }
        direct = {port: (addresses[0], its_own) for port, its_own in inner.items()} if addresses else {}
        if each["State"]["Pid"]:
            project, service = labels.get(_PROJECT, ""), labels.get(_SERVICE, each["Name"].lstrip("/"))
            containers.append(Container(each["Id"], project, service, each["State"]["Pid"], frozenset(inner), direct))
    return sorted(containers, key=lambda container: (container.project, container.service))


def beside_port(containers: list[Container], port: int) -> list[Container]:
    """The containers of the compose project that publishes this port, or the single container that does."""
    for container in containers:
        if port in container.ports:
            whole = [each for each in containers if each.project == container.project]
            return whole if container.project else [container]
    return []


def address_of(containers: list[Container], port: int) -> tuple[str, int] | None:
    """The own address of the container that publishes this port; None if there is none, or it can't be known."""
    return next((each.direct[port] for each in containers if port in each.direct), None)


def running() -> list[Container]:
    """All running containers; none if there is no docker here. Raises DockerError if docker does not answer."""
    if shutil.which("docker") is None:
        return []
    ids = _run(["docker", "ps", "--quiet", "--no-trunc"], ASK_TIMEOUT_S).split()
    if not ids:
        return []
    inspected = _end_of(["docker", "inspect", *ids], ASK_TIMEOUT_S)
    try:
        return parse(json.loads(inspected.stdout))  # its status is ignored: a container may have ended since `ps`
    except ValueError as error:
        raise DockerError(f"`docker inspect …` failed: {inspected.stderr.strip()[-LAST_WORDS:]}") from error


def limits_of(config: Any, service: str) -> tuple[str, str]:
    """Reads (cpus, memory) of a service's limits out of `docker compose config`; raises DockerError if it has none."""
    try:
        limits = config["services"][service]["deploy"]["resources"]["limits"]
        return str(limits["cpus"]), str(limits["memory"])
    except (KeyError, TypeError) as error:
        raise DockerError(f"The compose file sets no limits of CPU and memory for {service}.") from error


class ComposeProject:
    """A compose file that the bench may start and stop.

    Args:
        file: the compose file.
        variables: values for the file's ${…}, over those of the environment.
        keep_volumes: whether its volumes stay when it is stopped.
    """

    def __init__(self, file: Path, variables: Mapping[str, str] | None = None, *, keep_volumes: bool = True) -> None:
        self.file = file
        self._keep_volumes = keep_volumes
        self._variables = [f"{name}={value}" for name, value in (variables or {}).items()]

    def start(self) -> None:
        """Builds what is missing and starts all services; raises DockerError."""
        self._compose("up", "--detach", "--build", "--quiet-pull")

    def stop(self) -> None:
        """Stops and removes the containers, and the volumes unless they are to stay; raises DockerError.

        In a session of its own: a Ctrl-C would reach docker too, which would then leave them running.
        """
        words = ["down", *([] if self._keep_volumes else ["--volumes"])]
        _run(self._command(*words), STOP_TIMEOUT_S, own_session=True)

    def limits(self, service: str) -> tuple[str, str]:
        """Returns (cpus, memory) that this file allows a service; raises DockerError."""
        return limits_of(json.loads(self._compose("config", "--format", "json")), service)

    def _compose(self, *words: str) -> str:
        return _run(self._command(*words), START_TIMEOUT_S)

    def _command(self, *words: str) -> list[str]:
        return ["env", *self._variables, "docker", "compose", "--file", str(self.file), *words]


def _run(command: list[str], timeout_s: float, *, own_session: bool = False) -> str:
    """Runs a command and returns what it prints; raises DockerError with the end of its output."""
    done = _end_of(command, timeout_s, own_session=own_session)
    if done.returncode:
        raise DockerError(f"`{_said(command)} …` failed: {done.stderr.strip()[-LAST_WORDS:]}")
    return done.stdout


def _said(command: list[str]) -> str:
    return " ".join(command[:6])


def _end_of(command: list[str], timeout_s: float, *, own_session: bool = False) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, whatever its status; raises DockerError if it is missing or does not end."""
    try:
        return subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=timeout_s, start_new_session=own_session
        )
    except FileNotFoundError as error:
        raise DockerError("The docker command is not there.") from error
    except subprocess.TimeoutExpired as error:
        raise DockerError(f"`{_said(command)} …` did not end within {timeout_s:.0f} s.") from error

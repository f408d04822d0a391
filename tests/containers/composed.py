"""The compose stack under a project name of its own, with two simulated processors of its own, for tests under load.

An override file gives it free ports, its own image name, and the processors; all else is as in docker-compose.yml. Its
volumes are removed with it: nothing of it is left.
"""

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.containers.compose import ROOT
from tests.ports import free_ports

INSTANCES = ("app1", "app2")
NETWORK = "payment-processor"  # the contest's, which docker-compose.yml joins
COMMAND_WITHIN_S = 900.0  # the first build downloads the base images
UP_WITHIN_S = 90.0
LOOK_S = 0.2
SETTLE_LOOK_S = 1.0
OVERRIDE = """\
x-processor: &processor
  image: {project}-processor
  build: {{ context: {root}, dockerfile: tools/processor/Dockerfile }}
  networks: [payment-processor]
services:
  {project}-default: {{ <<: *processor, ports: ["127.0.0.1:{default_port}:8080"] }}
  {project}-fallback: {{ <<: *processor, ports: ["127.0.0.1:{fallback_port}:8080"] }}
  haproxy:
    ports: !override ["127.0.0.1:{port}:9999"]
  app1: &app
    image: {project}-app
  app2: *app
"""


class Composed:
    """A running stack.

    Args:
        folder: for the override file.
        project: its name.

    Attributes:
        port: where payments come in.
        processor_ports: of default and fallback.
        images: those built for it.
    """

    def __init__(self, folder: Path, project: str) -> None:
        self.port, default_port, fallback_port = free_ports(3)
        self.processor_ports = (default_port, fallback_port)
        override = folder / "override.yml"
        override.write_text(
            OVERRIDE.format(
                project=project, root=ROOT, port=self.port, default_port=default_port, fallback_port=fallback_port
            )
        )
        files = ("--file", str(ROOT / "docker-compose.yml"), "--file", str(override))
        self.images = (f"{project}-processor", f"{project}-app")
        self._base = ("docker", "compose", "--project-name", project, "--project-directory", str(ROOT), *files)
        self._environment = os.environ | {
            "PROCESSOR_DEFAULT_URL": f"http://{project}-default:8080",
            "PROCESSOR_FALLBACK_URL": f"http://{project}-fallback:8080",
        }

    def compose(self, *arguments: str) -> str:
        """Runs `docker compose`; what it prints."""
        return run(*self._base, *arguments, environment=self._environment)

    def start(self) -> None:
        """Builds and starts everything, and waits until a payment would be taken."""
        self.compose("up", "--build", "--detach")
        self.wait_for_health()

    def wait_for_health(self) -> None:
        """Waits until HAProxy has a worker that takes payments."""
        deadline_s = time.monotonic() + UP_WITHIN_S
        while True:
            try:
                answer = str(httpx.get(f"http://127.0.0.1:{self.port}/health", timeout=2).status_code)
            except httpx.HTTPError as error:
                answer = repr(error)
            if answer == "204":
                return
            assert time.monotonic() < deadline_s, f"the stack does not take payments: {answer}"
            time.sleep(LOOK_S)

    def container(self, service: str) -> str:
        """The id of a service's container."""
        return self.compose("ps", "--all", "--quiet", service).strip()

    def first_pid(self, service: str) -> int:
        """The first process of a service's container, as the host knows it; 0 while there is none."""
        return int(run("docker", "inspect", "--format", "{{.State.Pid}}", self.container(service)))

    def unsettled(self) -> int:
        """Accepted payments that have not ended, in both instances."""
        looks = [
            self.compose("exec", "--no-TTY", name, "python", "-m", "tools.ring_view", "--json", name)
            for name in INSTANCES
        ]
        return sum(json.loads(look)["unsettled"] for look in looks)

    async def settle(self, within_s: float) -> int:
        """Waits until everything accepted has ended; how many have not when the time is over."""
        deadline_s = time.monotonic() + within_s
        while (left := await asyncio.to_thread(self.unsettled)) and time.monotonic() < deadline_s:
            await asyncio.sleep(SETTLE_LOOK_S)
        return left

    def logs(self) -> str:
        """What all services have logged."""
        return self.compose("logs", "--no-color", "--timestamps")


@contextmanager
def composed(folder: Path) -> Iterator[Composed]:
    """Gives a running stack; if anything fails inside, its logs are in the folder."""
    stack = Composed(folder, f"gateway-chaos-{os.getpid()}")
    made_network = _make_network()
    try:
        stack.start()
        yield stack
    except BaseException:
        (folder / "logs.txt").write_text(stack.logs())
        raise
    finally:
        stack.compose("down", "--volumes", "--timeout", "1", "--rmi", "local")
        if made_network:
            run("docker", "network", "rm", NETWORK)


def _make_network() -> bool:
    """Makes the processors' network unless it is there; whether it was made."""
    known = run("docker", "network", "ls", "--quiet", "--filter", f"name=^{NETWORK}$")
    if not known.strip():
        run("docker", "network", "create", NETWORK)
    return not known.strip()


def run(*command: str, environment: dict[str, str] | None = None) -> str:
    """Runs a command to its end; what it prints."""
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=COMMAND_WITHIN_S, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr[-3000:]}"
    return done.stdout

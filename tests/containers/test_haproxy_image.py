"""haproxy/haproxy.cfg on the image's HAProxy: every fact of tests/haproxy/ holds there too."""

import asyncio
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.compose import compose_config
from tests.haproxy.balancers import CONFIGURATION, Balancer

# The classes are found here, and run with this file's fixture `haproxy`.
from tests.haproxy.conftest import balancer, run_folder, workers
from tests.haproxy.stand_ins import ask, get, post_head
from tests.haproxy.test_haproxy_cfg import TestConfiguration, TestLimits, TestListeners, TestPinning, TestSlowClients
from tests.haproxy.test_haproxy_cfg_workers import TestWorkersLeaving

__all__ = [
    "TestConfiguration",
    "TestLimits",
    "TestListeners",
    "TestPinning",
    "TestSlowClients",
    "TestWorkersLeaving",
    "balancer",
    "run_folder",
    "workers",
]

pytestmark = [pytest.mark.slow, pytest.mark.containers]

IMAGE = "haproxy:3.0-alpine"
CLIENTS = 1_500  # more than haproxy.cfg's maxconn
FILES_MAX = 4096


@pytest.fixture
def haproxy(run_folder: Path) -> Iterator[list[str]]:
    """Return what starts HAProxy in a container that sees this machine's ports, the sockets and the configuration.

    As root, because the folder of the sockets is closed to others; with the memory that docker-compose.yml grants.
    Removed by name: `docker run` drops a signal that comes before Docker has noted that the container runs.
    """
    name = f"haproxy-{run_folder.name}"
    limits = compose_config()["services"]["haproxy"]["deploy"]["resources"]["limits"]
    settings = (f"--env={setting}" for setting in ("GATEWAY_RUN", "GATEWAY_BIND", "GATEWAY_STATS_BIND"))
    mounts = (f"--volume={path}:{path}" for path in (run_folder, CONFIGURATION.parent))
    bounds = (f"--memory={limits['memory']}", "--user=0", f"--ulimit=nofile={FILES_MAX}")
    yield ["docker", "run", "--rm", "--name", name, "--network=host", *bounds, *settings, *mounts, IMAGE, "haproxy"]
    subprocess.run(["docker", "rm", "--force", name], capture_output=True, timeout=30, check=False)


class TestMemory:
    """HAProxy within the memory that docker-compose.yml grants."""

    async def test_slow_clients_do_not_kill_it(self, balancer: Balancer) -> None:
        """Half a request of 3 kB from each of 1,500 clients at once: each gets a 408, and HAProxy lives."""
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES_MAX, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        half = post_head(1_000).replace(b"Host", b"X-Filling: %s\r\nHost" % (b"x" * 2_000)) + b" " * 900
        answers = await asyncio.gather(*(ask(balancer.port, half) for _ in range(CLIENTS)))
        assert {answer.status for answer in answers} == {408}
        assert (await ask(balancer.port, get("/health"))).status == 204
        assert balancer.process.returncode is None

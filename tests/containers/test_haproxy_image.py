"""haproxy/haproxy.cfg on the image's HAProxy: every fact of tests/haproxy/ holds there too."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.haproxy.balancers import CONFIGURATION

# The classes are found here, and run with this file's fixture `haproxy`.
from tests.haproxy.conftest import balancer, run_folder, workers
from tests.haproxy.test_haproxy_cfg import TestConfiguration, TestLimits, TestListeners, TestPinning, TestSlowClients
from tests.haproxy.test_workers_leaving import TestWorkersLeaving

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


@pytest.fixture
def haproxy(run_folder: Path) -> Iterator[list[str]]:
    """Return what starts HAProxy in a container that sees this machine's ports, the sockets and the configuration.

    As root, because the folder of the sockets is closed to others. Removed by name: `docker run` drops a signal that
    comes before Docker has noted that the container runs.
    """
    name = f"haproxy-{run_folder.name}"
    settings = (f"--env={setting}" for setting in ("GATEWAY_RUN", "GATEWAY_BIND", "GATEWAY_STATS_BIND"))
    mounts = (f"--volume={path}:{path}" for path in (run_folder, CONFIGURATION.parent))
    yield ["docker", "run", "--rm", "--name", name, "--network=host", "--user=0", *settings, *mounts, IMAGE, "haproxy"]
    subprocess.run(["docker", "rm", "--force", name], capture_output=True, timeout=30, check=False)

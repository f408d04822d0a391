"""haproxy/haproxy.cfg on the image's HAProxy: every fact of tests/haproxy/ holds there too."""

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
def haproxy(run_folder: Path) -> list[str]:
    """Return what starts HAProxy in a container that sees this machine's ports, the sockets and the configuration.

    As root, because the folder of the sockets is closed to others.
    """
    settings = (f"--env={name}" for name in ("GATEWAY_RUN", "GATEWAY_BIND", "GATEWAY_STATS_BIND"))
    mounts = (f"--volume={path}:{path}" for path in (run_folder, CONFIGURATION.parent))
    return ["docker", "run", "--rm", "--network=host", "--user=0", *settings, *mounts, IMAGE, "haproxy"]

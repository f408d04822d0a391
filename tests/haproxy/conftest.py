"""Fixtures: the installed HAProxy between a client and four stand-ins of web workers."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.haproxy.balancers import (
    CONFIGURATION,
    WORKER_NAMES,
    Balancer,
    installed_haproxy,
    running_balancer,
    settings_for,
)
from tests.haproxy.stand_ins import Worker


@pytest.fixture
def run_folder() -> Iterator[Path]:
    """Make a folder for the sockets whose path is short: a unix socket's may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="gateway-") as folder:
        yield Path(folder)


@pytest.fixture
def haproxy() -> list[str]:
    """Return what starts HAProxy; its arguments follow."""
    return [installed_haproxy()]


@pytest.fixture
async def workers(run_folder: Path) -> AsyncIterator[dict[str, Worker]]:
    """Start the four workers."""
    all_workers = {name: Worker(run_folder, name) for name in WORKER_NAMES}
    for worker in all_workers.values():
        await worker.start()
    yield all_workers
    for worker in all_workers.values():
        await worker.vanish()


@pytest.fixture
async def balancer(haproxy: list[str], run_folder: Path, workers: dict[str, Worker]) -> AsyncIterator[Balancer]:
    """Start HAProxy and wait until it takes requests."""
    command = [*haproxy, "-W", "-db", "-f", str(CONFIGURATION)]  # as the image does
    async with running_balancer(command, settings_for(run_folder), workers) as running:
        yield running

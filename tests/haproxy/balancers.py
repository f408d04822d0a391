"""A real HAProxy with the project's configuration, started and stopped around a test."""

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.haproxy.stand_ins import Answer, Client, Worker, ask, get, payment, post
from tests.ports import free_ports

CONFIGURATION = Path(__file__).parents[2] / "haproxy" / "haproxy.cfg"
WORKER_NAMES = ("app1-0", "app2-0")
START_S_MAX = 10.0
STOP_S_MAX = 2.0


class Balancer(NamedTuple):
    """A running HAProxy and the workers behind it."""

    process: asyncio.subprocess.Process
    port: int
    stats_port: int
    workers: dict[str, Worker]


def installed_haproxy() -> str:
    """Return HAProxy's path, or skip: it is a Debian package, which `tools/run` installs."""
    path = shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if path is None:
        pytest.skip("haproxy is not installed")
    return path


def settings_for(run_folder: Path) -> dict[str, str]:
    """Make HAProxy's environment: the sockets' folder, and two ports that were free a moment ago."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    return {"GATEWAY_RUN": str(run_folder), "GATEWAY_BIND": addresses[0], "GATEWAY_STATS_BIND": addresses[1]}


@asynccontextmanager
async def running_balancer(
    command: Sequence[str], settings: Mapping[str, str], workers: dict[str, Worker]
) -> AsyncIterator[Balancer]:
    """Run HAProxy by this command until the test is over.

    Args:
        command: starts HAProxy in the foreground.
        settings: what settings_for() made; added to the environment of the command.
        workers: the stand-ins it is to find, by name.
    """
    process = await asyncio.create_subprocess_exec(
        *command, env=os.environ | dict(settings), stderr=asyncio.subprocess.DEVNULL
    )
    port, stats_port = (int(settings[name].rpartition(":")[2]) for name in ("GATEWAY_BIND", "GATEWAY_STATS_BIND"))
    try:
        await _wait_for_answers(port)
        yield Balancer(process, port, stats_port, workers)
    finally:
        await _end(process)


async def workers_of(balancer: Balancer, ids: list[str]) -> dict[str, str]:
    """Send each id once; return which worker took it."""
    client = await Client.connect(balancer.port)
    try:
        return {each: (await client.ask(post(payment(each)))).worker for each in ids}
    finally:
        await client.close()


def requests_count(balancer: Balancer) -> int:
    """Count the requests that reached any worker."""
    return sum(len(worker.requests) for worker in balancer.workers.values())


def assert_problem(answer: Answer, status: int) -> None:
    """Check that an answer is HAProxy's own and problem+json (RFC 9457)."""
    assert (answer.status, answer.worker) == (status, "")
    assert answer.headers["content-type"] == "application/problem+json"
    problem = json.loads(answer.body)
    assert problem["status"] == status
    assert problem.keys() == {"type", "title", "status", "detail"}


async def _end(process: asyncio.subprocess.Process) -> None:
    """Stop HAProxy, or what started it: by force if a signal isn't heard."""
    for stop in (process.terminate, process.kill):
        if process.returncode is None:
            stop()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_S_MAX)


async def _wait_for_answers(port: int) -> None:
    """Wait until HAProxy says that a worker is up."""
    async with asyncio.timeout(START_S_MAX):
        while True:
            try:
                if (await ask(port, get("/health"))).status == 204:
                    return
            except ConnectionError:
                pass  # not listening yet
            await asyncio.sleep(0.02)

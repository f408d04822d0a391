"""The compose stack under load: whatever container dies, and however, accepted means paid, once, and counted."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from random import Random

import pytest

from tests.containers.composed import INSTANCES, Composed, composed, run
from tests.integration.auditing import Auditor, Processors
from tests.integration.chaos import audit, settle_and_judge
from tests.integration.traffic import Traffic

pytestmark = [pytest.mark.slow, pytest.mark.containers]

RATE = 200  # an instance has half a processor; here one of them may do all the work
SECONDS = 20.0
BEFORE_S = 5.0  # of load, before anything happens
DOWN_S = 4.0  # between `docker kill` and `docker start`
DISTURBED_S = 20.0  # a start on half a processor, and HAProxy's and the publishers' notice of it
BACK_WITHIN_S = 60.0
LOOK_S = 0.1
DELAY_MS = 100  # so that payments are in flight at any moment

Disturbance = Callable[[Composed], Awaitable[None]]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    """The stack; each test adds to what it has paid."""
    with composed(tmp_path_factory.mktemp("composed")) as made:
        yield made


@pytest.fixture(scope="module")
def traffic(stack: Composed) -> Traffic:
    """The clients of all tests, who remember everything they were promised."""
    return Traffic(stack.port, RATE, Random(1))


async def kill_and_start(stack: Composed, *services: str) -> None:
    """`docker kill`, which no restart policy heals, then `docker start`."""
    containers = [stack.container(service) for service in services]
    await asyncio.to_thread(run, "docker", "kill", *containers)
    await asyncio.sleep(DOWN_S)
    await asyncio.to_thread(run, "docker", "start", *containers)


async def kill_app(stack: Composed) -> None:
    """One instance is killed, and started later."""
    await kill_and_start(stack, "app1")


async def kill_both_apps(stack: Composed) -> None:
    """Both are, at once."""
    await kill_and_start(stack, *INSTANCES)


async def kill_redis(stack: Composed) -> None:
    """Redis is, with everything it had."""
    await kill_and_start(stack, "redis")


async def kill_haproxy(stack: Composed) -> None:
    """HAProxy is, with every connection."""
    await kill_and_start(stack, "haproxy")


async def kill_first_process(stack: Composed) -> None:
    """An instance's first process is killed from the host; `restart: always` starts the container again."""
    before = stack.first_pid("app2")
    try:
        os.kill(before, signal.SIGKILL)
    except PermissionError:
        pytest.skip("killing a container's process takes root on the host")
    async with asyncio.timeout(BACK_WITHIN_S):
        while await asyncio.to_thread(stack.first_pid, "app2") in {0, before}:
            await asyncio.sleep(LOOK_S)


async def restart_app(stack: Composed) -> None:
    """An instance is stopped in order and started again."""
    await asyncio.to_thread(run, "docker", "restart", stack.container("app1"))


class TestDeaths:
    """Each kind of death, once."""

    @pytest.mark.parametrize(
        "disturb", [kill_app, kill_first_process, kill_redis, kill_haproxy, kill_both_apps, restart_app]
    )
    async def test_nothing_is_lost_or_charged_twice(
        self, stack: Composed, traffic: Traffic, disturb: Disturbance
    ) -> None:
        """Each accepted id is stored once, and the summary equals the processors' to the cent, in every window."""
        processors = Processors(stack.processor_ports)
        auditor = Auditor(stack.port, processors)
        await processors.set(0, "delay", DELAY_MS)
        before = traffic.answers["202"]
        async with asyncio.TaskGroup() as group:
            auditing = group.create_task(audit(auditor))
            load = group.create_task(traffic.run(SECONDS))
            await asyncio.sleep(BEFORE_S)
            auditor.disturb(DISTURBED_S)
            await disturb(stack)
            await load
            await asyncio.to_thread(stack.wait_for_health)
            auditing.cancel()
        failures, verdict = await settle_and_judge(stack.settle, traffic, processors, auditor, Random(1))
        print(f"{disturb.__name__}: {verdict}; {dict(traffic.answers)}")  # noqa: T201
        assert failures == []
        assert traffic.answers["202"] - before > SECONDS * RATE / 3
        auditor.close()
        processors.close()

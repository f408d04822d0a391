"""Processes killed under load: back within a second, nothing accepted is lost, nothing is charged twice."""

import asyncio
import os
import random
import signal
import time

import pytest

from shm import Counters, DispatcherCount, Phase, SupervisorCount, is_role_free
from tests.integration.conftest import Start
from tests.integration.instances import Instance, Processors, wait_for
from tests.redis_server import RedisServer
from tests.shm.segments import segment_path

pytestmark = pytest.mark.slow

BACK_WITHIN_S = 4.0  # less than STUCK_S, and what a busy machine adds


async def wait_successor(row: Counters, killed: int) -> float:
    """Waits until a killed process has a successor at work; how long it took, in s."""
    return await wait_for(lambda: row.pid != killed and row.phase is Phase.READY, "not replaced")


async def wait_replaced(instance: Instance, place: int, killed: int) -> float:
    """The same by place: 1 is the dispatcher, 2 the first worker and so on."""
    return await wait_successor([instance.dispatcher(), *instance.worker_rows()][place - 1], killed)


async def kill(instance: Instance, place: int) -> float:
    """Kills a process; how long it took until its successor was at work, in seconds."""
    return await wait_replaced(instance, place, instance.kill_one(place))


class TestKilled:
    """kill -9."""

    @pytest.mark.parametrize("place", [1, 2], ids=["dispatcher", "worker"])
    async def test_under_load(self, start: Start, processors: Processors, redis: RedisServer, place: int) -> None:
        """Clients that send again get their 202s, and totals are right to the cent, at both instances."""
        processors.behave(delay_ms=20)
        pair = [await start(REDIS_URL=redis.url, WEB_WORKERS="2"), await start(REDIS_URL=redis.url)]
        load = asyncio.gather(pair[0].pay(range(1500)), pair[1].pay(range(2000, 2300), clients=2))
        for _ in range(3):
            await asyncio.sleep(0.2)
            assert await kill(pair[0], place) < BACK_WITHIN_S
        first, second = await load
        assert (sorted(first), sorted(second)) == (list(range(1500)), list(range(2000, 2300)))
        await processors.wait_stored([*first, *second])
        await processors.wait_equal(*pair)
        assert len(processors.ids()) == 1800

    async def test_after_its_segment_lost_its_name(
        self, start: Start, processors: Processors, redis: RedisServer
    ) -> None:
        """Successors work on the same memory: what is accepted is paid, and summaries count it at once."""
        instance = await start(REDIS_URL=redis.url)
        segment = instance.segment()
        rows = [segment.dispatcher_counters(0), segment.worker_counters(0)]
        accepted = await instance.pay(range(20))
        segment_path(instance.name).unlink()
        for number, row in enumerate(rows, 1):
            killed = row.pid
            os.kill(killed, signal.SIGKILL)
            await wait_successor(row, killed)
            accepted += await instance.pay(range(number * 20, number * 20 + 20))
            await processors.wait_stored(accepted)
            await processors.wait_equal(instance)
        assert len(processors.ids()) == 60
        instance.tell(signal.SIGSTOP)
        os.kill(rows[0].pid, signal.SIGKILL)
        await wait_for(lambda: is_role_free(instance.name, "dispatcher-0"), "it does not die")
        status, answer = await instance.client().ask("GET", "/payments-summary")
        instance.tell(signal.SIGCONT)
        assert status == 503, "the new web worker does not see that the dispatcher has died"
        assert b"has died" in answer

    async def test_everyone(self, start: Start, processors: Processors, redis: RedisServer) -> None:
        """The whole instance dies and comes back: what it had taken is paid, once."""
        processors.behave(delay_ms=100)
        instance = await start(REDIS_URL=redis.url, WEB_WORKERS="2")
        load = asyncio.ensure_future(instance.pay(range(600)))
        for _ in range(3):
            await asyncio.sleep(0.15)
            instance.kill()
            await instance.start()
        accepted = await load
        assert sorted(accepted) == list(range(600))
        await processors.wait_stored(accepted)
        await processors.wait_equal(instance)
        assert len(processors.ids()) == 600

    @pytest.mark.parametrize("seed", range(2))
    async def test_anything(self, start: Start, processors: Processors, redis: RedisServer, seed: int) -> None:
        """Random kills of any process while processors fail, sleep and recover at random."""
        dice = random.Random(seed)
        # One lane holds everything: nothing is refused while there is no dispatcher.
        roomy = {"LANE_SLOTS": "2048", "JOURNAL_RECORDS": "8192"}
        instance = await start(REDIS_URL=redis.url, WEB_WORKERS="2", WAIT_S_PER_FEE_POINT="0.1", **roomy)
        load = asyncio.ensure_future(instance.pay(range(2000)))
        until_s = time.monotonic() + 5
        while time.monotonic() < until_s:
            for server in processors.servers:
                server.processor.settings.delay_ms = dice.choice([0, 0, 10, 200])
                server.processor.settings.failing = dice.random() < 0.3
            await asyncio.sleep(dice.random() * 0.4)
            place = dice.randrange(4)
            if place:
                instance.kill_one(place)
            else:
                instance.kill()
                await instance.start()
        processors.behave(delay_ms=0, failing=False)
        accepted = await load
        await processors.wait_stored(accepted)
        await wait_for(lambda: instance.dispatcher().get(DispatcherCount.UNKNOWN) == 0, "some are still unknown")
        await processors.wait_equal(instance)
        assert len(processors.ids()) == len(set(accepted)) == 2000


class TestStuck:
    """Alive, and dead to the world."""

    async def test_replaced(self, start: Start, processors: Processors) -> None:
        """A process that does not move is killed and replaced, and what it had in hand is settled."""
        processors.behave(delay_ms=300)
        instance = await start(STUCK_S="1")
        accepted = await instance.pay(range(50))
        stopped = [instance.kill_one(place, signal.SIGSTOP) for place in (1, 2)]
        for place, pid in enumerate(stopped, 1):
            await wait_replaced(instance, place, pid)
        assert instance.supervisor().get(SupervisorCount.KILLS_OF_STUCK) >= 2
        accepted += await instance.pay(range(50, 80))
        await processors.wait_stored(accepted)
        assert len(processors.ids()) == 80
        await processors.wait_equal(instance)

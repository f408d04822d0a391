"""Whole instances: payments in, settled, summaries equal to the processors'."""

import asyncio
import json
import random
import time
from datetime import UTC, datetime

import pytest

from server.pacing import GATHER_MS
from shm import DispatcherCount
from tests.integration.conftest import Start
from tests.integration.instances import Instance, Processors, id_of, wait_for
from tests.redis_server import RedisServer
from tools.processor.behaviour import Exchange
from tools.processor.limits import Passage, WindowLimit

pytestmark = pytest.mark.slow


def text(instant_ms: int) -> str:
    """An instant as clients write it."""
    return datetime.fromtimestamp(instant_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def watch(limit: WindowLimit[Exchange], told: list[Passage]) -> None:
    """Writes down what each who asks a limit is told."""
    enter = limit.enter

    def enter_watched(waiter: Exchange, now_s: float) -> Passage:
        told.append(enter(waiter, now_s))
        return told[-1]

    limit.enter = enter_watched  # type: ignore[method-assign]


class TestTwoInstances:
    """Two instances and their Redis."""

    async def test_payments(self, start: Start, processors: Processors, redis: RedisServer) -> None:
        """What both accept is stored once each, and every worker tells the same totals, in any window."""
        pair = [await start(REDIS_URL=redis.url, WEB_WORKERS="2"), await start(REDIS_URL=redis.url)]
        begun_ms = time.time_ns() // 1_000_000
        await asyncio.gather(pair[0].pay(range(300)), pair[1].pay(range(300, 600), "0.07"))
        await processors.wait_stored(range(600))
        await processors.wait_equal(*pair)
        span_ms = time.time_ns() // 1_000_000 - begun_ms
        dice = random.Random(1)
        client = pair[1].client()
        for _ in range(100):
            ends_ms = sorted(begun_ms + dice.randrange(-100, span_ms + 100) for _ in range(2))
            _, body = await client.ask("GET", f"/payments-summary?from={text(ends_ms[0])}&to={text(ends_ms[1])}")
            assert json.loads(body) == processors.totals(*ends_ms), ends_ms

    async def test_both_processors(self, start: Start, processors: Processors, redis: RedisServer) -> None:
        """With the default slow, the fallback takes over but for a probe now and then; the summary tells them apart."""
        instance = await start(REDIS_URL=redis.url, SLOW_MS="100")
        async with asyncio.timeout(5):
            while redis.ask("HEXISTS gateway:totals health.0") != b":1\r\n":  # the next poll comes after 5.3 s
                await asyncio.sleep(0.05)
        processors.servers[0].processor.settings.delay_ms = 400
        await instance.pay(range(100))
        await asyncio.sleep(0.3)
        await instance.pay(range(100, 200))
        await processors.wait_stored(range(200))
        await processors.wait_equal(instance)
        totals = processors.totals()
        assert totals["default"]["totalRequests"] > 0
        assert totals["fallback"]["totalRequests"] >= 90

    async def test_purge(self, start: Start, processors: Processors, redis: RedisServer) -> None:
        """A purge at one empties the totals of both; what comes later counts, and old ids are still known."""
        pair = [await start(REDIS_URL=redis.url, PURGE_ENABLED="1") for _ in range(2)]
        for instance in pair:
            await instance.pay(range(50))
        await processors.wait_stored(range(50))
        assert await pair[0].client().ask("POST", "/purge-payments") == (204, b"")
        for server in processors.servers:
            server.processor.store.purge()
        await processors.wait_equal(*pair, within_s=0.1)
        assert sorted(await pair[1].pay(range(50, 80))) == list(range(50, 80))
        assert len(await pair[0].pay(range(50))) == 50
        await processors.wait_stored(range(50, 80))
        await asyncio.sleep(0.1)
        assert len(processors.ids()) == 30
        await processors.wait_equal(*pair)

    async def test_one_of_them_dies(self, start: Start, processors: Processors, redis: RedisServer) -> None:
        """The other's summary is a 503 once the dead one is missed, and exact again when it is back."""
        pair = [await start(REDIS_URL=redis.url) for _ in range(2)]
        await pair[0].pay(range(20))
        await pair[1].pay(range(20, 40))
        await processors.wait_stored(range(40))
        await processors.wait_equal(*pair)
        member = f"{pair[0].segment().segment_id:016x}.0"
        pair[0].kill()
        await asyncio.sleep(1.6)
        status, problem = await pair[1].summary()
        assert (status, f"instance {member} has not been heard of for" in problem["detail"]) == (503, True)
        await pair[0].start()
        await processors.wait_equal(*pair)

    async def test_one_of_them_stops(self, start: Start, processors: Processors, redis: RedisServer) -> None:
        """An orderly stop leaves the totals as they are."""
        pair = [await start(REDIS_URL=redis.url) for _ in range(2)]
        await pair[0].pay(range(20))
        await pair[1].pay(range(20, 40))
        await processors.wait_stored(range(40))
        assert await pair[0].stop() == 0
        await asyncio.sleep(1.6)
        await processors.wait_equal(pair[1], within_s=0.1)


class TestOneInstance:
    """One instance with totals of its own."""

    async def test_life_of_a_payment(self, start: Start, processors: Processors) -> None:
        """From its acceptance to its settlement it can be looked up, and it is charged once."""
        processors.behave(delay_ms=2000)
        instance = await start(SLOW_MS="60000")  # else the fallback takes it if only the default's health is known yet
        client = instance.client()

        async def status() -> dict[str, object]:
            code, body = await client.ask("GET", f"/payments/{id_of(1)}")
            assert code == 200
            return dict(json.loads(body))

        assert [await client.pay(1), await client.pay(1), await client.pay(1, "5")] == [202, 202, 409]
        sending = instance.segment().dispatcher_counters(0)
        await wait_for(lambda: sending.get(DispatcherCount.ATTEMPTS) == 1, "not sent")
        assert (await status())["state"] == "sending"
        await processors.wait_stored([1])
        await wait_for(lambda: instance.segment().journal(0).head == 1, "not settled")
        settled = await status()
        assert (settled["state"], settled["processor"], settled["amount"]) == ("settled", "default", 19.9)
        assert [await client.pay(1), await client.pay(1, "5")] == [202, 409]
        await processors.wait_equal(instance)

    async def test_bad_requests_are_not_logged(self, start: Start) -> None:
        """Each is answered; a client can't fill the log with them."""
        instance = await start()
        said = instance.log.read_text()
        for request in (
            b"get /x HTTP/1.1\r\n\r\n",
            b"GET /health HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
        ):
            reader, writer = await asyncio.open_unix_connection(instance.folder / f"{instance.name}-0.sock")
            writer.write(request)
            assert (await reader.read(9)) == b"HTTP/1.1 "
            writer.close()
        assert instance.log.read_text() == said

    async def test_local_totals(self, start: Start, processors: Processors) -> None:
        """Without Redis each worker counts the journals itself; a purge starts them all from zero."""
        instance = await start(WEB_WORKERS="2", PURGE_ENABLED="1")
        await instance.pay(range(200))
        await processors.wait_stored(range(200))
        await processors.wait_equal(instance)
        assert (await instance.client(1).ask("POST", "/purge-payments"))[0] == 204
        for server in processors.servers:
            server.processor.store.purge()
        await processors.wait_equal(instance)
        await instance.pay(range(200, 250))
        await processors.wait_stored(range(200, 250))
        await processors.wait_equal(instance)

    async def test_full(self, start: Start, processors: Processors) -> None:
        """With both processors down and every place taken it says 503; what it took is paid when they return."""
        processors.behave(failing=True)
        instance = await start(LANE_SLOTS="64", WAITING_SLOTS="128", JOURNAL_RECORDS="128")
        accepted: list[int] = []
        for first in range(0, 500, 50):
            accepted += await instance.pay(range(first, first + 50))
            await asyncio.sleep(GATHER_MS / 1000 + 0.05)  # no more than fit the lane until it is taken from
        assert len(accepted) == 128 + 64  # what may wait, and the lane's
        status, _ = await instance.client().ask("GET", "/health")
        assert status == 204
        processors.behave(failing=False)
        await processors.wait_stored(accepted)
        assert len(processors.ids()) == len(accepted)
        again = await instance.pay(range(1000, 1060))  # no more than the lane holds: payments gather there for 200 ms
        assert len(again) == 60
        await processors.wait_stored(again)
        await processors.wait_equal(instance)

    async def test_several_dispatchers(self, start: Start, processors: Processors) -> None:
        """Without Redis they pay side by side, the totals are of all, and only one of them polls."""
        told: list[Passage] = []
        for server in processors.servers:
            watch(server.processor.health_limit, told)
        instance = await start(DISPATCHERS="3")
        await instance.pay(range(300))
        await processors.wait_stored(range(300))
        await processors.wait_equal(instance)
        await wait_for(lambda: len(told) >= 4, "nobody polls", 12)
        assert set(told) == {Passage.NOW}

    async def test_shared_health_polls(self, start: Start, processors: Processors, redis: RedisServer) -> None:
        """Of several instances one at a time polls: nobody is ever told that he asked too often."""
        told: list[Passage] = []
        for server in processors.servers:
            watch(server.processor.health_limit, told)
        instances: list[Instance] = [await start(REDIS_URL=redis.url) for _ in range(3)]
        await wait_for(lambda: len(told) >= 4, "nobody polls", 12)
        assert set(told) == {Passage.NOW}
        assert len(instances) == 3

"""The start of an instance: what stops it, and what must not."""

import asyncio
import socket
import subprocess
import sys
import time
from typing import Any

import pytest

from server.config import load
from server.notation import format_instant_ms
from shm import Accepted, DispatcherCount, Ended, Event, Segment, State, SupervisorCount
from tests.integration.conftest import Start
from tests.integration.instances import ROOT, Instance, Processors, wait_for
from tests.redis_server import RedisServer

pytestmark = pytest.mark.slow


class TestRefused:
    """Exit statuses."""

    @pytest.mark.parametrize(
        ("settings", "sentence"),
        [
            ({"WEB_WORKERS": "0"}, "WEB_WORKERS must be a whole number from 1 to 16; it is '0'\n"),
            ({"LISTEN": "9999"}, "LISTEN must be unix:/absolute/folder or tcp:host:port; it is '9999'\n"),
            ({"AMOUNT_MAX": "1.005"}, "AMOUNT_MAX must be an amount from 0.01 to 1000000000, in steps of 0.01"),
            ({"LANE_SLOTS": "1000"}, "LANE_SLOTS must be a power of two"),
        ],
    )
    def test_wrong_setting(self, settings: dict[str, str], sentence: str) -> None:
        """Status 2, and one sentence instead of a traceback."""
        command = [sys.executable, "-m", "server"]
        ended = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
        assert ended.stderr.startswith(sentence)

    async def test_port_in_use(self, processors: Processors) -> None:
        """Status 3, and one line that names the port."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            instance = Instance(processors.urls, LISTEN=f"tcp:127.0.0.1:{port}")
            instance.launch()
            assert await instance.wait_end() == 3
        lines = instance.log.read_text().splitlines()
        assert [f"port {port} on 127.0.0.1 is in use" in line for line in lines] == [True]
        await instance.__aexit__(None)

    async def test_running_already(self, start: Start, processors: Processors) -> None:
        """Status 3 for the second of a name, and the first does not notice."""
        first = await start()
        second = Instance(processors.urls, INSTANCE=first.name)
        second.launch()
        assert await second.wait_end() == 3
        assert f"an instance named {first.name} is running already" in second.log.read_text()
        assert sorted(await first.pay(range(5))) == list(range(5))
        await processors.wait_stored(range(5))
        await second.__aexit__(None)


class TestRedis:
    """Redis is not needed to start, nor to go on."""

    async def test_not_there(self, start: Start, processors: Processors, redis: RedisServer) -> None:
        """Payments are taken and settled, the summary is a 503 with the reason, and exact once Redis comes."""
        redis.kill()
        instance = await start(REDIS_URL=redis.url)
        accepted = await instance.pay(range(200))
        assert len(accepted) == 200
        await processors.wait_stored(accepted)
        status, problem = await instance.summary()
        assert (status, "Redis can't be asked" in problem["detail"]) == (503, True)
        redis.start()
        await processors.wait_equal(instance, within_s=2.0)

    async def test_restarts_under_load(self, start: Start, processors: Processors, redis: RedisServer) -> None:
        """Emptied again and again, it never makes a wrong summary: each one is a 503 or what is stored."""
        pair = [await start(REDIS_URL=redis.url) for _ in range(2)]
        load = asyncio.gather(pair[0].pay(range(600), clients=2), pair[1].pay(range(600, 1200), clients=2))
        least, told = 0, 0
        client = pair[0].client()
        for _ in range(3):
            await asyncio.sleep(0.3)
            redis.kill()
            await asyncio.sleep(0.1)
            redis.start()
            for _ in range(60):
                status, _ = await client.ask("GET", "/payments-summary")
                assert status in {200, 503}
                if status == 200:
                    _, summary = await pair[0].summary()
                    count = sum(part["totalRequests"] for part in summary.values()) if "default" in summary else least
                    assert least <= count <= len(processors.ids())
                    least, told = count, told + 1
                await asyncio.sleep(0.005)
        first, second = await load
        accepted = [*first, *second]
        assert told > 10
        await processors.wait_stored(accepted)
        await processors.wait_equal(*pair)
        assert pair[0].dispatcher().get(DispatcherCount.REWRITES) > 0

    async def test_hangs(self, start: Start, processors: Processors, redis: RedisServer) -> None:
        """A Redis that does not answer holds up no payment."""
        instance = await start(REDIS_URL=redis.url, IN_FLIGHT_MAX="8")
        redis.freeze()
        accepted = await instance.pay(range(200))
        assert await processors.wait_stored(accepted) < 6  # a call to Redis before each burst would take 25 s
        status, _ = await instance.summary()
        assert status == 503
        redis.thaw()
        await processors.wait_equal(instance, within_s=2.0)


class TestProcessors:
    """Nor are the processors."""

    async def test_not_there(self, processors: Processors, redis: RedisServer) -> None:
        """Payments wait for processors that are not there yet."""
        for server in processors.servers:
            await server.__aexit__()
        async with Instance(processors.urls, REDIS_URL=redis.url) as instance:
            accepted = await instance.pay(range(50))
            await wait_for(lambda: instance.dispatcher().get(DispatcherCount.SURE_NOS) > 0, "never tried")
            for server in processors.servers:
                await server.__aenter__()
            await processors.wait_stored(accepted)
            await processors.wait_equal(instance)


class TestLongHistory:
    """What an instance begins with after long."""

    async def test_quiet_days(self, processors: Processors, redis: RedisServer) -> None:
        """A journal full of payments a second apart, and a Redis that has nothing: it pays at once, and nobody is
        killed for counting too long.
        """
        records = 130_000
        instance = Instance(processors.urls, REDIS_URL=redis.url, JOURNAL_RECORDS=str(1 << 17))
        segment = Segment.create(instance.name, load(instance.settings).geometry)
        table, journal = segment.table(0), segment.journal(0)
        begun_ms = (time.time_ns() // 1_000_000_000 - records) * 1000
        for slot in range(records):
            at_ms = begun_ms + slot * 1000
            table.insert(slot, Accepted((slot + 1).to_bytes(16, "big"), 1, at_ms * 1000))
            table.begin(slot, 0, at_ms)
            table.apply(slot, Event.PAID)
            journal.append(Ended(State.SETTLED, 0, at_ms, 1, slot))
        async with instance:
            await processors.wait_stored(await instance.pay([0]), within_s=5)
            answer: dict[str, Any] = {}
            while answer.get("default", {}).get("totalRequests") != records + 1:
                status, answer = await instance.summary()
                assert status in {200, 503}
                await asyncio.sleep(0.05)
            assert instance.supervisor().get(SupervisorCount.DEATHS) == 0
            window = f"?from={format_instant_ms(begun_ms)}&to={format_instant_ms(begun_ms + 59_999)}"
            assert (await instance.summary(window))[1]["default"] == {"totalRequests": 60, "totalAmount": 0.6}

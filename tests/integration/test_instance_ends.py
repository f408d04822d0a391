"""The end of an instance, and what the next life finds."""

import asyncio
import os
import signal

import pytest

from server.supervisor import SAME_MS
from shm import DispatcherCount, Phase
from tests.integration.conftest import Start
from tests.integration.instances import Processors, wait_for
from tests.redis_server import RedisServer

pytestmark = pytest.mark.slow


class TestOrderlyStop:
    """SIGTERM."""

    async def test_under_load(self, start: Start, processors: Processors, redis: RedisServer) -> None:
        """Whoever got a 202 before, during or after it is paid, and the stop leaves nothing to settle."""
        processors.behave(delay_ms=30)
        instance = await start(REDIS_URL=redis.url, WEB_WORKERS="2")
        load = asyncio.ensure_future(instance.pay(range(1200)))
        await asyncio.sleep(0.3)
        assert await instance.stop() == 0
        left = list(instance.folder.glob("*.sock"))
        unsettled = [kept for _, kept in instance.segment().table(0).scan() if kept and kept.state < 4]
        assert (left, unsettled) == ([], [])
        await instance.start()
        accepted = await load
        await processors.wait_stored(accepted)
        assert len(processors.ids()) == 1200
        await processors.wait_equal(instance)

    async def test_ctrl_c(self, start: Start, processors: Processors) -> None:
        """A terminal's Ctrl-C reaches every process, and stops in order all the same."""
        instance = await start()
        accepted = await instance.pay(range(20))
        for pid in instance.pids():
            os.kill(pid, signal.SIGINT)
        assert await instance.wait_end() == 0
        await processors.wait_stored(accepted, within_s=0.1)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    async def test_while_it_starts(self, start: Start, processors: Processors, number: int) -> None:
        """A stop, or Ctrl-C, that comes before anything is there waits until somebody heeds it."""
        instance = await start()
        assert await instance.stop() == 0
        instance.launch()
        await wait_for(lambda: instance.has_blocked(number), "it does not block it")
        assert instance.supervisor().phase is Phase.GONE  # that of the life before: nothing is there to heed it yet
        instance.tell(number)
        assert await instance.wait_end() == 0
        assert processors.ids() == []

    async def test_says_leaving(self, start: Start, processors: Processors) -> None:
        """/health says 404 first, while payments are still taken; then the sockets are gone."""
        instance = await start(LEAVE_S="0.6")
        client = instance.client()
        assert (await client.ask("GET", "/health"))[0] == 204
        instance.tell()
        await wait_for(lambda: instance.worker_rows()[0].phase is Phase.LEAVING, "it does not leave")
        assert (await client.ask("GET", "/health"))[0] == 404
        assert await instance.client().pay(1) == 202
        assert await instance.wait_end() == 0
        await processors.wait_stored([1], within_s=0.1)

    async def test_second_signal(self, start: Start, processors: Processors) -> None:
        """Told twice it ends at once; what was in hand is settled by the next life."""
        processors.behave(delay_ms=1500)
        instance = await start(LEAVE_S="30", DRAIN_S="30")
        accepted = await instance.pay(range(30))
        instance.tell()
        await wait_for(lambda: instance.supervisor().phase is Phase.LEAVING, "it does not stop")
        await asyncio.sleep(SAME_MS / 1000)
        instance.tell()
        assert await instance.wait_end(5) == 0
        processors.behave(delay_ms=0)
        await instance.start()
        await processors.wait_stored(accepted)
        await processors.wait_equal(instance)
        assert len(processors.ids()) == 30


class TestNextLife:
    """What is left in the segment."""

    @pytest.mark.parametrize("orderly", [True, False], ids=["stopped", "killed"])
    async def test_unsettled(self, start: Start, processors: Processors, *, orderly: bool) -> None:
        """Payments that waited for processors that were down are all paid by the next life, once each."""
        processors.behave(failing=True)
        instance = await start(DRAIN_S="0.2", WEB_WORKERS="2")
        accepted = await instance.pay(range(300))
        assert len(accepted) == 300
        if orderly:
            assert await instance.stop() == 0
            assert "300 payments stay unsettled in the segment" in instance.log.read_text()
        else:
            instance.kill()
        assert processors.ids() == []
        await instance.start()
        assert sorted(await instance.pay(range(300))) == list(range(300))
        processors.behave(failing=False)
        await processors.wait_stored(accepted)
        assert len(processors.ids()) == 300
        await processors.wait_equal(instance)

    async def test_paid_meanwhile(self, start: Start, processors: Processors) -> None:
        """What somebody else had paid during the absence is found at the processors, and not paid again."""
        processors.behave(failing=True)
        instance = await start(DRAIN_S="0.2")
        await instance.pay(range(40))
        instance.kill()
        processors.behave(failing=False)
        other = await start()
        await other.pay(range(20))
        await processors.wait_stored(range(20))
        await instance.start()
        await processors.wait_stored(range(40))
        both = instance, other  # what was on its way at the kill may have been paid even so: then the other's is a copy
        rows = [one.dispatcher() for one in both]
        await wait_for(lambda: sum(row.get(DispatcherCount.DUPLICATES) for row in rows) == 20, "20 are not duplicates")
        settled = DispatcherCount.SETTLED_DEFAULT, DispatcherCount.SETTLED_FALLBACK
        await wait_for(lambda: sum(row.get(count) for row in rows for count in settled) == 40, "40 are not settled")
        assert len(processors.ids()) == 40
        summaries = [(await one.summary())[1] for one in both]
        paid = sum(part["totalRequests"] for summary in summaries for part in summary.values())
        assert paid == 40

    async def test_remembers_thousands(self, start: Start, processors: Processors) -> None:
        """With thousands of payments settled a killed instance is back in time, and still knows them."""
        instance = await start(JOURNAL_RECORDS="65536", WAITING_SLOTS="65536", LANE_SLOTS="4096")
        accepted = await instance.pay(range(3000), clients=16)
        await processors.wait_stored(accepted)
        instance.kill()
        await instance.start()
        for number in range(0, 3000, 150):
            assert await instance.client().pay(number, "5") == 409
            assert await instance.client().pay(number) == 202
        assert len(processors.ids()) == 3000

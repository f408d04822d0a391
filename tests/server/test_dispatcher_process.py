"""A dispatcher's process over real sockets: recovers, pays, publishes, drains, leaves."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest

from server import child, dispatcher, dispatcher_process, published, publisher, redis_client
from server.config import Config, load
from server.custody import Custody
from server.dispatcher_process import DispatcherProcess
from server.latency import HEALTH_FRESH_MS
from server.outside import outside_of
from server.processors import Health
from server.redis_client import RedisClient
from server.redis_totals import SharedHealth, TotalsHash
from server.totals import ALL_TIME, Summary, Total
from shm import DispatcherCount, Phase, RoleTaken, Segment, State, WorkerCount, take_role
from tests.fakes import FakeClock
from tests.redis_server import RedisServer
from tests.server.members import far_reader
from tests.server.scene import id_of, payment, text_of
from tests.shm.processes import end, fork
from tools.processor.api import Settings
from tools.processor.server import ProcessorServer

pytestmark = pytest.mark.slow

PATIENCE_S = 10.0
SMALL = {"LANE_SLOTS": "64", "WAITING_SLOTS": "64", "JOURNAL_RECORDS": "128", "DRAIN_S": "0.3"}
PATIENT = {"SLOW_MS": "60000"}  # it keeps to a default that has told, by its health, that it takes seconds


class Station:
    """A segment, two simulated processors, and a dispatcher between them once `start` has been called."""

    def __init__(self, instance: str, processors: list[ProcessorServer], **settings: str) -> None:
        urls = {"PROCESSOR_DEFAULT_URL": processors[0].url, "PROCESSOR_FALLBACK_URL": processors[1].url}
        self.config: Config = load({"INSTANCE": instance, **SMALL, **urls, **settings})
        self.processors = processors
        self.segment = Segment.create(instance, self.config.geometry)
        self.row = self.segment.dispatcher_counters(0)
        self.doorbell = os.eventfd(0, os.EFD_NONBLOCK)
        self.pid = 0

    async def start(self) -> None:
        """Forks the dispatcher and waits until it is ready."""
        self.row.phase = Phase.NONE
        parent = os.getpid()
        self.pid = fork(lambda: os._exit(child.run("dispatcher-0", parent, self._serve)))
        await self.wait_for(lambda: self.row.phase is Phase.READY, "the dispatcher is not ready")

    def _serve(self) -> int:
        return dispatcher_process.serve(self.config, self.segment, 0, self.doorbell)

    def close(self) -> None:
        """Leaves nothing behind."""
        if self.pid:
            end(self.pid)
        os.close(self.doorbell)

    async def wait_for(self, condition: Callable[[], bool], message: str, every_s: float = 0.002) -> float:
        """Waits until something holds; how long that took, in seconds."""
        begun_s = time.monotonic()
        while not condition():
            assert time.monotonic() - begun_s < PATIENCE_S, message
            await asyncio.sleep(every_s)
        return time.monotonic() - begun_s

    async def stop(self) -> int:
        """Tells the dispatcher to stop and waits until it has; its exit status."""
        os.kill(self.pid, signal.SIGTERM)
        return await self.wait_end()

    async def wait_end(self) -> int:
        """Waits until the dispatcher has ended; its exit status."""
        ended: list[int] = []

        def look() -> bool:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                ended.append(os.waitstatus_to_exitcode(status))
                self.pid = 0
            return bool(pid)

        await self.wait_for(look, "the dispatcher did not end")
        return ended[0]

    def accept(self, *numbers: int) -> None:
        """Payments come in through the lane, as from a web worker."""
        for number in numbers:
            assert self.segment.lane(0, 0).try_publish(payment(number, 1990, time.time_ns() // 1000))
        if self.row.sleeping:
            os.eventfd_write(self.doorbell, 1)

    def states(self, *numbers: int) -> list[State | None]:
        """Where payments stand."""
        kept = [self.segment.table(0).find(id_of(number)) for number in numbers]
        return [each and each.state for each in kept]

    async def wait_settled(self, *numbers: int) -> float:
        """Waits until payments are settled."""
        return await self.wait_for(lambda: set(self.states(*numbers)) == {State.SETTLED}, "not settled in time")

    def stored(self, processor: int) -> list[str]:
        """The ids that a processor has stored."""
        return [row.correlation_id for row in self.processors[processor].processor.store.rows()]


@pytest.fixture
async def processors() -> AsyncIterator[list[ProcessorServer]]:
    """Both processors."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(ProcessorServer(Settings(name=name))) for name in ("default", "fallback")
        ]


@pytest.fixture
def make(instance: str, processors: list[ProcessorServer]) -> Iterator[Callable[..., Station]]:
    """Makes a station with some settings; its dispatcher is not at work yet."""
    made: list[Station] = []

    def make_one(**settings: str) -> Station:
        made.append(Station(instance, processors, **settings))
        return made[-1]

    yield make_one
    for one in made:
        one.close()


@pytest.fixture
async def station(make: Callable[..., Station]) -> Station:
    """A dispatcher at work, with totals kept locally."""
    made = make()
    await made.start()
    return made


class TestPaying:
    """A dispatcher's day."""

    async def test_settles(self, station: Station) -> None:
        """A payment in the lane is stored at the default processor, once, with the requestedAt in the journal."""
        station.accept(*range(50))
        await station.wait_settled(*range(50))
        assert sorted(station.stored(0)) == sorted(text_of(number) for number in range(50))
        assert station.stored(1) == []
        records = [station.segment.journal(0).read(position) for position in range(50)]
        requested_at_ms = {row.requested_at_us // 1000 for row in station.processors[0].processor.store.rows()}
        assert {record.requested_at_ms for record in records if record} == requested_at_ms

    async def test_a_new_life_begins_with_the_recovery_behind_it(
        self, make: Callable[..., Station], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Until then what a predecessor published as it left is the whole truth, and summaries go by it."""
        station = make()

        class Watched(Custody):
            """Writes down which life it was when it had recovered."""

            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments)
                station.row.put(DispatcherCount.FOLDED, 100 + station.segment.journal(0).life)

        monkeypatch.setattr(dispatcher_process, "Custody", Watched)
        await station.start()
        assert (station.row.get(DispatcherCount.FOLDED), station.segment.journal(0).life) == (100, 1)
        await station.stop()

    async def test_stamps_of_its_own(self, make: Callable[..., Station]) -> None:
        """No sibling sends an id with the same requestedAt: here this one is the second of two, by name."""
        station = make(SIBLINGS="a", REDIS_URL="redis://127.0.0.1:1")
        await station.start()
        station.accept(*range(50))
        await station.wait_settled(*range(50))
        stamps_ms = {row.requested_at_us // 1000 for row in station.processors[0].processor.store.rows()}
        assert {stamp_ms % 2 for stamp_ms in stamps_ms} == {1}

    async def test_wakes_up(self, make: Callable[..., Station], monkeypatch: pytest.MonkeyPatch) -> None:
        """A ring wakes it at once."""
        monkeypatch.setattr(dispatcher, "IDLE_MS", 60_000)
        station = make()
        await station.start()
        await station.wait_for(lambda: station.row.sleeping, "it does not sleep")
        station.accept(1)
        await station.wait_settled(1)

    async def test_failing_default(self, station: Station) -> None:
        """With the default failing, the fallback takes over after the wait, and the default again when it recovers."""
        station.processors[0].processor.settings.failing = True
        await asyncio.sleep(0.1)
        station.accept(1)
        assert await station.wait_settled(1) > 3  # WAIT_S_PER_FEE_POINT times three points
        assert (station.stored(0), station.stored(1)) == ([], [text_of(1)])

    async def test_health_is_heard(self, make: Callable[..., Station]) -> None:
        """Without Redis it polls by itself: no payment has told yet that the default is slower than slow."""
        station = make(SLOW_MS="60000")
        station.processors[0].processor.settings.delay_ms = 70_000
        await station.start()
        numbers = iter(range(64))

        def try_another() -> bool:
            station.accept(next(numbers))
            return bool(station.stored(1))

        await station.wait_for(try_another, "never polled", every_s=0.1)

    @pytest.mark.parametrize(("age_ms", "state"), [(HEALTH_FRESH_MS, "open"), (HEALTH_FRESH_MS + 1, "closed")])
    def test_old_news_is_none(self, make: Callable[..., Station], age_ms: int, state: str) -> None:
        """What Redis has kept since all instances were down says nothing of a processor now."""
        station, clock = make(), FakeClock()
        outside = outside_of(station.config, station.segment, 0, clock)
        one = DispatcherProcess(station.config, station.segment, 0, station.row, clock, outside)
        told = SharedHealth(Health(failing=True, response_ms_min=5), clock.wall_us() // 1000 - age_ms)
        one._hear_shared_health(0, told)  # noqa: SLF001  as the publisher does
        assert one._router.circuits[0].state.value == state  # noqa: SLF001

    async def test_crash(self, station: Station) -> None:
        """What was in flight when it was killed is unknown, and is settled by its successor, stored once."""
        station.processors[0].processor.settings.delay_ms = 200
        station.accept(*range(20))
        # Not all of them at once: a turn that comes while they are accepted takes those, and the others 0.2 s later.
        await station.wait_for(lambda: State.SENDING in station.states(*range(20)), "not sent")
        end(station.pid)
        station.accept(*range(20, 30))
        await station.start()
        await station.wait_settled(*range(30))
        assert sorted(station.stored(0)) == sorted(text_of(number) for number in range(30))
        assert station.segment.journal(0).head == 30

    async def test_after_a_freeze(self, make: Callable[..., Station]) -> None:
        """Its heartbeat comes once it has handled what came meanwhile, not before; then summaries are given again."""
        station = make(**PATIENT)
        await station.start()
        station.processors[0].processor.settings.delay_ms = 1500
        for attempt in range(2):
            mine = range(40 * attempt, 40 * (attempt + 1))
            station.accept(*mine)
            await station.wait_for(lambda: set(station.states(*mine)) == {State.SENDING}, "not sent")  # noqa: B023
            limit = station.processors[0].processor.payments_limit
            await station.wait_for(lambda: limit.running == len(mine), "not arrived")  # noqa: B023
            os.kill(station.pid, signal.SIGSTOP)
            await asyncio.sleep(2.0)  # the answers come, and the time of four beats passes
            assert set(station.states(*mine)) == {State.SENDING}
            assert len(station.stored(0)) == len(mine) * (attempt + 1)
            thawed_us = time.monotonic_ns() // 1000
            os.kill(station.pid, signal.SIGCONT)
            while station.row.heartbeat_us < thawed_us:
                assert time.monotonic_ns() // 1000 < thawed_us + PATIENCE_S * 1_000_000, "it does not beat"
            assert set(station.states(*mine)) == {State.SETTLED}

    async def test_local_purge(self, station: Station) -> None:
        """Without Redis a purge is asked for in a worker's row."""
        station.accept(1)
        await station.wait_settled(1)
        station.segment.worker_counters(0).put(WorkerCount.PURGE_EPOCH, 3)
        await station.wait_for(lambda: station.segment.journal(0).base.epoch == 3, "the purge is not taken up")
        assert station.segment.journal(0).base.epoch_start == 1


class TestStopping:
    """The end."""

    async def test_idle(self, make: Callable[..., Station]) -> None:
        """With nothing to do it ends at once."""
        station = make(DRAIN_S="10")
        await station.start()
        begun_s = time.monotonic()
        assert await station.stop() == 0
        assert time.monotonic() - begun_s < 5
        assert station.row.phase is Phase.GONE

    async def test_drains(self, make: Callable[..., Station]) -> None:
        """What can be settled within the time given is."""
        station = make(DRAIN_S="10")
        await station.start()
        station.processors[0].processor.settings.delay_ms = 100
        station.accept(*range(10))
        await station.wait_for(lambda: set(station.states(*range(10))) <= {State.SENDING, State.SETTLED}, "not sent")
        assert await station.stop() == 0
        assert set(station.states(*range(10))) == {State.SETTLED}

    async def test_web_workers_outlast_the_first_word(self, make: Callable[..., Station]) -> None:
        """The whole process group was told to stop: it pays what they accept until they have ended, and then leaves."""
        station = make(DRAIN_S="30")
        await station.start()
        worker = station.segment.worker_counters(0)
        worker.phase = Phase.LEAVING
        os.kill(station.pid, signal.SIGTERM)
        station.segment.supervisor_counters().phase = Phase.LEAVING
        await station.wait_for(lambda: station.row.phase is Phase.LEAVING, "it does not hear")
        await asyncio.sleep(10 * dispatcher_process.DRAIN_LOOK_S)
        station.accept(1)
        await station.wait_settled(1)
        assert station.row.phase is Phase.LEAVING
        worker.phase = Phase.GONE
        assert await station.wait_end() == 0

    async def test_leaves_the_rest(self, make: Callable[..., Station]) -> None:
        """What can't be settled in time stays, and the next life settles it, stored once."""
        station = make(**PATIENT)
        await station.start()
        station.processors[0].processor.settings.delay_ms = 3000
        station.accept(*range(10))
        await station.wait_for(lambda: set(station.states(*range(10))) == {State.SENDING}, "not sent")
        assert await station.stop() == 0
        assert set(station.states(*range(10))) == {State.UNKNOWN}
        station.processors[0].processor.settings.delay_ms = 0
        await station.start()
        await station.wait_settled(*range(10))
        limit = station.processors[0].processor.payments_limit
        await station.wait_for(lambda: limit.running == 0, "some are still asleep")
        assert sorted(station.stored(0)) == sorted(text_of(number) for number in range(10))
        assert station.stored(1) == []


class TestStart:
    """What it needs."""

    async def test_role_taken(self, instance: str, make: Callable[..., Station]) -> None:
        """Nobody pays while another process plays the role."""
        station = make()
        with pytest.MonkeyPatch.context() as patch, take_role(instance, "dispatcher-0"):
            patch.setattr(dispatcher_process, "take_role", partial(take_role, within_s=0))
            with pytest.raises(RoleTaken):
                dispatcher_process.serve(station.config, station.segment, 0, station.doorbell)

    async def test_unreachable_processors(
        self, processors: list[ProcessorServer], make: Callable[..., Station]
    ) -> None:
        """With nobody there payments wait, and are settled once somebody is."""
        station = make()
        for one in processors:
            await one.__aexit__()
        await station.start()
        station.accept(1)
        await station.wait_for(lambda: station.row.get(DispatcherCount.SURE_NOS) > 0, "never tried")
        assert station.states(1) == [State.WAITING]
        async with processors[0]:
            await station.wait_settled(1)


class TestPublishing:
    """With Redis."""

    async def test_totals(
        self, make: Callable[..., Station], redis: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A settlement is written to the hash without waiting for a beat, and stays there after a goodbye."""
        monkeypatch.setattr(publisher, "BEAT_S", 60)
        station = make(REDIS_URL=redis.url)
        await station.start()
        reader = far_reader(TotalsHash(RedisClient(redis.url)))
        await station.wait_for(lambda: station.row.get(DispatcherCount.FLUSHES) > 0, "nothing is published")
        station.accept(1)
        await station.wait_settled(1)

        with monkeypatch.context() as patiently:
            patiently.setattr(published, "SEEN_WITHIN_MS", 60_000)  # nothing but the settlement is written
            patiently.setattr(redis_client, "CALL_TIMEOUT_S", 60)
            async with asyncio.timeout(PATIENCE_S):
                while (await reader.summary(ALL_TIME)).default != Total(1, 1990):
                    await asyncio.sleep(0.001)
        assert await station.stop() == 0
        await asyncio.sleep(1.6)
        assert await reader.summary(ALL_TIME) == Summary(Total(1, 1990), Total(0, 0))
        await reader.aclose()

    async def test_cut_short(self, make: Callable[..., Station], redis: RedisServer) -> None:
        """The goodbye tells of payments that were cut short as unknown."""
        station = make(REDIS_URL=redis.url, **PATIENT)
        await station.start()
        station.processors[0].processor.settings.delay_ms = 3000
        station.accept(*range(5))
        await station.wait_for(lambda: set(station.states(*range(5))) == {State.SENDING}, "not sent")
        assert await station.stop() == 0
        reader = far_reader(TotalsHash(RedisClient(redis.url)))
        assert await reader.summary(ALL_TIME) == Summary(Total(0, 0), Total(0, 0), unknown=5)
        await reader.aclose()

    async def test_redis_hangs_at_the_end(
        self, make: Callable[..., Station], mortal_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A Redis that does not answer delays the end by no more than two calls."""
        monkeypatch.setattr(redis_client, "CALL_TIMEOUT_S", 2)
        station = make(REDIS_URL=mortal_redis.url)
        await station.start()
        station.accept(1)
        await station.wait_settled(1)
        mortal_redis.freeze()
        begun_s = time.monotonic()
        assert await station.stop() == 0
        assert time.monotonic() - begun_s < 2.8 * redis_client.CALL_TIMEOUT_S

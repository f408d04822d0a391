"""Health polls: who asks, how often, and who is told."""

import asyncio
from types import SimpleNamespace

import httpx
import pytest

from server import health as module
from server.errors import TotalsUnavailable
from server.health import poll_alone, poll_shared
from server.processors import Health
from server.redis_totals import SharedHealth
from tests.fakes import NOON_MS, FakeClock, FakeProcessor, idle


class FakeLeases:
    """The part of the Redis hash that polls go through."""

    def __init__(self, *leases: bool | Exception) -> None:
        self.leases = list(leases)
        self.tries = 0
        self.shared: list[tuple[int, SharedHealth]] = []

    async def lease_health_poll(self, processor: int) -> int:
        """Gives what the test has ready; after that, none for the next 2 s."""
        self.tries += 1
        lease = self.leases.pop(0) if self.leases else False
        if isinstance(lease, Exception):
            raise lease
        return 0 if lease else 2000

    async def share_health(self, processor: int, shared: SharedHealth) -> None:
        """Remembers."""
        self.shared.append((processor, shared))


class FailingProcessor(FakeProcessor):
    """One that can't be asked."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Fails."""
        self.health_polls += 1
        raise httpx.ReadError("cut")


class SlowProcessor(FakeProcessor):
    """One that takes its time to tell its health.

    Args:
        clock: goes on meanwhile.
        took_ms: for so long.
    """

    def __init__(self, clock: FakeClock, took_ms: int) -> None:
        super().__init__()
        self._clock = clock
        self._took_ms = took_ms

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Takes it."""
        self._clock.advance(self._took_ms)
        return await super().handle_async_request(request)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Polls follow each other at once; gives the pauses that there would be, in seconds."""
    asked_for: list[float] = []

    async def sleep(pause_s: float) -> None:
        asked_for.append(pause_s)
        await asyncio.sleep(0)

    monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=sleep))
    return asked_for


async def poll(fake: FakeProcessor, leases: FakeLeases, clock: FakeClock | None = None) -> None:
    """Polls for a while, sharing."""
    task = asyncio.ensure_future(
        poll_shared(fake.processor(1), leases, clock or FakeClock())  # type: ignore[arg-type]
    )
    await idle(100)
    assert not task.done()
    task.cancel()


class TestShared:
    """With Redis."""

    async def test_with_the_lease(self, pauses: list[float]) -> None:
        """Whoever gets the lease asks once, shares the answer with the time, and tries again when the lease ends."""
        fake, leases = FakeProcessor(), FakeLeases(True)
        fake.health = Health(failing=True, response_ms_min=77)
        await poll(fake, leases)
        assert fake.health_polls == 1
        assert pauses[0] == 5.3
        assert leases.shared == [(1, SharedHealth(Health(failing=True, response_ms_min=77), NOON_MS))]

    async def test_without(self, pauses: list[float]) -> None:
        """Without a lease nobody is asked, and the lease is tried for again whenever the holder's ends."""
        fake, leases = FakeProcessor(), FakeLeases()
        await poll(fake, leases)
        assert (fake.health_polls, leases.shared) == (0, [])
        assert leases.tries > 10
        assert set(pauses) == {2.0}

    @pytest.mark.parametrize(("took_ms", "pause_s"), [(5250, 0.1), (4000, 1.3), (9000, 0.1)])
    async def test_a_poll_that_takes_long(self, pauses: list[float], took_ms: int, pause_s: float) -> None:
        """The lease runs from when it was given."""
        clock = FakeClock()
        await poll(SlowProcessor(clock, took_ms), FakeLeases(True), clock)
        assert pauses[0] == pause_s

    async def test_asked_too_often(self) -> None:
        """A 429 tells nothing, so nothing is shared."""
        fake, leases = FakeProcessor(), FakeLeases(True)
        fake.health = None
        await poll(fake, leases)
        assert (fake.health_polls, leases.shared) == (1, [])

    async def test_processor_fails(self) -> None:
        """Nothing is shared of a poll that fails, and the next one comes."""
        fake, leases = FailingProcessor(), FakeLeases(True, True, False)
        await poll(fake, leases)
        assert (fake.health_polls, leases.shared) == (2, [])

    async def test_redis_away(self, pauses: list[float]) -> None:
        """Without Redis nobody polls; once it is back somebody does."""
        fake, leases = FakeProcessor(), FakeLeases(TotalsUnavailable("away"), TotalsUnavailable("away"), True)
        await poll(fake, leases)
        assert (fake.health_polls, len(leases.shared)) == (1, 1)
        assert pauses[:2] == [1.0, 1.0]


class TestAlone:
    """Without Redis."""

    async def test_tells(self, pauses: list[float]) -> None:
        """Every answer is told to this instance's routing, as often as a processor allows to be asked."""
        fake, told = FakeProcessor(), list[tuple[int, Health]]()
        fake.health = Health(failing=False, response_ms_min=5)
        task = asyncio.ensure_future(poll_alone(fake.processor(0), lambda *news: told.append(news)))
        await idle(100)
        task.cancel()
        assert set(told) == {(0, fake.health)}
        assert len(told) == fake.health_polls > 5
        assert set(pauses) == {5.3}

    @pytest.mark.parametrize("fake", [FailingProcessor(), FakeProcessor()])
    async def test_no_news(self, fake: FakeProcessor, pauses: list[float]) -> None:
        """What fails or is refused tells nothing and ends nothing, nor is it asked again any sooner."""
        fake.health = None
        told = list[tuple[int, Health]]()
        task = asyncio.ensure_future(poll_alone(fake.processor(0), lambda *news: told.append(news)))
        await idle(100)
        assert not task.done()
        task.cancel()
        assert told == []
        assert fake.health_polls > 5
        assert set(pauses) == {5.3}

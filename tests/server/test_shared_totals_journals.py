"""Summaries over a real Redis and real segments: what the volume knows and Redis does not, or not yet."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import cast

import pytest

from server import shared_totals as module
from server.clock import SystemClock
from server.errors import TotalsUnavailable
from server.redis_client import RedisClient
from server.redis_totals import TotalsHash
from server.shared_totals import SharedTotals
from server.totals import ALL_TIME, Summary, Total, Window
from server.totals_header import Header
from server.volume_members import VolumeMembers
from shm import DispatcherCount, Ended, Phase
from tests.fakes import NOON_MS
from tests.redis_server import RedisServer
from tests.server.members import ONE, OTHER, Published, reason
from tests.server.other_instance import NEVER_SILENT_US, OtherInstance, other_instance

pytestmark = pytest.mark.slow


@pytest.fixture
def other() -> Iterator[OtherInstance]:
    """An instance at work."""
    with other_instance() as made:
        made.start()
        made.segment.dispatcher_counters(0).phase = Phase.READY
        made.segment.dispatcher_counters(0).beat(NEVER_SILENT_US)
        yield made


@pytest.fixture
def member(other: OtherInstance, totals: TotalsHash) -> Published:
    """Its first dispatcher, as far as totals are concerned."""
    return Published(other.segment, totals)


@pytest.fixture
async def reader(redis: RedisServer, other: OtherInstance) -> AsyncIterator[SharedTotals]:
    """A web worker's, on the same volume."""
    made = SharedTotals(
        TotalsHash(RedisClient(redis.url)), VolumeMembers([other.name], clock=SystemClock()), SystemClock()
    )
    yield made
    await made.aclose()


class TestSummary:
    """SharedTotals.summary, with members on this volume."""

    async def test_back_and_silent(
        self, other: OtherInstance, member: Published, reader: SharedTotals, totals: TotalsHash
    ) -> None:
        """One that said goodbye and began another life is waited for."""
        assert await reason(reader) == "no instance has published its totals yet"
        await member.flush(ONE)
        await member.publisher.say_goodbye()
        assert (await reader.summary(ALL_TIME)).default == Total(1, 1990)
        member.start(totals)
        member.settle(ONE)
        assert await reason(reader) == (
            f"instance {member.name} ({other.name}) is back and has not published its totals yet"
        )
        await member.flush_until_taken()
        assert (await reader.summary(ALL_TIME)).default == Total(2, 3980)

    async def test_a_damaged_row(self, other: OtherInstance, member: Published, reader: SharedTotals) -> None:
        """No summary, and the reason why; the dispatcher's next phase mends it."""
        await member.flush(ONE)
        member.counters.phase = cast("Phase", 99)
        assert await reason(reader) == (
            f"the row of dispatcher {member.name} ({other.name}) is damaged: nobody can tell whether it is at work"
        )
        member.counters.phase = Phase.READY
        assert (await reader.summary(ALL_TIME)).default == Total(1, 1990)

    async def test_what_the_journal_has_already(self, member: Published, reader: SharedTotals) -> None:
        """What was settled since the last flush counts, in its windows; what was flushed counts once."""
        await member.flush(ONE)
        member.settle(OTHER, ONE)
        for _ in range(2):
            assert await reader.summary(ALL_TIME) == Summary(Total(2, 3980), Total(1, 10))
            assert await reader.summary(Window(None, NOON_MS)) == Summary(Total(2, 3980), Total(0, 0))
            assert await reader.summary(Window(NOON_MS + 1, None)) == Summary(Total(0, 0), Total(1, 10))
            await member.flush()

    async def test_what_is_unknown_since_the_last_flush(self, member: Published, reader: SharedTotals) -> None:
        """It is told with what was published, in its windows; not of one that said goodbye, whose word is the last."""
        await member.flush(ONE)
        member.counters.put(DispatcherCount.UNKNOWN, 2)
        member.counters.put(DispatcherCount.UNKNOWN_LEAST_MS, NOON_MS)
        member.counters.put(DispatcherCount.UNKNOWN_GREATEST_MS, NOON_MS + 5)
        assert await reader.summary(ALL_TIME) == Summary(Total(1, 1990), Total(0, 0), unknown=2)
        assert await reader.summary(Window(NOON_MS + 6, None)) == Summary(Total(0, 0), Total(0, 0))
        member.counters.put(DispatcherCount.UNKNOWN, 0)
        await member.publisher.say_goodbye()
        member.counters.put(DispatcherCount.UNKNOWN, 2)
        assert await reader.summary(ALL_TIME) == Summary(Total(1, 1990), Total(0, 0))

    async def test_unknown_while_it_is_asked(
        self, other: OtherInstance, member: Published, reader: SharedTotals, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One payment becomes unknown between two looks, and a later one is settled: both are told of."""
        await member.flush()
        unpublished = VolumeMembers.unpublished

        def a_moment_later(volume_members: VolumeMembers, headers: Mapping[str, Header]) -> Iterator[Ended]:
            row = other.segment.dispatcher_counters(0)
            row.put(DispatcherCount.UNKNOWN_LEAST_MS, NOON_MS)
            row.put(DispatcherCount.UNKNOWN_GREATEST_MS, NOON_MS)
            row.put(DispatcherCount.UNKNOWN, 1)
            member.settle(ONE)
            yield from unpublished(volume_members, headers)

        monkeypatch.setattr(VolumeMembers, "unpublished", a_moment_later)
        assert await reader.summary(ALL_TIME) == Summary(Total(1, 1990), Total(0, 0), unknown=1)

    async def test_known_while_it_is_asked(
        self, other: OtherInstance, member: Published, reader: SharedTotals, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An outcome that becomes known right after its journal was read is told of as unknown still."""
        await member.flush()
        row = other.segment.dispatcher_counters(0)
        row.put(DispatcherCount.UNKNOWN_LEAST_MS, NOON_MS)
        row.put(DispatcherCount.UNKNOWN_GREATEST_MS, NOON_MS)
        row.put(DispatcherCount.UNKNOWN, 1)
        unpublished = VolumeMembers.unpublished

        def a_moment_before(volume_members: VolumeMembers, headers: Mapping[str, Header]) -> Iterator[Ended]:
            yield from [*unpublished(volume_members, headers)]
            member.settle(ONE)
            row.put(DispatcherCount.UNKNOWN, 0)

        monkeypatch.setattr(VolumeMembers, "unpublished", a_moment_before)
        assert await reader.summary(ALL_TIME) == Summary(Total(0, 0), Total(0, 0), unknown=1)

    async def test_one_that_has_died(self, other: OtherInstance, member: Published, reader: SharedTotals) -> None:
        """Nobody knows what it was sending, and it need not be silent for long to be missed."""
        await member.flush(ONE)
        assert (await reader.summary(ALL_TIME)).default == Total(1, 1990)
        other.kill()
        assert await reason(reader) == (
            f"dispatcher {member.name} ({other.name}) has died, and its successor has not published its totals yet"
        )


class TestPurge:
    """SharedTotals.purge, with members on this volume."""

    async def test_one_that_is_back(
        self, member: Published, reader: SharedTotals, totals: TotalsHash, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A goodbye of an earlier life does not speak for the one that has begun."""
        monkeypatch.setattr(module, "PURGE_WITHIN_S", 0.1)
        await member.flush(ONE)
        await member.publisher.say_goodbye()
        member.start(totals)
        with pytest.raises(TotalsUnavailable, match=f"instance {member.name} .* is back and has not published"):
            await reader.purge()
        purging = asyncio.ensure_future(reader.purge())
        while not purging.done():
            await member.flush()
        await purging
        assert await reader.summary(ALL_TIME) == Summary(Total(0, 0), Total(0, 0))

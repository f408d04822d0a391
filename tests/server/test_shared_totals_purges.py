"""server/shared_totals.py: a purge of all members, of one Redis or of several after each other."""

import asyncio

import pytest

from server import shared_totals as module
from server.errors import TotalsUnavailable
from server.redis_client import RedisClient
from server.redis_scripts import HASH
from server.redis_totals import TotalsHash
from server.shared_totals import SharedTotals
from server.totals import ALL_TIME, Summary, Total, Window
from tests.fakes import NOON_MS
from tests.redis_server import RedisServer
from tests.server.members import NOTHING, ONE, OTHER, Published, far_reader, grow_old, reason

pytestmark = pytest.mark.slow


class TestPurge:
    """`POST /purge-payments`."""

    async def test_all_members_follow(self, reader: SharedTotals, redis: RedisServer, pair: list[Published]) -> None:
        """It answers once every member counts from zero; what is settled later counts."""
        other_client = far_reader(TotalsHash(RedisClient(redis.url)))
        for member in pair:
            await member.flush(ONE)
        purge = asyncio.ensure_future(other_client.purge())
        while not (await pair[0].flush() and pair[0].journal.base.epoch):
            await asyncio.sleep(0.001)
        assert "has not taken up the last purge" in await reason(reader)
        assert not purge.done()
        await pair[1].flush_until_taken()
        await purge
        assert await reader.summary(ALL_TIME) == NOTHING
        await pair[0].flush(OTHER)
        assert await reader.summary(ALL_TIME) == Summary(Total(0, 0), Total(1, 10))
        assert await reader.summary(Window(NOON_MS, None)) == Summary(Total(0, 0), Total(1, 10))
        await other_client.aclose()

    async def test_those_who_died_half_written(
        self, totals: TotalsHash, reader: SharedTotals, redis: RedisServer, pair: list[Published]
    ) -> None:
        """A goodbye that is not whole is of no importance to totals that began after it."""
        await pair[0].flush(ONE)
        await pair[1].flush(ONE)
        await pair[1].publisher.say_goodbye()
        found = await totals.read_member(pair[1].name)
        assert found is not None
        redis.ask(f'HSET {HASH} {pair[1].name}|h "{found[0]._replace(is_whole=0).to_text()}"')
        purging = asyncio.ensure_future(reader.purge())
        while not purging.done():
            await pair[0].flush()
        await purging
        assert await reader.summary(ALL_TIME) == NOTHING

    async def test_those_who_have_gone(
        self, totals: TotalsHash, reader: SharedTotals, redis: RedisServer, pair: list[Published]
    ) -> None:
        """A member that said goodbye is not waited for; its totals are gone all the same, also when it returns."""
        await pair[0].flush(ONE)
        pair[1].settle(ONE)
        await pair[1].publisher.say_goodbye()
        purge = asyncio.ensure_future(reader.purge())
        while not purge.done():
            await pair[0].flush()
        await purge
        assert await reader.summary(ALL_TIME) == NOTHING
        pair[1].start(totals)
        await pair[1].publisher._resume()  # noqa: SLF001  as when it runs
        await pair[1].flush_until_taken()
        assert await reader.summary(ALL_TIME) == NOTHING

    async def test_who_has_gone_before_a_purge_that_redis_had_lost(
        self, reader: SharedTotals, pair: list[Published]
    ) -> None:
        """This hash was told of it by a member: what a goodbye in it left may be of after it, so nothing is told."""
        await pair[1].flush(ONE)
        await pair[1].publisher.say_goodbye()
        pair[0].journal.begin_epoch(NOON_MS + 5)
        await pair[0].flush_until_taken()
        assert "has not taken up the last purge yet" in await reason(reader)

    async def test_nobody_would_remember_it(
        self, reader: SharedTotals, pair: list[Published], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """All have said goodbye: if Redis lost it, their old totals would be back."""
        monkeypatch.setattr(module, "PURGE_WITHIN_S", 0.1)
        for one in pair:
            await one.flush(ONE)
            await one.publisher.say_goodbye()
        with pytest.raises(TotalsUnavailable, match="no instance would remember it"):
            await reader.purge()

    async def test_several_at_once(self, reader: SharedTotals, redis: RedisServer, pair: list[Published]) -> None:
        """Each is done once all have taken up that one or a later one."""
        clients = [far_reader(TotalsHash(RedisClient(redis.url))) for _ in range(4)]
        for one in pair:
            await one.flush(ONE)
        purging = asyncio.gather(*(client.purge() for client in clients))
        while not purging.done():
            for one in pair:
                await one.flush()
        await purging
        assert await reader.summary(ALL_TIME) == NOTHING
        for client in clients:
            await client.aclose()

    async def test_nobody(self, reader: SharedTotals) -> None:
        """With nobody there it is refused: an emptied Redis does not know the epochs of those who come back."""
        with pytest.raises(TotalsUnavailable, match="no instance"):
            await reader.purge()

    async def test_somebody_does_not_follow(
        self, reader: SharedTotals, redis: RedisServer, pair: list[Published], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It does not wait for ever, and does not take silence for consent."""
        monkeypatch.setattr(module, "PURGE_WITHIN_S", 0.1)
        await pair[0].flush(ONE)
        for _ in range(2):
            with pytest.raises(TotalsUnavailable, match=f"instance {pair[0].name} did not take it up"):
                await reader.purge()
            grow_old(redis, pair[0], 10**6)  # it may still be settling, cut off from Redis

    async def test_redis_emptied_after_it(
        self, reader: SharedTotals, redis: RedisServer, pair: list[Published]
    ) -> None:
        """The epoch comes back with whoever writes first, so nobody returns to totals from before the purge."""
        for member in pair:
            await member.flush(ONE)
        purge = asyncio.ensure_future(reader.purge())
        while not purge.done():
            for member in pair:
                await member.flush()
            await asyncio.sleep(0)
        redis.ask("FLUSHALL")
        for member in pair:
            await member.flush_until_taken()
        assert await reader.summary(ALL_TIME) == NOTHING

"""server/shared_totals.py: a purge of all members, of one Redis or of several after each other."""

import asyncio

import pytest

from server import shared_totals as module
from server.clock import SystemClock
from server.errors import TotalsUnavailable
from server.published import PublishedMember, Purge
from server.redis_client import RedisClient
from server.redis_scripts import HASH
from server.redis_totals import TotalsHash
from server.shared_totals import SharedTotals
from server.totals import ALL_TIME, PURGE_POLL_S, Summary, Total, Window
from server.volume_members import VolumeMembers
from tests.fakes import NOON_MS, FakeClock
from tests.redis_server import RedisServer
from tests.server.members import NOTHING, ONE, OTHER, Published, far_reader, grow_old, reason

pytestmark = pytest.mark.slow


async def finish(purge: asyncio.Future[None], members: list[Published]) -> None:
    """Has members flush until a purge is done; raises what it ended with."""
    while not purge.done():
        for member in members:
            await member.flush()
    await purge


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
        await finish(purging, pair[:1])
        assert await reader.summary(ALL_TIME) == NOTHING

    async def test_those_who_have_gone(
        self, totals: TotalsHash, reader: SharedTotals, redis: RedisServer, pair: list[Published]
    ) -> None:
        """A member that said goodbye is not waited for; its totals are gone all the same, also when it returns."""
        await pair[0].flush(ONE)
        pair[1].settle(ONE)
        await pair[1].publisher.say_goodbye()
        purge = asyncio.ensure_future(reader.purge())
        await finish(purge, pair[:1])
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
        """With nobody there it is refused at once: an emptied Redis does not know the epochs of those who come back."""
        with pytest.raises(TotalsUnavailable, match="^no instance has published its totals yet$"):
            await reader.purge()

    async def test_somebody_does_not_follow(
        self, reader: SharedTotals, redis: RedisServer, pair: list[Published], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It does not wait for ever, and does not take silence for consent."""
        monkeypatch.setattr(module, "PURGE_WITHIN_S", 0.1)
        await pair[0].flush(ONE)
        before = redis.calls("evalsha")
        for _ in range(2):
            with pytest.raises(TotalsUnavailable, match=f"instance {pair[0].name} did not take it up"):
                await reader.purge()
            grow_old(redis, pair[0], 10**6)  # it may still be settling, cut off from Redis
        assert redis.calls("evalsha") - before <= 2 * (6 + 0.1 / PURGE_POLL_S)  # Redis is asked now and then

    async def test_somebody_has_written_nothing(
        self, reader: SharedTotals, redis: RedisServer, pair: list[Published], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who is known of, and of whom the hash has nothing, may have totals from before it."""
        monkeypatch.setattr(module, "PURGE_WITHIN_S", 0.1)
        await pair[0].flush(ONE)
        redis.ask(f"HDEL {HASH} {pair[0].name}|h")
        with pytest.raises(TotalsUnavailable, match=f"instance {pair[0].name} did not take it up"):
            await reader.purge()

    async def test_a_later_one(
        self, totals: TotalsHash, reader: SharedTotals, pair: list[Published], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is done once all have taken it up; they need not have taken up a purge that has begun since."""
        looks, members, may_look = 0, totals.members, asyncio.Event()

        async def look() -> tuple[Purge, list[PublishedMember]]:
            nonlocal looks
            looks += 1
            if looks > 1:
                await may_look.wait()
            return await members()

        monkeypatch.setattr(totals, "members", look)
        for member in pair:
            await member.flush(ONE)
        purge = asyncio.ensure_future(reader.purge())
        while looks < 2:
            await asyncio.sleep(0.001)
        for member in pair:
            await member.flush_until_taken()
        assert await totals.raise_epoch(0, follows=pair[0].journal.base.epoch)
        may_look.set()
        await purge
        assert "has not taken up the last purge" in await reason(reader)

    async def test_one_that_came_in_between(
        self, totals: TotalsHash, reader: SharedTotals, pair: list[Published], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another's purge, begun after this one has looked, is no excuse: this one follows it."""
        begun, raise_epoch = list[int](), totals.raise_epoch

        async def raise_after_another(asked_at_ms: int, *, follows: int) -> int:
            if not begun:
                begun.append(await raise_epoch(asked_at_ms, follows=follows))
            begun.append(await raise_epoch(asked_at_ms, follows=follows))
            return begun[-1]

        monkeypatch.setattr(totals, "raise_epoch", raise_after_another)
        for member in pair:
            await member.flush(ONE)
        purge = asyncio.ensure_future(reader.purge())
        await finish(purge, pair)
        assert begun[1:] == [0, pair[0].journal.base.epoch]

    async def test_redis_emptied_meanwhile(
        self, reader: SharedTotals, redis: RedisServer, pair: list[Published], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is waited for those who come back, as one of them knows of it."""
        looked_at: list[int] = []
        members = reader._totals.members  # noqa: SLF001  what each look finds

        async def look() -> tuple[Purge, list[PublishedMember]]:
            found = await members()
            looked_at.append(len(found[1]))
            return found

        monkeypatch.setattr(reader._totals, "members", look)  # noqa: SLF001  the same
        for member in pair:
            await member.flush(ONE)
        purge = asyncio.ensure_future(reader.purge())
        while not (await pair[0].flush() and pair[0].journal.base.epoch):
            await asyncio.sleep(0.001)
        redis.ask("FLUSHALL")
        while 0 not in looked_at and not purge.done():
            await asyncio.sleep(0.001)
        await finish(purge, pair)
        assert await reader.summary(ALL_TIME) == NOTHING

    async def test_its_number_is_its_time(self, totals: TotalsHash, pair: list[Published]) -> None:
        """Whoever hears of it late can tell by it what came after it."""
        reader = SharedTotals(totals, VolumeMembers([], clock=SystemClock()), FakeClock())
        for member in pair:
            await member.flush(ONE)
        purge = asyncio.ensure_future(reader.purge())
        await finish(purge, pair)
        assert [member.journal.base.epoch for member in pair] == [NOON_MS] * 2

    async def test_redis_emptied_after_it(
        self, reader: SharedTotals, redis: RedisServer, pair: list[Published]
    ) -> None:
        """The epoch comes back with whoever writes first, so nobody returns to totals from before the purge."""
        for member in pair:
            await member.flush(ONE)
        purge = asyncio.ensure_future(reader.purge())
        await finish(purge, pair)
        redis.ask("FLUSHALL")
        for member in pair:
            await member.flush_until_taken()
        assert await reader.summary(ALL_TIME) == NOTHING

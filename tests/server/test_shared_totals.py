"""Totals that instances share over a real Redis: what readers are told, and when that it can't be known."""

import asyncio
import random
import time
from contextlib import suppress

import pytest

from server import redis_client
from server.errors import TotalsUnavailable
from server.processors import Health
from server.published import SEEN_WITHIN_MS
from server.redis_client import RedisClient
from server.redis_scripts import HASH
from server.redis_totals import SharedHealth, TotalsHash
from server.shared_totals import SharedTotals
from server.totals import ALL_TIME, Summary, Total, UnknownRange, Window
from server.totals_fields import CELL
from shm import DispatcherCount
from tests.fakes import NOON_MS
from tests.redis_server import RedisServer
from tests.server.members import NOTHING, ONE, OTHER, Published, far_reader, grow_old, members, reason
from tests.server.naive_totals import Settled, count, small_ledgers

pytestmark = pytest.mark.slow


class TestSummary:
    """What readers are told."""

    async def test_both_members(self, reader: SharedTotals, pair: list[Published]) -> None:
        """The totals of all members together."""
        await pair[0].flush(ONE, OTHER)
        await pair[1].flush(ONE)
        assert await reader.summary(ALL_TIME) == Summary(Total(2, 3980), Total(1, 10))
        assert await reader.summary(Window(NOON_MS, NOON_MS)) == Summary(Total(2, 3980), Total(0, 0))
        assert await reader.summary(Window(NOON_MS + 1, NOON_MS)) == NOTHING

    @pytest.mark.parametrize("seed", range(3))
    async def test_any_window(self, reader: SharedTotals, pair: list[Published], seed: int) -> None:
        """Windows over two members equal the plain list's, whatever their ends."""
        dice = random.Random(seed)
        instants_ms = [NOON_MS + dice.randrange(150_000) for _ in range(60)]
        for _ in range(20):
            for member in pair:
                chosen = dice.choices(instants_ms, k=10)
                await member.flush(*(Settled(dice.randrange(2), ms, dice.randrange(1, 10**6)) for ms in chosen))
        settled = [one for member in pair for one in member.settled]
        ends = [None, *(ms + offset for ms in instants_ms for offset in (-1, 0, 1)), NOON_MS - 10**9, NOON_MS + 10**9]
        for _ in range(150):
            window = Window(dice.choice(ends), dice.choice(ends))
            summary = await reader.summary(window)
            assert (summary.default, summary.fallback) == count(settled, window), window
            assert summary.resolution is None

    async def test_unknown(self, reader: SharedTotals, pair: list[Published]) -> None:
        """Unknown payments of all members that may lie in the window are told beside the totals."""
        for member, least_ms in zip(pair, (NOON_MS, NOON_MS + 5000), strict=True):
            unknowns = UnknownRange(3, least_ms, least_ms + 10)
            places = (
                DispatcherCount.UNKNOWN,
                DispatcherCount.UNKNOWN_LEAST_MS,
                DispatcherCount.UNKNOWN_GREATEST_MS,
            )
            for place, value in zip(places, unknowns, strict=True):
                member.counters.put(place, value)
            await member.flush()
        assert (await reader.summary(ALL_TIME)).unknown == 6
        assert (await reader.summary(Window(NOON_MS, NOON_MS + 10))).unknown == 3
        assert (await reader.summary(Window(NOON_MS + 20, NOON_MS + 4000))).unknown == 0

    async def test_cost(self, redis: RedisServer, reader: SharedTotals, pair: list[Published]) -> None:
        """A window reads its own fields, however many payments and minutes there are beside."""
        for minute in range(40):
            payments = [Settled(0, NOON_MS + minute * 60_000 + second * 1000, 1) for second in range(5)]
            await pair[0].flush(*payments)
        await pair[1].flush()
        before = redis.calls("hget")
        start_ms = NOON_MS + 20 * 60_000 + 500
        assert (await reader.summary(Window(start_ms, start_ms + 61_000))).default == Total(6, 6)
        fields = ["header", "seen", "first second", "last second"]
        expected = len(["epoch", "purged", "roster"]) + 2 * len(fields) + len(["minute", "next minute"])
        assert redis.calls("hget") - before == expected
        before = redis.calls("hget")
        assert (await reader.summary(ALL_TIME)).default == Total(200, 200)
        assert redis.calls("hget") - before == 3 + 2 * len(["header", "seen"])

    async def test_before_what_can_be_told(self, reader: SharedTotals, pair: list[Published]) -> None:
        """A member that had to begin again can't tell windows from before; open ones it can."""
        first, second = pair
        await second.flush()
        first.settle(*(Settled(0, NOON_MS + ms, 1) for ms in range(400)))
        await first.flush()
        until_ms = first.journal.base.folded_until_ms
        assert "from when on totals are exact" in await reason(reader, Window(NOON_MS))
        assert (await reader.summary(Window(until_ms, None))).default == count(first.settled, (until_ms, None))[0]
        assert (await reader.summary(ALL_TIME)).default == Total(400, 400)

    async def test_forgotten_minutes(self, redis: RedisServer, totals: TotalsHash, reader: SharedTotals) -> None:
        """A window that begins before the minutes that are kept is widened to all there is, and says so."""
        with small_ledgers(minutes=3, detail_bytes=CELL.size), members(totals, 1) as (member,):
            await member.flush(*(Settled(0, NOON_MS + minute * 60_000, 1) for minute in range(10)))
            summary = await reader.summary(Window(NOON_MS, NOON_MS + 10 * 60_000))
            assert (summary.default, summary.fallback) == count(member.settled)
            assert "kept as one sum; the window was widened" in (summary.resolution or "")
            cut = (await reader.summary(Window(NOON_MS, NOON_MS + 8 * 60_000 + 1))).resolution or ""
            assert ("widened to them all" in cut, "widened to whole ones" in cut) == (True, True)
            window = Window(NOON_MS + 8 * 60_000)
            assert await reader.summary(window) == Summary(*count(member.settled, window))

    async def test_forgotten_minutes_and_an_end(self, totals: TotalsHash, reader: SharedTotals) -> None:
        """Such a window is widened at its beginning alone: what was settled after its end is left out."""
        with small_ledgers(minutes=3), members(totals, 1) as (member,):
            await member.flush(*(Settled(0, NOON_MS + minute * 60_000, 1) for minute in range(10)))
            summary = await reader.summary(Window(NOON_MS, NOON_MS + 8 * 60_000))
            assert (summary.default, summary.fallback) == count(member.settled, (None, NOON_MS + 8 * 60_000))


class TestDoubt:
    """When totals can't be told."""

    async def test_nobody(self, reader: SharedTotals) -> None:
        """An empty hash says so, and no zeros."""
        assert await reason(reader) == "no instance has published its totals yet"

    async def test_missing_member(self, redis: RedisServer, reader: SharedTotals, pair: list[Published]) -> None:
        """A member that is known of and has written nothing since Redis was emptied is missed by name."""
        await pair[0].flush(ONE)
        await pair[1].flush(ONE)
        await pair[0].flush()
        redis.ask("FLUSHALL")
        await pair[0].flush_until_taken()
        assert await reason(reader) == f"the totals of instance {pair[1].name} are not there (yet)"
        await pair[1].flush_until_taken()
        assert await reader.summary(ALL_TIME) == Summary(Total(2, 3980), Total(0, 0))

    async def test_half_written_member(
        self, redis: RedisServer, totals: TotalsHash, reader: SharedTotals, pair: list[Published]
    ) -> None:
        """A member whose flush is not whole yet is waited for by name."""
        await pair[0].flush(ONE)
        await pair[1].flush(ONE)
        found = await totals.read_member(pair[1].name)
        assert found is not None
        redis.ask(f'HSET {HASH} {pair[1].name}|h "{found[0]._replace(is_whole=0).to_text()}"')
        assert await reason(reader) == f"the totals of instance {pair[1].name} are being written"
        await pair[1].flush_until_taken()
        assert (await reader.summary(ALL_TIME)).default == Total(2, 3980)

    async def test_silent_member(self, redis: RedisServer, reader: SharedTotals, pair: list[Published]) -> None:
        """A member not heard of for three beats is named; its next sign of life heals that."""
        await pair[0].flush(ONE)
        await pair[1].flush(ONE)
        grow_old(redis, pair[1], SEEN_WITHIN_MS - 300)
        assert (await reader.summary(ALL_TIME)).default == Total(2, 3980)
        grow_old(redis, pair[1], 301)
        assert f"instance {pair[1].name} has not been heard of for" in await reason(reader)
        await pair[1].flush()
        assert (await reader.summary(ALL_TIME)).default == Total(2, 3980)

    async def test_clock_set_back(self, redis: RedisServer, reader: SharedTotals, pair: list[Published]) -> None:
        """A member seen in the future is not taken for alive: Redis's clock was set back, and it may have died."""
        await pair[0].flush(ONE)
        grow_old(redis, pair[0], -3_600_000)
        assert "Redis's clock was set back" in await reason(reader)
        await pair[0].flush()
        assert (await reader.summary(ALL_TIME)).default == Total(1, 1990)

    async def test_goodbye(
        self, redis: RedisServer, totals: TotalsHash, reader: SharedTotals, pair: list[Published]
    ) -> None:
        """After a goodbye silence is no reason for doubt, and the totals stay; the next life takes it back."""
        await pair[0].flush(ONE)
        pair[1].settle(OTHER)
        await pair[1].publisher.say_goodbye()
        grow_old(redis, pair[1], 10**9)
        assert await reader.summary(ALL_TIME) == Summary(Total(1, 1990), Total(1, 10))
        pair[1].start(totals)
        await pair[1].flush_until_taken()
        grow_old(redis, pair[1], 10**9)
        assert "has not been heard of" in await reason(reader)

    async def test_header_of_another_program(self, redis: RedisServer, reader: SharedTotals) -> None:
        """A header that can't be read is no header."""
        redis.ask(f"HSET {HASH} roster aa.0 aa.0|h gibberish aa.0|seen 0")
        assert await reason(reader) == "the totals of instance aa.0 are not there (yet)"
        assert "Redis can't be asked" in await reason(reader, Window(NOON_MS, NOON_MS))


class TestOutages:
    """Redis away, hanging, back."""

    async def test_unreachable(self, mortal_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """Every call says so at once."""
        monkeypatch.setattr(redis_client, "CALL_TIMEOUT_S", 60)
        client = TotalsHash(RedisClient(mortal_redis.url))
        reader = far_reader(client)
        mortal_redis.kill()
        begun_s = time.monotonic()
        assert "Redis can't be asked" in await reason(reader)
        with pytest.raises(TotalsUnavailable):
            await reader.purge()
        with pytest.raises(TotalsUnavailable):
            await client.lease_health_poll(0)
        with pytest.raises(TotalsUnavailable):
            await client.share_health(0, SharedHealth(Health(failing=True, response_ms_min=0), NOON_MS))
        assert time.monotonic() - begun_s < 10
        await client.aclose()

    async def test_restarted(self, mortal_redis: RedisServer) -> None:
        """The first call after a restart finds it again, and what it has forgotten is written again."""
        client = TotalsHash(RedisClient(mortal_redis.url))
        reader = far_reader(client)
        with members(client, 1) as (member,):
            await member.flush(ONE)
            mortal_redis.kill()
            assert not await member.flush(OTHER)
            mortal_redis.start()
            assert await reason(reader) == "no instance has published its totals yet"
            await member.flush_until_taken()
            assert await reader.summary(ALL_TIME) == Summary(Total(1, 1990), Total(1, 10))
            assert await reader.summary(Window(NOON_MS, NOON_MS)) == Summary(Total(1, 1990), Total(0, 0))
        await client.aclose()

    async def test_frozen(self, mortal_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """Calls to a Redis that does not answer end in time, however many wait in line; later ones are right again."""
        monkeypatch.setattr(redis_client, "CALL_TIMEOUT_S", 0.2)
        client = TotalsHash(RedisClient(mortal_redis.url))
        reader = far_reader(client)
        with members(client, 1) as (member,):
            await member.flush(ONE)
            mortal_redis.freeze()
            begun_s = time.monotonic()
            reasons = await asyncio.gather(*(reason(reader) for _ in range(50)))
            assert time.monotonic() - begun_s < 5  # one after the other would take ten
            assert set(reasons) == {"Redis can't be asked: no answer in time"}
            assert not await member.flush(OTHER)
            mortal_redis.thaw()
            await member.flush_until_taken()
            assert await reader.summary(ALL_TIME) == Summary(Total(1, 1990), Total(1, 10))
        await client.aclose()

    async def test_cancelled(self, totals: TotalsHash, reader: SharedTotals, pair: list[Published]) -> None:
        """Answers that nobody waits for any more are never taken for those of later calls."""
        dice = random.Random(1)
        for member in pair:
            await member.flush()
        for number in range(60):
            pair[0].settle(ONE)
            task = asyncio.ensure_future(pair[0].flush() if dice.random() < 0.5 else totals.lease_health_poll(0))
            for _ in range(dice.randrange(12)):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if number % 3 == 0:
                await pair[0].flush_until_taken()
                assert await reader.summary(ALL_TIME) == Summary(Total(number + 1, 1990 * (number + 1)), Total(0, 0))

    @pytest.mark.parametrize("seed", range(3))
    async def test_any_trouble(
        self, redis: RedisServer, totals: TotalsHash, reader: SharedTotals, pair: list[Published], seed: int
    ) -> None:
        """Through emptied, restored, refusing and cut-off calls and new lives, no summary is ever wrong."""
        dice = random.Random(seed)
        refused = 0
        copy = b""
        for step in range(250):
            member = dice.choice(pair)
            at_ms = NOON_MS + step * 700
            member.settle(
                *(Settled(dice.randrange(2), at_ms + dice.randrange(900), 7) for _ in range(dice.randrange(4)))
            )
            trouble = dice.random()
            if trouble < 0.03:
                redis.ask(f"DEL {HASH}")
            elif trouble < 0.06:
                redis.ask("DEL copy")
                copy = redis.ask(f"COPY {HASH} copy")
            elif trouble < 0.09 and copy:
                redis.ask(f"COPY copy {HASH} REPLACE")
            elif trouble < 0.13:
                member.start(totals)
                await member.publisher._resume()  # noqa: SLF001  as when it runs
            elif trouble < 0.25:
                task = asyncio.ensure_future(member.flush())
                for _ in range(dice.randrange(12)):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            if not all([await one.flush() for one in pair]):
                refused += 1
                with suppress(TotalsUnavailable):
                    self._check(await reader.summary(Window(NOON_MS, at_ms)), pair, at_ms)
                for one in pair:
                    await one.flush_until_taken()
            self._check(await reader.summary(Window(NOON_MS, at_ms)), pair, at_ms)
        assert refused > 5, "there was no trouble to speak of"

    @staticmethod
    def _check(summary: Summary, pair: list[Published], to_ms: int) -> None:
        settled = [one for member in pair for one in member.settled]
        assert (summary.default, summary.fallback) == count(settled, (NOON_MS, to_ms))

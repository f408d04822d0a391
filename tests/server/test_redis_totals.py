"""The calls of the Redis hash over a real Redis: a member read in pieces, polls of the processors' health."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from server import redis_totals as module
from server.errors import TotalsUnavailable
from server.processors import HEALTH_EVERY_MS, Health
from server.redis_client import RedisClient
from server.redis_scripts import HASH
from server.redis_totals import LEASE_AGAIN_MS, SharedHealth, TotalsHash
from server.totals_fields import CELL, MINUTE_MS, SECOND_MS, minute_name, second_name
from tests.fakes import NOON_MS
from tests.redis_server import RedisServer
from tests.server.members import ONE, Published

pytestmark = pytest.mark.slow


class TestReadMember:
    """What a publisher goes on from."""

    async def test_in_pieces(self, totals: TotalsHash, pair: list[Published], monkeypatch: pytest.MonkeyPatch) -> None:
        """A hash too large to be read at once gives everything of one member, in pieces, and nothing of another."""
        call, asked = totals._redis.call, list[int]()  # noqa: SLF001  how large the pieces are

        async def note(*words: Any) -> Any:
            asked.append(len(words) - len(["HMGET", "hash", "header"]))
            return await call(*words)

        for second in range(200):
            for member in pair:
                member.settle(ONE._replace(requested_at_ms=NOON_MS + second * 1000))
        for member in pair:
            await member.flush()
        monkeypatch.setattr(totals._redis, "call", note)  # noqa: SLF001  the same
        found = await totals.read_member(pair[1].name)
        assert found is not None
        assert max(asked) == module.FIELDS_AT_ONCE
        assert 200 < sum(asked) < 210
        assert found[0].all_time[0] == 200
        assert len(found[1].details) == 200
        assert sum(len(field) for field in found[1].details.values()) == 200 * CELL.size

    @pytest.mark.parametrize("name", [minute_name(NOON_MS // MINUTE_MS), second_name(NOON_MS // SECOND_MS)])
    async def test_overwritten(self, totals: TotalsHash, pair: list[Published], redis: RedisServer, name: str) -> None:
        """A field that another program has written can't be gone on from: all is to be written anew."""
        for member in pair:
            await self._fill(member)
        client = Redis.from_url(redis.url)
        await client.hset(HASH, f"{pair[0].name}|{name}", "x")
        await client.aclose()
        assert await totals.read_member(pair[0].name) is None
        assert await totals.read_member(pair[1].name) is not None

    async def test_without_a_header(self, totals: TotalsHash, pair: list[Published], redis: RedisServer) -> None:
        """Fields that it does not vouch for can't be gone on from either."""
        await self._fill(pair[0])
        redis.ask(f"HDEL {HASH} {pair[0].name}|h")
        assert await totals.read_member(pair[0].name) is None

    @pytest.mark.parametrize("pieces", [1, 2, 5])
    async def test_changed_meanwhile(
        self, totals: TotalsHash, pair: list[Published], monkeypatch: pytest.MonkeyPatch, pieces: int
    ) -> None:
        """What does not belong to one flush is not given away, whichever piece was read before the other flush."""
        await self._fill(pair[0])
        self._after(totals, pieces, partial(pair[0].flush, ONE), monkeypatch)
        with pytest.raises(TotalsUnavailable, match="changed while they were read"):
            await totals.read_member(pair[0].name)

    async def test_another_server_meanwhile(
        self, tmp_path: Path, pair: list[Published], redis: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The client is led to a copy with the same content in another order: nothing is left out."""
        await self._fill(pair[0])
        link = tmp_path / "redis.sock"
        link.symlink_to(redis.path)
        with RedisServer() as other:
            moved = TotalsHash(RedisClient(f"unix://{link}"))
            whole = await moved.read_member(pair[0].name)

            async def fail_over() -> None:
                source, target = (Redis.from_url(server.url) for server in (redis, other))
                await target.restore(HASH, 0, await source.dump(HASH) or b"")
                await source.aclose()
                await target.aclose()
                link.unlink()
                link.symlink_to(other.path)
                await moved._redis.aclose()  # noqa: SLF001  it is lost

            self._after(moved, 2, fail_over, monkeypatch)
            assert await moved.read_member(pair[0].name) == whole
            await moved.aclose()

    @staticmethod
    async def _fill(member: Published) -> None:
        for second in range(200):
            member.settle(ONE._replace(requested_at_ms=NOON_MS + second * 1000))
        await member.flush()

    @staticmethod
    def _after(
        totals: TotalsHash, pieces: int, happens: Callable[[], Awaitable[object]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Lets something happen once so many pieces of a member have been read."""
        monkeypatch.setattr(module, "FIELDS_AT_ONCE", 10)
        call, count = totals._redis.call, 0  # noqa: SLF001  the moment after one of the pieces

        async def call_and_then(*words: Any) -> Any:
            nonlocal count
            found = await call(*words)
            if words[0] == "HMGET":
                count += 1
                if count == pieces:
                    await happens()
            return found

        monkeypatch.setattr(totals._redis, "call", call_and_then)  # noqa: SLF001  the same


class TestFlush:
    """TotalsHash.flush."""

    async def test_a_roster_of_another_program(self, redis: RedisServer, pair: list[Published]) -> None:
        """What is no name in it keeps nobody from publishing."""
        redis.ask(f'HSET {HASH} roster "\\xff"')
        assert await pair[0].flush(ONE)


class TestReadWindow:
    """What a summary is counted from."""

    async def test_made_a_replica(
        self, tmp_path: Path, pair: list[Published], redis: RedisServer, mortal_redis: RedisServer
    ) -> None:
        """A reader leaves it, too: cut off from its master it would show for ever what it had."""
        await self._fill(pair)
        link = tmp_path / "redis.sock"
        link.symlink_to(mortal_redis.path)
        reader = TotalsHash(RedisClient(f"unix://{link}"))
        assert (await reader.members())[1] == []
        mortal_redis.ask("REPLICAOF 127.0.0.1 1")
        with pytest.raises(TotalsUnavailable, match="read only replica"):
            await reader.members()
        link.unlink()
        link.symlink_to(redis.path)
        assert {member.name for member in (await reader.members())[1]} == {member.name for member in pair}
        await reader.aclose()

    async def test_changes_nothing(self, totals: TotalsHash, pair: list[Published], redis: RedisServer) -> None:
        """What makes a replica refuse it writes nothing: neither into the hash, nor for replicas of it."""
        assert (await totals.members())[1] == []
        assert redis.ask("DBSIZE") == b":0\r\n"
        await self._fill(pair)
        client = Redis.from_url(redis.url)
        before = await client.hgetall(HASH), (await client.info("persistence"))["rdb_changes_since_last_save"]
        await totals.members()
        assert (await client.hgetall(HASH), (await client.info("persistence"))["rdb_changes_since_last_save"]) == before
        await client.aclose()

    @staticmethod
    async def _fill(pair: list[Published]) -> None:
        for member in pair:
            assert await member.flush(ONE)


class TestHealthPolls:
    """One instance at a time polls for all."""

    async def test_lease(self, redis: RedisServer, totals: TotalsHash) -> None:
        """One of all who try gets a processor's lease, for 5.3 s; the other processor has its own.

        It lasts no longer if Redis's clock is set back.
        """
        clients = [totals, *(TotalsHash(RedisClient(redis.url)) for _ in range(5))]
        again_ms = await asyncio.gather(*(client.lease_health_poll(0) for client in clients))
        assert [4000 < left_ms <= 5300 for left_ms in sorted(again_ms)] == [False, True, True, True, True, True]
        assert await totals.lease_health_poll(1) == 0
        for change, most_ms in (("PERSIST %s", LEASE_AGAIN_MS), ("PEXPIRE %s 3600000", HEALTH_EVERY_MS)):
            redis.ask(change % "gateway:health-lease:1")
            assert await totals.lease_health_poll(1) == most_ms
        assert 4000 < int(redis.ask("PTTL gateway:health-lease:1")[1:]) <= HEALTH_EVERY_MS
        await asyncio.gather(*(client.aclose() for client in clients))

    @pytest.mark.parametrize("processor", [0, 1])
    async def test_shared(self, totals: TotalsHash, pair: list[Published], processor: int) -> None:
        """What was found is told with every flush."""
        shared = SharedHealth(Health(failing=True, response_ms_min=20), NOON_MS)
        await totals.share_health(processor, shared)
        await pair[0].flush()
        assert pair[0].news == [(processor, shared)]

    async def test_of_another_program(self, redis: RedisServer, totals: TotalsHash, pair: list[Published]) -> None:
        """A poll that can't be read is no poll: publishing goes on, and the next poll is heard of."""
        redis.ask(f'HSET {HASH} health.0 gibberish health.1 "\\xff"')
        assert await pair[0].flush(ONE)
        assert pair[0].news == []
        shared = SharedHealth(Health(failing=False, response_ms_min=20), NOON_MS)
        await totals.share_health(1, shared)
        assert await pair[0].flush()
        assert pair[0].news == [(1, shared)]

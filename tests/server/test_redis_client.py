"""The connection to Redis against a real one: it comes back by itself, and no answer is taken for another's."""

import asyncio
import random
import time
from collections.abc import AsyncIterator

import pytest

from server import redis_client
from server.errors import TotalsUnavailable
from server.redis_client import RedisClient
from tests.redis_server import RedisServer

pytestmark = pytest.mark.slow

ADD = "return redis.call('INCRBY', KEYS[1], ARGV[1])"


@pytest.fixture
async def client(redis: RedisServer) -> AsyncIterator[RedisClient]:
    """A client of the running Redis."""
    made = RedisClient(redis.url)
    yield made
    await made.aclose()


class TestCalls:
    """What is asked, and what is answered."""

    async def test_answers_as_they_are(self, client: RedisClient) -> None:
        """Bytes, numbers, nothing and lists."""
        assert await client.call("SET", "a", b"\x00\xff", "NX", "PX", 60_000) == b"OK"
        assert await client.call("SET", "a", "other", "NX") is None
        assert await client.call("HSET", "h", "one", "1") == 1
        assert await client.call("HMGET", "h", "one", "two") == [b"1", None]
        assert await client.call("GET", "a") == b"\x00\xff"

    async def test_script(self, redis: RedisServer, client: RedisClient) -> None:
        """Its text is sent once, and again to a Redis that has forgotten it."""
        assert [await client.run(ADD, "n", 2) for _ in range(3)] == [2, 4, 6]
        redis.ask("SCRIPT FLUSH")
        assert await client.run(ADD, "n", 2) == 8
        assert redis.calls("eval") == 2

    async def test_error(self, client: RedisClient) -> None:
        """What Redis says is the reason, it is said once, and the connection is as good as before."""
        await client.call("SET", "n", "no number")
        for _ in range(2):
            with pytest.raises(TotalsUnavailable, match="Redis can't be asked: .*not an integer"):
                await client.run(ADD, "n", 1)
        assert await client.call("GET", "n") == b"no number"

    async def test_at_once(self, client: RedisClient) -> None:
        """Each of many calls gets its own answer."""
        words = [str(number) for number in range(100)]
        assert await asyncio.gather(*(client.call("ECHO", word) for word in words)) == [w.encode() for w in words]

    async def test_given_up(self, client: RedisClient) -> None:
        """Answers that nobody waits for any more are never taken for those of later calls."""
        dice = random.Random(1)
        for number in range(100):
            task = asyncio.ensure_future(client.call("ECHO", f"late {number}"))
            for _ in range(dice.randrange(12)):
                await asyncio.sleep(0)
            task.cancel()
            assert await client.call("ECHO", number) == str(number).encode()
            await asyncio.gather(task, return_exceptions=True)


class TestOutages:
    """Redis away, hanging, back."""

    async def test_away(self, mortal_redis: RedisServer) -> None:
        """That is said at once; closing what was never connected does no harm."""
        client = RedisClient(mortal_redis.url)
        mortal_redis.kill()
        begun_s = time.monotonic()
        with pytest.raises(TotalsUnavailable, match="Redis can't be asked: .*No such file"):
            await client.call("PING")
        await client.aclose()
        assert time.monotonic() - begun_s < 0.5

    async def test_restarted_unnoticed(self, mortal_redis: RedisServer) -> None:
        """A connection that was cut while nothing was asked is made anew within the next call."""
        client = RedisClient(mortal_redis.url)
        for _ in range(3):
            assert await client.run(ADD, "n", 1) == 1
            mortal_redis.kill()
            mortal_redis.start()
        await client.aclose()

    async def test_hangs(self, mortal_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """A call ends in time, be it the one that is sent or one in line; closing does not wait; the next is right."""
        client = RedisClient(mortal_redis.url)
        monkeypatch.setattr(redis_client, "CALL_TIMEOUT_S", 0.2)
        for is_connected in (False, True):
            mortal_redis.freeze()
            begun_s = time.monotonic()
            calls = [client.call("ECHO", "x" * 1_000_000) for _ in range(10)]
            answers = await asyncio.gather(*calls, return_exceptions=True)
            assert {str(answer) for answer in answers} == {"Redis can't be asked: no answer in time"}, is_connected
            assert time.monotonic() - begun_s < 1  # one after the other would take two
            await client.aclose()
            assert time.monotonic() - begun_s < 1.5
            mortal_redis.thaw()
            assert await client.call("ECHO", "y") == b"y"
        await client.aclose()

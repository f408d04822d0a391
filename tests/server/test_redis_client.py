"""The connection to Redis against a real one: it comes back by itself, and no answer is taken for another's."""

import asyncio
import contextlib
import random
import socket
import struct
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server import redis_client
from server.errors import TotalsUnavailable
from server.redis_client import RedisClient
from tests.redis_server import RedisServer
from tests.server.fake_peer import on_each_loop

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
        redis.ask("SCRIPT FLUSH")
        before = redis.calls("eval")
        assert [await client.run(ADD, "n", 2) for _ in range(3)] == [2, 4, 6]
        redis.ask("SCRIPT FLUSH")
        assert await client.run(ADD, "n", 2) == 8
        assert redis.calls("eval") - before == 2

    async def test_error(self, redis: RedisServer, client: RedisClient) -> None:
        """What Redis says is the reason, nothing is tried again, and the connection goes on."""
        await client.run(ADD, "m", 1)
        await client.call("SET", "n", "no number")
        number = await client.call("CLIENT", "ID")
        before = redis.calls("evalsha"), redis.calls("eval")
        with pytest.raises(TotalsUnavailable, match="Redis can't be asked: .*not an integer"):
            await client.run(ADD, "n", 1)
        assert (redis.calls("evalsha"), redis.calls("eval")) == (before[0] + 1, before[1])
        assert await client.call("CLIENT", "ID") == number

    async def test_refused_from_the_beginning(self, redis: RedisServer) -> None:
        """A database that there is not is not taken for another one, however often it is asked."""
        client = RedisClient(f"{redis.url}?db=99")
        for _ in range(3):
            with pytest.raises(TotalsUnavailable, match="Redis can't be asked: .*DB index is out of range"):
                await client.call("SET", "a", "b")
        await client.aclose()
        assert redis.ask("DBSIZE") == b":0\r\n"

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

    async def test_away(self, mortal_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """That is said at once; closing what was never connected does no harm."""
        monkeypatch.setattr(redis_client, "CALL_TIMEOUT_S", 60)
        client = RedisClient(mortal_redis.url)
        mortal_redis.kill()
        begun_s = time.monotonic()
        with pytest.raises(TotalsUnavailable, match="Redis can't be asked: .*No such file"):
            await client.call("PING")
        await client.aclose()
        assert time.monotonic() - begun_s < 10

    async def test_restarted_unnoticed(self, mortal_redis: RedisServer) -> None:
        """A connection that was cut while nothing was asked is made anew within the next call."""
        client = RedisClient(mortal_redis.url)
        for _ in range(3):
            assert await client.run(ADD, "n", 1) == 1
            mortal_redis.kill()
            mortal_redis.start()
        await client.aclose()

    async def test_made_a_replica(self, redis: RedisServer, mortal_redis: RedisServer, tmp_path: Path) -> None:
        """It keeps its clients, and takes nothing more from them: they go to whatever the URL leads to by now."""
        link = tmp_path / "redis.sock"
        link.symlink_to(mortal_redis.path)
        client = RedisClient(f"unix://{link}")
        await client.call("DEL", "n")
        assert [await client.run(ADD, "n", 1) for _ in range(2)] == [1, 2]
        mortal_redis.ask("REPLICAOF 127.0.0.1 1")
        with pytest.raises(TotalsUnavailable, match="read only replica"):
            await client.run(ADD, "n", 1)
        link.unlink()
        link.symlink_to(redis.path)
        redis.ask("SET n 10")
        assert await client.run(ADD, "n", 1) == 11
        redis.ask("DEL n")
        await client.aclose()

    async def test_hangs(self, mortal_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """A call ends in time, be it the one that is sent or one in line; closing does not wait; the next is right."""
        client = RedisClient(mortal_redis.url)
        monkeypatch.setattr(redis_client, "CALL_TIMEOUT_S", 0.2)
        for is_connected in (False, True):
            mortal_redis.freeze()
            begun_s = time.monotonic()
            calls = [client.call("ECHO", "x" * 1_000_000) for _ in range(50)]
            answers = await asyncio.gather(*calls, return_exceptions=True)
            assert {str(answer) for answer in answers} == {"Redis can't be asked: no answer in time"}, is_connected
            assert time.monotonic() - begun_s < 5  # one after the other would take ten
            await asyncio.wait_for(client.aclose(), 5)
            mortal_redis.thaw()
            assert await client.call("ECHO", "y") == b"y"
        await client.aclose()

    async def test_closed_while_it_sends(self, mortal_redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
        """To one that hangs: the log is told, and the caller goes on soon, as there is nothing to be done."""
        client = RedisClient(mortal_redis.url)
        await client.call("PING")
        mortal_redis.freeze()
        call = asyncio.ensure_future(client.call("ECHO", "x" * 3_000_000))
        await asyncio.sleep(0.1)
        async with asyncio.timeout(4):  # redis-py by itself would wait for five seconds
            await client.aclose()
        assert "the connection to Redis was not closed in order" in caplog.text
        with pytest.raises(TotalsUnavailable):
            await call
        mortal_redis.kill()
        await asyncio.sleep(0.1)  # only now has the socket nobody any more to whom its bytes could go

    @on_each_loop
    async def test_reset_unnoticed(self) -> None:
        """By something on the way that forgets idle connections: the next call goes over a new one."""
        writers: list[asyncio.StreamWriter] = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            with contextlib.suppress(OSError, EOFError):
                while head := await reader.readline():
                    for _ in range(int(head[1:])):
                        await _bulk(reader)
                    writer.write(b"+OK\r\n")

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        client = RedisClient(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}?protocol=2")
        try:
            for calls in range(3):
                assert await client.call("PING") == b"OK"
                assert len(writers) == calls + 1
                reset = struct.pack("ii", 1, 0)
                writers[-1].get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                writers[-1].transport.abort()
                await asyncio.sleep(0.05)
        finally:
            await client.aclose()
            server.close()

    async def test_script_forgotten_by_a_slow_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Both ways to ask for a script share the time of one call."""
        monkeypatch.setattr(redis_client, "CALL_TIMEOUT_S", 3)
        asked, gone = list[bytes](), asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while head := await reader.readline():
                words = [await _bulk(reader) for _ in range(int(head[1:]))]
                asked.append(words[0])
                if words[0] == b"EVAL":
                    await reader.read()  # until the client is gone
                    break
                await asyncio.sleep(1.5 if words[0] == b"EVALSHA" else 0)
                writer.write(b"-NOSCRIPT No matching script.\r\n" if words[0] == b"EVALSHA" else b"+OK\r\n")
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            gone.set()

        server = await asyncio.start_unix_server(answer, tmp_path / "redis.sock")
        client = RedisClient(f"unix://{tmp_path}/redis.sock?protocol=2")
        begun_s = time.monotonic()
        with pytest.raises(TotalsUnavailable, match="no answer in time"):
            await client.run(ADD, "n", 1)
        assert time.monotonic() - begun_s < 4.4
        assert asked[-2:] == [b"EVALSHA", b"EVAL"]
        await client.aclose()
        await asyncio.wait_for(gone.wait(), 5)
        server.close()


async def _bulk(reader: asyncio.StreamReader) -> bytes:
    """One word of a command."""
    length = int((await reader.readline())[1:])
    return (await reader.readexactly(length + 2))[:length]

"""The simulated Redis against a real one that runs the real scripts."""

import asyncio
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import redis.asyncio

from server import redis_scripts
from server.totals_header import FORMAT, NUMBER_NAMES
from tests.simulation.redis_model import RedisModel

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server on this machine"),
]

STARTS_WITHIN_S = 5.0
MEMBERS = ("a000000000000001.0", "a000000000000001.1", "b.0")


@pytest.fixture(scope="module")
def socket_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A real Redis server of this test's own."""
    folder = tmp_path_factory.mktemp("redis")
    path = folder / "redis.sock"
    arguments = ["--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no", "--dir", str(folder)]
    process = subprocess.Popen(["redis-server", *arguments], stdout=subprocess.DEVNULL)
    try:
        deadline_s = time.monotonic() + STARTS_WITHIN_S
        while not path.exists():
            assert time.monotonic() < deadline_s, "redis-server did not start"
            time.sleep(0.01)
        yield path
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
async def real(socket_path: Path) -> AsyncIterator["Real"]:
    """The real server, empty."""
    client = redis.asyncio.Redis.from_url(f"unix://{socket_path}")
    await client.flushall()
    yield Real(client)
    await client.aclose()


class Real:
    """The real server behind the model's interface."""

    def __init__(self, client: Any) -> None:
        self.client = client
        scripts = {
            "flush": redis_scripts.FLUSH,
            "summary": redis_scripts.SUMMARY,
            "names": redis_scripts.NAMES,
            "purge": redis_scripts.PURGE,
        }
        self._scripts = {name: client.register_script(text) for name, text in scripts.items()}

    async def run(self, command: str, arguments: list[bytes]) -> Any:
        """As `RedisModel.run`."""
        if command == "hset":
            return await self.client.hset(redis_scripts.HASH, *arguments)
        if command == "hmget":
            return await self.client.hmget(redis_scripts.HASH, arguments)
        return await self._scripts[command](keys=[redis_scripts.HASH], args=arguments)

    async def contents(self) -> dict[bytes, bytes]:
        """All of the hash."""
        found: dict[bytes, bytes] = await self.client.hgetall(redis_scripts.HASH)
        return found


def draw_header(rng: Random) -> bytes:
    """A header with few different versions, so that newer, older and equal ones meet."""
    minute = rng.randint(0, 3)
    version = [rng.randint(0, 3), rng.randint(1, 2), rng.randint(1, 4)]
    rest = [rng.randint(0, 9) for _ in range(len(NUMBER_NAMES) - 9)]
    words = [*version, 7, 0, 0, 0, minute, minute + rng.randint(0, 2), *rest, FORMAT]
    return b" ".join(b"%d" % word for word in words)


def draw_command(rng: Random) -> tuple[str, list[bytes]]:
    """Any command with arguments that a publisher or a web worker might send."""
    member = rng.choice(MEMBERS).encode()
    kind = rng.choice(("flush", "flush", "flush", "flush", "names", "hmget", "summary", "summary", "purge", "hset"))
    if kind == "flush":
        fields = [b"%s%d" % (rng.choice((b"m", b"s")), rng.randint(0, 6)) for _ in range(rng.randint(0, 4))]
        pairs = [part for field in fields for part in (field, rng.randbytes(rng.choice((3, 30))))]
        dropped = [b"m%d" % rng.randint(0, 6) for _ in range(rng.randint(0, 2))]
        base = b"%d %d %d" % (rng.randint(0, 2), rng.randint(1, 2), rng.randint(1, 3))
        builds_on = rng.choice((b"", base))
        roster = ",".join(rng.sample(MEMBERS, rng.randint(0, 3))).encode()
        return kind, [member, draw_header(rng), builds_on, roster, b"%d" % len(fields), *pairs, *dropped]
    if kind == "names":
        return kind, [member]
    if kind == "hmget":
        return kind, [member + b"|h", member + b"|m%d" % rng.randint(0, 6)]
    if kind == "summary":
        if rng.random() < 0.3:
            return kind, [b"", b""]
        last = rng.choice((b"", b"%d" % rng.randint(0, 6)))
        cut_minutes, seconds = ([b"%d" % rng.randint(0, 6) for _ in range(rng.randint(0, 2))] for _ in range(2))
        return kind, [b"%d" % rng.randint(0, 6), last, b"%d" % len(cut_minutes), *cut_minutes, *seconds]
    if kind == "hset":
        return kind, [b"health.%d" % rng.randint(0, 1), b"0 5 %d" % rng.randint(0, 9)]
    times = (rng.randint(0, 9), 1_752_580_800_000 + rng.randint(0, 9))
    return kind, [b"%d" % rng.choice(times), b"%d" % rng.choice((rng.randint(0, 3), 1_752_580_800_000))]


def without_times(command: str, reply: Any) -> Any:
    """A reply without what differs because two servers have two clocks, and without Redis's order of fields."""
    if command == "summary":
        _, epoch, purged, *rows = reply
        return [epoch, purged, *([name, header, seen != b"0", fields] for name, header, seen, fields in rows)]
    if command == "names":
        return [reply[0], *sorted(reply[1:])]
    return reply


def lasting(contents: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """The hash's fields without times."""
    return {name: b"" if name.endswith(b"|seen") else value for name, value in contents.items()}


class TestModel:
    """Both answer alike, and have the same afterwards."""

    @pytest.mark.parametrize("seed", range(10))
    async def test_random_sequences(self, real: Real, seed: int) -> None:
        """Whatever is sent in whatever order."""
        rng = Random(seed)
        model = RedisModel(lambda: time.time_ns() // 1_000_000)
        for step in range(150):
            command, arguments = draw_command(rng)
            expected = without_times(command, await real.run(command, arguments))
            found = without_times(command, model.run(command, arguments))
            assert found == expected, (step, command, arguments)
            assert lasting(model.hash) == lasting(await real.contents()), (step, command, arguments)

    async def test_lease(self, real: Real) -> None:
        """One holder at a time, and free again when it has run out."""
        clock_ms = 1000
        model = RedisModel(lambda: clock_ms)
        for wait_ms in (0, 0, 40, 40):
            clock_ms += wait_ms
            await asyncio.sleep(wait_ms / 1000)
            expected = await real.client.set("lease", "1", nx=True, px=60)
            assert bool(model.run("lease", [b"lease", b"60"])) is bool(expected)
        assert 0 < await real.client.pttl("lease") <= model.run("pttl", [b"lease"]) == 60
        assert await real.client.pttl("none") == model.run("pttl", [b"none"]) == -2
        assert await real.client.pexpire("lease", 5000) == model.run("pexpire", [b"lease", b"5000"]) == 1
        assert 60 < await real.client.pttl("lease") <= model.run("pttl", [b"lease"]) == 5000
        assert await real.client.pexpire("none", 1) == model.run("pexpire", [b"none", b"1"]) == 0

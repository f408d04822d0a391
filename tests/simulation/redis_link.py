"""A simulated Redis server, and what goes wrong between it and its clients.

All of `server/redis_totals.py` is the real one, and of its client all but the connection. Of a request that got no
answer nobody knows whether it was carried out, and it may still be, after later ones: its bytes lie in the server's
socket.
"""

import asyncio
from collections import deque
from typing import Any, Protocol

import redis.exceptions

from server import redis_scripts
from server.redis_client import RedisClient, Word
from tests.simulation.coverage import Fault
from tests.simulation.redis_model import RedisModel, Reply
from tests.simulation.world import START_US, World

LATE_S_MAX = 3.0
COPIES_KEPT = 4


class Watch(Protocol):
    """Who is told of what Redis carries out."""

    def asks_for_purge(self, asked_ms: int) -> None:
        """The epoch is to be raised."""

    def purged(self, epoch: int, asked_ms: int) -> None:
        """The epoch was raised."""

    def summarised(self) -> object:
        """A summary is read; gives what is to be known of this instant when it is answered."""


class SimulatedRedis:
    """The server.

    Args:
        world: of this run.

    Attributes:
        model: its data.
        away: it refuses connections.
        silent: it takes requests in and never carries them out.
        slow_s: how long it takes for each.
        clock_step_ms: how far its clock has been moved.
        watch: told of what is carried out.
        disturbed_at_s: when anything last went wrong between it and anybody.
    """

    def __init__(self, world: World, watch: "Watch") -> None:
        self.model = RedisModel(self.now_ms)
        self.away = False
        self.silent = False
        self.slow_s = 0.0
        self.clock_step_ms = 0
        self.watch = watch
        self.disturbed_at_s = -1.0
        self._world = world
        self._copies: deque[dict[bytes, bytes]] = deque(maxlen=COPIES_KEPT)

    def now_ms(self) -> int:
        """Its clock."""
        return START_US // 1000 + int(self._world.loop.time() * 1000) + self.clock_step_ms

    def disturb(self) -> None:
        """Something goes wrong now."""
        self.disturbed_at_s = self._world.loop.time()

    def run(self, command: str, arguments: list[bytes]) -> Reply:
        """Carries a command out."""
        reply = self.model.run(command, arguments)
        if command == "purge" and reply:
            self.watch.purged(int(self.model.hash[b"epoch"]), int(arguments[0]))
        return reply

    def keep_copy(self) -> None:
        """A replica, or a file, has the data as they are now."""
        self._copies.append(dict(self.model.hash))

    def lose_data(self) -> None:
        """It is restarted without persistence."""
        self.model.empty()

    def restore(self) -> None:
        """It is restarted from one of the copies."""
        copy = self._world.rng.choice(self._copies) if self._copies else {}
        self.lose_data()
        self.model.hash.update(copy)


class Connection(RedisClient):
    """One process's client: all of the real one but the way of a command to the server and back."""

    def __init__(self, world: World, server: SimulatedRedis) -> None:
        self._one_at_a_time = asyncio.Lock()
        self._world = world
        self._server = server
        self.seen: object = None  # what the watch said when this connection's last summary was read
        self.purged: Reply = None  # the epoch that its last purge began

    async def run(self, script: str, *words: Word) -> Reply:
        """A script of the one hash, by its name in the model."""
        reply: Reply = await self.call(_SCRIPTS[script], *words)
        return reply

    async def aclose(self) -> None:
        """There is nothing to close."""

    async def _exchange(self, words: tuple[Word, ...]) -> Reply:
        command, arguments = _in_the_model(words)
        if self._server.away:
            raise redis.exceptions.ConnectionError("refused")
        if command == "purge":
            self._server.watch.asks_for_purge(int(arguments[0]))
        future = self._world.loop.create_future()
        self._send(future, command, [part if isinstance(part, bytes) else str(part).encode() for part in arguments])
        reply = await future
        if isinstance(reply, redis.exceptions.RedisError):
            raise reply
        answer: Reply = reply
        return answer

    def _send(self, future: asyncio.Future[Any], command: str, arguments: list[bytes]) -> None:
        world, server = self._world, self._server
        delay_s = world.latency_s() + server.slow_s * world.rng.random()
        if server.silent or world.chance(Fault.REDIS_REQUEST_LOST):
            server.disturb()
            return
        if world.chance(Fault.REDIS_REQUEST_LATE):
            server.disturb()
            delay_s += world.rng.random() * LATE_S_MAX
        world.later(delay_s, self._arrive, future, command, arguments)

    def _arrive(self, future: asyncio.Future[Any], command: str, arguments: list[bytes]) -> None:
        world, server = self._world, self._server
        if server.away or server.silent:  # it went down meanwhile, and the request with it
            _settle(future, redis.exceptions.ConnectionError("connection lost"))
            return
        reply = server.run(command, arguments)
        if command == "summary":
            self.seen = server.watch.summarised()
        elif command == "purge":
            self.purged = reply
        if world.chance(Fault.REDIS_REPLY_LOST):
            server.disturb()
            if world.rng.random() < 0.5:
                _settle(future, redis.exceptions.ConnectionError("connection lost"))
            return
        world.later(world.latency_s() + server.slow_s * world.rng.random(), _settle, future, reply)


def _settle(future: asyncio.Future[Any], answer: object) -> None:
    if not future.done():
        future.set_result(answer)


_SCRIPTS = {
    redis_scripts.FLUSH: "flush",
    redis_scripts.SUMMARY: "summary",
    redis_scripts.NAMES: "names",
    redis_scripts.PURGE: "purge",
}


def _in_the_model(words: tuple[Word, ...]) -> tuple[str, list[Word]]:
    """A command as the model has it: by name, and what differs between calls."""
    match words:
        case "SET", lease, "1", "NX", "PX", lease_ms:
            return "lease", [lease, lease_ms]
        case "PTTL", lease:
            return "pttl", [lease]
        case "PEXPIRE", lease, lease_ms:
            return "pexpire", [lease, lease_ms]
        case str(command), redis_scripts.HASH, *arguments:
            return command.lower(), arguments
    raise AssertionError(f"a command that the model has not: {words}")

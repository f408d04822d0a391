"""One connection to Redis, for one call at a time: redis-py's connection without its client. Only user of redis.

redis-py's client (pools, retries by policy, callbacks by command, metrics) takes as long as all the rest of a call, and
nothing of it is needed here. What is asked over the connection is in `server/redis_totals.py`.
"""

import asyncio
import functools
import hashlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError

from server.errors import TotalsUnavailable

CALL_TIMEOUT_S: Final = 1.0  # a client of the contest gives a summary 1.5 s; Redis answers in under a millisecond

Word = str | bytes | int

_log = logging.getLogger(__name__)


class RedisClient:
    """Redis, over a connection that the first call makes, and the first call after its loss makes again.

    Args:
        url: of the Redis server.
    """

    def __init__(self, url: str) -> None:
        """Connects at the first call, not now."""
        pool = redis.asyncio.ConnectionPool.from_url(
            url,
            socket_timeout=None,  # `call` has its own; a call given up closes the connection, so no answer comes late
            socket_connect_timeout=CALL_TIMEOUT_S,  # bounds closing, too
            retry=Retry(NoBackoff(), 0),
        )
        self._connection = pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py gives it no types
        self._one_at_a_time = asyncio.Lock()

    async def call(self, *words: Word) -> Any:
        """The answer to a command, as Redis gives it, within `CALL_TIMEOUT_S`, the wait for earlier calls included.

        Raises:
            TotalsUnavailable: there was no answer; whether Redis did what it was asked is not known.
        """
        return await self._within_timeout(self._ask, words)

    async def run(self, script: str, *words: Word) -> Any:
        """The answer to a script; its one key is the first of `words`. Its text is sent only to a Redis that lacks it.

        Raises:
            TotalsUnavailable: there was no answer; whether the script ran is not known.
        """
        return await self._within_timeout(self._run, (script, 1, *words))

    async def aclose(self) -> None:
        """Closes the connection, for good if no call is under way: a call that waits for its answer connects again."""
        try:
            await self._connection.disconnect()
        except RedisError as error:  # it hangs, and nothing more can be done: it ends with the process
            _log.warning("the connection to Redis was not closed in order: %s", error)

    async def _within_timeout(
        self, exchange: Callable[[tuple[Word, ...]], Awaitable[Any]], words: tuple[Word, ...]
    ) -> Any:
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S), self._one_at_a_time:
                return await exchange(words)
        except (RedisError, TimeoutError) as error:
            raise TotalsUnavailable(f"Redis can't be asked: {str(error) or 'no answer in time'}") from error

    async def _run(self, words: tuple[Word, ...]) -> Any:
        script, *others = words
        try:
            return await self._ask(("EVALSHA", _digest(str(script)), *others))
        except NoScriptError:
            return await self._ask(("EVAL", *words))

    async def _ask(self, words: tuple[Word, ...]) -> Any:
        try:
            return await self._exchange(words)
        except RedisConnectionError:  # lost since the last call; any call may be made twice
            return await self._exchange(words)

    async def _exchange(self, words: tuple[Word, ...]) -> Any:
        connection = self._connection
        if not connection.is_connected:
            await connection.connect()  # sending would, too, but not close it if Redis refuses, say, a database
        try:
            await connection.send_packed_command(connection.pack_command(*words), check_health=False)
        except RuntimeError as error:  # what uvloop raises for a connection that was reset
            raise RedisConnectionError(str(error)) from error
        try:
            return await connection.read_response()
        except ReadOnlyError as error:  # a replica by now, which keeps its clients; the URL may lead to the new master
            await connection.disconnect(nowait=True)
            raise RedisConnectionError(str(error)) from error


@functools.cache
def _digest(script: str) -> str:
    """The name by which Redis knows a script: its SHA-1."""
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()

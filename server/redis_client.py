"""One connection to Redis, for one call at a time: redis-py's connection without its client. Only user of redis.

That client (pools, retries by policy, callbacks by command, metrics) takes as long as all the rest of a call, and
nothing of it is used here. What is said over it is the business of `server/redis_totals.py`.
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
from redis.exceptions import NoScriptError, RedisError

from server.errors import TotalsUnavailable

CALL_TIMEOUT_S: Final = 1.0  # a client of the contest gives a summary 1.5 s; Redis answers in under a millisecond

Word = str | bytes | int

_log = logging.getLogger(__name__)


class RedisClient:
    """Redis, over a connection that the first call makes, and the first one after its loss makes anew.

    Args:
        url: of the Redis server.
    """

    def __init__(self, url: str) -> None:
        """Connects at the first call, not now."""
        pool = redis.asyncio.ConnectionPool.from_url(
            url,
            socket_timeout=None,  # `call` has its own; giving a call up closes the connection: no answer comes late
            socket_connect_timeout=CALL_TIMEOUT_S,  # bounds closing, too
            retry=Retry(NoBackoff(), 0),
        )
        self._connection = pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py gives it no types
        self._turn = asyncio.Lock()

    async def call(self, *words: Word) -> Any:
        """The answer to a command, as Redis gives it; waiting for others' calls is part of the time it may take.

        Raises:
            TotalsUnavailable: there is none; whether Redis did what it was asked is not known.
        """
        return await self._in_time(self._ask, words)

    async def run(self, script: str, *words: Word) -> Any:
        """The answer to a script whose one key comes first. Its text is sent only to a Redis that lacks it.

        Raises:
            TotalsUnavailable: there is none; whether the script ran is not known.
        """
        return await self._in_time(self._run, (script, 1, *words))

    async def aclose(self) -> None:
        """Closes it, for good if no call is under way: one that waits for its answer connects anew."""
        try:
            await self._connection.disconnect()
        except RedisError as error:  # it hangs, and nothing more can be done: the process ends with the connection
            _log.warning("the connection to Redis was not closed in order: %s", error)

    async def _in_time(self, asking: Callable[[tuple[Word, ...]], Awaitable[Any]], words: tuple[Word, ...]) -> Any:
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S), self._turn:
                return await asking(words)
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
        except RedisConnectionError:  # cut since the last call; every call may be made twice
            return await self._exchange(words)

    async def _exchange(self, words: tuple[Word, ...]) -> Any:
        connection = self._connection
        if not connection.is_connected:
            await connection.connect()  # sending would, too, but leave open what Redis refuses, say a database
        try:
            await connection.send_packed_command(connection.pack_command(*words), check_health=False)
        except RuntimeError as error:  # uvloop's word for a connection that was reset
            raise RedisConnectionError(str(error)) from error
        return await connection.read_response()


@functools.cache
def _digest(script: str) -> str:
    """What Redis calls a script it has."""
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()

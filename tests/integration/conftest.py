"""Fixtures of the tests with whole instances: processors, Redis, instances of their own."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import pytest

from tests.integration.instances import Instance, Processors
from tests.redis_server import RedisServer

Start = Callable[..., Awaitable[Instance]]
"""Starts an instance with some settings."""


@pytest.fixture
async def processors() -> AsyncIterator[Processors]:
    """Both processors, listening."""
    async with Processors() as made:
        yield made


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A running, empty Redis."""
    with RedisServer() as server:
        yield server


@pytest.fixture
async def start(processors: Processors) -> AsyncIterator[Start]:
    """Starts instances that pay at these processors; nothing of them is left afterwards."""
    async with AsyncExitStack() as stack:

        async def start_one(**settings: str) -> Instance:
            return await stack.enter_async_context(Instance(processors.urls, **settings))

        yield start_one

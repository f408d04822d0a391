"""Fixtures of the server's tests: segments, a real Redis and clients of it, another instance, and a clock."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from server.http_connection import HardenedProtocol
from server.redis_client import RedisClient
from server.redis_totals import TotalsHash
from server.shared_totals import SharedTotals
from shm import Segment
from tests.fakes import FakeClock
from tests.redis_server import RedisServer
from tests.server.desk import Desk
from tests.server.members import Published, far_reader, members
from tests.server.other_instance import OtherInstance, other_instance
from tests.server.scene import fresh_segment
from tests.shm.segments import fresh_instance


@pytest.fixture
def instance() -> Iterator[str]:
    """An instance's name that nobody else uses; its segment and locks are removed afterwards."""
    with fresh_instance() as name:
        yield name


@pytest.fixture
def segment() -> Iterator[Segment]:
    """A small segment."""
    with fresh_segment() as made:
        yield made


@pytest.fixture
def desk(segment: Segment) -> Desk:
    """The desk of a publisher that has published nothing yet."""
    return Desk(segment)


@pytest.fixture(scope="module")
def redis_of_module() -> Iterator[RedisServer]:
    """A Redis for the tests of a module that leave it running; start from `redis`."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis(redis_of_module: RedisServer) -> RedisServer:
    """A running, empty Redis; to be left running."""
    redis_of_module.ask("FLUSHALL")
    return redis_of_module


@pytest.fixture
def mortal_redis() -> Iterator[RedisServer]:
    """A running, empty Redis that may be killed."""
    with RedisServer() as server:
        yield server


@pytest.fixture
async def totals(redis: RedisServer) -> AsyncIterator[TotalsHash]:
    """A client of the running Redis."""
    client = TotalsHash(RedisClient(redis.url))
    yield client
    await client.aclose()


@pytest.fixture
def reader(totals: TotalsHash) -> SharedTotals:
    """A web worker's reader of what that client is told, on a volume of its own."""
    return far_reader(totals)


@pytest.fixture
def other() -> Iterator[OtherInstance]:
    """Another instance."""
    with other_instance() as made:
        yield made


@pytest.fixture
def clock() -> FakeClock:
    """It is noon."""
    return FakeClock()


@pytest.fixture
def pair(totals: TotalsHash) -> Iterator[list[Published]]:
    """Two members."""
    with members(totals) as made:
        yield made


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of living siblings hardly anything is known: one or two of their latest ids."""
    monkeypatch.setattr("server.siblings.IDS_FOLLOWED_MIN", 1)


@pytest.fixture
def protocols(monkeypatch: pytest.MonkeyPatch) -> list[HardenedProtocol]:
    """The server's ends of the connections that have been made."""
    made: list[HardenedProtocol] = []
    connection_made = HardenedProtocol.connection_made

    def noted(protocol: HardenedProtocol, transport: asyncio.Transport) -> None:
        made.append(protocol)
        connection_made(protocol, transport)

    monkeypatch.setattr(HardenedProtocol, "connection_made", noted)
    return made

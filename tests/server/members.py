"""Publishers with journals of their own over a real Redis, for tests of what readers are told."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from server.clock import SystemClock
from server.errors import TotalsUnavailable
from server.publisher import Publisher
from server.redis_scripts import HASH
from server.redis_totals import SharedHealth, TotalsHash
from server.shared_totals import SharedTotals
from server.totals import ALL_TIME, Summary, Total, Window
from server.volume_members import VolumeMembers
from shm import Counters, Ended, Geometry, Journal, Member, Segment, State
from tests.fakes import NOON_MS
from tests.redis_server import RedisServer
from tests.server.naive_totals import Settled
from tests.server.scene import fresh_segment

GEOMETRY = Geometry(workers=1, dispatchers=1, lane_slots=2, waiting_slots=2, journal_records=256)
ONE = Settled(0, NOON_MS, 1990)
OTHER = Settled(1, NOON_MS + 90_000, 10)
NOTHING = Summary(Total(0, 0), Total(0, 0))


class Published:
    """A member of the summary: its journal, its publisher, and the plain list of what it settled.

    Args:
        segment: of its own.
        totals: its client of Redis.

    Attributes:
        news: what it was told of the processors' health.
    """

    def __init__(self, segment: Segment, totals: TotalsHash) -> None:
        self.segment = segment
        self.name = f"{segment.segment_id:016x}.0"
        self.settled: list[Settled] = []
        self.news: list[tuple[int, SharedHealth]] = []
        self.journal: Journal = segment.journal(0)
        self.counters: Counters = segment.dispatcher_counters(0)
        self.start(totals)

    def start(self, totals: TotalsHash) -> None:
        """A publisher starts, as in a new life."""
        self.journal.begin_life()
        self.publisher = Publisher(
            Member(self.segment.segment_id, 0),
            self.journal,
            self.segment.roster(0),
            self.counters,
            totals,
            flush_s=0.0,
            hear_shared_health=lambda *news: self.news.append(news),
            hear_member=lambda _: None,
        )

    def settle(self, *payments: Settled) -> None:
        """Settles these, and publishes nothing."""
        for one in payments:
            if self.journal.is_full():
                self.journal.fold(64)
            self.journal.append(Ended(State.SETTLED, one.processor, one.requested_at_ms, one.amount_cents, 0))
            self.settled.append(one)

    async def flush(self, *payments: Settled) -> bool:
        """Settles these, and publishes."""
        self.settle(*payments)
        return await self.publisher.flush()

    async def flush_until_taken(self) -> None:
        """Publishes until the hash has everything; two tries must be enough."""
        assert await self.publisher.flush() or await self.publisher.flush()


@contextmanager
def members(totals: TotalsHash, count: int = 2) -> Iterator[list[Published]]:
    """Gives so many members."""
    with ExitStack() as stack:
        yield [Published(stack.enter_context(fresh_segment(GEOMETRY)), totals) for _ in range(count)]


def far_reader(totals: TotalsHash) -> SharedTotals:
    """A web worker's reader that sees nobody's journals: all members are on other volumes."""
    return SharedTotals(totals, VolumeMembers([], clock=SystemClock()), SystemClock())


async def reason(reader: SharedTotals, window: Window = ALL_TIME) -> str:
    """Why there is no summary."""
    with pytest.raises(TotalsUnavailable) as caught:
        await reader.summary(window)
    return str(caught.value)


def grow_old(redis: RedisServer, member: Published, ms: int) -> None:
    """Has a member been seen for the last time so long ago."""
    seen_ms = int(redis.ask(f"HGET {HASH} {member.name}|seen").split(b"\r\n")[1])
    redis.ask(f"HSET {HASH} {member.name}|seen {seen_ms - ms}")

"""A publisher's desk: a journal to settle into, and a fake hash."""

from server.publisher import Publisher
from server.redis_totals import SharedHealth
from server.totals import Total, Window, count_window
from shm import Counters, Ended, Member, Segment, State
from tests.fakes import NOON_MS, FakeClock, FakeTotalsHash

NOON_S = NOON_MS // 1000
MINUTE = f"m{NOON_S // 60}"
SECOND = f"s{NOON_S}"


class Desk:
    """A publisher's desk: a journal to settle into, and a fake hash. A second one over the same is its successor."""

    def __init__(self, segment: Segment, totals: FakeTotalsHash | None = None) -> None:
        self.totals = totals or FakeTotalsHash()
        self.segment = segment
        self.clock = FakeClock()
        self.journal = segment.journal(0)
        self.journal.begin_life()
        self.roster = segment.roster(0)
        self.counters: Counters = segment.dispatcher_counters(0)
        self.news: list[tuple[int, SharedHealth]] = []
        self.met: list[Member] = []
        self.member = Member(segment.segment_id, 0)
        self.publisher = Publisher(
            self.member,
            self.journal,
            self.roster,
            self.counters,
            self.totals,  # type: ignore[arg-type]  # the calls a publisher makes, and no others
            flush_s=0.0,
            hear_shared_health=lambda *news: self.news.append(news),
            hear_member=self.met.append,
        )

    def settle(self, payments: int = 1, *, requested_at_ms: int = NOON_MS, amount_cents: int = 1990) -> None:
        """Payments are settled at the default processor."""
        for _ in range(payments):
            if self.journal.is_full():
                self.journal.fold(16)
            self.journal.append(Ended(State.SETTLED, 0, requested_at_ms, amount_cents, 0))

    async def resume(self) -> None:
        """Reads what the hash has of it, as a publisher does first."""
        await self.publisher._resume()  # noqa: SLF001  alone, without what follows it

    async def flush(self, payments: int = 0) -> bool:
        """Settles so many, and publishes."""
        self.settle(payments)
        return await self.publisher.flush()

    def shown(self, from_ms: int | None = NOON_MS, to_ms: int | None = NOON_MS) -> Total:
        """What the hash tells of the default processor."""
        return count_window([self.totals.levels()], Window(from_ms, to_ms)).default

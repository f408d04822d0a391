"""server/local_totals.py: totals of an instance alone, over a real segment with two dispatchers and two workers."""

import asyncio
import errno
import os
from collections.abc import Collection, Iterator
from typing import cast

import pytest

from server import following, local_totals
from server.errors import TotalsUnavailable
from server.local_totals import LocalTotals
from server.notation import format_instant_ms
from server.totals import ALL_TIME, Summary, Total, Window
from shm import Counters, DispatcherCount, Ended, Geometry, Phase, Segment, State, WorkerCount, dispatcher_role
from shm.layout import BASE_PAGE_LENGTH
from tests.fakes import FakeClock
from tests.server.naive_totals import ORIGINS_MS, Settled, small_ledgers
from tests.shm.segments import fresh_instance

NOON_MS = ORIGINS_MS[1]
GEOMETRY = Geometry(workers=2, dispatchers=2, lane_slots=2, waiting_slots=8, journal_records=64)
BEAT_MS = 5_000
NOTHING = Summary(Total(0, 0), Total(0, 0))


@pytest.fixture
def segment() -> Iterator[Segment]:
    """A fresh segment, gone afterwards."""
    with fresh_instance() as instance:
        made = Segment.create(instance, GEOMETRY)
        for dispatcher in range(GEOMETRY.dispatchers):
            made.dispatcher_counters(dispatcher).phase = Phase.READY
            made.dispatcher_counters(dispatcher).beat(BEAT_MS * 1000)
        yield made


def settle(segment: Segment, dispatcher: int, *settled: Settled) -> None:
    """What a dispatcher writes down of settled payments."""
    journal = segment.journal(dispatcher)
    for processor, requested_at_ms, amount_cents in settled:
        journal.append(Ended(State.SETTLED, processor, requested_at_ms, amount_cents, 0))


def totals_of(segment: Segment, worker: int = 0, dead: Collection[str] = ()) -> LocalTotals:
    """A worker's reader; nobody plays the roles that are dead."""
    return LocalTotals(segment, segment.worker_counters(worker), dead.__contains__, FakeClock(ticks=BEAT_MS))


def damage(segment: Segment, dispatcher: int) -> bytes:
    """A dispatcher's base becomes unreadable; returns the page as it was."""
    page = segment.base_page(dispatcher)
    before = bytes(page)
    page[:] = b"\xff" * BASE_PAGE_LENGTH
    return before


class TestFollow:
    """LocalTotals.follow."""

    async def test_a_base_that_is_damaged_from_the_start(self, segment: Segment) -> None:
        """A worker can be started all the same, and says what is wrong whenever it follows."""
        damage(segment, 1)
        totals = totals_of(segment)
        for _ in range(2):
            with pytest.raises(TotalsUnavailable, match="what dispatcher 1 has settled can't be read: base copy"):
                await totals.follow()

    async def test_a_base_that_is_damaged_later(self, segment: Segment) -> None:
        """It ends no worker; once the base can be read again, nothing of it is missing."""
        totals = totals_of(segment)
        await totals.follow()
        settle(segment, 0, Settled(0, NOON_MS, 1))
        before = damage(segment, 0)
        with pytest.raises(TotalsUnavailable, match="what dispatcher 0 has settled can't be read"):
            await totals.follow()
        segment.base_page(0)[:] = before
        assert await totals.summary(Window(NOON_MS, NOON_MS)) == Summary(Total(1, 1), Total(0, 0))


class TestSummary:
    """LocalTotals.summary."""

    async def test_nothing_yet(self, segment: Segment) -> None:
        """A new instance has settled nothing, and says so."""
        assert await totals_of(segment).summary(ALL_TIME) == NOTHING

    async def test_sums_all_dispatchers(self, segment: Segment) -> None:
        """What either dispatcher settled counts, in windows too, as soon as its journal has it."""
        totals = totals_of(segment)
        settle(segment, 0, Settled(0, NOON_MS, 1990), Settled(1, NOON_MS + 1, 5))
        settle(segment, 1, Settled(0, NOON_MS + 2, 10))
        assert await totals.summary(ALL_TIME) == Summary(Total(2, 2000), Total(1, 5))
        assert await totals.summary(Window(NOON_MS + 1, NOON_MS + 2)) == Summary(Total(1, 10), Total(1, 5))
        settle(segment, 1, Settled(0, NOON_MS + 2, 10))
        assert await totals.summary(Window(NOON_MS + 2, NOON_MS + 2)) == Summary(Total(2, 20), Total(0, 0))

    async def test_a_dead_dispatcher(self, segment: Segment) -> None:
        """Until its successor has recovered nobody knows what it was sending."""
        assert await totals_of(segment).summary(ALL_TIME) == NOTHING
        with pytest.raises(TotalsUnavailable, match="dispatcher 1"):
            await totals_of(segment, dead={"dispatcher-1"}).summary(ALL_TIME)
        segment.dispatcher_counters(0).phase = Phase.STARTING
        with pytest.raises(TotalsUnavailable, match="dispatcher 0"):
            await totals_of(segment).summary(ALL_TIME)

    async def test_a_damaged_row(self, segment: Segment) -> None:
        """Nobody can tell whether that dispatcher has recovered; until its next phase."""
        segment.dispatcher_counters(1).phase = cast("Phase", 99)
        with pytest.raises(TotalsUnavailable, match="the row of dispatcher 1 is damaged"):
            await totals_of(segment).summary(ALL_TIME)
        segment.dispatcher_counters(1).phase = Phase.LEAVING
        assert await totals_of(segment).summary(ALL_TIME) == NOTHING

    async def test_a_damaged_base(self, segment: Segment) -> None:
        """Nobody knows what a dispatcher without a base has settled, whether it was damaged before or after."""
        totals = totals_of(segment)
        assert await totals.summary(ALL_TIME) == NOTHING
        damage(segment, 1)
        for asked in (totals, totals_of(segment)):
            with pytest.raises(TotalsUnavailable, match="what dispatcher 1 has settled can't be read"):
                await asked.summary(ALL_TIME)

    async def test_a_successor_while_it_is_asked(self, segment: Segment) -> None:
        """The phase is that of whoever holds the lock, so not that of one who died before the successor took it."""

        def is_free(role: str) -> bool:
            row = segment.dispatcher_counters(int(role[-1]))
            if row.phase is Phase.READY:  # died, and all that follows happens now
                row.phase = Phase.STARTING
            return False

        totals = LocalTotals(segment, segment.worker_counters(0), is_free, FakeClock(ticks=BEAT_MS))
        with pytest.raises(TotalsUnavailable, match="dispatcher 0 has not recovered yet"):
            await totals.summary(ALL_TIME)

    async def test_a_dispatcher_that_hangs(self, segment: Segment) -> None:
        """What it has been paid meanwhile it has not written down."""
        clock = FakeClock(ticks=BEAT_MS + 1000)
        totals = LocalTotals(segment, segment.worker_counters(0), lambda _: False, clock)
        assert await totals.summary(ALL_TIME) == NOTHING
        clock.advance(1)
        with pytest.raises(TotalsUnavailable, match="dispatcher 0 has been silent for 1001 ms"):
            await totals.summary(ALL_TIME)

    async def test_a_dispatcher_that_goes_on_meanwhile(self, segment: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
        """It writes down what it had missed once the journals have been read, and then has a heartbeat."""
        clock = FakeClock(ticks=BEAT_MS + 1001)
        totals = LocalTotals(segment, segment.worker_counters(0), lambda _: False, clock)
        follow = totals.follow

        async def follow_and_thaw() -> None:
            await follow()
            for dispatcher in range(GEOMETRY.dispatchers):
                segment.dispatcher_counters(dispatcher).beat(clock.ticks_ms() * 1000)
            settle(segment, 0, Settled(0, NOON_MS, 1))

        monkeypatch.setattr(totals, "follow", follow_and_thaw)
        with pytest.raises(TotalsUnavailable, match="dispatcher 0 has been silent for 1001 ms"):
            await totals.summary(ALL_TIME)

    async def test_a_dispatcher_that_dies_meanwhile(self, segment: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
        """What it was sending may be paid by the time of the answer, and nobody has written that down."""
        dead = list[str]()
        totals = totals_of(segment, dead=dead)
        follow = totals.follow

        async def follow_and_die() -> None:
            await follow()
            dead.append(dispatcher_role(0))

        monkeypatch.setattr(totals, "follow", follow_and_die)
        with pytest.raises(TotalsUnavailable, match="dispatcher 0 has not recovered yet"):
            await totals.summary(ALL_TIME)

    async def test_no_descriptors(self, segment: Segment) -> None:
        """Then nobody can see whether a dispatcher lives."""

        def is_free(_: str) -> bool:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        totals = LocalTotals(segment, segment.worker_counters(0), is_free, FakeClock(ticks=BEAT_MS))
        with pytest.raises(TotalsUnavailable, match="the dispatchers can't be looked at: Too many open files"):
            await totals.summary(ALL_TIME)

    async def test_in_the_middle_of_a_purge(self, segment: Segment) -> None:
        """Half of it is no instant of the totals."""
        settle(segment, 0, Settled(0, NOON_MS, 1))
        settle(segment, 1, Settled(0, NOON_MS, 1))
        totals = totals_of(segment)
        segment.journal(0).begin_epoch(1)
        with pytest.raises(TotalsUnavailable, match="not every dispatcher has taken up the last purge"):
            await totals.summary(ALL_TIME)
        segment.journal(1).begin_epoch(1)
        assert await totals.summary(ALL_TIME) == NOTHING

    async def test_tells_unknown_payments(self, segment: Segment) -> None:
        """Unknown payments that may lie in the window are said, as the dispatchers' gauges have them."""
        row = segment.dispatcher_counters(1)
        row.put(DispatcherCount.UNKNOWN, 3)
        row.put(DispatcherCount.UNKNOWN_LEAST_MS, NOON_MS)
        row.put(DispatcherCount.UNKNOWN_GREATEST_MS, NOON_MS + 5)
        totals = totals_of(segment)
        assert await totals.summary(Window(None, NOON_MS)) == NOTHING._replace(unknown=3)
        assert await totals.summary(Window(None, NOON_MS - 1)) == NOTHING

    async def test_settled_while_it_is_asked(self, segment: Segment) -> None:
        """An unknown payment that is settled meanwhile is told twice rather than not at all."""
        row = segment.dispatcher_counters(0)
        row.put(DispatcherCount.UNKNOWN, 1)
        row.put(DispatcherCount.UNKNOWN_GREATEST_MS, NOON_MS)

        def meanwhile(_: str) -> bool:
            if segment.journal(0).head == 0:
                settle(segment, 0, Settled(0, NOON_MS, 1))
                row.put(DispatcherCount.UNKNOWN, 0)
            return False

        clock = FakeClock(ticks=BEAT_MS)
        answer = await LocalTotals(segment, segment.worker_counters(0), meanwhile, clock).summary(ALL_TIME)
        assert answer.default.payments + answer.unknown >= 1

    async def test_unknown_while_it_is_asked(self, segment: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
        """A payment that becomes unknown meanwhile is told as well."""
        row = segment.dispatcher_counters(0)
        totals = totals_of(segment)
        follow = totals.follow

        async def follow_a_moment_later() -> None:
            row.put(DispatcherCount.UNKNOWN_LEAST_MS, NOON_MS)
            row.put(DispatcherCount.UNKNOWN_GREATEST_MS, NOON_MS)
            row.put(DispatcherCount.UNKNOWN, 1)
            settle(segment, 0, Settled(0, NOON_MS, 1))
            await follow()

        monkeypatch.setattr(totals, "follow", follow_a_moment_later)
        assert await totals.summary(ALL_TIME) == Summary(Total(1, 1), Total(0, 0), unknown=1)

    async def test_a_window_before_what_is_exact_is_refused(self, segment: Segment) -> None:
        """A reader that starts after a fold can't tell when the folded ones were requested, and says so."""
        settle(segment, 0, Settled(0, NOON_MS, 1), Settled(0, NOON_MS + 9, 1))
        segment.journal(0).fold(1)
        totals = totals_of(segment)
        with pytest.raises(TotalsUnavailable) as caught:
            await totals.summary(Window(NOON_MS, None))
        assert f"lies before {format_instant_ms(NOON_MS + 1)}" in str(caught.value)
        assert await totals.summary(Window(NOON_MS + 1, None)) == Summary(Total(1, 1), Total(0, 0))
        assert await totals.summary(ALL_TIME) == Summary(Total(2, 2), Total(0, 0))

    async def test_following_keeps_windows_exact_over_folds(self, segment: Segment) -> None:
        """A reader that follows in time has read records before they are folded."""
        totals = totals_of(segment)
        settle(segment, 0, Settled(0, NOON_MS, 1))
        await totals.follow()
        segment.journal(0).fold(1)
        assert await totals.summary(Window(NOON_MS, NOON_MS)) == Summary(Total(1, 1), Total(0, 0))

    async def test_all_dispatchers_at_one_instant(self, segment: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
        """What one settles while another's long journal is read is in the summary as well."""
        monkeypatch.setattr(following, "RECORDS_AT_ONCE", 1)
        settle(segment, 0, Settled(0, NOON_MS, 1))
        settle(segment, 1, *(Settled(0, NOON_MS, 1) for _ in range(4)))
        loop = asyncio.get_running_loop()
        loop.call_soon(settle, segment, 0, Settled(0, NOON_MS, 1))
        answer = await totals_of(segment).summary(ALL_TIME)
        assert answer.default == Total(6, 6)

    async def test_what_is_forgotten_leaves_nothing_behind(self, segment: Segment) -> None:
        """Names of fields that were dropped are for those who publish."""
        with small_ledgers(detail_bytes=16):
            totals = totals_of(segment)
            settle(segment, 0, *(Settled(0, NOON_MS + second * 1000, 1) for second in range(20)))
            await totals.follow()
        assert [follower.ledger.take_changes().dropped for follower in totals._followers] == [set(), set()]  # noqa: SLF001  what grew

    async def test_forgotten_minutes_widen_the_window(self, segment: Segment) -> None:
        """A window that begins before the minutes kept is counted as all there is up to its end, and says so."""
        with small_ledgers(minutes=1):
            totals = totals_of(segment)
            settle(segment, 0, *(Settled(0, NOON_MS + minute * 60_000, 1) for minute in range(3)))
            answer = await totals.summary(Window(NOON_MS + 60_000, None))
        assert answer.default == Total(3, 3)
        assert answer.resolution is not None
        assert "widened to them all" in answer.resolution

    async def test_both_ends_widened(self, segment: Segment) -> None:
        """Each is told of."""
        with small_ledgers(minutes=2, detail_bytes=16):
            totals = totals_of(segment)
            settle(segment, 0, *(Settled(0, NOON_MS + ms, 1) for ms in (0, 60_000, 60_300, 60_600, 120_000)))
            answer = await totals.summary(Window(NOON_MS, NOON_MS + 60_100))
        assert answer.default == Total(4, 4)
        assert "widened to them all" in (answer.resolution or "")
        assert "widened to whole ones" in (answer.resolution or "")

    async def test_lost_detail_is_told(self, segment: Segment) -> None:
        """A window that cuts a second whose detail is gone says what it was widened to."""
        with small_ledgers(detail_bytes=16):
            totals = totals_of(segment)
            settle(segment, 0, Settled(0, NOON_MS, 1), Settled(0, NOON_MS + 1, 1))
            answer = await totals.summary(Window(NOON_MS + 1, None))
        assert answer.default == Total(2, 2)
        assert answer.resolution is not None
        assert "by the second" in answer.resolution


class TestPurge:
    """LocalTotals.purge."""

    async def test_is_done_once_every_dispatcher_took_it_up(
        self, segment: Segment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It asks in its worker's counters, waits for both dispatchers, and then nothing counts any more."""
        monkeypatch.setattr(local_totals, "PURGE_POLL_S", 0)
        settle(segment, 0, Settled(0, NOON_MS, 1))
        totals = totals_of(segment, worker=1)
        row: Counters = segment.worker_counters(1)
        purging = asyncio.create_task(totals.purge())
        for dispatcher in (1, 0):
            await asyncio.sleep(0)
            assert row.get(WorkerCount.PURGE_EPOCH) == 1
            assert not purging.done()
            segment.journal(dispatcher).begin_epoch(1)
        await purging
        assert await totals.summary(ALL_TIME) == NOTHING
        assert await totals_of(segment, worker=0).summary(ALL_TIME) == NOTHING

    async def test_a_second_one_asks_for_the_next_epoch(
        self, segment: Segment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One past the greatest epoch of any dispatcher, so that none takes it for the one before."""
        monkeypatch.setattr(local_totals, "PURGE_WITHIN_S", -1)
        segment.journal(1).begin_epoch(4)
        with pytest.raises(TotalsUnavailable):
            await totals_of(segment).purge()
        assert segment.worker_counters(0).get(WorkerCount.PURGE_EPOCH) == 5

    async def test_gives_up_on_a_dispatcher_that_does_not_follow(
        self, segment: Segment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One that is away takes it up when it is back; the client is told that it is not done."""
        monkeypatch.setattr(local_totals, "PURGE_WITHIN_S", -1)
        segment.journal(0).begin_epoch(1)
        with pytest.raises(TotalsUnavailable, match="not every dispatcher took up the purge"):
            await totals_of(segment).purge()

    async def test_a_damaged_base(self, segment: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nobody can tell which purge comes next, or whether that dispatcher has taken one up."""
        monkeypatch.setattr(local_totals, "PURGE_POLL_S", 0)
        totals = totals_of(segment)
        purging = asyncio.create_task(totals.purge())
        await asyncio.sleep(0)
        damage(segment, 1)
        for purge in (purging, totals.purge()):
            with pytest.raises(TotalsUnavailable, match="what dispatcher 1 has settled can't be read"):
                await purge


async def test_closing_closes_nothing(segment: Segment) -> None:
    """A reader of memory may be asked again after it was closed."""
    totals = totals_of(segment)
    await totals.aclose()
    assert await totals.summary(ALL_TIME) == NOTHING

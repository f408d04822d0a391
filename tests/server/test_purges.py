"""A purge, heard of in time, late, or much too late: what a publisher then tells a fake hash, and when."""

import asyncio

import pytest

from server import publisher
from server.purges import Purges, last_purge
from server.redis_totals import FlushAnswer
from server.totals import Total
from shm.layout import BASE_PAGE_LENGTH
from tests.fakes import NOON_MS, idle
from tests.server.desk import Desk
from tests.server.other_instance import OtherInstance, other_instance


class TestPurge:
    """What a flush learns from the hash's epoch."""

    async def test_purge(self, desk: Desk) -> None:
        """A higher epoch is taken up: totals start from zero, what is requested later counts."""
        await desk.flush(5)
        epoch = NOON_MS + 1
        desk.totals.purge(epoch)
        assert not await desk.flush(1)
        assert desk.journal.base.epoch == epoch
        desk.settle(2, requested_at_ms=epoch)
        assert await desk.flush()
        assert desk.totals.header is not None
        assert desk.totals.header.version == (epoch, 1, 3)
        assert desk.shown(None, None) == Total(2, 3980)

    async def test_a_purge_heard_of_late(self, desk: Desk) -> None:
        """What was settled since the purge counts; what was flushed before it does not, whatever the clocks said."""
        desk.settle(2)
        desk.settle(1, requested_at_ms=NOON_MS + 9)
        await desk.flush()
        desk.totals.purge(NOON_MS + 5)
        desk.settle(1)
        desk.settle(3, requested_at_ms=NOON_MS + 5)
        assert not await desk.flush()
        assert await desk.flush()
        assert desk.shown(None, None) == Total(3, 5970)

    async def test_a_purge_heard_of_late_with_the_clock_ahead(self, desk: Desk) -> None:
        """What was published before the purge doesn't count, though its requestedAt is later."""
        desk.settle(1, requested_at_ms=NOON_MS + 9)
        await desk.flush()
        desk.totals.purge(NOON_MS + 5)
        desk.settle(3, requested_at_ms=NOON_MS + 9)
        assert not await desk.flush()
        assert await desk.flush()
        assert desk.shown(None, None) == Total(3, 5970)

    async def test_a_purge_that_the_hash_had_forgotten(self, desk: Desk) -> None:
        """Redis came back empty, took a flush, and was told of the purge by another member: what came since counts."""
        desk.settle(2, requested_at_ms=NOON_MS - 1)
        desk.settle(3, requested_at_ms=NOON_MS)
        await desk.flush()
        desk.totals.epoch = NOON_MS
        assert not await desk.flush()
        assert await desk.flush()
        assert desk.shown(None, None) == Total(3, 5970)

    @pytest.mark.parametrize("purged", [NOON_MS, 0])  # the latter: another member has told the hash of it
    async def test_a_purge_before_the_first_settlement(self, desk: Desk, purged: int) -> None:
        """A member that had published nothing, and hears of it late, counts from its first settlement on."""
        desk.settle(3, requested_at_ms=NOON_MS)
        desk.totals.epoch, desk.totals.purged = NOON_MS, purged
        assert not await desk.flush()
        assert await desk.flush()
        assert desk.shown(None, None) == Total(3, 5970)

    async def test_what_the_hash_took_of_a_predecessor(self, desk: Desk) -> None:
        """A dispatcher that was replaced told the hash, another member tells of the purge: what came since counts."""
        desk.settle(2, requested_at_ms=NOON_MS - 1)
        desk.settle(3, requested_at_ms=NOON_MS)
        await desk.flush()
        successor = Desk(desk.segment, desk.totals)
        await successor.resume()
        desk.totals.epoch = NOON_MS
        assert not await successor.flush()
        assert await successor.flush()
        assert successor.shown(None, None) == Total(3, 5970)

    async def test_a_purge_that_another_instance_remembers(self, desk: Desk) -> None:
        """Redis does not know of it: it is taken up, and Redis learns it."""
        desk.settle(2, requested_at_ms=NOON_MS - 1)
        desk.publisher.hear_of_purge(NOON_MS)
        desk.settle(3, requested_at_ms=NOON_MS)
        assert await desk.flush()
        assert (desk.totals.epoch, desk.shown(None, None)) == (NOON_MS, Total(3, 5970))
        for epoch in (0, 7, NOON_MS - 1):  # none, one of no time, and one that was followed by another
            desk.publisher.hear_of_purge(epoch)
        assert desk.journal.base.epoch == NOON_MS

    @pytest.mark.parametrize("payments", [3, 100])  # the latter more than the journal holds
    async def test_a_purge_that_redis_may_know_better(self, desk: Desk, payments: int) -> None:
        """Settlements stamped after it (the clock was ahead) were published before it: Redis says so."""
        desk.settle(payments, requested_at_ms=NOON_MS + 9)
        await desk.flush()
        desk.totals.purge(NOON_MS + 5)
        desk.publisher.hear_of_purge(NOON_MS + 5)
        assert desk.journal.base.epoch == 0
        assert not await desk.flush()
        assert await desk.flush()
        assert desk.shown(None, None) == Total(0, 0)

    async def test_a_purge_by_number(self, desk: Desk) -> None:
        """0.1.0 counted purges: such a number is no time, so what is settled next is the first that counts."""
        desk.settle(3)
        desk.totals.purge(1)
        assert not await desk.flush()
        assert await desk.flush(1)
        assert desk.shown(None, None) == Total(1, 1990)

    async def test_a_purge_heard_of_far_too_late(self, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
        """What came after it was folded into one sum with what came before: it is missed, the next one is not."""
        await desk.flush(5)
        desk.totals.purge(NOON_MS + 5)
        desk.settle(100, requested_at_ms=NOON_MS + 9)
        for _ in range(3):
            assert not await desk.flush()
        assert desk.journal.base.epoch == 0
        assert caplog.text.count("heard of too late") == 1
        desk.totals.purge(NOON_MS + 10)
        desk.settle(1, requested_at_ms=NOON_MS + 10)  # cut off again: this one is heard of late, and told exactly
        assert not await desk.flush()
        assert await desk.flush()
        assert desk.shown(None, None) == Total(1, 1990)

    async def test_a_purge_right_after_what_was_folded(self, desk: Desk) -> None:
        """Nothing that was folded can be from after it, so it is taken up however late it is heard of."""
        await desk.flush(5)
        desk.settle(100)
        desk.totals.purge(desk.journal.base.folded_until_ms)
        desk.settle(1, requested_at_ms=desk.totals.epoch)
        assert not await desk.flush()
        assert await desk.flush()
        assert desk.shown(None, None) == Total(1, 1990)

    async def test_a_purge_with_no_more_folded_than_was_published(self, desk: Desk) -> None:
        """All that was folded had been published before it, so what is still in the journal is counted exactly."""
        desk.settle(16, requested_at_ms=NOON_MS + 9)
        await desk.flush()
        desk.totals.purge(NOON_MS + 5)
        desk.settle(64, requested_at_ms=NOON_MS + 9)
        assert desk.journal.base.journal_tail == 16
        assert not await desk.flush()
        assert await desk.flush()
        assert desk.shown(None, None) == Total(64, 64 * 1990)

    async def test_two_purges_heard_of_far_too_late(self, desk: Desk) -> None:
        """The second one is missed too, though Redis was reached in between."""
        for epoch in (NOON_MS + 5, NOON_MS + 10):
            desk.totals.purge(epoch)
            desk.settle(100, requested_at_ms=NOON_MS + 19)
            for _ in range(3):
                assert not await desk.flush()
        assert desk.journal.base.epoch == 0

    async def miss_one_and_take_up_the_next(self, desk: Desk) -> None:
        """Before the next is heard of, one payment requested before it is settled, and two requested after it."""
        desk.totals.purge(NOON_MS)
        for _ in range(2):
            desk.settle(100, requested_at_ms=NOON_MS + 7_200_000)
            assert not await desk.flush()
        desk.totals.purge(NOON_MS + 5)
        desk.settle(1, requested_at_ms=NOON_MS + 4)
        desk.settle(2, requested_at_ms=NOON_MS + 5)
        assert not await desk.flush()
        assert await desk.flush()

    async def test_after_one_that_was_missed(self, desk: Desk) -> None:
        """Of what is settled before the next purge is heard of, what was requested after that purge counts."""
        await self.miss_one_and_take_up_the_next(desk)
        assert desk.shown() == Total(0, 0)
        assert desk.shown(None, None) == Total(2, 3980)

    async def test_after_one_that_was_missed_by_a_member_with_totals(self, desk: Desk) -> None:
        """Redis last told of the missed one at a position beyond the header's: that position counts."""
        await desk.flush(5)
        await self.miss_one_and_take_up_the_next(desk)
        assert desk.shown(None, None) == Total(2, 3980)

    async def test_purges_after_the_clock_was_ahead(self, desk: Desk) -> None:
        """What was folded is stamped after both purges: the second, heard of in time, still begins from zero."""
        desk.settle(100, requested_at_ms=NOON_MS + 7_200_000)
        for epoch in (NOON_MS, NOON_MS + 1):
            desk.totals.purge(epoch)
            assert not await desk.flush()
        assert await desk.flush()
        assert desk.shown(None, None) == Total(0, 0)

    async def test_after_one_that_was_missed_and_one_of_another_copy(self, desk: Desk) -> None:
        """A hash restored from a copy told of the missed one after the next one: nothing of the next is left out."""
        desk.totals.purge(NOON_MS)
        desk.settle(100, requested_at_ms=NOON_MS + 2)
        assert not await desk.flush()
        desk.settle(3, requested_at_ms=NOON_MS + 5)
        assert not await desk.flush()  # a copy tells of the missed one still
        desk.totals.epoch = NOON_MS + 5  # as a member says that had heard of it from the other copy
        assert not await desk.flush()
        assert await desk.flush()
        assert desk.shown(None, None) == Total(3, 5970)

    async def test_the_next_after_one_that_was_missed_and_one_that_was_taken_up(self, desk: Desk) -> None:
        """The position reached when the missed one was told of serves for the next purge only."""
        desk.totals.purge(NOON_MS)
        desk.settle(100, requested_at_ms=NOON_MS + 2)
        for _ in range(2):
            assert not await desk.flush()
        desk.totals.purge(NOON_MS + 5)
        assert not await desk.flush()
        assert await desk.flush()
        desk.totals.empty()
        desk.totals.purge(NOON_MS + 6)
        desk.settle(2, requested_at_ms=NOON_MS + 6)
        assert not await desk.flush()
        assert await desk.flush()
        assert desk.shown(None, None) == Total(2, 3980)

    async def test_while_one_is_missed(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """No flush would be taken, so the next try comes after a beat, not sooner."""
        monkeypatch.setattr(publisher, "RETRY_S", 0.0)
        desk.totals.purge(NOON_MS + 5)
        desk.settle(100, requested_at_ms=NOON_MS + 9)
        task = asyncio.ensure_future(desk.publisher.run())
        await idle(200)
        task.cancel()
        assert len(desk.totals.flushes) == 1


class TestMissed:
    """Purges.is_last_missed."""

    def answer(self, epoch: int) -> FlushAnswer:
        """The answer of a hash that was purged, and had nothing of this member then."""
        return FlushAnswer(applied=False, header=None, epoch=epoch, is_purged=True, roster=(), health=(None, None))

    def test_until_the_next(self, desk: Desk) -> None:
        """However often Redis tells of it; the next one begins where the journal was when it last did."""
        purges = Purges(desk.journal)
        desk.settle(100, requested_at_ms=NOON_MS + 9)
        head = desk.journal.head
        seen = [purges.is_last_missed]
        for epoch in (NOON_MS + 5, NOON_MS + 5, NOON_MS + 6):
            purges.hear_from_redis(self.answer(epoch), head)
            seen.append(purges.is_last_missed)
        assert seen == [False, True, True, False]
        assert (desk.journal.base.epoch, desk.journal.base.epoch_start) == (NOON_MS + 6, head)

    @pytest.mark.parametrize("payments", [1, 100])
    def test_a_siblings_is_never_missed(self, desk: Desk, payments: int) -> None:
        """If the journal has settlements from after it, taking it up is left to Redis."""
        purges = Purges(desk.journal)
        desk.settle(payments, requested_at_ms=NOON_MS + 9)
        purges.hear_from_volume(NOON_MS + 5)
        assert (purges.is_last_missed, desk.journal.base.epoch) == (False, 0)

    def test_what_was_folded_may_be_of_after_a_siblings(self, desk: Desk) -> None:
        """So taking it up is left to Redis, though nothing in the journal is from after it."""
        purges = Purges(desk.journal)
        desk.settle(16, requested_at_ms=NOON_MS + 9)
        desk.settle(64, requested_at_ms=NOON_MS)
        assert desk.journal.base.folded_until_ms == NOON_MS + 10
        purges.hear_from_volume(NOON_MS + 9)
        assert (purges.is_last_missed, desk.journal.base.epoch) == (False, 0)
        purges.hear_from_volume(NOON_MS + 10)  # later than all that was folded
        assert (purges.is_last_missed, desk.journal.base.epoch) == (False, NOON_MS + 10)

    def test_a_siblings_that_is_no_time(self, desk: Desk) -> None:
        """0.1.0 counted purges: from such a number nobody can tell what came after it."""
        purges = Purges(desk.journal)
        purges.hear_from_volume(7)
        assert (purges.is_last_missed, desk.journal.base.epoch) == (False, 0)


class TestLastPurge:
    """last_purge."""

    def test_of_any_dispatcher_of_any_instance(self, other: OtherInstance) -> None:
        """The greatest epoch of all journals, whether their dispatchers run or not; damaged bases are left out."""
        assert last_purge([]) == last_purge([other.segment]) == 0
        other.segment.journal(0).begin_epoch(NOON_MS)
        other.segment.journal(1).begin_epoch(NOON_MS + 5)
        with other_instance() as another:
            for segments in ([other.segment, another.segment], [another.segment, other.segment]):
                assert last_purge(segments) == NOON_MS + 5
        other.segment.base_page(1)[:] = b"\xff" * BASE_PAGE_LENGTH
        assert last_purge([other.segment]) == NOON_MS

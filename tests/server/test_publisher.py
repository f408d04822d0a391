"""The publisher against a fake hash: what it sends, what it concludes from each answer, and how it starts and ends."""

import asyncio
import logging
import time

import pytest

from server import child, ledger
from server import publisher as module
from server.errors import TotalsUnavailable
from server.following import JournalFollower
from server.processors import Health
from server.redis_totals import SharedHealth
from server.totals import Total
from server.totals_header import Version
from shm import DispatcherCount, Ended, Member, Segment, State
from tests.fakes import NOON_MS, idle
from tests.server.desk import MINUTE, NOON_S, SECOND, Desk
from tests.shm.segments import refuse


class TestFlush:
    """What is sent."""

    async def test_first(self, desk: Desk) -> None:
        """The first flush builds on nothing and carries everything."""
        assert await desk.flush(3)
        (header, fields, builds_on) = desk.totals.flushes[0]
        assert (header.version, header.position, builds_on) == ((0, 1, 1), 3, None)
        assert fields == {MINUTE, SECOND}
        assert desk.shown() == Total(3, 5970)
        assert desk.counters.get(DispatcherCount.FLUSHES) == 1
        assert desk.counters.get(DispatcherCount.PUBLISHED) == 3

    async def test_next(self, desk: Desk) -> None:
        """Each further one carries what changed, and names what it builds on."""
        await desk.flush(1)
        desk.settle(requested_at_ms=NOON_MS + 61_000)
        await desk.flush()
        header, fields, builds_on = desk.totals.flushes[1]
        assert (header.version, builds_on) == ((0, 1, 2), (0, 1, 1))
        assert fields == {f"m{NOON_S // 60 + 1}", f"s{NOON_S + 61}"}

    async def test_gives_the_core_away(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """Before sending, and between the answer and what follows from it."""
        seen: list[tuple[int, int]] = []
        published = DispatcherCount.PUBLISHED
        monkeypatch.setattr(
            module, "yield_core", lambda: seen.append((len(desk.totals.flushes), desk.counters.get(published)))
        )
        await desk.flush(3)
        assert (seen, desk.counters.get(published)) == ([(0, 0), (1, 0)], 3)

    async def test_beat(self, desk: Desk) -> None:
        """With nothing to tell only the header goes: a sign of life."""
        await desk.flush(1)
        await desk.flush()
        assert desk.totals.flushes[1][1] == set()

    async def test_only_settled_payments_count(self, desk: Desk) -> None:
        """Duplicates and refused payments are in the journal and in no total."""
        desk.journal.append(Ended(State.DUPLICATE, 0, NOON_MS, 1990, 0))
        desk.journal.append(Ended(State.REFUSED, 1, NOON_MS, 1990, 1))
        await desk.flush(1)
        assert desk.totals.flushes[0][0].position == 3
        assert desk.shown(None, None) == Total(1, 1990)

    async def test_unknown(self, desk: Desk) -> None:
        """The header tells how many payments are unknown and when they were requested."""
        desk.counters.put(DispatcherCount.UNKNOWN, 2)
        desk.counters.put(DispatcherCount.UNKNOWN_LEAST_MS, NOON_MS)
        desk.counters.put(DispatcherCount.UNKNOWN_GREATEST_MS, NOON_MS + 5)
        await desk.flush()
        assert desk.totals.levels().unknowns == (2, NOON_MS, NOON_MS + 5)

    async def test_journal_overtook_it(self, desk: Desk) -> None:
        """Records folded while nothing could be published are in the all-time totals, and windows say from when on."""
        desk.totals.away = True
        for second in range(300):
            desk.settle(requested_at_ms=NOON_MS + second * 1000)
        assert not await desk.flush()
        desk.totals.away = False
        assert await desk.flush()
        assert desk.shown(None, None) == Total(300, 300 * 1990)
        assert desk.totals.levels().reach.exact_from_ms == desk.journal.base.folded_until_ms > NOON_MS

    async def test_journal_too_fast(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """A journal that moves on faster than it can be read is told like a Redis that is away."""
        monkeypatch.setattr(JournalFollower, "follow", refuse(TotalsUnavailable("too fast")))
        assert not await desk.flush(1)
        monkeypatch.undo()
        assert await desk.flush()
        assert desk.shown() == Total(1, 1990)


class TestAnswers:
    """What each answer means."""

    async def test_away(self, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
        """While Redis is away nothing is lost, and the log has one line at each end."""
        desk.totals.away = True
        for _ in range(5):
            assert not await desk.flush(1)
        desk.totals.away = False
        assert await desk.flush()
        assert desk.shown() == Total(5, 9950)
        assert desk.counters.get(DispatcherCount.FLUSHES_FAILED) == 5
        assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2

    async def test_answer_lost(self, desk: Desk) -> None:
        """A flush that was taken and not answered is told again by the next, which builds on what is sure."""
        await desk.flush(1)
        desk.totals.loses_answers = True
        assert not await desk.flush(1)
        assert not await desk.flush(1)
        desk.totals.loses_answers = False
        assert await desk.flush(1)
        assert [builds_on for _, _, builds_on in desk.totals.flushes] == [None, (0, 1, 1), (0, 1, 1), (0, 1, 1)]
        assert desk.shown() == Total(4, 7960)
        assert desk.counters.get(DispatcherCount.REWRITES) == 0

    async def test_away_for_long(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """Names of fields to remove do not pile up while Redis is away: beyond a bound everything is written again."""
        monkeypatch.setattr(module, "DROPPED_MAX", 3)
        monkeypatch.setattr(ledger, "DETAIL_BYTES_MAX", 0)
        assert await desk.flush(1)
        desk.totals.away = True
        for second in range(5):
            desk.settle(requested_at_ms=NOON_MS + second * 1000)
            assert not await desk.flush()
        desk.totals.away = False
        assert await desk.flush()
        assert desk.totals.flushes[-1][2] is None  # it builds on nothing: everything was written
        assert desk.shown(None, None) == Total(6, 6 * 1990)

    async def test_taken_twice(self, desk: Desk) -> None:
        """A call made again after its answer was lost finds its own header, which is as good as being taken."""
        desk.totals.takes_twice = True
        assert await desk.flush(1)
        assert desk.shown() == Total(1, 1990)
        assert len(desk.totals.flushes) == 2
        assert desk.counters.get(DispatcherCount.REWRITES) == 0

    async def test_cancelled(self, desk: Desk) -> None:
        """A flush that was cut off is told again by the next."""
        await desk.flush(1)
        desk.totals.hangs = True
        task = asyncio.ensure_future(desk.flush(1))
        await idle()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        desk.totals.hangs = False
        assert await desk.flush()
        assert desk.totals.flushes[-1][1] == {MINUTE, SECOND}
        assert desk.shown() == Total(2, 3980)

    async def test_emptied(self, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
        """An empty hash takes no changes (they would be part of the truth); then everything is written again."""
        await desk.flush(1)
        desk.settle(requested_at_ms=NOON_MS + 61_000)
        await desk.flush()
        desk.totals.empty()
        assert not await desk.flush(1)
        assert desk.totals.fields == {}
        assert await desk.flush()
        assert desk.shown(NOON_MS, NOON_MS + 61_000) == Total(3, 5970)
        assert desk.counters.get(DispatcherCount.REWRITES) == 1
        assert "everything is written again" in caplog.text

    async def test_restored_older(self, desk: Desk) -> None:
        """An older copy is told from what was sent last, and is replaced."""
        await desk.flush(1)
        old = desk.totals.header, desk.totals.fields
        desk.settle(requested_at_ms=NOON_MS + 61_000)
        await desk.flush()
        desk.totals.header, desk.totals.fields = old
        assert not await desk.flush(1)
        assert desk.totals.header == old[0]
        assert await desk.flush()
        assert desk.shown(NOON_MS, NOON_MS + 61_000) == Total(3, 5970)

    async def test_newer_than_itself(self, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
        """Totals of the same member with a newer header are never overwritten, and told of once."""
        await desk.flush(1)
        assert desk.totals.header is not None
        newer = desk.totals.header = desk.totals.header._replace(version=Version(0, 9, 1))
        for _ in range(5):
            assert not await desk.flush(1)
        assert desk.totals.header == newer
        assert [record.levelno for record in caplog.records] == [logging.CRITICAL]

    async def test_health(self, desk: Desk) -> None:
        """News of a poll are passed on once."""
        first = SharedHealth(Health(failing=False, response_ms_min=5), 1000)
        second = SharedHealth(Health(failing=True, response_ms_min=2000), 1200)
        desk.totals.health = (first, None)
        await desk.flush()
        await desk.flush()
        assert desk.news == [(0, first)]
        desk.totals.health = (first, second)
        await desk.flush()
        assert desk.news[1:] == [(1, second)]

    async def test_roster(self, desk: Desk) -> None:
        """Who is on the hash's roster comes to the segment's, and is told to a hash that has forgotten."""
        other = Member(77, 1)
        desk.totals.roster = [str(other)]
        await desk.flush()
        assert (desk.roster.members(), desk.met) == ([desk.member, other], [other])
        desk.totals.empty()
        await desk.flush()
        assert desk.totals.roster == [str(desk.member), str(other)]


class TestStart:
    """Going on from what a predecessor published."""

    async def start(self, desk: Desk) -> None:
        """Lets a publisher run until its first flush, which comes without a wait, and stops it."""
        before = len(desk.totals.flushes)
        task = asyncio.ensure_future(desk.publisher.run())
        await idle()
        assert len(desk.totals.flushes) > before
        await child.end_tasks([task])

    async def test_goes_on(self, segment: Segment) -> None:
        """What fits the journal is not sent again; what the predecessor did not get to publish is, at once."""
        first = Desk(segment)
        await first.flush(3)
        first.settle(requested_at_ms=NOON_MS + 61_000)
        second = Desk(segment, first.totals)
        await self.start(second)
        header, fields, builds_on = second.totals.flushes[1]
        assert (header.version, builds_on) == ((0, 2, 1), (0, 1, 1))
        assert fields == {f"m{NOON_S // 60 + 1}", f"s{NOON_S + 61}"}
        assert second.shown(NOON_MS, NOON_MS + 61_000) == Total(4, 7960)

    async def test_first_flush(self, desk: Desk) -> None:
        """Not before the hash has taken a flush, whatever else it answered."""
        desk.totals.away = True
        assert not await desk.flush(1)
        assert not desk.publisher.first_flush_done.is_set()
        desk.totals.away = False
        desk.totals.epoch = 1
        assert not await desk.flush()
        assert not desk.publisher.first_flush_done.is_set()
        assert await desk.flush()
        assert desk.publisher.first_flush_done.is_set()

    async def test_predecessors_last_flush_comes_late(self, segment: Segment) -> None:
        """One that is taken after the successor has read is no base for that one, which writes everything again."""
        first = Desk(segment)
        await first.flush(3)
        second = Desk(segment, first.totals)
        await second.publisher._resume()  # noqa: SLF001  the moment between reading and writing
        await first.flush(1)
        assert not await second.flush()
        assert await second.flush()
        assert second.shown() == Total(4, 7960)
        assert not await first.flush()
        assert second.shown() == Total(4, 7960)

    async def test_nothing_there(self, segment: Segment) -> None:
        """Everything in base and journal is written."""
        first = Desk(segment)
        first.settle(3)
        second = Desk(segment)
        await self.start(second)
        assert second.shown() == Total(3, 5970)

    async def test_half_written(self, segment: Segment) -> None:
        """What a predecessor had not finished is replaced."""
        first = Desk(segment)
        await first.flush(3)
        assert first.totals.header is not None
        first.totals.header = first.totals.header._replace(is_whole=0)
        second = Desk(segment, first.totals)
        await self.start(second)
        assert second.totals.flushes[1][2] is None
        assert second.shown(None, None) == Total(3, 5970)

    async def test_does_not_fit(self, segment: Segment) -> None:
        """Totals ahead of the journal (a segment restored from an older copy) are replaced, never added to."""
        first = Desk(segment)
        await first.flush(3)
        assert first.totals.header is not None
        first.totals.header = first.totals.header._replace(position=50, all_time=(50, 50, 0, 0))
        second = Desk(segment, first.totals)
        await self.start(second)
        assert second.totals.flushes[1][2] is None
        assert second.shown(None, None) == Total(3, 5970)

    async def test_after_a_purge(self, segment: Segment) -> None:
        """Totals of an earlier epoch are not gone on from."""
        first = Desk(segment)
        await first.flush(3)
        first.journal.begin_epoch(1)
        second = Desk(segment, first.totals)
        await self.start(second)
        assert second.shown(None, None) == Total(0, 0)

    async def test_away(self, segment: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
        """While Redis can't be read the publisher waits, and writes everything once it can."""
        monkeypatch.setattr(module, "BEAT_S", 0.001)
        desk = Desk(segment)
        desk.settle(2)
        desk.totals.away = True
        task = asyncio.ensure_future(desk.publisher.run())
        while desk.counters.get(DispatcherCount.FLUSHES_FAILED) < 3:
            await asyncio.sleep(0)
        desk.totals.away = False
        while not desk.totals.flushes:
            await asyncio.sleep(0)
        task.cancel()
        assert desk.shown() == Total(2, 3980)


class TestRun:
    """When it is sent."""

    async def test_change(self, desk: Desk) -> None:
        """A settlement is published without waiting for the beat."""
        task = asyncio.ensure_future(desk.publisher.run())
        await idle()
        desk.settle()
        desk.publisher.note_change()
        await idle()
        task.cancel()
        assert desk.shown() == Total(1, 1990)

    async def test_hurry(self, desk: Desk) -> None:
        """A settlement waits for others to follow, but not once somebody has said that none will."""
        desk.publisher._flush_s = 60.0  # noqa: SLF001  so that nothing comes by itself
        task = asyncio.ensure_future(desk.publisher.run())
        await idle()
        desk.publisher._hurry.clear()  # noqa: SLF001  the same
        desk.settle()
        desk.publisher.note_change()
        await idle()
        before = len(desk.totals.flushes)
        desk.publisher.hurry()
        await idle()
        task.cancel()
        assert (before, len(desk.totals.flushes), desk.shown()) == (0, 1, Total(1, 1990))

    async def test_a_hurry_is_for_one_flush(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is settled after it waits for others to follow again."""
        monkeypatch.setattr(module, "HURRY_S", 0.0)
        desk.publisher._flush_s = 60.0  # noqa: SLF001  so that nothing comes by itself
        task = asyncio.ensure_future(desk.publisher.run())
        desk.publisher.hurry()
        await idle()
        before = len(desk.totals.flushes)
        desk.settle()
        desk.publisher.note_change()
        await idle()
        task.cancel()
        assert (before, len(desk.totals.flushes)) == (1, 1)

    async def test_hurries_have_a_distance(self, desk: Desk) -> None:
        """Settlements that come one by one and are all hurried share flushes."""
        desk.publisher._flush_s = 60.0  # noqa: SLF001  so that nothing comes by itself
        task = asyncio.ensure_future(desk.publisher.run())
        begun_s = time.monotonic()
        for _ in range(200):
            desk.settle()
            desk.publisher.note_change()
            desk.publisher.hurry()
            await asyncio.sleep(0)
        elapsed_s = time.monotonic() - begun_s
        task.cancel()
        assert len(desk.totals.flushes) <= 2 + elapsed_s / module.HURRY_S

    async def test_hurry_for_nothing(self, desk: Desk) -> None:
        """When nothing was settled there is nothing to hurry for."""
        task = asyncio.ensure_future(desk.publisher.run())
        await idle()
        before = len(desk.totals.flushes)
        desk.publisher.hurry()
        await idle()
        task.cancel()
        assert len(desk.totals.flushes) == before

    async def test_beats(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """With nothing to tell, a flush per beat."""
        monkeypatch.setattr(module, "BEAT_S", 0.002)
        task = asyncio.ensure_future(desk.publisher.run())
        while len(desk.totals.flushes) < 3:
            await asyncio.sleep(0)
        task.cancel()
        assert {frozenset(fields) for _, fields, _ in desk.totals.flushes} == {frozenset()}

    async def test_tries_again(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """A flush that failed is tried again without anything new being settled."""
        monkeypatch.setattr(module, "RETRY_S", 0.0)
        monkeypatch.setattr(module, "BEAT_S", 0.001)
        task = asyncio.ensure_future(desk.publisher.run())
        await idle()
        desk.totals.empty()
        desk.settle()
        desk.publisher.note_change()
        while desk.totals.header is None:
            await asyncio.sleep(0)
        task.cancel()
        assert desk.shown() == Total(1, 1990)

    async def test_tries_again_after_an_absence(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nor does it wait for the next beat."""
        monkeypatch.setattr(module, "RETRY_S", 0.0)
        task = asyncio.ensure_future(desk.publisher.run())
        await idle()
        desk.settle()
        desk.totals.away = True
        desk.publisher.note_change()
        await idle()
        desk.totals.away = False
        await idle()
        task.cancel()
        assert desk.shown() == Total(1, 1990)


class TestGoodbye:
    """The end of an orderly stop."""

    async def test_said(self, desk: Desk) -> None:
        """The last flush carries everything and says goodbye; the next life takes that back."""
        desk.settle(2)
        await desk.publisher.say_goodbye()
        assert desk.totals.header is not None
        assert desk.totals.header.said_goodbye == 1
        assert desk.shown() == Total(2, 3980)
        await desk.flush()
        assert desk.totals.header.said_goodbye == 0

    async def test_emptied_at_the_last_moment(self, desk: Desk) -> None:
        """If Redis was emptied meanwhile, a second try writes everything."""
        await desk.flush(2)
        desk.totals.empty()
        await desk.publisher.say_goodbye()
        assert desk.totals.header is not None
        assert desk.totals.header.said_goodbye == 1
        assert desk.shown() == Total(2, 3980)

    async def test_before_the_first_flush(self, segment: Segment) -> None:
        """What a predecessor published reaches further back than the journal, and stays."""
        desk = Desk(segment)
        await desk.flush(32)
        await desk.flush(64)
        await desk.publisher.say_goodbye()
        assert desk.shown() == Total(96, 96 * 1990)
        successor = Desk(segment, desk.totals)
        await successor.publisher.say_goodbye()
        assert successor.shown() == Total(96, 96 * 1990)

    async def test_before_the_first_flush_and_without_an_answer(self, segment: Segment) -> None:
        """Then nothing is told: what Redis has is still right."""
        desk = Desk(segment)
        await desk.flush(96)
        header = desk.totals.header
        successor = Desk(segment, desk.totals)
        desk.totals.away = True
        await successor.publisher.say_goodbye()
        assert desk.totals.header == header

    async def test_in_vain(self, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
        """If Redis can't be told, the log says what that means."""
        desk.totals.away = True
        await desk.publisher.say_goodbye()
        assert "summaries will wait for this instance" in caplog.text

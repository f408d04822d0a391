"""The publisher: keeps the Redis hash equal to one dispatcher's journal. Runs in the dispatcher's process.

It follows the journal and flushes what changed: as soon as no other settlement is about to follow, and a few
milliseconds after the first one at the latest. When nothing happens it flushes every half second, as a sign of life.
Payments never wait for it: while Redis is away they go on, into the journal and its base.

A flush names the version of this member's fields that its changes build on. If the hash has an older version (Redis was
emptied, restarted, or failed over to an older copy), it takes nothing, and everything is written again: the changes on
top of older fields would be part of the truth only. Everything is too much for Redis to take at once, so it is sent in
pieces, each a flush that builds on the one before; until the last one summaries are refused.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from server.errors import TotalsUnavailable
from server.following import JournalFollower
from server.ledger import Changes
from server.purges import Purges
from server.redis_totals import FlushAnswer, SharedHealth, TotalsHash
from server.roster_sync import RosterSync
from server.totals import UnknownRange
from server.totals_header import Header, Version
from server.yielding import run_what_is_ready, yield_core
from shm import Counters, DispatcherCount, Journal, Member, Roster

BEAT_S = 0.5  # readers take a member for gone after three missed beats
DROPPED_MAX = 10_000  # names of fields to remove once Redis is back; if there are more, everything is written again
RETRY_S = 0.1  # after a flush that failed
HURRY_S = 0.003  # between hurried flushes: old settlements may come one by one, and a flush takes a millisecond

_log = logging.getLogger(__name__)


class Publisher:
    """One dispatcher's publisher.

    Args:
        member: whose totals these are.
        journal: what they are counted from; this dispatcher's life has begun on it.
        roster: where every member ever heard of is kept.
        counters: the dispatcher's row.
        totals: the Redis hash.
        flush_s: the longest time from a settlement to its flush, in seconds.
        hear_shared_health: called with a processor's index and a shared poll of it that was not passed on yet; the
            first may be of any age.
        hear_member: as in `RosterSync`.
    """

    def __init__(
        self,
        member: Member,
        journal: Journal,
        roster: Roster,
        counters: Counters,
        totals: TotalsHash,
        *,
        flush_s: float,
        hear_shared_health: Callable[[int, SharedHealth], None],
        hear_member: Callable[[Member], None],
    ) -> None:
        self._member = str(member)
        self._counters = counters
        self._totals = totals
        self._flush_s = flush_s
        self._hear_shared_health = hear_shared_health
        self._life = journal.life
        self._flush_number = 0
        self._follower = JournalFollower(journal)
        self._builds_on: Version | None = None  # the version that the hash has; None: everything is to be written
        self._purges = Purges(journal)
        self._rosters = RosterSync(roster, member, hear_member)
        self._last_health: tuple[SharedHealth | None, SharedHealth | None] = (None, None)  # as in the last answer
        self._redis_is_away = False
        self.first_flush_done = asyncio.Event()  # of this life: a predecessor's goodbye is undone by it
        self._pending = asyncio.Event()  # set: something is to be flushed
        self._pending.set()  # what a predecessor did not get to publish is late already
        self._hurry = asyncio.Event()
        self._flushed_at_s = 0.0
        self._has_resumed = False

    def note_change(self) -> None:
        """Notes that a payment ended or became unknown, so that it is flushed soon."""
        self._pending.set()

    def hurry(self) -> None:
        """Has changes, if there are any, flushed now: nothing is gained by waiting for more."""
        if self._pending.is_set():
            self._hurry.set()

    async def run(self) -> None:
        """Publishes until cancelled."""
        while not await self._resume():
            with contextlib.suppress(TotalsUnavailable):  # a flush will say so
                await self._follow()  # else what is folded until Redis is back would be known as one sum only
            self._follower.ledger.forget_changes()  # the first flush sends everything, unless it goes on from the hash
            await asyncio.sleep(BEAT_S)
        while True:
            await self._wait()
            if not await self.flush():
                self._pending.set()
                await asyncio.sleep(BEAT_S if self._purges.is_last_missed else RETRY_S)

    async def _wait(self) -> None:
        """Waits until something was settled and more of it had a moment to follow, or until the next beat."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BEAT_S):
                await self._pending.wait()
        is_pending = self._pending.is_set()
        if is_pending:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._flush_s):
                    await self._hurry.wait()
                    await asyncio.sleep(self._flushed_at_s + HURRY_S - asyncio.get_running_loop().time())
        await run_what_is_ready()  # a flush says that nothing else was settled, so answers that have arrived come first
        if is_pending:
            self._pending.clear()
            self._hurry.clear()

    async def _resume(self) -> bool:
        """Goes on from what a predecessor published, if that fits the journal; False if Redis can't be asked."""
        try:
            found = await self._totals.read_member(self._member)
        except TotalsUnavailable as error:
            self._note_failure(error)
            return False
        if found is not None:
            header, levels = found
            if header.is_whole and self._follower.resume(header.version.epoch, header.position, levels):
                self._builds_on = header.version
        self._has_resumed = True
        return True

    async def flush(self, *, said_goodbye: bool = False) -> bool:
        """Sends what changed, in pieces if it is much; returns whether the hash is known to have it all."""
        try:
            await self._follow()
            if self._builds_on is None:
                self._follower.ledger.everything_changed()
            while await self._flush_piece(said_goodbye=said_goodbye):
                if not self._follower.ledger.has_changes:
                    return True
                if self._follower.is_far_behind:  # many pieces may take long
                    await self._follow()
        except TotalsUnavailable as error:
            self._note_failure(error)
        return False

    async def _follow(self) -> None:
        """Brings the ledger up to the journal's head, with pauses in which payments go on."""
        while True:
            if self._follower.follow():
                self._builds_on = None
            if not self._follower.is_behind:
                return
            await asyncio.sleep(0)

    async def _flush_piece(self, *, said_goodbye: bool) -> bool:
        yield_core()
        changes = self._follower.ledger.take_changes()
        header = self._next_header(said_goodbye=said_goodbye)
        try:
            answer = await self._send(header, changes)
        except TotalsUnavailable as error:
            self._note_failure(error)
            self._follower.ledger.give_back(changes)
            if len(changes.dropped) > DROPPED_MAX:
                self._builds_on = None
            return False
        except asyncio.CancelledError:
            self._follower.ledger.give_back(changes)
            raise
        yield_core()
        return self._take_in(header, answer)

    async def _send(self, header: Header, changes: Changes) -> FlushAnswer:
        ledger = self._follower.ledger
        self._flushed_at_s = asyncio.get_running_loop().time()
        return await self._totals.flush(
            self._member,
            header,
            ledger.fields(changes),
            changes.dropped,
            builds_on=self._builds_on,
            roster=self._rosters.names,
        )

    def _take_in(self, header: Header, answer: FlushAnswer) -> bool:
        """Takes in the answer of a flush; returns whether the hash has all that was sent."""
        if self._redis_is_away:
            self._redis_is_away = False
            _log.warning("Redis answers again")
        self._rosters.merge(answer.roster)
        self._pass_health_on(answer.health)
        if answer.applied or answer.header == header:  # the latter if the answer was lost and the call repeated
            self._builds_on = header.version
            self._counters.add(DispatcherCount.FLUSHES)
            if header.is_whole:
                self._counters.put(DispatcherCount.PUBLISHED, header.position)
            self.first_flush_done.set()
            return True
        self._counters.add(DispatcherCount.REWRITES)
        if answer.epoch > header.version.epoch:
            self._purges.hear_from_redis(answer, header.position)
        elif answer.header is None or answer.header.version < header.version:
            _log.warning("Redis had not what was last written to it; everything is written again")
        elif self._builds_on is not None:  # logged once, not with every try
            _log.critical("Redis has newer totals of this member: %s", answer.header)
        self._builds_on = None
        return False

    def hear_of_purge(self, epoch: int) -> None:
        """Called before `run` with the last purge that anybody here has taken up: Redis may have forgotten it."""
        self._purges.hear_from_volume(epoch)

    def _next_header(self, *, said_goodbye: bool) -> Header:
        self._flush_number += 1
        ledger = self._follower.ledger
        levels = ledger.levels(UnknownRange.of(self._counters))
        return Header(
            Version(self._follower.epoch, self._life, self._flush_number),
            self._follower.position,
            levels.reach,
            levels.all_time,
            levels.unknowns,
            is_whole=not ledger.has_changes,
            said_goodbye=said_goodbye,
        )

    def _pass_health_on(self, health: tuple[SharedHealth | None, SharedHealth | None]) -> None:
        for processor, shared in enumerate(health):
            if shared is not None and shared != self._last_health[processor]:
                self._hear_shared_health(processor, shared)
        self._last_health = health

    def _note_failure(self, error: TotalsUnavailable) -> None:
        self._counters.add(DispatcherCount.FLUSHES_FAILED)
        if not self._redis_is_away:
            self._redis_is_away = True
            _log.warning("totals can't be published, payments go on: %s", error)

    async def say_goodbye(self) -> None:
        """Makes the last flush of an orderly stop: from then on this member's silence is no reason for doubt."""
        # A predecessor's fields are read first: they reach further back than the journal, and would be lost.
        if self._has_resumed or await self._resume():
            for _ in range(2):  # the first may only learn of a purge, or that Redis was emptied
                if await self.flush(said_goodbye=True):
                    return
        _log.warning("Redis was not told goodbye; summaries will wait for this instance")

"""Totals of an instance that is the only one: read from its own journals in shared memory, without Redis.

A web worker follows every dispatcher's journal from its base on. What it has not seen before a record was folded is
still in the base's all-time totals, and `exact_from_ms` says from when on windows can be counted.
"""

import asyncio
from collections.abc import Callable

from server.clock import Clock
from server.errors import TotalsUnavailable
from server.following import JournalFollower
from server.neighbours import BEATS_WITHIN_MS, damaged_row, is_at_work, silent_for_ms, unknowns_of
from server.totals import PURGE_POLL_S, PURGE_WITHIN_S, Summary, count_window, either, reaches_forgotten
from shm import Counters, Segment, WorkerCount


class LocalTotals:
    """A web worker's reader of totals when there is no Redis.

    Args:
        segment: of this instance.
        counters: of this worker, where it asks for a purge.
        is_free: whether nobody plays a role of this instance.
        clock: ticking clock, for hearts.
    """

    def __init__(self, segment: Segment, counters: Counters, is_free: Callable[[str], bool], clock: Clock) -> None:
        self._clock = clock
        self._is_free = is_free
        dispatchers = range(segment.geometry.dispatchers)
        self._journals = [segment.journal(dispatcher) for dispatcher in dispatchers]
        self._followers = [JournalFollower(journal) for journal in self._journals]
        self._dispatchers = [segment.dispatcher_counters(dispatcher) for dispatcher in dispatchers]
        self._counters = counters

    async def follow(self) -> None:
        """Called every second or so, so that no journal runs out from under its follower.

        Raises:
            TotalsUnavailable: a journal moved on faster than it could be read.
        """
        while True:
            for follower in self._followers:  # the last time in one go, so that all of them stand at one instant
                follower.follow()
                follower.ledger.forget_changes()
            if not any(follower.is_behind for follower in self._followers):
                return
            await asyncio.sleep(0)

    async def summary(self, from_ms: int | None, to_ms: int | None) -> Summary:
        """The totals of a window, both ends included.

        Raises:
            TotalsUnavailable: they can't be exact; the reason says why.
        """
        # Before the journals and after them: what is settled or recovered in between is told twice, not never.
        before = [unknowns_of(row) for row in self._dispatchers]
        await self.follow()
        for dispatcher, row in enumerate(self._dispatchers):
            if row.phase is None:
                raise TotalsUnavailable(damaged_row(str(dispatcher)))
            if not is_at_work(self._is_free, dispatcher, row):
                raise TotalsUnavailable(
                    f"dispatcher {dispatcher} has not recovered yet what its predecessor was sending"
                )
            silent_ms = silent_for_ms(row, self._clock)
            if silent_ms > BEATS_WITHIN_MS:
                raise TotalsUnavailable(f"dispatcher {dispatcher} has been silent for {silent_ms} ms")
        if len({follower.epoch for follower in self._followers}) > 1:
            raise TotalsUnavailable("not every dispatcher has taken up the last purge yet")
        after = [unknowns_of(row) for row in self._dispatchers]
        members = [
            follower.ledger.levels(either(*unknowns))
            for follower, *unknowns in zip(self._followers, before, after, strict=True)
        ]
        resolution = reaches_forgotten(members, from_ms, to_ms)
        return count_window(members, None if resolution else from_ms, to_ms).widened(resolution)

    async def purge(self) -> None:
        """Asks every dispatcher for a new epoch and waits until all have begun it.

        Raises:
            TotalsUnavailable: one did not in time.
        """
        epoch = max(journal.base.epoch for journal in self._journals) + 1
        self._counters.put(WorkerCount.PURGE_EPOCH, epoch)
        deadline_s = asyncio.get_running_loop().time() + PURGE_WITHIN_S
        while any(journal.base.epoch < epoch for journal in self._journals):
            if asyncio.get_running_loop().time() > deadline_s:
                raise TotalsUnavailable(f"not every dispatcher took up the purge within {PURGE_WITHIN_S:.0f} s")
            await asyncio.sleep(PURGE_POLL_S)

    async def aclose(self) -> None:
        """Nothing to close; as for Redis."""

"""Totals of an instance that is the only one: read from its own journals in shared memory, without Redis.

A web worker follows every dispatcher's journal from its base on. Records that were folded before it read them still
count in the base's all-time totals, and `exact_from_ms` says from when on windows can be counted.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from server.clock import Clock
from server.errors import TotalsUnavailable
from server.following import JournalFollower
from server.liveness import is_at_work, reason_for_doubt
from server.totals import (
    PURGE_POLL_S,
    PURGE_WITHIN_S,
    Summary,
    UnknownRange,
    Window,
    count_window,
    counted_from,
    covering,
)
from shm import BrokenInvariant, Counters, Segment, WorkerCount

_NOT_RECOVERED = "has not recovered yet what its predecessor was sending"


class LocalTotals:
    """A web worker's reader of totals when there is no Redis.

    Args:
        segment: of this instance.
        counters: this worker's row, through which it asks for a purge.
        is_free: told a role, whether nobody plays it in this instance.
        clock: ticking clock, for heartbeats.
    """

    def __init__(self, segment: Segment, counters: Counters, is_free: Callable[[str], bool], clock: Clock) -> None:
        self._clock = clock
        self._is_free = is_free
        dispatchers = range(segment.geometry.dispatchers)
        self._journals = [segment.journal(dispatcher) for dispatcher in dispatchers]
        self._followers: list[JournalFollower] = []  # made by `follow`: a journal may be damaged
        self._dispatchers = [segment.dispatcher_counters(dispatcher) for dispatcher in dispatchers]
        self._counters = counters

    async def follow(self) -> None:
        """Reads all journals up to their heads. To be called every second or so, before a record is folded unread.

        Raises:
            TotalsUnavailable: a journal moved on faster than it could be read, or its base is damaged.
        """
        while True:
            if not self._follow_a_part():  # the last part reads all of them without a pause: all stand at one instant
                return
            await asyncio.sleep(0)

    def _follow_a_part(self) -> bool:
        """Reads on in every journal; returns whether any has more."""
        for dispatcher, journal in enumerate(self._journals):
            with _reading(dispatcher):
                if dispatcher == len(self._followers):
                    self._followers.append(JournalFollower(journal))
                self._followers[dispatcher].follow()
            self._followers[dispatcher].ledger.forget_changes()
        return any(follower.is_behind for follower in self._followers)

    async def summary(self, window: Window) -> Summary:
        """The totals of a window, both ends included.

        Raises:
            TotalsUnavailable: they can't be exact now; the text says why.
        """
        # Looked at before the journals and after them: what is settled or recovered in between counts twice rather than
        # never; and a dispatcher that has just gone on after a freeze settles at once what it had missed.
        self._require_certainty()
        before = [UnknownRange.of(row) for row in self._dispatchers]
        await self.follow()
        self._require_certainty()
        if len({follower.epoch for follower in self._followers}) > 1:
            raise TotalsUnavailable("not every dispatcher has taken up the last purge yet")
        after = [UnknownRange.of(row) for row in self._dispatchers]
        members = [
            follower.ledger.levels(covering(*unknowns))
            for follower, *unknowns in zip(self._followers, before, after, strict=True)
        ]
        counted, resolution = counted_from(members, window)
        return count_window(members, counted).widened(resolution)

    def _require_certainty(self) -> None:
        """Raises TotalsUnavailable if a dispatcher may have written down less than has happened."""
        try:
            for dispatcher, row in enumerate(self._dispatchers):
                at_work = is_at_work(self._is_free, dispatcher, row)
                name = str(dispatcher)
                if reason := reason_for_doubt(name, row, self._clock, at_work=at_work, otherwise=_NOT_RECOVERED):
                    raise TotalsUnavailable(reason)
        except OSError as error:  # no descriptors
            raise TotalsUnavailable(f"the dispatchers can't be looked at: {error.strerror or error}") from error

    async def purge(self) -> None:
        """Asks every dispatcher for a new epoch and waits until all have begun it.

        Raises:
            TotalsUnavailable: a dispatcher did not begin it in time, or a journal's base is damaged.
        """
        epoch = max(self._epochs()) + 1
        self._counters.put(WorkerCount.PURGE_EPOCH, epoch)
        deadline_s = asyncio.get_running_loop().time() + PURGE_WITHIN_S
        while min(self._epochs()) < epoch:
            if asyncio.get_running_loop().time() > deadline_s:
                raise TotalsUnavailable(f"not every dispatcher took up the purge within {PURGE_WITHIN_S:.0f} s")
            await asyncio.sleep(PURGE_POLL_S)

    def _epochs(self) -> list[int]:
        """The last purge that each dispatcher has taken up."""
        epochs = []
        for dispatcher, journal in enumerate(self._journals):
            with _reading(dispatcher):
                epochs.append(journal.base.epoch)
        return epochs

    async def aclose(self) -> None:
        """Closes nothing; `SharedTotals` has a connection to close."""


@contextlib.contextmanager
def _reading(dispatcher: int) -> Iterator[None]:
    """Held while a dispatcher's journal is read: a damaged one is a reason for a 503, not for this worker to end."""
    try:
        yield
    except BrokenInvariant as error:
        raise TotalsUnavailable(f"what dispatcher {dispatcher} has settled can't be read: {error}") from error

"""The other instances on the same volume: an id that one of them has accepted is not paid here as well.

HAProxy pins an id to one worker. While that worker's instance is away, its clients may send a payment again and reach
another instance; once it is back, they reach the first one again. So before a dispatcher takes a payment from a lane it
asks whether a sibling has accepted that id. Of each sibling it knows two sets of ids:

* latest: those that its workers published last (two generations, as in a web worker); they always count, and are
  learned by following its lanes;
* remembered: every id in its tables, settled or not. These count while it is absent, and until HAProxy sends it its ids
  again. They also count for a while after nobody here has looked (a start, a freeze), or one of our own web workers was
  away: what lay unread in that worker's socket may have been sent again, to the sibling. `server/presence.py` decides.

Two instances must never leave a payment to each other: that would lose it. A payment in a table is paid by that
instance, as nobody else takes its id any more. Of two copies that both lie in lanes the one accepted first counts (in
the same microsecond, the one at the instance whose name sorts first), and both sides come to the same answer.

What this misses:

* a copy that a worker stamped first, but published only after a later one was taken on the other side, if both are
  taken in the same instant;
* a copy that comes to a living instance after a sibling has accepted `IDS_FOLLOWED_MIN` others;
* a copy that lies in a lane, before a full table, until some seconds after the sibling's return;
* instances that share no volume.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from server.clock import LONG_AGO_MS, Clock
from server.config import IDS_FOLLOWED_MIN
from server.copies import Copy, copies_in, is_first
from server.latest import LatestAccepted
from server.liveness import silent_for_ms
from server.presence import Presence, ReadReason, Sighting, WhatWasRead
from server.volume import THIS_VOLUME, Volume
from shm import (
    SUPERVISOR,
    Accepted,
    Counters,
    Fingerprint,
    Lane,
    Member,
    Phase,
    Segment,
    SegmentError,
    SegmentMissing,
    SegmentNotReady,
)

LOOKED_LATELY_MS = 250  # longer than GATHER_MS: while payments come, each taking of them looks
SERVES_WITHIN_MS = 2500  # five beats of a worker; HAProxy leaves one that hangs after three checks, in 3 s or more

_LEAVING = (Phase.LEAVING, Phase.GONE)

_log = logging.getLogger(__name__)


def away_of(workers: Sequence[Counters], now_ms: int) -> frozenset[int]:
    """The numbers of those web workers that are not at work: HAProxy sends their ids elsewhere.

    Args:
        workers: the rows of all web workers of an instance.
        now_ms: now, by the ticking clock.
    """
    silent_since_us = (now_ms - SERVES_WITHIN_MS) * 1000
    return frozenset(
        number
        for number, row in enumerate(workers)
        if row.phase is not Phase.READY or row.heartbeat_us <= silent_since_us
    )


class Sibling:
    """One other instance.

    Args:
        instance: its name.
        clock: this machine's; all instances of a volume are on one machine.
        stuck_ms: how long a process may hang: a dispatcher here, with what came to it, or the sibling's supervisor.
        ours: the name of the instance that asks.
        volume: where the sibling's segment is found.

    Attributes:
        segment: the sibling's that is mapped; None if there is none, or none that can be read.
    """

    def __init__(self, instance: str, clock: Clock, stuck_ms: int, *, ours: str, volume: Volume = THIS_VOLUME) -> None:
        self.instance = instance
        self._volume = volume
        self._is_free = partial(volume.is_role_free, instance)
        self._wins_ties = instance < ours
        self._clock = clock
        self._stuck_ms = stuck_ms
        self.segment: Segment | None = None
        self._mapped: Fingerprint | None = None  # of the segment that was mapped, or could not be
        self._supervisor: Counters | None = None
        self._workers: list[Counters] = []
        self._latest = LatestAccepted([], [], IDS_FOLLOWED_MIN)
        self._presence = Presence(stuck_ms)
        self._remembered: dict[bytes, int] | None = None  # id to amount in cents; None while only the latest count
        self._last_warning = ""

    def look(self, *, was_unwatched: bool = False) -> None:
        """Learns what it has accepted until now: its latest ids always, all of them when `Presence.decide` says so.

        To be called after payments have arrived here and before they are taken; and several times a second, before
        slots of its lanes are used again.

        Args:
            was_unwatched: whether for a while nobody here has looked, or a web worker here was away.

        Raises:
            OSError: this process has no descriptors left.
        """
        now_ms = self._clock.ticks_ms()
        is_gone = self._is_free(SUPERVISOR)  # first: whatever segment it made and filled before it died is seen below
        self._attach()
        published = self._latest.follow()
        # More than its latest ids hold, as after a freeze while all was read: what was read may lack some of it.
        was_unwatched |= sum(published) > IDS_FOLLOWED_MIN
        # The lanes are those to its first dispatcher, worker by worker, then those to the next.
        served = {index % len(self._workers) for index, count in enumerate(published) if count}
        away = away_of(self._workers, now_ms)
        supervisor = self._supervisor
        seen = Sighting(
            is_gone=is_gone,
            is_leaving=supervisor is not None and supervisor.phase in _LEAVING,
            has_segment=self.segment is not None,
            away=away,
            has_away_served=not away.isdisjoint(served),
            life_ms=0 if supervisor is None else supervisor.started_at_ms,
        )
        decision = self._presence.decide(seen, now_ms, self._clock.wall_us() // 1000, was_unwatched=was_unwatched)
        if decision is WhatWasRead.KEEP:
            return
        if decision is WhatWasRead.DROP:
            self._remembered = None
            _log.info("%s answers for its ids itself again", self.instance)
        else:
            self._read_all(decision, seen.life_ms)

    def amount_of(self, payment: Accepted) -> int | None:
        """The amount in cents of this sibling's copy of a payment, if that is the copy that counts; or None."""
        remembered_cents = (self._remembered or {}).get(payment.correlation_id)
        if remembered_cents is not None:
            return remembered_cents
        found = self._latest.get(payment.correlation_id)
        if found is None:
            return None
        amount_cents, accepted_at_us = found
        is_theirs_first = is_first(accepted_at_us, payment.accepted_at_us, wins_ties=self._wins_ties)
        return amount_cents if is_theirs_first or self._latest.has_taken(payment.correlation_id) else None

    def _attach(self) -> None:
        """Maps the segment that has the sibling's name now, if it is not the one that is mapped."""
        try:
            fingerprint = self._volume.fingerprint(self.instance)
        except SegmentError as error:
            fingerprint = None
            self._warn_once(error)
        if fingerprint == self._mapped or (fingerprint is None and self._is_supervisor_beating()):
            return  # without its name (RemoveIPC= of systemd), and perhaps its locks, an instance goes on until it ends
        segment = self._segment_now()
        self._mapped = fingerprint  # read before the segment was mapped: a change in between shows next time
        if segment is None or self.segment is None or segment.segment_id != self.segment.segment_id:
            self._presence = Presence(self._stuck_ms)  # a copy of the same segment would remember the same
            self._remembered = None
        self.segment = segment
        self._supervisor, self._workers, lanes, tables = None, [], [], []
        if segment is not None:
            dispatchers = range(segment.geometry.dispatchers)
            lanes = [lane for dispatcher in dispatchers for lane in segment.lanes_to(dispatcher)]
            tables = [segment.table(dispatcher) for dispatcher in dispatchers]
            self._supervisor = segment.supervisor_counters()
            self._workers = segment.worker_rows()
        self._latest = LatestAccepted(lanes, tables, IDS_FOLLOWED_MIN)

    def _is_supervisor_beating(self) -> bool:
        return self._supervisor is not None and silent_for_ms(self._supervisor, self._clock) < self._stuck_ms

    def _segment_now(self) -> Segment | None:
        try:
            return self._volume.attach(self.instance)
        except SegmentMissing:
            pass  # it has never accepted anything
        except SegmentError as error:
            if not isinstance(error, SegmentNotReady) or self._is_free(SUPERVISOR):  # else it is just being made
                self._warn_once(error)
        return None

    def _warn_once(self, error: SegmentError) -> None:
        if str(error) != self._last_warning:  # met several times a second
            self._last_warning = str(error)
            _log.warning("ids of %s can't be known, a copy of one may be paid here too: %s", self.instance, error)

    def _read_all(self, because: ReadReason, life_ms: int) -> None:
        """Reads all ids that the sibling remembers."""
        began_ms = self._clock.ticks_ms()
        self._remembered = None  # before the new ones are read: old and new at once would be 20 MB more
        self._remembered = {correlation_id: cents for _, _, correlation_id, cents, _ in self._latest.taken()}
        self._presence.has_read(because, life_ms, began_ms, self._clock.ticks_ms())
        _log.info("%s is %s; %d of its ids count here", self.instance, because.value, len(self._remembered))

    def copies(self, knows: Callable[[bytes], bool]) -> Iterator[Copy]:
        """The payments that this sibling has paid or may be going to pay, of those whose ids are known here."""
        segment = self._segment_now()
        return iter(()) if segment is None else copies_in(segment, self._is_free, knows, wins_ties=self._wins_ties)


class Siblings:
    """All other instances.

    Args:
        siblings: one for each name in SIBLINGS.
        clock: ticking clock.
        workers: the rows of this instance's web workers.
        lanes: from each of them to this dispatcher.
    """

    def __init__(
        self, siblings: Iterable[Sibling], clock: Clock, workers: Sequence[Counters], lanes: Sequence[Lane]
    ) -> None:
        self._siblings = list(siblings)
        self._clock = clock
        self._workers = workers
        self._looked_at_ms = LONG_AGO_MS
        self._lanes = lanes
        self._heads = [lane.head for lane in lanes]  # at the last look
        self._served_at_ms = [LONG_AGO_MS] * len(workers)  # when each of our web workers was last seen at work
        self._has_failed_to_look = False

    def look(self) -> bool:
        """Learns what every sibling has accepted until now; False if this process has no descriptors left.

        Until it has some again, nobody knows whether a payment that comes here is a copy.
        """
        began_ms = self._clock.ticks_ms()
        heads = [lane.head for lane in self._lanes]
        serving = self._serving(heads, began_ms)
        since_ms = min([self._looked_at_ms, *(self._served_at_ms[number] for number in serving)])
        was_unwatched = began_ms - since_ms > SERVES_WITHIN_MS
        try:
            for sibling in self._siblings:
                sibling.look(was_unwatched=was_unwatched)
        except OSError as error:
            if not self._has_failed_to_look:  # it is tried several times a second
                _log.error("siblings can't be looked at, and nothing is taken from the lanes meanwhile: %s", error)
            self._has_failed_to_look = True
            return False
        self._has_failed_to_look = False
        # From the look's beginning, so that a freeze in its midst is time without a look; but from its end if
        # everything was read, which may take as long by itself: if that lacks much by then, the next look shows it.
        self._looked_at_ms = self._clock.ticks_ms() if was_unwatched else began_ms
        self._heads = heads
        for number in range(len(self._workers)) if was_unwatched else serving:
            self._served_at_ms[number] = self._looked_at_ms
        return True

    def has_looked_lately(self) -> bool:
        """Whether the last look was so lately that a regular one may be left out. (Taking payments never does.)"""
        return self._clock.ticks_ms() - self._looked_at_ms < LOOKED_LATELY_MS

    def _serving(self, heads: list[int], now_ms: int) -> list[int]:
        """The numbers of our web workers that are at work, or have published since the last look."""
        away = away_of(self._workers, now_ms)
        return [number for number, head in enumerate(heads) if number not in away or head != self._heads[number]]

    def amount_of(self, payment: Accepted) -> int | None:
        """The amount in cents of a sibling's copy of a payment, if that is the copy that counts; or None."""
        for sibling in self._siblings:
            amount_cents = sibling.amount_of(payment)
            if amount_cents is not None:
                return amount_cents
        return None

    def segments(self) -> Iterator[Segment]:
        """The siblings' segments that are mapped: of those that have made one, and can be looked at."""
        return (sibling.segment for sibling in self._siblings if sibling.segment is not None)

    def hear_member(self, member: Member) -> None:
        """Warns of a member of the totals that is a dispatcher of none of them: SIBLINGS may lack its instance."""
        self.look()
        if member.segment_id not in [segment.segment_id for segment in self.segments()]:
            _log.warning(
                "totals are shared with %s, which is of no instance in SIBLINGS (%s): name it there if it runs on this"
                " machine, or payments may be charged twice; another gateway needs a Redis of its own",
                member,
                ",".join(sibling.instance for sibling in self._siblings),
            )

    def copies(self, knows: Callable[[bytes], bool]) -> dict[bytes, list[Copy]]:
        """As `Sibling.copies`, for all siblings, by id."""
        copies: dict[bytes, list[Copy]] = {}
        for sibling in self._siblings:
            for copy in sibling.copies(knows):
                copies.setdefault(copy.correlation_id, []).append(copy)
        return copies

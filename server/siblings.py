"""The other instances on the same volume: an id that one of them has accepted is not paid here as well.

HAProxy pins an id to one worker. While that worker's instance is away, its clients may send a payment again and reach
another instance; once it is back, they reach the first one again. So before a dispatcher takes a payment from a lane it
asks whether a sibling has accepted that id. Of each sibling it knows two sets of ids:

* latest: what its workers published last (two generations, as at the door), learned by following its lanes, always;
* remembered: every id in its tables, settled or not, while it is absent, and until HAProxy sends it its ids again; and
  as long after a time in which nobody here has looked: at a start, or after a freeze.

A sibling is absent when nobody holds its supervisor's lock, when its supervisor is stopping, or when none of its web
workers is at work.

Two instances must never leave a payment to each other: that would lose it. A payment in a table is paid by that
instance, as nobody else takes its id any more. Of two copies that both lie in lanes the one accepted first counts (in
the same microsecond: at the instance whose name sorts first), and both sides see that alike. (What this misses: a copy
that a worker stamped and published only after a later one was taken on the other side, if both are taken in the same
instant; a copy that comes to a living instance after a sibling has accepted `IDS_FOLLOWED_MIN` others, or lies in a
lane before a full table until some seconds after the sibling's return; instances that share no volume.)
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from enum import Enum, unique
from functools import partial

from server.clock import LONG_AGO_MS, Clock
from server.config import IDS_FOLLOWED_MIN
from server.copies import Copy, copies_in, is_first
from server.hearts import silent_for_ms
from server.latest import LatestAccepted
from server.volume import THIS_VOLUME, Volume
from shm import (
    SUPERVISOR,
    Accepted,
    Counters,
    Fingerprint,
    Phase,
    Segment,
    SegmentError,
    SegmentMissing,
    SegmentNotReady,
)

HAPROXY_RETURNS_MS = 5000  # HAProxy needs 2 s to send an instance its ids again
SERVES_WITHIN_MS = 2500  # five beats of a worker; HAProxy leaves one that hangs after three checks, in 3 s or more

_LEAVING = (Phase.LEAVING, Phase.GONE)

_log = logging.getLogger(__name__)


@unique
class Absence(Enum):
    """Why all that a sibling remembers counts here; the value is the log's word."""

    GONE = "gone"
    LEAVING = "leaving"
    SERVING_NOBODY = "serving nobody"
    RETURNING = "returning"  # it serves, and HAProxy does not send it its ids again yet
    UNWATCHED = "unwatched for a while"  # it serves; nobody here has looked


class Sibling:
    """One other instance.

    Args:
        instance: its name.
        clock: what it goes by; all instances of a volume are on one machine.
        stuck_ms: how long a process may hang: a dispatcher here, with what came to it, or the sibling's supervisor.
        ours: the name of the instance that asks.
        volume: where the sibling is seen.

    Attributes:
        segment: of the sibling, as it is mapped; None if there is none, or none that can be read.
    """

    def __init__(self, instance: str, clock: Clock, stuck_ms: int, *, ours: str, volume: Volume = THIS_VOLUME) -> None:
        self._instance = instance
        self._volume = volume
        self._is_free = partial(volume.is_role_free, instance)
        self._wins_ties = instance < ours
        self._clock = clock
        self._stuck_ms = stuck_ms
        self._returning_ms = HAPROXY_RETURNS_MS + stuck_ms
        self.segment: Segment | None = None
        self._mapped: Fingerprint | None = None  # of what was mapped, or could not be
        self._supervisor: Counters | None = None
        self._workers: list[Counters] = []
        self._latest = LatestAccepted([], [], IDS_FOLLOWED_MIN)
        self._remembered: dict[bytes, int] | None = None  # id to amount in cents, of one that is absent
        self._read_because: Absence | None = None  # why that was read; None while nothing is kept
        self._read_in_life_ms = 0  # when the life had begun, ms UTC, in which it was last read or let go
        self._absent_at_ms = 0  # last seen absent, or read though it was not; ticks, as the next two
        self._served_at_ms = 0  # last seen not absent
        self._read_at_ms = 0  # its tables were last read
        self._complained_of = ""

    def look(self, *, was_unwatched: bool = False) -> None:
        """Learns what it has accepted until now. It was unwatched if nobody here has looked for a while.

        | the sibling | which of its ids count here | and until when |
        | --- | --- | --- |
        | any | those that its workers published lately | two generations of them |
        | says that it is leaving | all that it remembers: read now, and again when it is gone | R after it is back |
        | holds no supervisor's lock | all that it remembers: read now | the same |
        | has no web worker at work | the same, if it was not read before | the same |
        | has been back for under R, and was not read before | the same | R after it was read |
        | was unwatched: old requests may lie here that went there since | the same | the same |

        R is the time until HAProxy sends it its ids again, and `stuck_ms`: 10 s by default.

        To be called after payments arrived here and before they are taken; and several times a second, or its lanes
        run past.
        """
        now_ms = self._clock.ticks_ms()
        is_gone = self._is_free(SUPERVISOR)  # first: whatever segment it made and filled before it died is met now
        self._attach()
        self._latest.follow()
        life_ms = self._supervisor.started_at_ms if self._supervisor else 0
        absence = self._absence(now_ms, is_gone=is_gone)
        if absence is None:
            self._note_presence(now_ms, life_ms, was_unwatched=was_unwatched)
        else:
            self._absent_at_ms = now_ms
            if was_unwatched or self._must_read(absence, life_ms):
                self._remember(absence, life_ms)

    def _absence(self, now_ms: int, *, is_gone: bool) -> Absence | None:
        """Why it can't answer for its ids now; None: it can, or has made no segment yet."""
        if is_gone:
            return Absence.GONE
        if self._is_leaving():
            return Absence.LEAVING
        if self.segment is not None and not self._serves(now_ms):
            return Absence.SERVING_NOBODY
        return None

    def _must_read(self, absence: Absence, life_ms: int) -> bool:
        """Whether what was read of it, if anything was, is not all that it remembers by now."""
        if self._remembered is None:
            return True
        if absence is Absence.SERVING_NOBODY:  # it has gone to and fro for a while: it may have accepted a lot since
            return self._served_at_ms - self._read_at_ms >= self._returning_ms
        return (self._read_because, self._read_in_life_ms) != (absence, life_ms)

    def _note_presence(self, now_ms: int, life_ms: int, *, was_unwatched: bool) -> None:
        """It is not absent: who has just come back is read, once in a life; who has been back for long is forgotten."""
        self._served_at_ms = now_ms
        if was_unwatched and self.segment is not None:
            self._absent_at_ms = now_ms
            self._remember(Absence.UNWATCHED, life_ms)
        elif self._remembered is None:
            is_young = self._clock.wall_us() // 1000 - life_ms < self._returning_ms
            if is_young and self._read_in_life_ms != life_ms:
                self._absent_at_ms = now_ms
                self._remember(Absence.RETURNING, life_ms)
        elif now_ms - self._absent_at_ms >= self._returning_ms:
            self._let_go(life_ms)
            _log.info("%s answers for its ids itself again", self._instance)

    def amount_of(self, payment: Accepted) -> int | None:
        """The amount in cents that this sibling accepted under a payment's id, if that comes first; or None."""
        remembered_cents = (self._remembered or {}).get(payment.correlation_id)
        if remembered_cents is not None:
            return remembered_cents
        found = self._latest.get(payment.correlation_id)
        if found is None:
            return None
        amount_cents, accepted_at_us = found
        counts = is_first(accepted_at_us, payment.accepted_at_us, wins_ties=self._wins_ties)
        return amount_cents if counts or self._latest.has_taken(payment.correlation_id) else None

    def _attach(self) -> None:
        """Maps the segment that has the sibling's name now, if it is another than the one that is mapped."""
        try:
            fingerprint = self._volume.fingerprint(self._instance)
        except SegmentError as error:
            fingerprint = None
            self._complain(error)
        if fingerprint == self._mapped or (fingerprint is None and self._beats()):
            return  # one that has lost its name (RemoveIPC= of systemd), and perhaps its locks, goes on until it ends
        segment = self._segment_now()
        self._mapped = fingerprint  # read before: what changes in between shows next time
        if segment is None or self.segment is None or segment.segment_id != self.segment.segment_id:
            self._let_go(0)  # else it was copied, and remembers the same
        self.segment = segment
        self._supervisor, self._workers, lanes, tables = None, [], [], []
        if segment is not None:
            dispatchers = range(segment.geometry.dispatchers)
            workers = range(segment.geometry.workers)
            lanes = [segment.lane(worker, dispatcher) for worker in workers for dispatcher in dispatchers]
            tables = [segment.table(dispatcher) for dispatcher in dispatchers]
            self._supervisor = segment.supervisor_counters()
            self._workers = [segment.worker_counters(worker) for worker in workers]
        self._latest = LatestAccepted(lanes, tables, IDS_FOLLOWED_MIN)

    def _beats(self) -> bool:
        return self._supervisor is not None and silent_for_ms(self._supervisor, self._clock) < self._stuck_ms

    def _serves(self, now_ms: int) -> bool:
        """Whether a web worker is at work: while none is, HAProxy sends that sibling's ids here."""
        silent_since_us = (now_ms - SERVES_WITHIN_MS) * 1000
        return any(row.phase is Phase.READY and row.heartbeat_us > silent_since_us for row in self._workers)

    def _segment_now(self) -> Segment | None:
        try:
            return self._volume.attach(self._instance)
        except SegmentMissing:
            pass  # it has never accepted anything
        except SegmentError as error:
            if not isinstance(error, SegmentNotReady) or self._is_free(SUPERVISOR):  # else it is being made
                self._complain(error)
        return None

    def _complain(self, error: SegmentError) -> None:
        if str(error) != self._complained_of:  # it is met several times a second
            self._complained_of = str(error)
            _log.warning("ids of %s can't be known, a copy of one may be paid here too: %s", self._instance, error)

    def _remember(self, absence: Absence, life_ms: int) -> None:
        self._read_because, self._read_in_life_ms = absence, life_ms
        self._read_at_ms = self._clock.ticks_ms()
        self._remembered = None  # first: both at once would be 20 MB more
        self._remembered = {correlation_id: cents for _, _, correlation_id, cents, _ in self._latest.taken()}
        _log.info("%s is %s; %d of its ids count here", self._instance, absence.value, len(self._remembered))

    def _let_go(self, life_ms: int) -> None:
        self._remembered, self._read_because, self._read_in_life_ms = None, None, life_ms

    def _is_leaving(self) -> bool:
        return self._supervisor is not None and self._supervisor.phase in _LEAVING

    def copies(self, knows: Callable[[bytes], bool]) -> Iterator[Copy]:
        """Of the ids that this instance knows, those that the sibling has paid or may be going to pay."""
        segment = self._segment_now()
        return iter(()) if segment is None else copies_in(segment, self._is_free, knows, wins_ties=self._wins_ties)


class Siblings:
    """All other instances.

    Args:
        siblings: one for each name in SIBLINGS.
        clock: ticking clock.
    """

    def __init__(self, siblings: Iterable[Sibling], clock: Clock) -> None:
        self._siblings = list(siblings)
        self._clock = clock
        self._looked_at_ms = LONG_AGO_MS
        self._is_blind = False

    def look(self) -> bool:
        """Learns what every sibling has accepted until now; False if that can't be done for want of descriptors: until
        it can, nobody knows whether a payment that comes here is a copy.
        """
        began_ms = self._clock.ticks_ms()
        was_unwatched = began_ms - self._looked_at_ms > SERVES_WITHIN_MS
        try:
            for sibling in self._siblings:
                sibling.look(was_unwatched=was_unwatched)
        except OSError as error:
            if not self._is_blind:  # it is tried several times a second
                _log.error("siblings can't be looked at, and nothing is taken from the lanes meanwhile: %s", error)
            self._is_blind = True
            return False
        self._is_blind = False
        # Else what was frozen in the midst of it counts as time without a look; reading all may take as long by itself.
        self._looked_at_ms = self._clock.ticks_ms() if was_unwatched else began_ms
        return True

    def amount_of(self, payment: Accepted) -> int | None:
        """The amount in cents that a sibling accepted under a payment's id, if that comes first; or None."""
        for sibling in self._siblings:
            amount_cents = sibling.amount_of(payment)
            if amount_cents is not None:
                return amount_cents
        return None

    def segments(self) -> Iterator[Segment]:
        """The segments that are mapped: of those siblings that could be looked at, and have made one."""
        return (sibling.segment for sibling in self._siblings if sibling.segment is not None)

    def copies(self, knows: Callable[[bytes], bool]) -> dict[bytes, list[Copy]]:
        """Of the ids that this instance knows, those that siblings have paid or may be going to pay."""
        copies: dict[bytes, list[Copy]] = {}
        for sibling in self._siblings:
            for copy in sibling.copies(knows):
                copies.setdefault(copy.correlation_id, []).append(copy)
        return copies

"""The other instances on the same volume: what they had accepted counts while they can't answer for it themselves.

HAProxy pins an id to an instance, but while that instance is down its clients may send again and reach another. So as
long as an instance is *absent*, whoever comes here with one of its ids is not paid again, settled there or not. From
its last words until its ids reach it again:

| presence | since | what is known of its ids |
| --- | --- | --- |
| leaving | its supervisor said that it stops | it may still accept: its lanes are followed |
| gone | nobody holds its supervisor's lock | its workers die in a moment: the same |
| returning | the lock is held again | for a while HAProxy sends its ids here still: the same |

The absent one's segment is read once, when the absence is first noticed; from then on only what its workers publish.

Two must never leave a payment to each other: that would lose it. What an absent one has in a table it pays when it is
back, because nobody here takes that id any more. Of two copies that still lie in lanes the first accepted one counts,
for both sides alike.
"""

import logging
from collections.abc import Iterable
from enum import Enum, unique

from server.clock import Clock
from shm import (
    Accepted,
    Counters,
    DispatcherCount,
    Lane,
    Phase,
    Segment,
    SegmentError,
    SegmentMissing,
    State,
    is_role_free,
)

ATTACH_MS = 1000  # how old a mapping may be; the segment may have been made anew meanwhile (16 µs)
RETURNING_MS = 10_000  # after its start: 2 s until HAProxy sends it its ids, or a stuck dispatcher here is replaced
AT_ONCE = 0  # before any time of acceptance

_LEAVING = (Phase.LEAVING, Phase.GONE)
_PAID_FOR_SURE = (State.SENDING, State.UNKNOWN, State.SETTLED)

_log = logging.getLogger(__name__)


@unique
class Presence(Enum):
    """Whether a sibling answers for its ids itself."""

    PRESENT = "present"
    LEAVING = "leaving"
    GONE = "gone"
    RETURNING = "returning"


class Sibling:
    """One other instance.

    Args:
        instance: its name.
        clock: what it goes by; all instances of a volume are on one machine.
    """

    def __init__(self, instance: str, clock: Clock) -> None:
        """Looks at nothing yet."""
        self._instance = instance
        self._clock = clock
        self._attached_at_ms = -ATTACH_MS
        self._segment: Segment | None = None
        self._supervisor: Counters | None = None
        self._lanes: list[Lane] = []
        self._heads: list[int] = []  # per lane, how far it has been read; empty: nothing has
        self._ended_life_ms = 0  # start of a supervisor that is known to be dead
        self._presence = Presence.PRESENT
        self._taken: dict[bytes, int] = {}
        self._handed_over: dict[bytes, Accepted] = {}  # grows only while it comes or goes, so for seconds

    def look(self) -> None:
        """Learns what it had accepted until now, if it is absent. To be called after a payment arrived here."""
        self._attach()
        presence = self._presence_now()
        if presence is Presence.PRESENT:
            self._heads, self._taken, self._handed_over = [], {}, {}
        elif self._segment is not None and not (self._heads and self._follow()):
            self._read(self._segment)
        if presence is not self._presence:
            self._presence = presence
            known = len(self._taken) + len(self._handed_over)
            _log.info("%s is %s; %d of its ids count here", self._instance, presence.value, known)

    def amount_of(self, payment: Accepted) -> int | None:
        """The amount in cents that this sibling, absent now, accepted under a payment's id before; or None."""
        taken_cents = self._taken.get(payment.correlation_id)
        if taken_cents is not None:
            return taken_cents
        handed_over = self._handed_over.get(payment.correlation_id)
        if handed_over is None:
            return None
        if handed_over.accepted_at_us >= payment.accepted_at_us and not self._has_taken(payment.correlation_id):
            return None
        return handed_over.amount_cents

    def _has_taken(self, correlation_id: bytes) -> bool:
        """Whether it has taken an id into a table by now: a search of milliseconds, for what hardly ever happens."""
        if self._segment is None:
            return False
        tables = map(self._segment.table, range(self._segment.geometry.dispatchers))
        return any(table.find(correlation_id) is not None for table in tables)

    def _attach(self) -> None:
        now_ms = self._clock.ticks_ms()
        if now_ms - self._attached_at_ms < ATTACH_MS:
            return
        self._attached_at_ms = now_ms
        segment = self._segment_now()
        if segment and self._segment and segment.created_at_ms == self._segment.created_at_ms:
            return
        self._segment = segment
        self._supervisor = None if segment is None else segment.supervisor_counters()
        self._heads = []

    def _open(self) -> Segment:
        return Segment.attach(self._instance, read_only=True)

    def _segment_now(self) -> Segment | None:
        try:
            return self._open()
        except SegmentMissing:
            return None  # it has never accepted anything
        except SegmentError as error:
            _log.warning("ids of %s can't be known: %s", self._instance, error)
            return None

    def _presence_now(self) -> Presence:
        row = self._supervisor
        if self._is_free("supervisor"):
            self._ended_life_ms = row.started_at_ms if row else 0
            return Presence.GONE
        if row is None:
            return Presence.PRESENT
        since_ms = row.started_at_ms
        if since_ms == self._ended_life_ms or self._clock.wall_us() // 1000 - since_ms < RETURNING_MS:
            return Presence.RETURNING
        return Presence.LEAVING if row.phase in _LEAVING else Presence.PRESENT

    def _is_free(self, role: str) -> bool:
        return is_role_free(self._instance, role)

    def _read(self, segment: Segment) -> None:
        """Learns every id in its lanes and tables. Lanes first: what is taken meanwhile is in a table then."""
        geometry = segment.geometry
        dispatchers = range(geometry.dispatchers)
        self._lanes = [segment.lane(worker, one) for worker in range(geometry.workers) for one in dispatchers]
        self._taken, self._handed_over = {}, {}
        self._heads = [lane.tail for lane in self._lanes]
        self._follow()
        for one in dispatchers:
            self._taken.update((correlation_id, cents) for _, correlation_id, cents, _ in segment.table(one).ids())

    def _follow(self) -> bool:
        """Learns what was published since; False if something was overwritten before it could be read."""
        is_whole = True
        for index, lane in enumerate(self._lanes):
            head = lane.head
            for position in range(self._heads[index], head):
                payment = lane.peek(position)
                if payment is None:
                    is_whole = False
                else:
                    self._handed_over.setdefault(payment.correlation_id, payment)
            self._heads[index] = head
        return is_whole

    def copies_now(self) -> dict[bytes, int]:
        """Every id that this sibling has paid or is going to pay, with the time (µs UTC) since when that is certain.

        It is certain at once for what was sent, and for what waits at a sibling that verifies nothing any more. One
        that still has to verify (or is absent, and will) may find a copy here as well: of the two, the first accepted
        counts. What lies in its lanes is not taken there: its dispatcher knows whose ids it meets.
        """
        segment = self._segment_now()
        if segment is None:
            return {}
        waiting_is_certain = not self._is_free("supervisor") and _has_verified(segment)
        copies: dict[bytes, int] = {}
        for dispatcher in range(segment.geometry.dispatchers):
            for state, correlation_id, _, accepted_at_us in segment.table(dispatcher).ids():
                if state in _PAID_FOR_SURE or (state == State.WAITING and waiting_is_certain):
                    copies[correlation_id] = AT_ONCE
                elif state == State.WAITING:
                    copies[correlation_id] = accepted_at_us
        return copies


def _has_verified(segment: Segment) -> bool:
    since_ms = segment.supervisor_counters().started_at_ms
    rows = (segment.dispatcher_counters(dispatcher) for dispatcher in range(segment.geometry.dispatchers))
    return all(row.get(DispatcherCount.VERIFIED_FOR) == since_ms for row in rows)


class Siblings:
    """All other instances."""

    def __init__(self, siblings: Iterable[Sibling]) -> None:
        """Looks at nothing yet."""
        self._siblings = list(siblings)

    def look(self) -> None:
        """Learns what absent siblings had accepted until now."""
        for sibling in self._siblings:
            sibling.look()

    def amount_of(self, payment: Accepted) -> int | None:
        """The amount in cents that an absent sibling accepted under a payment's id before; None if there is none."""
        for sibling in self._siblings:
            amount_cents = sibling.amount_of(payment)
            if amount_cents is not None:
                return amount_cents
        return None

    def copies_now(self) -> dict[bytes, int]:
        """Every id that a sibling has paid or is going to pay, with the time (µs UTC) since when that is certain."""
        copies: dict[bytes, int] = {}
        for sibling in self._siblings:
            for correlation_id, since_us in sibling.copies_now().items():
                copies[correlation_id] = min(since_us, copies.get(correlation_id, since_us))
        return copies


def ids_in(segment: Segment) -> dict[bytes, int]:
    """Every id in a segment's lanes and tables with its amount in cents; the first that was taken, if there are two."""
    geometry = segment.geometry
    ids: dict[bytes, int] = {}
    for dispatcher in range(geometry.dispatchers):
        for worker in range(geometry.workers):
            lane = segment.lane(worker, dispatcher)
            for position in range(lane.tail, lane.head):
                payment = lane.peek(position)
                if payment is not None:
                    ids.setdefault(payment.correlation_id, payment.amount_cents)
        ids.update((correlation_id, cents) for _, correlation_id, cents, _ in segment.table(dispatcher).ids())
    return ids

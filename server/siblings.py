"""The other instances on the same volume: what they had accepted counts while they can't answer for it themselves.

HAProxy pins an id to a worker, but while that one is away its clients may send again and reach another instance. So as
long as an instance is not wholly *present*, whoever comes here with one of its ids is not paid again, settled there or
not. From its first weakness until its ids reach it again:

| presence | since | what of it counts here |
| --- | --- | --- |
| leaving | its supervisor said that it stops | all its ids; it may still accept, so its lanes are followed |
| gone | nobody holds its supervisor's lock | the same: its workers die a moment later |
| returning | a supervisor or worker has just begun | the same: HAProxy sends its ids here for a while yet |
| faltering | a worker is dead, or its heart silent | the same: HAProxy is about to send that worker's ids here |

Its segment is read once, when that begins; from then on only what its workers publish.

Two must never leave a payment to each other: that would lose it. What one has in a table it pays, sooner or later,
because nobody else takes that id any more. Of two copies that still lie in lanes the first accepted one counts, for
both sides alike.
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
    Table,
    is_role_free,
)

ATTACH_MS = 1000  # how old a mapping may be; the segment may have been made anew meanwhile (16 µs)
RETURNING_MS = 10_000  # 2 s until HAProxy sends it its ids again, or a stuck dispatcher here is replaced meanwhile
SILENT_MS = 1000  # ten beats; HAProxy gives a worker three checks of a second each
HANDED_OVER_MAX = 1 << 16  # ids learned one by one; then its tables, which forget, are read again
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
    FALTERING = "faltering"


class _Heart:
    """The heart of a sibling's worker. Its beats are told apart, not timed: no clock is shared with it."""

    def __init__(self, row: Counters) -> None:
        self.row = row
        self._beat_us = 0
        self._since_ms = 0

    def is_well(self, now_ms: int) -> bool:
        """Whether the worker serves, and its heart has not been silent for long."""
        beat_us = self.row.heartbeat_us
        if beat_us != self._beat_us:
            self._beat_us, self._since_ms = beat_us, now_ms
        return self.row.phase is Phase.READY and now_ms - self._since_ms < SILENT_MS


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
        self._workers: list[_Heart] = []
        self._faltered_at_ms: int | None = None
        self._lanes: list[Lane] = []
        self._tables: list[Table] = []
        self._heads: list[int] = []  # per lane, how far it has been read; empty: nothing has
        self._ended_life_ms = 0  # start of a supervisor that is known to be dead
        self._presence = Presence.PRESENT
        self._taken: dict[bytes, int] = {}
        self._handed_over: dict[bytes, Accepted] = {}

    def look(self) -> None:
        """Learns what it has accepted until now, unless it is present.

        To be called after payments arrived here and before they are taken, and now and then, for its hearts.
        """
        self._attach()
        presence = self._presence_now()
        if presence is Presence.PRESENT:
            self._heads, self._taken, self._handed_over = [], {}, {}
        elif self._segment is not None and not self._follow():
            self._read(self._segment)
        if presence is not self._presence:
            self._presence = presence
            known = len(self._taken) + len(self._handed_over)
            _log.info("%s is %s; %d of its ids count here", self._instance, presence.value, known)

    def amount_of(self, payment: Accepted) -> int | None:
        """The amount in cents that this sibling, not wholly present, accepted under a payment's id before; or None."""
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
        return any(table.find(correlation_id) is not None for table in self._tables)

    def _attach(self) -> None:
        now_ms = self._clock.ticks_ms()
        if now_ms - self._attached_at_ms < ATTACH_MS:
            return
        self._attached_at_ms = now_ms
        segment = self._segment_now()
        if segment and self._segment and segment.created_at_ms == self._segment.created_at_ms:
            return
        self._segment = segment
        self._heads, self._workers, self._supervisor = [], [], None
        if segment is not None:
            self._supervisor = segment.supervisor_counters()
            self._workers = [_Heart(segment.worker_counters(worker)) for worker in range(segment.geometry.workers)]

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
        if row.phase in _LEAVING:
            return Presence.LEAVING
        now_ms = self._clock.ticks_ms()
        unwell = [heart for heart in self._workers if not heart.is_well(now_ms)]
        if unwell:
            self._faltered_at_ms = now_ms
            return Presence.FALTERING
        return Presence.RETURNING if self._has_just_begun(row, now_ms) else Presence.PRESENT

    def _has_just_begun(self, row: Counters, now_ms: int) -> bool:
        if self._faltered_at_ms is not None and now_ms - self._faltered_at_ms < RETURNING_MS:
            return True
        since_ms = max(row.started_at_ms, *(heart.row.started_at_ms for heart in self._workers))
        return row.started_at_ms == self._ended_life_ms or self._clock.wall_us() // 1000 - since_ms < RETURNING_MS

    def _is_free(self, role: str) -> bool:
        return is_role_free(self._instance, role)

    def _read(self, segment: Segment) -> None:
        """Learns every id in its lanes and tables. Lanes first: what is taken meanwhile is in a table then."""
        geometry = segment.geometry
        dispatchers = range(geometry.dispatchers)
        self._lanes = [segment.lane(worker, one) for worker in range(geometry.workers) for one in dispatchers]
        self._tables = [segment.table(one) for one in dispatchers]
        self._taken, self._handed_over = {}, {}
        self._heads = [lane.tail for lane in self._lanes]
        self._follow()
        for table in self._tables:
            self._taken.update((correlation_id, cents) for _, correlation_id, cents, _ in table.ids())

    def _follow(self) -> bool:
        """Learns what was published since; False if all must be read again, for what was overwritten meanwhile."""
        is_whole = bool(self._heads) and len(self._handed_over) <= HANDED_OVER_MAX
        for index, from_head in enumerate(self._heads):
            lane = self._lanes[index]
            head = lane.head
            for position in range(from_head, head):
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
        """Learns what those not wholly present have accepted until now."""
        for sibling in self._siblings:
            sibling.look()

    def amount_of(self, payment: Accepted) -> int | None:
        """The amount in cents that one not wholly present accepted under a payment's id before; None if none did."""
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

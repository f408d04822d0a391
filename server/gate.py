"""What a web worker does with a well-formed payment: commits it to its lane, unless its id is known here.

Accepting touches nothing but shared memory and the doorbell; a look-up, or a known id with another amount, may also
open siblings' segments.

HAProxy pins each id to a worker, so a small memory of recent ids answers most repeats here. It guarantees nothing:
copies that reach different workers are recognised by the id's dispatcher, which is the same for all workers.
"""

import contextlib
import heapq
import os
from collections.abc import Callable
from operator import attrgetter

from server.clock import Clock
from server.errors import LookupUnavailable
from server.generations import Generations
from server.lookup import Lookup, SiblingLookup
from server.payments import Acceptance, Payment, PaymentStatus
from shm import Segment, Table, WorkerCount

CONFLICT_LOOKUPS_PER_S = 5  # 5 ms each at worst, while nothing is accepted
_SECOND_MS = 1000


def _ring(doorbell: int) -> None:
    os.eventfd_write(doorbell, 1)


class PerSecond:
    """Allows `limit` uses in each second of the clock, and no more."""

    def __init__(self, limit: int, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._second = -1
        self._used = 0

    def allow(self) -> bool:
        """Uses up one of this second's uses; False if none is left."""
        second = self._clock.ticks_ms() // _SECOND_MS
        if second != self._second:
            self._second, self._used = second, 0
        self._used += 1
        return self._used <= self._limit


class Gate:
    """One web worker's way into the segment. Making it fills the memory of recent ids from lanes and tables.

    Args:
        segment: of this instance.
        worker: which web worker this is; its role's lock is held.
        doorbells: the dispatchers' eventfds.
        recent_ids: how many ids to remember.
        lookups_per_s: how many look-ups by clients to allow in a second.
        clock: for acceptedAt and the limits per second.
        siblings: names of the other instances on this volume, where payments that are not here are looked up.
        ring: wakes the dispatcher that listens to a doorbell.

    Attributes:
        leaving: whether this worker has been told to stop.
    """

    def __init__(
        self,
        segment: Segment,
        worker: int,
        doorbells: list[int],
        *,
        recent_ids: int,
        lookups_per_s: int,
        clock: Clock,
        siblings: tuple[str, ...] = (),
        ring: Callable[[int], None] = _ring,
    ) -> None:
        dispatchers = range(segment.geometry.dispatchers)
        self.leaving = False
        self._lanes = [segment.lane(worker, dispatcher) for dispatcher in dispatchers]
        self._dispatcher_of = segment.geometry.dispatcher_of
        self._own = Lookup(segment)
        self._siblings = SiblingLookup(siblings)
        self._dispatcher_counters = [segment.dispatcher_counters(dispatcher) for dispatcher in dispatchers]
        self._counters = segment.worker_counters(worker)
        self._doorbells = doorbells
        self._ring = ring
        self._clock = clock
        self._recent = Generations(recent_ids)  # id to amount in cents
        self._lookups = PerSecond(lookups_per_s, clock)
        self._conflict_lookups = PerSecond(CONFLICT_LOOKUPS_PER_S, clock)
        self._fill_recent([segment.table(dispatcher) for dispatcher in dispatchers], recent_ids)

    def _fill_recent(self, tables: list[Table], recent_ids: int) -> None:
        """Remembers the newest payments that predecessors accepted: clients repeat some of them after a crash."""
        # Lanes before tables: a payment that is taken from a lane meanwhile is found in its table.
        peeked = [lane.peek(position) for lane in self._lanes for position in lane.published()]
        kept = (kept for table in tables for _, kept in table.scan() if kept is not None)
        for payment in heapq.nlargest(recent_ids, kept, key=attrgetter("accepted_at_us")):
            self._recent.put(payment.correlation_id, payment.amount_cents)
        for accepted in peeked:  # a known id keeps its first amount: that one is paid
            if accepted is not None and self._recent.get(accepted.correlation_id) is None:
                self._recent.put(accepted.correlation_id, accepted.amount_cents)

    def accept(self, payment: Payment) -> Acceptance:
        """Hands a payment to the dispatcher that its id belongs to. `ACCEPTED` means committed to shared memory.

        Plain tuples and few calls: at 150 payments per second this code has left the CPU's caches before the next
        payment comes, and what takes 6 µs in a busy worker then takes 60 µs.
        """
        correlation_id, amount_cents = payment
        known_cents = self._recent.get(correlation_id)
        if known_cents is not None:
            if known_cents == amount_cents or self._stands_elsewhere(correlation_id, amount_cents):
                self._counters.add(WorkerCount.REPEATED)
                return Acceptance.REPEATED
            self._counters.add(WorkerCount.CONFLICTS)
            return Acceptance.CONFLICT
        dispatcher = self._dispatcher_of(correlation_id) if len(self._lanes) > 1 else 0
        if not self._lanes[dispatcher].try_publish((correlation_id, amount_cents, self._clock.wall_us())):
            self._counters.add(WorkerCount.FULL)
            return Acceptance.FULL
        if self._dispatcher_counters[dispatcher].sleeping:
            self._ring(self._doorbells[dispatcher])
        self._recent.put(correlation_id, amount_cents)
        self._counters.add(WorkerCount.ACCEPTED)
        return Acceptance.ACCEPTED

    def _stands_elsewhere(self, correlation_id: bytes, amount_cents: int) -> bool:
        """Whether another worker or instance accepted this id first, and with this amount: then this amount counts, and
        not the one remembered here. Looked up a few times a second at most; False, too, if that can't be done now.
        """
        if not self._conflict_lookups.allow():
            return False
        for lookup in (self._own, self._siblings):
            with contextlib.suppress(LookupUnavailable):
                taken = lookup.find(correlation_id)
                if taken is not None and taken.amount_cents == amount_cents:
                    self._recent.put(correlation_id, amount_cents)
                    return True
        return False

    def may_look_up(self) -> bool:
        """Whether one more look-up is allowed this second."""
        if self._lookups.allow():
            return True
        self._counters.add(WorkerCount.LOOKUPS_REFUSED)
        return False

    def find(self, correlation_id: bytes) -> PaymentStatus | None:
        """Where a payment stands, here or at a sibling: the clients of an instance that is away reach the other one.

        Raises:
            LookupUnavailable: it was not found, and not every sibling can be looked at.
        """
        self._counters.add(WorkerCount.LOOKUPS)
        return self._own.find(correlation_id) or self._siblings.find(correlation_id)

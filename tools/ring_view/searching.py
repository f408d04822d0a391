"""Searches lanes and tables for payments, by id or by state."""

import heapq
from collections.abc import Collection, Iterable, Iterator
from uuid import UUID

from shm import Accepted, Kept, Segment, State
from tools.ring_view.contents import Scan, age_ms, state_name
from tools.ring_view.reading import read_header
from tools.ring_view.snapshot import Clock, Payment, Search, processor_name

ACCEPTED = "accepted"
STATES = (ACCEPTED, *(state_name(state) for state in State if state is not State.FREE))
"""The states that can be searched for: in the lanes, then in the tables."""


class Counted:
    """Counts the payments of an iterator."""

    def __init__(self, payments: Iterable[Payment]) -> None:
        self._payments = payments
        self.count = 0

    def __iter__(self) -> Iterator[Payment]:
        for payment in self._payments:
            self.count += 1
            yield payment


class Searcher:
    """One search through a segment; remembers how much it could not read.

    Args:
        segment: attached, read-only.
        clock: read when the search begins and when it ends.
    """

    def __init__(self, segment: Segment, clock: Clock) -> None:
        self._segment = segment
        self._clock = clock
        self._moment = clock()
        self._unreadable = 0

    def by_state(self, instance: str, states: Collection[str], limit: int) -> Search:
        """Finds the payments in any of `states`, at most `limit` of them, the oldest acceptances first."""
        return self._finish(instance, self._in_states(states), limit)

    def by_id(self, instance: str, correlation_id: UUID, limit: int) -> Search:
        """Finds every copy of a payment: one in a table, and those still in a lane."""
        return self._finish(instance, self._with_id(correlation_id.bytes), limit)

    def _finish(self, instance: str, found: Iterable[Payment], limit: int) -> Search:
        counted = Counted(found)
        payments = heapq.nsmallest(limit, counted, key=lambda payment: payment.accepted_at_us)
        return Search(
            header=read_header(self._segment, instance),
            taken_at_ms=self._moment.utc_us // 1000,
            took_ms=self._moment.ms_until(self._clock()),
            payments=tuple(payments),
            matching=counted.count,
            unreadable=self._unreadable,
        )

    def _in_states(self, states: Collection[str]) -> Iterator[Payment]:
        if ACCEPTED in states:
            for where, accepted in self._in_lanes():
                yield self._from_lane(where, accepted)
        if not any(state != ACCEPTED for state in states):
            return
        for dispatcher in range(self._segment.geometry.dispatchers):
            scan = Scan(self._segment.table(dispatcher))
            for slot, kept in scan:
                if state_name(kept.state) in states:
                    yield self._from_table(f"dispatcher-{dispatcher} slot {slot}", kept)
            self._unreadable += len(scan.damaged)

    def _with_id(self, correlation_id: bytes) -> Iterator[Payment]:
        for where, accepted in self._in_lanes():
            if accepted.correlation_id == correlation_id:
                yield self._from_lane(where, accepted)
        for dispatcher in range(self._segment.geometry.dispatchers):
            kept = self._segment.table(dispatcher).find(correlation_id)
            if kept is not None:
                yield self._from_table(f"dispatcher-{dispatcher}", kept)

    def _in_lanes(self) -> Iterator[tuple[str, Accepted]]:
        """Yields what is between each lane's tail and head; skips a slot that was taken and used again meanwhile."""
        geometry = self._segment.geometry
        for worker in range(geometry.workers):
            for dispatcher in range(geometry.dispatchers):
                lane = self._segment.lane(worker, dispatcher)
                for position in lane.published():
                    accepted = lane.peek(position)
                    if accepted is not None:
                        yield f"lane worker-{worker} to dispatcher-{dispatcher}", accepted
                    elif position >= lane.tail:
                        self._unreadable += 1

    def _from_lane(self, where: str, accepted: Accepted) -> Payment:
        return Payment(
            correlation_id=str(UUID(bytes=accepted.correlation_id)),
            state=ACCEPTED,
            amount_cents=accepted.amount_cents,
            processor=None,
            attempts=0,
            requested_at_ms=None,
            accepted_at_us=accepted.accepted_at_us,
            age_ms=age_ms(accepted.accepted_at_us, self._moment.utc_us),
            conflicts=0,
            where=where,
        )

    def _from_table(self, where: str, kept: Kept) -> Payment:
        return Payment(
            correlation_id=str(UUID(bytes=kept.correlation_id)),
            state=state_name(kept.state),
            amount_cents=kept.amount_cents,
            processor=processor_name(kept.processor) if kept.requested_at_ms else None,
            attempts=kept.attempts,
            requested_at_ms=kept.requested_at_ms or None,
            accepted_at_us=kept.accepted_at_us,
            age_ms=age_ms(kept.accepted_at_us, self._moment.utc_us),
            conflicts=kept.conflicts,
            where=where,
        )

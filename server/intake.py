"""Takes payments from the lanes of one dispatcher into its care; bounded work per turn."""

import logging

from server.clock import Clock
from server.custody import Custody
from server.siblings import Siblings
from server.yielding import yield_core
from shm import Accepted, Counters, DispatcherCount, Lane

TAKEN_PER_TURN_MAX = 64  # per lane: about half a millisecond, then other work gets its turn
TORN_PATIENCE_MS = 1000  # how long a slot may stay wrong: far longer than any CPU takes to order two stores

_log = logging.getLogger(__name__)


class Intake:
    """The reading end of a dispatcher's lanes.

    Args:
        lanes: one per web worker.
        custody: where payments go.
        counters: the dispatcher's row.
        clock: measures how long a slot has been torn.
        siblings: the other instances: payments whose ids they accepted first are not taken.
        after_absence: whether the whole instance was down: payments in the lanes now are taken as unverified.
    """

    def __init__(
        self,
        lanes: list[Lane],
        custody: Custody,
        counters: Counters,
        clock: Clock,
        *,
        siblings: Siblings,
        after_absence: bool,
    ) -> None:
        self._lanes = lanes
        self._custody = custody
        self._counters = counters
        self._clock = clock
        self._siblings = siblings
        self._first = 0  # index of the lane to begin with: they take turns, as the table may have room for few
        # Per lane: payments below this position lay there when an absence ended, and are taken as unverified.
        self._unverified_until = [lane.head if after_absence else 0 for lane in lanes]
        self._torn_since_ms: dict[int, int] = {}  # lane index -> when the slot at its tail was first seen torn

    def take(self) -> bool:
        """Takes payments, up to a bound from each lane; returns whether there are more that can be taken now."""
        more = False
        lanes = [*enumerate(self._lanes)]
        share = min(max(self._custody.room // len(lanes), 1), TAKEN_PER_TURN_MAX)
        for index, lane in lanes[self._first :] + lanes[: self._first]:
            tail = lane.tail
            end = min(lane.head, tail + share)
            if tail < end:
                # After `lane.head` was read: so it shows all that siblings had accepted before these payments came. If
                # they can't be looked at, these stay in the lane: nobody knows whether one of them is a copy.
                if not self._siblings.look():
                    return False
                yield_core()
                reached = self._take_from(index, lane, tail, end)
                more |= reached == end < lane.head
                if reached != tail:
                    self._first = (index + 1) % len(lanes)
        return more

    def log_taken_up(self, role: str) -> None:
        """Logs, at the start of this dispatcher, how many payments are there from before, if there are any."""
        waiting, unknown = self._custody.waiting_count() + self.depth(), len(self._custody.unknown)
        if waiting or unknown:
            _log.info("%s takes up %d payments that wait, and %d of unknown outcome", role, waiting, unknown)

    def is_empty(self) -> bool:
        """Whether no lane holds anything."""
        return not any(lane.depth for lane in self._lanes)

    def depth(self) -> int:
        """How many payments the lanes hold."""
        return sum(lane.depth for lane in self._lanes)

    def has_unverified(self) -> bool:
        """Whether a lane still holds a payment that lay there when an absence ended."""
        return any(lane.tail < until for lane, until in zip(self._lanes, self._unverified_until, strict=True))

    def _take_from(self, index: int, lane: Lane, tail: int, end: int) -> int:
        """Takes the payments from tail to end, up to the first that must stay in the lane; returns the new tail."""
        for position in range(tail, end):
            payment = lane.peek(position)
            if payment is None:
                if not self._set_aside(index, lane, position):
                    return position
            elif not self._belongs_to_sibling(payment):
                verified = position >= self._unverified_until[index]
                if not self._custody.take(payment, verified=verified):
                    return position
            lane.advance(position + 1)  # after each: a successor skips what the table has, and counts all else again
            self._torn_since_ms.pop(index, None)
            yield_core()
        return end

    def _belongs_to_sibling(self, payment: Accepted) -> bool:
        """Whether a sibling accepted this id first, so that the payment is not taken here but counted as a copy."""
        if self._custody.knows(payment.correlation_id):
            return False
        amount_cents = self._siblings.amount_of(payment)
        if amount_cents is None:
            return False
        self._custody.count_copy(same=amount_cents == payment.amount_cents)
        return True

    def _set_aside(self, index: int, lane: Lane, position: int) -> bool:
        """Whether a slot has been torn for so long that it is passed over: counted and logged, never guessed at."""
        since_ms = self._torn_since_ms.setdefault(index, self._clock.ticks_ms())
        if self._clock.ticks_ms() - since_ms < TORN_PATIENCE_MS:
            return False
        self._counters.add(DispatcherCount.SET_ASIDE)
        _log.critical("lane %d, position %d is damaged, set aside: %s", index, position, lane.peek_raw(position).hex())
        return True

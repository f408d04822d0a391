"""Every payment in one dispatcher's care: table, journal and index kept in step. Shared memory only, no I/O.

The table in `shm/states.py` says what may happen to a payment, and what a crash leaves; each method that changes a
payment's state is one step in it. The order of stores matters: an attempt is written down before it is made, and the
journal record, with which a payment ends, is stored before the slot's state.
"""

from collections import deque
from collections.abc import Callable, Sequence

from server.forgotten import ForgottenIds
from server.rejections import Rejections
from server.yielding import yield_core
from shm import (
    ENDED,
    Accepted,
    BrokenInvariant,
    Counters,
    DispatcherCount,
    Ended,
    Event,
    Journal,
    Kept,
    Lane,
    State,
    Table,
    next_state,
    recover,
)

IN_FRONT_ATTEMPTS_MAX = 16  # so many probes take some 7 s: in most outages the dearer processor has taken it
FOLD_BATCH_MAX = 64  # records folded with one commit of the base: they take under half a millisecond
FOLD_PART = 16  # and at most a sixteenth of the journal at once: the rest stays remembered

_COUNTED_ENDS = {State.DUPLICATE: DispatcherCount.DUPLICATES, State.REFUSED: DispatcherCount.REFUSED}
_COUNTED_SETTLED = (DispatcherCount.SETTLED_DEFAULT, DispatcherCount.SETTLED_FALLBACK)


class Custody:
    """The payments of one dispatcher. Making it recovers what a predecessor left.

    Args:
        lanes: one per web worker.
        table: the dispatcher's; its role's lock is held.
        journal: the dispatcher's.
        counters: its row.
        on_change: called with the requestedAt (ms UTC) of a payment that ended or became unknown: to be published.

    Attributes:
        before_forgetting: called before ended payments are forgotten, again until it returns False, to take any copies
            of them out of the lanes: `Intake.take`, set once there is an intake.
        waiting: table slots of waiting payments, sent from the left. At first it holds those recovered, the oldest at
            the left. New payments join at the right, and so do verified ones and those lifted out of `rejected`. A
            payment sent in vain goes back to the left, being among the oldest; from `IN_FRONT_ATTEMPTS_MAX` attempts
            on, to the right.
        unverified: table slots of waiting payments that may have been paid elsewhere during an absence, in the order in
            which `server/verification.py` asks for them; not to be sent before that.
        rejected: waiting payments that one processor has rejected: for a while only the other may take them.
        unknown: table slot to requestedAt in ms UTC, of payments whose outcome is unknown.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        table: Table,
        journal: Journal,
        counters: Counters,
        on_change: Callable[[int], None],
    ) -> None:
        recovered = recover(lanes, table, journal)
        self.before_forgetting: Callable[[], bool] = _nothing_to_take
        self._table = table
        self._journal = journal
        self._counters = counters
        self._on_change = on_change
        self._slot_by_id = recovered.slot_by_id
        self._free = recovered.free
        self._forgotten = ForgottenIds(lanes)
        self.waiting: deque[int] = deque(recovered.waiting)
        self.unverified: dict[int, None] = {}  # a set that keeps its order
        self.rejected = Rejections()
        self.unknown = {slot: self.read(slot).requested_at_ms for slot in recovered.unknown}
        counters.add(DispatcherCount.SET_ASIDE, len(recovered.set_aside))

    def mark_waiting_unverified(self) -> None:
        """Makes all waiting payments unverified: after an absence they may have been paid elsewhere."""
        self.unverified.update(dict.fromkeys(self.waiting))
        self.waiting.clear()

    def mark_verified(self, slot: int) -> None:
        """Lets a payment that nobody else has paid wait to be sent, behind all others that do."""
        del self.unverified[slot]
        self.waiting.append(slot)

    def verify_later(self, slot: int) -> None:
        """Puts a payment that could not be verified now behind all others that are to be verified."""
        del self.unverified[slot]
        self.unverified[slot] = None

    def end_unverified(self, slot: int, processor: int, requested_at_ms: int) -> None:
        """Ends an unverified payment that is paid elsewhere, as a duplicate with that processor and requestedAt."""
        del self.unverified[slot]
        kept = self.read(slot)._replace(processor=processor, requested_at_ms=requested_at_ms)
        self.end(slot, Event.FOUND_ELSEWHERE, kept)

    def lift_rejected(self, now_ms: int) -> None:
        """Lets some payments that one processor has rejected wait for either again, if their time is over."""
        self.waiting.extend(self.rejected.lift(now_ms))

    def knows(self, correlation_id: bytes) -> bool:
        """Whether an id is in the table, or was forgotten while a copy of it may still lie in a lane."""
        if correlation_id in self._slot_by_id:
            return True
        return bool(self._forgotten.amounts) and self._forgotten.amount_of(correlation_id) is not None

    def take(self, payment: Accepted, *, verified: bool = True) -> bool:
        """Copies a payment from a lane into the table, or counts it as a copy if its id is known; the caller then
        advances the lane. False if there is no room: the payment must stay in the lane.
        """
        known = self._slot_by_id.get(payment.correlation_id)
        if known is not None:
            self._count_copy_of(known, payment)
            return True
        forgotten_cents = self._forgotten.amount_of(payment.correlation_id) if self._forgotten.amounts else None
        if forgotten_cents is not None:
            self.count_copy(same=forgotten_cents == payment.amount_cents)
            return True
        if not self.room:
            return False
        slot = self._free.pop()
        self._table.insert(slot, payment)
        self._slot_by_id[payment.correlation_id] = slot
        if verified:
            self.waiting.append(slot)
        else:
            self.unverified[slot] = None
        self._counters.add(DispatcherCount.TAKEN)
        return True

    def _count_copy_of(self, slot: int, payment: Accepted) -> None:
        same = self.read(slot).amount_cents == payment.amount_cents
        if not same:
            self._table.count_conflict(slot)
        self.count_copy(same=same)

    def count_copy(self, *, same: bool) -> None:
        """Counts a copy that is not taken: a repetition, or a conflict if its amount is not the same."""
        self._counters.add(DispatcherCount.REPEATED if same else DispatcherCount.CONFLICTS)

    @property
    def room(self) -> int:
        """How many more payments can be taken: `waiting_slots` less the payments that have not ended.

        The other free slots are for ended payments: room never depends on forgetting one (`server/forgotten.py`).
        """
        unended = len(self._slot_by_id) - self._journal.depth
        return max(min(len(self._table) - self._journal.capacity - unended, len(self._free)), 0)

    def read(self, slot: int) -> Kept:
        """The payment in a slot.

        Raises:
            BrokenInvariant: the slot is damaged.
        """
        kept = self._table.read(slot)
        if kept is None:
            raise BrokenInvariant(f"table slot {slot} is damaged")
        return kept

    def begin(self, slot: int, processor: int, requested_at_ms: int) -> int:
        """Writes down that an attempt begins; returns how many there have been, this one included."""
        self._counters.add(DispatcherCount.ATTEMPTS)
        return self._table.begin(slot, processor, requested_at_ms)

    def wait_again(self, slot: int, attempts: int) -> None:
        """Lets a payment wait again after a sure no: before all others, as it is among the oldest.

        After many `attempts` it waits behind them: both processors may fail on this one, and it would be every probe.
        """
        self._table.apply(slot, Event.SURE_NO)
        self._counters.add(DispatcherCount.SURE_NOS)
        if not self.rejected.queue(slot):
            put = self.waiting.appendleft if attempts < IN_FRONT_ATTEMPTS_MAX else self.waiting.append
            put(slot)

    def mark_unknown(self, slot: int, event: Event, requested_at_ms: int) -> None:
        """Notes that an outcome is unknown, or still is after this event: the payment belongs to its processor now."""
        self._table.apply(slot, event)
        if slot not in self.unknown:  # else it was unknown before, and nothing is new
            self._counters.add(DispatcherCount.UNCLEAR)
            self.unknown[slot] = requested_at_ms
            self._show_unknown()
            self._on_change(requested_at_ms)

    def end(self, slot: int, event: Event, kept: Kept) -> None:
        """Ends a payment: stores its journal record, which is the end, and then the slot's state.

        Args:
            slot: its table slot.
            event: what ended it.
            kept: the payment, with the processor and requestedAt that its record is to have (see `Ended`).

        Raises:
            IllegalTransition, BrokenInvariant: `event` can't end it. Nothing is stored: a record would count for ever.
        """
        before = self._table.state(slot)
        state = next_state(before, event)
        if state not in ENDED or before in ENDED:
            raise BrokenInvariant(f"{event.name} does not end the payment in table slot {slot}")
        if self._journal.is_full():
            self._fold()
        self._journal.append(Ended(state, kept.processor, kept.requested_at_ms, kept.amount_cents, slot))
        self._table.apply(slot, event, kept.processor)  # another than the slot's if it was found elsewhere
        self.rejected.forget(slot)
        if self.unknown.pop(slot, None) is not None:
            self._show_unknown()
        self._counters.add(_COUNTED_SETTLED[kept.processor] if state is State.SETTLED else _COUNTED_ENDS[state])
        self._on_change(kept.requested_at_ms)

    def _fold(self) -> None:
        """Forgets the oldest ended payments: folds their records into the base, then frees their slots."""
        while self.before_forgetting():  # each round takes payments, until the lanes are empty or there is no room
            yield_core()
        slots = self._journal.fold(max(min(FOLD_BATCH_MAX, self._journal.capacity // FOLD_PART), 1))
        amounts = {}
        for slot in slots:
            kept = self.read(slot)
            amounts[kept.correlation_id] = kept.amount_cents
            del self._slot_by_id[kept.correlation_id]
            self._table.apply(slot, Event.FOLDED)
            self._free.append(slot)
            yield_core()
        self._forgotten.add(amounts)
        self._counters.add(DispatcherCount.FOLDED, len(slots))
        oldest = self._journal.read(self._journal.base.journal_tail)
        self._counters.put(DispatcherCount.OLDEST_REMEMBERED_MS, oldest.requested_at_ms if oldest else 0)

    def waiting_count(self) -> int:
        """How many payments wait: to be sent to either processor or to one alone, or to be verified."""
        return len(self.waiting) + len(self.unverified) + len(self.rejected)

    def show_gauges(self, sending: int) -> None:
        """Stores how many payments stand where, for the tools."""
        self._counters.put(DispatcherCount.WAITING, self.waiting_count())
        self._counters.put(DispatcherCount.SENDING, sending)
        self._show_unknown()

    def _show_unknown(self) -> None:
        """Stores how many outcomes are unknown, and the range of their requestedAt: true whenever a summary reads."""
        self._counters.put(DispatcherCount.UNKNOWN_LEAST_MS, min(self.unknown.values(), default=0))
        self._counters.put(DispatcherCount.UNKNOWN_GREATEST_MS, max(self.unknown.values(), default=0))
        self._counters.put(DispatcherCount.UNKNOWN, len(self.unknown))  # last: a reader of the count finds its range


def _nothing_to_take() -> bool:
    """Takes nothing, as long as there is no intake."""
    return False

"""A web worker and a dispatcher in miniature: the steps of a payment's way, over memory that can be torn from them.

What the real ones add (sockets, processors, pacing) does not store anything here. A `Miniature` is one life: a death
throws it away, and its successor is a new one over the same memory.
"""

from shm import layout
from shm.journal import Journal
from shm.lane import Lane
from shm.layout import Geometry
from shm.record import KIND_STATES, Accepted, Ended, Kept, Kind
from shm.recovery import recover
from shm.states import ENDED, Event, State, next_state
from shm.table import Table
from tests.shm.memory import Memory

GEOMETRY = Geometry(workers=1, dispatchers=1, lane_slots=4, waiting_slots=3, journal_records=4)
KINDS = {state: kind for kind, state in KIND_STATES.items()}


def fresh_memory() -> Memory:
    """Zeroed memory of an instance with one worker and one dispatcher."""
    return Memory(GEOMETRY.size)


class Miniature:
    """One life of a worker and a dispatcher; begins with recovery, as every life does."""

    def __init__(self, memory: Memory) -> None:
        """Takes up what is in memory."""
        area = GEOMETRY.area_offset(0)
        records = area + layout.BASE_PAGE_LENGTH
        start = records + GEOMETRY.journal_length
        self.lane = Lane(memory.view(GEOMETRY.lane_offset(0, 0), GEOMETRY.lane_length), GEOMETRY.lane_slots)
        page = memory.view(area, layout.BASE_PAGE_LENGTH)
        self.journal = Journal(page, memory.view(records, GEOMETRY.journal_length), GEOMETRY.journal_records)

        def search(needle: bytes, offset: int) -> int:
            found = memory.data.find(needle, start + offset, start + GEOMETRY.table_length)
            return found if found < 0 else found - start

        self.table = Table(memory.view(start, GEOMETRY.table_length), GEOMETRY.table_slots, search)
        self.recovered = recover(self.table, self.journal)
        self.slots = dict(self.recovered.slots)
        self.free = list(self.recovered.free)

    def kept(self, correlation_id: bytes) -> Kept:
        """A payment that must be in the table."""
        kept = self.table.read(self.slots[correlation_id])
        assert kept is not None
        return kept

    def publish(self, payment: Accepted) -> bool:
        """The worker accepts a payment; True is its 202."""
        return self.lane.try_publish(payment)

    def take(self) -> None:
        """The dispatcher takes all the lane has and the table has room for."""
        for position in range(self.lane.tail, self.lane.head):
            payment = self.lane.peek(position)
            assert payment is not None
            slot = self.slots.get(payment.correlation_id)
            if slot is None:
                if not self.free:
                    return
                slot = self.free.pop()
                self.table.insert(slot, payment)
                self.slots[payment.correlation_id] = slot
            elif self.kept(payment.correlation_id).amount_cents != payment.amount_cents:
                self.table.count_conflict(slot)
            self.lane.advance(position + 1)

    def begin(self, correlation_id: bytes, processor: int, requested_at_ms: int) -> None:
        """The dispatcher is about to send a payment."""
        self.table.begin(self.slots[correlation_id], processor, requested_at_ms)

    def hear(self, correlation_id: bytes, event: Event) -> None:
        """The dispatcher learns what became of a payment."""
        slot, kept = self.slots[correlation_id], self.kept(correlation_id)
        state = next_state(kept.state, event)
        if state in ENDED:
            if self.journal.is_full():
                self.forget(1)
            how = Ended(KINDS[state], kept.processor, kept.requested_at_ms, kept.amount_cents, slot)
            self.journal.append(how)
        self.table.apply(slot, event)

    def forget(self, count: int) -> None:
        """The dispatcher folds the oldest ends into the base."""
        for slot in self.journal.fold(count):
            kept = self.table.read(slot)
            assert kept is not None
            self.table.apply(slot, Event.FOLDED)
            del self.slots[kept.correlation_id]
            self.free.append(slot)

    def purge(self, epoch: int) -> None:
        """The dispatcher learns that the totals start again."""
        self.journal.begin_epoch(epoch)

    def settle_all(self) -> None:
        """Ends everything, at the processors it belongs to."""
        while self.lane.depth or any(self.kept(known).state not in ENDED for known in self.slots):
            self.take()
            unsettled = [known for known in self.slots if self.kept(known).state not in ENDED]
            for correlation_id in unsettled:
                if self.kept(correlation_id).state is State.WAITING:
                    self.begin(correlation_id, 0, 9_000)
                self.hear(correlation_id, Event.PAID)
            self.forget(len(self.slots))

    def totals(self) -> tuple[int, int]:
        """Payments settled in this epoch and their cents, at both processors together."""
        base = self.journal.base
        counted = [self.journal.read(at) for at in range(max(base.journal_tail, base.epoch_start), self.journal.head)]
        settled = [ended.amount_cents for ended in counted if ended and ended.kind is Kind.SETTLED]
        count = base.default_payments + base.fallback_payments + len(settled)
        return count, base.default_cents + base.fallback_cents + sum(settled)

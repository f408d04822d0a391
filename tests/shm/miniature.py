"""A web worker and a dispatcher in miniature: the steps of a payment's way, over memory that can be torn from them.

What the real ones add (sockets, processors, pacing) does not store anything here. A `Miniature` is one life: a death
throws it away, and its successor is a new one over the same memory.
"""

from shm import layout
from shm.journal import Journal
from shm.lane import Lane
from shm.layout import Geometry
from shm.record import Accepted, Ended, Kept
from shm.recovery import recover
from shm.states import ENDED, Event, State, next_state
from shm.table import Table
from tests.shm.memory import Memory

GEOMETRY = Geometry(workers=1, dispatchers=1, lane_slots=4, waiting_slots=3, journal_records=4)


def fresh_memory() -> Memory:
    """Zeroed memory of an instance with one worker and one dispatcher."""
    return Memory(GEOMETRY.size)


class Miniature:
    """One life of a dispatcher and of the workers whose lanes it empties; begins with recovery, as every life does.

    Args:
        lanes: from each worker.
        table: the dispatcher's.
        journal: the dispatcher's.
    """

    def __init__(self, lanes: list[Lane], table: Table, journal: Journal) -> None:
        """Takes up what is in memory."""
        self.lanes = lanes
        self.table = table
        self.journal = journal
        self.recovered = recover(lanes, table, journal)
        self.slot_by_id = dict(self.recovered.slot_by_id)
        self.free = list(self.recovered.free)

    @classmethod
    def over(cls, memory: Memory) -> "Miniature":
        """A life of one worker and one dispatcher over this memory, laid out as a segment of `GEOMETRY`."""
        area = GEOMETRY.area_offset(0)
        records = area + layout.BASE_PAGE_LENGTH
        start = records + GEOMETRY.journal_length

        def search(needle: bytes, offset: int) -> int:
            found = memory.data.find(needle, start + offset, start + GEOMETRY.table_length)
            return found if found < 0 else found - start

        lane = Lane(memory.view(GEOMETRY.lane_offset(0, 0), GEOMETRY.lane_length), GEOMETRY.lane_slots)
        table = Table(memory.view(start, GEOMETRY.table_length), GEOMETRY.table_slots, search)
        page = memory.view(area, layout.BASE_PAGE_LENGTH)
        journal = Journal(page, memory.view(records, GEOMETRY.journal_length), GEOMETRY.journal_records)
        return cls([lane], table, journal)

    @property
    def lane(self) -> Lane:
        """The first worker's lane."""
        return self.lanes[0]

    def kept(self, correlation_id: bytes) -> Kept:
        """A payment that must be in the table."""
        kept = self.table.read(self.slot_by_id[correlation_id])
        assert kept is not None
        return kept

    def publish(self, payment: Accepted) -> bool:
        """The worker accepts a payment; True is its 202."""
        return self.lane.try_publish(payment)

    def take(self) -> list[bytes]:
        """The dispatcher takes all its lanes have and the table has room for; gives the ids that are new."""
        fresh = list[bytes]()
        for lane in self.lanes:
            for position in range(lane.tail, lane.head):
                payment = lane.peek(position)
                assert payment is not None
                slot = self.slot_by_id.get(payment.correlation_id)
                if slot is None:
                    if not self.free:
                        return fresh
                    slot = self.free.pop()
                    self.table.insert(slot, payment)
                    self.slot_by_id[payment.correlation_id] = slot
                    fresh.append(payment.correlation_id)
                elif self.kept(payment.correlation_id).amount_cents != payment.amount_cents:
                    self.table.count_conflict(slot)
                lane.advance(position + 1)
        return fresh

    def begin(self, correlation_id: bytes, processor: int, requested_at_ms: int) -> None:
        """The dispatcher is about to send a payment."""
        self.table.begin(self.slot_by_id[correlation_id], processor, requested_at_ms)

    def hear(self, correlation_id: bytes, event: Event) -> None:
        """The dispatcher learns what became of a payment."""
        slot, kept = self.slot_by_id[correlation_id], self.kept(correlation_id)
        state = next_state(kept.state, event)
        if state in ENDED:
            if self.journal.is_full():
                self.forget(1)
            how = Ended(state, kept.processor, kept.requested_at_ms, kept.amount_cents, slot)
            self.journal.append(how)
        self.table.apply(slot, event)

    def forget(self, count: int) -> None:
        """The dispatcher folds the oldest ends into the base."""
        for slot in self.journal.fold(count):
            kept = self.table.read(slot)
            assert kept is not None
            self.table.apply(slot, Event.FOLDED)
            del self.slot_by_id[kept.correlation_id]
            self.free.append(slot)

    def purge(self, epoch: int) -> None:
        """The dispatcher learns that the totals start again."""
        self.journal.begin_epoch(epoch)

    def unsettled(self) -> list[bytes]:
        """The ids of all that has not ended."""
        return [known for known in self.slot_by_id if self.kept(known).state not in ENDED]

    def settle(self, correlation_id: bytes, processor: int, requested_at_ms: int) -> None:
        """Ends a payment: at this processor if it is waiting, else where it may have been sent already."""
        if self.kept(correlation_id).state is State.WAITING:
            self.begin(correlation_id, processor, requested_at_ms)
        self.hear(correlation_id, Event.PAID)

    def settle_all(self) -> None:
        """Ends everything there is, and forgets it."""
        while self.take() or self.unsettled() or self.lane.depth:
            for correlation_id in self.unsettled():
                self.settle(correlation_id, 0, 9_000)
            self.forget(len(self.slot_by_id))

    def totals(self) -> tuple[int, int]:
        """Payments settled in this epoch and their cents, at both processors together."""
        base = self.journal.base
        counted = [self.journal.read(at) for at in range(max(base.journal_tail, base.epoch_start), self.journal.head)]
        settled = [ended.amount_cents for ended in counted if ended and ended.state is State.SETTLED]
        count = base.default_payments + base.fallback_payments + len(settled)
        return count, base.default_cents + base.fallback_cents + sum(settled)

"""A custody with payments brought to any state of the table."""

from collections.abc import Sequence

from server.custody import Custody
from shm import Accepted, Counters, DispatcherCount, Ended, Event, Kept, Lane, State
from tests.server.fake_area import FakeArea

SENT_AT_MS = 5_000
COUNTED = (DispatcherCount.TAKEN, DispatcherCount.REPEATED, DispatcherCount.CONFLICTS)
WAYS: dict[State, list[Event]] = {
    State.WAITING: [],
    State.SENDING: [Event.ATTEMPT_BEGAN],
    State.UNKNOWN: [Event.ATTEMPT_BEGAN, Event.UNCLEAR],
    State.SETTLED: [Event.ATTEMPT_BEGAN, Event.PAID],
    State.DUPLICATE: [Event.ATTEMPT_BEGAN, Event.SHOWN_OTHER],
    State.REFUSED: [Event.ATTEMPT_BEGAN, Event.REJECTED],
}
"""What happens to a payment that was taken, until it stands there."""


def payment(number: int, amount_cents: int | None = None) -> Accepted:
    """A payment unlike all others, unless it is told to have another's id."""
    return Accepted(number.to_bytes(16, "big"), amount_cents or 100 + number, 1_000_000 + number)


class Ward:
    """A custody over memory of its own; another over the same memory is its successor."""

    def __init__(self, area: FakeArea | None = None, *, journal_records: int = 4, lanes: Sequence[Lane] = ()) -> None:
        self.area = area or FakeArea(waiting_slots=4, journal_records=journal_records)
        self.changes = self.changed_at_ms = self.shown = 0  # the last one's time, and how many were shown unknown then
        self.custody = Custody(
            lanes, self.area.table, self.area.another_journal(), self.area.counters, self._count_change
        )

    def _count_change(self, requested_at_ms: int) -> None:
        self.changes += 1
        self.changed_at_ms = requested_at_ms
        self.shown = self.count(DispatcherCount.UNKNOWN)

    def meet(self, one: Accepted, *, verified: bool = True) -> DispatcherCount | None:
        """Takes a payment from a lane; gives what it was counted as, once. None: there was no room."""
        before = [self.count(what) for what in COUNTED]
        is_taken = self.custody.take(one, verified=verified)
        counted = [what for what, count in zip(COUNTED, before, strict=True) for _ in range(self.count(what) - count)]
        assert len(counted) == is_taken
        return counted[0] if counted else None

    def take(self, number: int = 1) -> int:
        """Takes a new payment and gives its slot."""
        assert self.meet(payment(number)) is DispatcherCount.TAKEN
        return self.slot(number)

    def slot(self, number: int = 1) -> int:
        """The slot that holds a payment."""
        found = [slot for slot, kept in self.area.table.scan() if kept and kept.correlation_id == payment(number)[0]]
        assert len(found) == 1
        return found[0]

    def take_to(self, state: State, number: int = 1, processor: int = 1) -> int:
        """Takes a payment and lets happen what brings it to a state."""
        slot = self.take(number)
        for event in WAYS[state]:
            self.tell(slot, event, processor)
        assert self.kept(slot).state is state
        return slot

    def tell(self, slot: int, event: Event, processor: int = 1) -> None:
        """Something happens to the payment in a slot, as a dispatcher would tell it."""
        if event is Event.ATTEMPT_BEGAN:
            self.custody.waiting.remove(slot)
            self.custody.begin(slot, processor, SENT_AT_MS + slot)
        elif event is Event.SURE_NO:
            self.custody.wait_again(slot, 1)
        elif event is Event.UNCLEAR:
            self.custody.mark_unknown(slot, event, self.kept(slot).requested_at_ms)
        else:
            self.end(slot, event)

    def end(self, slot: int, event: Event) -> None:
        """A payment ends, whether it may or not."""
        self.custody.end(slot, event, self.kept(slot))

    def kept(self, slot: int) -> Kept:
        """The payment in a slot."""
        return self.custody.read(slot)

    def count(self, what: DispatcherCount) -> int:
        """One of the dispatcher's counts."""
        counters: Counters = self.area.counters
        return counters.get(what)

    def journal(self) -> list[Ended | None]:
        """The records that are not folded."""
        journal = self.area.another_journal()
        return [journal.read(position) for position in range(journal.base.journal_tail, journal.head)]

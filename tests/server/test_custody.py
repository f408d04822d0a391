"""server/custody.py: every row of the state table that a dispatcher walks, and ids remembered as long as need be."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server import custody as custody_module
from shm import (
    ENDED,
    BrokenInvariant,
    Counters,
    DispatcherCount,
    Ended,
    Event,
    Geometry,
    IllegalTransition,
    Journal,
    Kept,
    Lane,
    State,
    next_state,
)
from shm.layout import TABLE_SLOT_LENGTH
from tests.server.ward import SENT_AT_MS, WAYS, Ward, payment

MOVES = [*Event, *["take", Event.ATTEMPT_BEGAN, "settle", "settle"] * 3, "crash"]
"""What a course is made of; settling often, so that the journal fills."""


@pytest.fixture
def ward() -> Ward:
    """A ward with four slots for the living and four for the remembered."""
    return Ward()


class TestTake:
    """Custody.take: copied from a lane, unless its id is known."""

    def test_a_new_one_waits(self, ward: Ward) -> None:
        """It is in the table, last in the queue, and counted."""
        first, second = ward.take(1), ward.take(2)
        assert list(ward.custody.waiting) == [first, second]
        assert ward.kept(second) == Kept(State.WAITING, 0, 0, *payment(2), 0, 0)
        assert ward.count(DispatcherCount.TAKEN) == 2

    @pytest.mark.parametrize("state", WAYS)
    def test_the_same_again_is_nothing(self, ward: Ward, state: State) -> None:
        """Wherever the first stands, living or ended, a copy changes nothing."""
        slot = ward.take_to(state)
        before, waiting = ward.kept(slot), list(ward.custody.waiting)
        assert ward.meet(payment(1)) is DispatcherCount.REPEATED
        assert (ward.kept(slot), list(ward.custody.waiting)) == (before, waiting)
        assert (ward.count(DispatcherCount.REPEATED), ward.count(DispatcherCount.TAKEN)) == (1, 1)

    @pytest.mark.parametrize("state", WAYS)
    def test_another_amount_is_a_conflict(self, ward: Ward, state: State) -> None:
        """The one taken first goes its way; the copy is counted with it and shown."""
        slot = ward.take_to(state)
        before = ward.kept(slot)
        assert ward.meet(payment(1, amount_cents=7)) is DispatcherCount.CONFLICTS
        assert ward.meet(payment(1, amount_cents=8)) is DispatcherCount.CONFLICTS
        assert ward.kept(slot) == before._replace(conflicts=2)
        assert ward.count(DispatcherCount.CONFLICTS) == 2

    def test_a_full_table_takes_nothing(self, ward: Ward) -> None:
        """Nothing is stored and nothing lost; known ids are still known, and an end makes room for one."""
        slots = [ward.take(number) for number in range(4)]
        assert ward.custody.room == 0
        before = bytes(ward.area.table_bytes)
        assert ward.meet(payment(9)) is None
        assert bytes(ward.area.table_bytes) == before
        assert ward.meet(payment(3)) is DispatcherCount.REPEATED
        ward.tell(slots[1], Event.ATTEMPT_BEGAN)
        ward.tell(slots[1], Event.PAID)
        assert ward.custody.room == 1
        assert ward.meet(payment(9)) is DispatcherCount.TAKEN
        assert ward.meet(payment(1)) is DispatcherCount.REPEATED

    def test_a_predecessor_took_more_than_there_is_room_for(self, ward: Ward) -> None:
        """Slots that are free are left to those that end, and nothing is taken until enough have ended."""
        for slot in range(6):
            ward.area.table.insert(slot, payment(slot))
        successor = Ward(ward.area)
        assert successor.custody.room == 0
        assert successor.meet(payment(9)) is None

    def test_a_damaged_slot_takes_room(self, ward: Ward) -> None:
        """There are no more rooms than free slots."""
        ward.area.table_bytes[ward.take(90) * TABLE_SLOT_LENGTH + 20] ^= 1
        successor = Ward(ward.area)
        for number in range(4):
            successor.take_to(State.SETTLED, number)
        assert successor.custody.room == 3
        for number in range(10, 13):
            successor.take(number)
        assert successor.meet(payment(13)) is None

    def test_one_that_is_to_be_verified_does_not_wait(self, ward: Ward) -> None:
        """What lay in a lane during an absence is kept apart, and shown as waiting."""
        assert ward.meet(payment(1), verified=False) is DispatcherCount.TAKEN
        assert (list(ward.custody.waiting), list(ward.custody.unverified)) == ([], [ward.slot()])
        assert ward.custody.knows(payment(1).correlation_id)
        assert not ward.custody.knows(payment(2).correlation_id)
        ward.custody.show_gauges(0)
        assert ward.count(DispatcherCount.WAITING) == 1


class TestUnverified:
    """What becomes of those that are to be verified."""

    @pytest.fixture
    def slots(self, ward: Ward) -> list[int]:
        """Three of them, taken in this order."""
        for number in range(3):
            ward.custody.take(payment(number), verified=False)
        return list(ward.custody.unverified)

    def test_a_verified_one_waits(self, ward: Ward, slots: list[int]) -> None:
        """Behind those that do already."""
        waiting = ward.take(9)
        ward.custody.mark_verified(slots[1])
        assert list(ward.custody.unverified) == [slots[0], slots[2]]
        assert list(ward.custody.waiting) == [waiting, slots[1]]

    def test_one_that_could_not_be_verified_comes_last(self, ward: Ward, slots: list[int]) -> None:
        """It does not hold up the others."""
        ward.custody.verify_later(slots[0])
        assert list(ward.custody.unverified) == [*slots[1:], slots[0]]
        assert list(ward.custody.waiting) == []

    def test_one_that_is_paid_elsewhere_ends(self, ward: Ward, slots: list[int]) -> None:
        """As a duplicate, with what is told of the one that was paid."""
        ward.custody.end_unverified(slots[0], 1, 7_777)
        assert list(ward.custody.unverified) == slots[1:]
        assert ward.journal() == [Ended(State.DUPLICATE, 1, 7_777, payment(0).amount_cents, slots[0])]


class TestRows:
    """What may happen to a payment in its care."""

    def test_an_attempt_is_written_down_before_it_is_made(self, ward: Ward) -> None:
        """Processor, requestedAt and how many there were; as a successor would find it."""
        slot = ward.take()
        assert ward.custody.begin(slot, 1, 7_777) == 1
        assert ward.kept(slot) == Kept(State.SENDING, 1, 1, *payment(1), 7_777, 0)
        assert ward.count(DispatcherCount.ATTEMPTS) == 1
        ward.custody.wait_again(slot, 1)
        assert ward.custody.begin(slot, 0, 8_888) == 2
        assert ward.kept(slot) == Kept(State.SENDING, 0, 2, *payment(1), 8_888, 0)

    def test_a_sure_no_puts_it_before_those_that_came_later(self, ward: Ward) -> None:
        """It waits again, first in the queue."""
        first = ward.take_to(State.SENDING, 1)
        second = ward.take(2)
        ward.custody.wait_again(first, 1)
        assert list(ward.custody.waiting) == [first, second]
        assert ward.kept(first).state is State.WAITING
        assert ward.count(DispatcherCount.SURE_NOS) == 1

    def test_one_that_was_tried_often_waits_behind_them(self, ward: Ward) -> None:
        """From the sixteenth time on: it may be to blame itself, and is not to be every probe."""
        first = ward.take_to(State.SENDING, 1)
        second = ward.take(2)
        ward.custody.wait_again(first, 15)
        assert list(ward.custody.waiting) == [first, second]
        ward.tell(first, Event.ATTEMPT_BEGAN)
        ward.custody.wait_again(first, 16)
        assert list(ward.custody.waiting) == [second, first]

    def test_one_that_was_rejected_waits_apart(self, ward: Ward) -> None:
        """For the other processor, until it ends."""
        slot = ward.take_to(State.SENDING)
        ward.custody.rejected.note(slot, 0, 0)
        ward.custody.wait_again(slot, 1)
        assert (list(ward.custody.waiting), list(ward.custody.rejected.queues[1])) == ([], [slot])
        assert ward.custody.waiting_count() == 1
        assert ward.count(DispatcherCount.SURE_NOS) == 1
        ward.custody.begin(ward.custody.rejected.queues[1].popleft(), 1, SENT_AT_MS)
        ward.end(slot, Event.REJECTED)
        assert ward.custody.rejected.note(slot, 1, 0), "the next payment in that slot starts anew"

    def test_an_unclear_one_belongs_to_its_processor(self, ward: Ward) -> None:
        """It is kept with the requestedAt that was sent, and counted once however often it is asked about."""
        slot = ward.take_to(State.SENDING)
        for _ in range(3):
            ward.custody.mark_unknown(slot, Event.UNCLEAR, SENT_AT_MS)
        assert ward.shown == 1, "who is told publishes at once what is shown"
        assert ward.kept(slot).state is State.UNKNOWN
        assert ward.custody.unknown == {slot: SENT_AT_MS}
        assert (ward.count(DispatcherCount.UNCLEAR), ward.changes) == (1, 1)

    def test_one_that_is_known_again_is_shown_at_once(self, ward: Ward) -> None:
        """No summary that has it settled says that it is unknown."""
        slot = ward.take_to(State.UNKNOWN)
        assert ward.count(DispatcherCount.UNKNOWN) == 1
        ward.end(slot, Event.PAID)
        assert (ward.count(DispatcherCount.UNKNOWN), ward.shown) == (0, 0)

    def test_one_that_is_shown_unknown_has_a_range(self, ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
        """How many there are is stored after the range: whoever reads both meanwhile takes no zero for a time."""
        stored: list[DispatcherCount] = []
        put = Counters.put

        def watched_put(counters: Counters, what: DispatcherCount, value: int) -> None:
            stored.append(what)
            put(counters, what, value)

        monkeypatch.setattr(Counters, "put", watched_put)
        ward.take_to(State.UNKNOWN)
        assert stored[-1] is DispatcherCount.UNKNOWN
        assert {DispatcherCount.UNKNOWN_LEAST_MS, DispatcherCount.UNKNOWN_GREATEST_MS} < set(stored)

    @pytest.mark.parametrize(
        ("state", "event", "end", "counted"),
        [
            (State.SENDING, Event.PAID, State.SETTLED, DispatcherCount.SETTLED_FALLBACK),
            (State.SENDING, Event.SHOWN_OURS, State.SETTLED, DispatcherCount.SETTLED_FALLBACK),
            (State.SENDING, Event.SHOWN_OTHER, State.DUPLICATE, DispatcherCount.DUPLICATES),
            (State.SENDING, Event.REJECTED, State.REFUSED, DispatcherCount.REFUSED),
            (State.UNKNOWN, Event.PAID, State.SETTLED, DispatcherCount.SETTLED_FALLBACK),
            (State.UNKNOWN, Event.SHOWN_OURS, State.SETTLED, DispatcherCount.SETTLED_FALLBACK),
            (State.UNKNOWN, Event.SHOWN_OTHER, State.DUPLICATE, DispatcherCount.DUPLICATES),
            (State.WAITING, Event.FOUND_ELSEWHERE, State.DUPLICATE, DispatcherCount.DUPLICATES),
        ],
    )
    def test_an_end(self, ward: Ward, state: State, event: Event, end: State, counted: DispatcherCount) -> None:
        """Journal and slot say the same, it is counted once, and whoever publishes is told, with its requestedAt."""
        slot = ward.take_to(state)
        kept, changes = ward.kept(slot), ward.changes
        ward.end(slot, event)
        assert ward.journal() == [Ended(end, kept.processor, kept.requested_at_ms, kept.amount_cents, slot)]
        assert ward.kept(slot).state is end
        assert (ward.changes - changes, ward.count(counted), ward.custody.unknown) == (1, 1, {})
        assert ward.changed_at_ms == kept.requested_at_ms

    def test_one_that_the_other_processor_has(self, ward: Ward) -> None:
        """Sent to one in vain and found at the other: from now on the slot says who has it, as the journal does."""
        slot = ward.take_to(State.SENDING)
        other = 1 - ward.kept(slot).processor
        ward.custody.wait_again(slot, 1)
        ward.custody.end(slot, Event.FOUND_ELSEWHERE, ward.kept(slot)._replace(processor=other))
        assert (ward.kept(slot).state, ward.kept(slot).processor) == (State.DUPLICATE, other)

    def test_the_journal_comes_first(self, ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
        """While the record is being written the slot still says what it said: a death there ends nothing."""
        slot = ward.take_to(State.SENDING)
        seen: list[State] = []
        append = Journal.append

        def watched_append(journal: Journal, ended: Ended) -> None:
            seen.append(ward.kept(slot).state)
            append(journal, ended)

        monkeypatch.setattr(Journal, "append", watched_append)
        ward.end(slot, Event.PAID)
        assert (seen, ward.kept(slot).state) == ([State.SENDING], State.SETTLED)

    def test_default_and_fallback_are_counted_apart(self, ward: Ward) -> None:
        """A settlement at processor 0 is default's."""
        ward.take_to(State.SETTLED, processor=0)
        assert ward.count(DispatcherCount.SETTLED_DEFAULT) == 1
        assert ward.count(DispatcherCount.SETTLED_FALLBACK) == 0

    @pytest.mark.parametrize("event", Event)
    @pytest.mark.parametrize("state", WAYS)
    def test_what_does_not_end_it_leaves_no_record(self, ward: Ward, state: State, event: Event) -> None:
        """A second end, or an end that the table does not know, is an error before anything is stored."""
        slot = ward.take_to(state)
        try:
            may_end = state not in ENDED and next_state(state, event) in ENDED
        except IllegalTransition:
            may_end = False
        before, records, changes = ward.kept(slot), ward.journal(), ward.changes
        if may_end:
            ward.end(slot, event)
            assert len(ward.journal()) == 1
            return
        with pytest.raises((IllegalTransition, BrokenInvariant)):
            ward.end(slot, event)
        assert (ward.kept(slot), ward.journal(), ward.changes) == (before, records, changes)

    def test_a_damaged_slot_is_not_guessed_at(self, ward: Ward) -> None:
        """Reading it is a broken invariant, which ends the process."""
        slot = ward.take()
        ward.area.table_bytes[slot * TABLE_SLOT_LENGTH + 20] ^= 1
        with pytest.raises(BrokenInvariant, match=f"table slot {slot} is damaged"):
            ward.custody.read(slot)

    def test_gauges(self, ward: Ward) -> None:
        """How many stand where, and the range of the unknown; zeros when there are none."""
        ward.custody.show_gauges(0)
        gauges = (DispatcherCount.UNKNOWN, DispatcherCount.UNKNOWN_LEAST_MS, DispatcherCount.UNKNOWN_GREATEST_MS)
        assert [ward.count(gauge) for gauge in gauges] == [0, 0, 0]
        slots = [ward.take_to(State.UNKNOWN, number) for number in (1, 2, 3)]
        ward.take(4)
        ward.custody.show_gauges(5)
        assert [ward.count(gauge) for gauge in gauges] == [3, SENT_AT_MS + min(slots), SENT_AT_MS + max(slots)]
        assert (ward.count(DispatcherCount.WAITING), ward.count(DispatcherCount.SENDING)) == (1, 5)


class TestFolding:
    """An ended payment is remembered until its record is folded."""

    def test_a_full_journal_forgets_the_oldest(self, ward: Ward) -> None:
        """Its slot is free and its id unknown; all others are still known."""
        slots = [ward.take_to(State.SETTLED, number) for number in range(5)]
        assert len(ward.journal()) == 4
        assert ward.area.table.state(slots[0]) is State.FREE
        assert ward.count(DispatcherCount.FOLDED) == 1
        assert ward.count(DispatcherCount.OLDEST_REMEMBERED_MS) == SENT_AT_MS + slots[1]
        met = [ward.meet(payment(number)) for number in range(4, -1, -1)]
        assert met == [*[DispatcherCount.REPEATED] * 4, DispatcherCount.TAKEN]
        for number in range(5, 20):
            ward.take_to(State.SETTLED, number)  # its slot is used again, and again

    def test_a_batch_is_counted_as_what_it_was(self, ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
        """A journal no longer than a batch folds all it has."""
        monkeypatch.setattr(custody_module, "FOLD_PART", 1)
        for number in range(5):
            ward.take_to(State.SETTLED, number)
        assert (ward.count(DispatcherCount.FOLDED), len(ward.journal())) == (4, 1)
        assert ward.area.another_journal().base.fallback_payments == 4

    @pytest.mark.parametrize(("records", "left"), [(4, 4), (32, 31), (1024, 961), (4096, 4033)])
    def test_a_batch_is_a_small_part(self, records: int, left: int) -> None:
        """A sixteenth is forgotten at once, and 64 at the most; then the one that needed room is remembered."""
        ward = Ward(journal_records=records)
        for number in range(records + 1):
            ward.custody.take(payment(number))
            slot = ward.custody.waiting.popleft()
            ward.custody.begin(slot, 0, SENT_AT_MS)
            ward.custody.end(slot, Event.PAID, ward.custody.read(slot))
        assert len(ward.journal()) == left

    def test_it_is_known_while_a_copy_may_lie_in_a_lane(self) -> None:
        """Whatever lay there when it was forgotten; not what comes later, and not in another life."""
        length = Geometry(1, 1, 8, 1, 2).lane_length
        lanes = [Lane(memoryview(bytearray(length)), 8) for _ in range(2)]
        ward = Ward(lanes=lanes)
        for lane in lanes:
            assert lane.try_publish(payment(90))
        for number in range(5):
            ward.take_to(State.SETTLED, number)
        assert ward.area.table.find(payment(0).correlation_id) is None
        assert [ward.custody.knows(payment(number).correlation_id) for number in range(6)] == [*[True] * 5, False]
        assert ward.meet(payment(0)) is DispatcherCount.REPEATED
        assert ward.meet(payment(0, 1)) is DispatcherCount.CONFLICTS
        assert (ward.count(DispatcherCount.REPEATED), ward.count(DispatcherCount.CONFLICTS)) == (1, 1)
        lanes[0].advance(1)
        assert ward.meet(payment(0)) is DispatcherCount.REPEATED
        assert lanes[1].try_publish(payment(0))
        lanes[1].advance(1)
        assert ward.meet(payment(0)) is DispatcherCount.TAKEN

    def test_copies_are_taken_before(self, ward: Ward) -> None:
        """What is about to be forgotten is still known to whoever takes from the lanes then."""
        known: list[bool] = []

        def take() -> bool:
            known.append(ward.custody.knows(payment(0)[0]))
            return len(known) < 3  # there is more

        ward.custody.before_forgetting = take
        for number in range(5):
            ward.take_to(State.SETTLED, number)
        assert (known, ward.custody.knows(payment(0)[0])) == ([True] * 3, False)


class Books:
    """What a ward must know, in plain lists: who lives, and who is remembered, oldest first."""

    def __init__(self, records: int, batch: int) -> None:
        self.records = records
        self.batch = batch
        self.living: dict[int, State] = {}
        self.remembered: list[int] = []

    def end(self, number: int) -> None:
        """A payment ends; the oldest are forgotten if there is no room for its record."""
        if len(self.remembered) == self.records:
            del self.remembered[: self.batch]
        self.remembered.append(number)
        del self.living[number]


class TestAnyCourse:
    """What holds whatever happens in whatever order, and over a change of dispatchers."""

    @pytest.mark.slow
    @settings(max_examples=60)
    @given(
        st.integers(1, 4),
        st.lists(st.tuples(st.sampled_from(MOVES), st.integers(0, 6)), min_size=30, max_size=80),
    )
    def test_agrees_with_the_books(self, batch: int, moves: list[tuple[Event | str, int]]) -> None:
        """Known are the living and the remembered, free is what they leave, and a successor finds it all."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(custody_module, "FOLD_BATCH_MAX", batch)
            patch.setattr(custody_module, "FOLD_PART", 1)
            ward, books = Ward(), Books(4, batch)
            for what, number in moves:
                if what == "crash":
                    ward = Ward(ward.area)
                    crashed = {State.SENDING: State.UNKNOWN}
                    books.living = {known: crashed.get(state, state) for known, state in books.living.items()}
                    waiting = [known for known, state in books.living.items() if state is State.WAITING]
                    assert list(ward.custody.waiting) == [ward.slot(known) for known in sorted(waiting)]
                elif what == "take":
                    self._take(ward, books, number)
                elif what == "settle":
                    self._take(ward, books, number)
                    self._happen(ward, books, Event.ATTEMPT_BEGAN, number)
                    self._happen(ward, books, Event.PAID, number)
                elif isinstance(what, Event):
                    self._happen(ward, books, what, number)
                self._compare(ward, books)

    @staticmethod
    def _take(ward: Ward, books: Books, number: int) -> None:
        known = number in books.living or number in books.remembered
        room = len(books.living) < 4
        expected = DispatcherCount.REPEATED if known else DispatcherCount.TAKEN if room else None
        assert ward.meet(payment(number)) is expected
        if expected is DispatcherCount.TAKEN:
            books.living[number] = State.WAITING

    @staticmethod
    def _happen(ward: Ward, books: Books, event: Event, number: int) -> None:
        try:
            state = next_state(books.living.get(number, State.FREE), event)
        except IllegalTransition:
            return
        if event in {Event.TAKEN, Event.CRASHED} or (state is State.UNKNOWN and event is not Event.UNCLEAR):
            return  # a lane's, recovery's, and answers that decide nothing
        ward.tell(ward.slot(number), event)
        if event is Event.FOUND_ELSEWHERE:
            ward.custody.waiting.remove(ward.slot(number))
        books.living[number] = state
        if state in ENDED:
            books.end(number)

    @staticmethod
    def _compare(ward: Ward, books: Books) -> None:
        found = {int.from_bytes(kept.correlation_id, "big"): kept for _, kept in ward.area.table.scan() if kept}
        assert set(found) == {*books.living, *books.remembered}
        assert {number: found[number].state for number in books.living} == books.living
        assert ward.custody.room == 4 - len(books.living)
        unknown = {ward.slot(number) for number, state in books.living.items() if state is State.UNKNOWN}
        assert set(ward.custody.unknown) == unknown
        assert all(ward.custody.unknown[slot] == SENT_AT_MS + slot for slot in unknown)
        ended = [ward.kept(record.slot).correlation_id for record in ward.journal() if record]
        assert ended == [payment(number).correlation_id for number in books.remembered]


class TestRecovery:
    """Making a custody recovers what a predecessor left."""

    def test_what_was_sent_is_unknown(self, ward: Ward) -> None:
        """With the requestedAt that may have reached the processor."""
        slot = ward.take_to(State.SENDING)
        successor = Ward(ward.area)
        assert successor.custody.unknown == {slot: SENT_AT_MS + slot}
        assert successor.kept(slot).state is State.UNKNOWN
        successor.custody.show_gauges(0)
        assert successor.count(DispatcherCount.UNKNOWN) == 1

    def test_the_journal_decides(self, ward: Ward) -> None:
        """A death right after the record was appended: the payment has ended, and counts once."""
        slot = ward.take_to(State.SENDING)
        ward.area.journal.append(Ended(State.SETTLED, 1, SENT_AT_MS, 101, slot))
        successor = Ward(ward.area)
        assert successor.kept(slot).state is State.SETTLED
        assert successor.custody.unknown == {}
        with pytest.raises(IllegalTransition):
            successor.end(slot, Event.PAID)

    def test_the_oldest_waits_first(self, ward: Ward) -> None:
        """In order of acceptance, whatever slots they have."""
        slots = [ward.take(number) for number in (3, 1, 2)]
        assert list(Ward(ward.area).custody.waiting) == [slots[1], slots[2], slots[0]]

    def test_damaged_slots_are_set_aside(self, ward: Ward) -> None:
        """They are counted and left as they are; their slots are not used again."""
        slot = ward.take()
        ward.area.table_bytes[slot * TABLE_SLOT_LENGTH + 20] ^= 1
        successor = Ward(ward.area)
        assert successor.count(DispatcherCount.SET_ASIDE) == 1
        assert list(successor.custody.waiting) == []
        for number in range(2, 6):
            assert successor.take(number) != slot
        assert successor.custody.room == 0

    def test_after_an_absence_what_waits_is_doubted(self, ward: Ward) -> None:
        """It is to be looked for elsewhere before it is sent, oldest first; what is unknown stays so."""
        first, second = ward.take(1), ward.take(2)
        third = ward.take_to(State.SENDING, 3)
        successor = Ward(ward.area).custody
        successor.mark_waiting_unverified()
        assert (list(successor.waiting), list(successor.unverified)) == ([], [first, second])
        assert list(successor.unknown) == [third]

"""shm/table.py: every change goes through the state table, and a copy is whole or nothing."""

from collections.abc import Callable

import pytest

from shm import layout
from shm.errors import BrokenInvariant, IllegalTransition
from shm.record import Accepted, Kept
from shm.states import Event, State
from shm.table import Table
from tests.shm.memory import TEARS, Died, Memory

SLOTS = 6
NIL = bytes(16)


def payment(number: int) -> Accepted:
    """A payment unlike all others."""
    return Accepted(number.to_bytes(16, "big"), 100 + number, 1_000_000 + number)


def fresh_table(slots: int = SLOTS) -> tuple[Table, Memory]:
    """An empty table and its memory."""
    memory = Memory(slots * layout.TABLE_SLOT_LENGTH)
    return Table(memory.view(), slots, memory.data.find), memory


def table_with(state: State) -> Table:
    """A table whose slot 2 holds payment 1 in this state, at processor 1."""
    ways = {
        State.FREE: [],
        State.WAITING: [Event.TAKEN],
        State.SENDING: [Event.TAKEN, Event.ATTEMPT_BEGAN],
        State.UNKNOWN: [Event.TAKEN, Event.ATTEMPT_BEGAN, Event.UNCLEAR],
        State.SETTLED: [Event.TAKEN, Event.ATTEMPT_BEGAN, Event.PAID],
        State.DUPLICATE: [Event.TAKEN, Event.ATTEMPT_BEGAN, Event.SHOWN_OTHER],
        State.REFUSED: [Event.TAKEN, Event.ATTEMPT_BEGAN, Event.REJECTED],
    }
    table, _ = fresh_table()
    for event in ways[state]:
        if event is Event.TAKEN:
            table.insert(2, payment(1))
        elif event is Event.ATTEMPT_BEGAN:
            table.begin(2, 1, 5_000)
        else:
            table.apply(2, event)
    return table


class TestInsert:
    """Table.insert."""

    def test_a_fresh_payment_waits(self) -> None:
        """An inserted payment is waiting, with no attempt, no requestedAt and no conflict."""
        table, _ = fresh_table()
        table.insert(2, payment(1))
        assert table.read(2) == Kept(State.WAITING, 0, 0, *payment(1), 0, 0)

    def test_a_slot_is_taken_again_in_a_new_generation(self) -> None:
        """A freed slot starts from nothing: its last payment's attempts and conflicts are gone."""
        table = table_with(State.SETTLED)
        table.count_conflict(2)
        table.apply(2, Event.FOLDED)
        table.insert(2, payment(4))
        assert table.read(2) == Kept(State.WAITING, 0, 0, *payment(4), 0, 0)
        word = table._words[2 * layout.TABLE_SLOT_LENGTH // layout.WORD]  # noqa: SLF001  nobody else reads it
        assert word >> layout.STATE_GENERATION_SHIFT == 2

    @pytest.mark.parametrize("state", [state for state in State if state is not State.FREE])
    def test_a_taken_slot_is_refused(self, state: State) -> None:
        """Nothing is put over a payment."""
        table = table_with(state)
        before = table.read(2)
        with pytest.raises(IllegalTransition, match=f"no transition from {state.name} on TAKEN"):
            table.insert(2, payment(4))
        assert table.read(2) == before

    @pytest.mark.parametrize("tear", TEARS)
    @pytest.mark.parametrize("stores", [0, 1])
    def test_a_death_leaves_the_slot_free(self, stores: int, tear: str) -> None:
        """Dying while the body or the state is stored leaves a free slot, which can be used as ever."""
        table, memory = fresh_table()
        memory.die_at(stores, tear)
        with pytest.raises(Died):
            table.insert(2, payment(1))
        memory.live()
        assert table.state(2) is State.FREE
        assert list(table.scan()) == []
        assert table.find(payment(1).correlation_id) is None
        table.insert(2, payment(4))
        assert table.read(2) == Kept(State.WAITING, 0, 0, *payment(4), 0, 0)


class TestBegin:
    """Table.begin."""

    def test_writes_down_processor_and_time_and_counts(self) -> None:
        """An attempt is on record before it is made: state, processor, requestedAt, and how many there were."""
        table = table_with(State.WAITING)
        assert table.begin(2, 1, 5_000) == 1
        assert table.read(2) == Kept(State.SENDING, 1, 1, *payment(1), 5_000, 0)
        table.apply(2, Event.SURE_NO)
        assert table.begin(2, 0, 6_000) == 2
        assert table.read(2) == Kept(State.SENDING, 0, 2, *payment(1), 6_000, 0)

    @pytest.mark.parametrize("state", [state for state in State if state is not State.WAITING])
    def test_only_a_waiting_payment_is_attempted(self, state: State) -> None:
        """An attempt for any other payment is a bug, and its requestedAt is left alone."""
        table = table_with(state)
        before = table.read(2)
        with pytest.raises(IllegalTransition):
            table.begin(2, 0, 9_000)
        assert table.read(2) == before

    def test_a_death_before_the_state_leaves_it_waiting(self) -> None:
        """Dying between requestedAt and state leaves a waiting payment: nothing was sent."""
        table, memory = fresh_table()
        table.insert(2, payment(1))
        memory.die_at(1)
        with pytest.raises(Died):
            table.begin(2, 1, 5_000)
        kept = table.read(2)
        assert kept is not None
        assert (kept.state, kept.attempts) == (State.WAITING, 0)


class TestApply:
    """Table.apply, Table.replay and Table.count_conflict."""

    def test_changes_the_state_alone(self) -> None:
        """Processor, attempts, generation and requestedAt outlive a change of state."""
        table = table_with(State.SENDING)
        assert table.apply(2, Event.UNCLEAR) is State.UNKNOWN
        assert table.apply(2, Event.SURE_NO) is State.UNKNOWN
        assert table.read(2) == Kept(State.UNKNOWN, 1, 1, *payment(1), 5_000, 0)

    @pytest.mark.parametrize(("tried", "found"), [(0, 1), (1, 0)])
    def test_found_at_the_other_processor(self, tried: int, found: int) -> None:
        """A processor that is given takes the place of the one tried before."""
        table = table_with(State.WAITING)
        table.begin(2, tried, 5_000)
        table.apply(2, Event.SURE_NO)
        assert table.apply(2, Event.FOUND_ELSEWHERE, found) is State.DUPLICATE
        assert table.read(2) == Kept(State.DUPLICATE, found, 1, *payment(1), 5_000, 0)

    def test_what_the_state_table_lacks_is_refused(self) -> None:
        """An event that cannot happen changes nothing."""
        table = table_with(State.SETTLED)
        with pytest.raises(IllegalTransition, match="no transition from SETTLED on PAID"):
            table.apply(2, Event.PAID)
        assert table.state(2) is State.SETTLED

    def test_replay_puts_what_the_journal_says(self) -> None:
        """The journal decides: state and processor become its own, the rest stays."""
        table = table_with(State.SENDING)
        table.replay(2, State.SETTLED, 0)
        assert table.read(2) == Kept(State.SETTLED, 0, 1, *payment(1), 5_000, 0)

    def test_conflicts_are_counted_beside_the_state(self) -> None:
        """A conflict changes nothing but its count."""
        table = table_with(State.SENDING)
        table.count_conflict(2)
        table.count_conflict(2)
        assert table.read(2) == Kept(State.SENDING, 1, 1, *payment(1), 5_000, 2)

    def test_neighbours_are_left_alone(self) -> None:
        """Whatever happens to a slot, the slots beside it stay byte for byte."""
        table, memory = fresh_table()
        table.insert(1, payment(1))
        table.insert(3, payment(3))
        length = layout.TABLE_SLOT_LENGTH
        before = memory.data[: 2 * length], memory.data[3 * length :]
        table.insert(2, payment(2))
        table.begin(2, 1, 5_000)
        table.count_conflict(2)
        table.apply(2, Event.PAID)
        table.apply(2, Event.FOLDED)
        assert (memory.data[: 2 * length], memory.data[3 * length :]) == before


class TestRead:
    """Table.state, Table.read and Table.scan."""

    def test_unknown_state_is_a_broken_invariant(self) -> None:
        """A state that no writer can have stored is reported with slot and value, and no event is applied to it."""
        table, memory = fresh_table()
        memory.data[2 * layout.TABLE_SLOT_LENGTH] = 200
        for use in (table.state, lambda slot: table.insert(slot, payment(1)), lambda slot: table.begin(slot, 0, 1)):
            with pytest.raises(BrokenInvariant, match="^table slot 2 has the unknown state 200$"):
                use(2)

    def test_a_slot_that_changes_is_read_again(self) -> None:
        """A copy during which the state word changed is thrown away and made anew."""
        table, memory = fresh_table()
        table.insert(2, payment(1))
        changes: list[Callable[[], object]] = [lambda: table.apply(2, Event.PAID), lambda: table.begin(2, 1, 5_000)]

        def change() -> None:
            if changes:
                changes.pop()()

        memory.on_copy = change
        assert table.read(2) == Kept(State.SETTLED, 1, 1, *payment(1), 5_000, 0)

    def test_a_slot_that_never_rests_is_given_up(self) -> None:
        """A reader does not wait for ever for a slot that changes at each look."""
        table, memory = fresh_table()
        table.insert(2, payment(1))

        def change() -> None:
            table.begin(2, 1, 5_000)
            table.apply(2, Event.SURE_NO)

        memory.on_copy = change
        assert table.read(2) is None

    def test_a_damaged_slot_is_none(self) -> None:
        """A changed byte of the amount makes the whole slot unreadable."""
        table, memory = fresh_table()
        table.insert(2, payment(1))
        memory.data[2 * layout.TABLE_SLOT_LENGTH + layout.TABLE_ID + 17] ^= 1
        assert table.read(2) is None
        assert list(table.scan()) == [(2, None)]

    def test_scan_gives_all_that_is_not_free_in_order(self) -> None:
        """A scan passes over free slots, used before or not."""
        table, _ = fresh_table()
        for slot in (4, 1, 3):
            table.insert(slot, payment(slot))
        table.begin(3, 0, 1)
        table.apply(3, Event.PAID)
        table.apply(3, Event.FOLDED)
        assert [(slot, kept and kept.correlation_id) for slot, kept in table.scan()] == [
            (slot, payment(slot).correlation_id) for slot in (1, 4)
        ]

    def test_scan_leaves_out_what_is_freed_meanwhile(self) -> None:
        """A slot freed after the scan found it taken may hold half of the next body by now, and is no payment."""
        table, memory = fresh_table()
        table.insert(2, payment(1))
        table.begin(2, 0, 1)
        table.apply(2, Event.PAID)

        def take_again() -> None:
            if table.state(2) is State.SETTLED:
                table.apply(2, Event.FOLDED)
                memory.die_at(0, "first half")
                with pytest.raises(Died):
                    table.insert(2, payment(4))
                memory.live()

        memory.on_copy = take_again
        assert list(table.scan()) == []

    def test_entries_give_the_same_without_checking(self) -> None:
        """State, id, amount and time of acceptance of every slot that is not free."""
        data = bytearray(SLOTS * layout.TABLE_SLOT_LENGTH)
        table = Table(memoryview(data), SLOTS, data.find)
        table.insert(4, payment(2))
        table.insert(0, payment(3))
        table.begin(0, 1, 5_000)
        assert list(table.entries()) == [(0, State.SENDING, *payment(3)), (4, State.WAITING, *payment(2))]

    def test_length_is_the_number_of_slots(self) -> None:
        """A table is as long as it has slots."""
        assert len(fresh_table()[0]) == SLOTS


class TestFind:
    """Table.find."""

    def test_finds_each_payment_and_no_other(self) -> None:
        """Every id in the table is found in its slot; an id that is not there is not."""
        table, _ = fresh_table()
        for slot in range(SLOTS):
            table.insert(slot, payment(slot))
        for slot in range(SLOTS):
            assert table.find(payment(slot).correlation_id) == table.read(slot)
        assert table.find(payment(SLOTS).correlation_id) is None

    def test_finds_the_nil_uuid(self) -> None:
        """The id of sixteen zero bytes, which are everywhere in a table, is found where it is and nowhere else."""
        table, _ = fresh_table(200)
        for slot in range(150):
            table.insert(slot, payment(1 + slot))
        assert table.find(NIL) is None
        table.insert(170, Accepted(NIL, 5, 6))
        assert table.find(NIL) == table.read(170)

    def test_passes_over_what_is_forgotten(self) -> None:
        """A freed slot still holding the id is no find; the same id taken again in a later slot is."""
        table = table_with(State.SETTLED)
        table.apply(2, Event.FOLDED)
        assert table.find(payment(1).correlation_id) is None
        table.insert(4, payment(1))
        assert table.find(payment(1).correlation_id) == table.read(4)

    def test_passes_over_the_id_in_other_fields(self) -> None:
        """Bytes equal to mark and id that do not stand where a slot has them are no find."""
        table, memory = fresh_table()
        start = layout.TABLE_SLOT_LENGTH - 12
        memory.data[start : start + 20] = layout.MARK + payment(9).correlation_id
        table.insert(5, payment(9))
        assert table.find(payment(9).correlation_id) == table.read(5)

    def test_passes_over_a_damaged_slot(self) -> None:
        """A damaged slot with the id is no find."""
        table, memory = fresh_table()
        table.insert(2, payment(1))
        memory.data[2 * layout.TABLE_SLOT_LENGTH + layout.TABLE_BODY] ^= 1
        assert table.find(payment(1).correlation_id) is None

    def test_passes_over_a_slot_that_is_taken_anew_meanwhile(self) -> None:
        """A slot that held the id when it was searched, and another payment when it was read, is no find."""
        _, memory = fresh_table()

        def search_then_take(needle: bytes, start: int) -> int:
            found = memory.data.find(needle, start)
            if found >= 0:
                table.apply(2, Event.FOUND_ELSEWHERE)
                table.apply(2, Event.FOLDED)
                table.insert(2, payment(9))
            return found

        table = Table(memory.view(), SLOTS, search_then_take)
        table.insert(2, payment(1))
        assert table.find(payment(1).correlation_id) is None

    def test_a_miss_is_one_search(self) -> None:
        """It reads the whole table, which takes milliseconds."""
        starts = list[int]()

        def search(_: bytes, start: int) -> int:
            starts.append(start)
            return -1

        assert Table(Memory(SLOTS * layout.TABLE_SLOT_LENGTH).view(), SLOTS, search).find(NIL) is None
        assert starts == [0]

    def test_gives_up_after_64_matches(self) -> None:
        """A search is bounded: after 64 slots that held the id once, it is as good as not there."""
        table, _ = fresh_table(70)
        for slot in range(64):
            table.insert(slot, payment(1))
            table.begin(slot, 0, 1)
            table.apply(slot, Event.REJECTED)
            table.apply(slot, Event.FOLDED)
        table.insert(65, payment(1))
        assert table.find(payment(1).correlation_id) is None

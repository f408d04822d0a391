"""shm/recovery.py: every leftover and its fate."""

from array import array

import pytest

from shm import layout
from shm.errors import BrokenInvariant
from shm.record import Accepted, Ended
from shm.states import Event, State
from tests.shm.memory import Died, Memory
from tests.shm.miniature import GEOMETRY, Miniature, fresh_memory

TABLE_START = GEOMETRY.area_offset(0) + layout.BASE_PAGE_LENGTH + GEOMETRY.journal_length
JOURNAL_START = GEOMETRY.area_offset(0) + layout.BASE_PAGE_LENGTH


def payment(number: int) -> Accepted:
    """A payment unlike all others; a higher number was accepted earlier."""
    return Accepted(number.to_bytes(16, "big"), 100 + number, 1_000_000 - number)


def life_with(*numbers: int) -> tuple[Miniature, Memory]:
    """A life whose dispatcher has taken these payments, the first into slot 0."""
    memory = fresh_memory()
    life = Miniature.over(memory)
    for number in numbers:
        life.publish(payment(number))
        life.take()
    return life, memory


def waiting(life: Miniature, number: int) -> None:
    """Does nothing: a payment taken is waiting."""
    assert life.kept(payment(number).correlation_id).state is State.WAITING


def sending(life: Miniature, number: int) -> None:
    """Lets an attempt begin at fallback."""
    life.begin(payment(number).correlation_id, 1, 5_000)


def unknown(life: Miniature, number: int) -> None:
    """Lets an attempt end without an answer."""
    sending(life, number)
    life.hear(payment(number).correlation_id, Event.UNCLEAR)


def settled(life: Miniature, number: int) -> None:
    """Lets a payment be paid."""
    sending(life, number)
    life.hear(payment(number).correlation_id, Event.PAID)


def duplicate(life: Miniature, number: int) -> None:
    """Lets a payment turn out to have been paid under another acceptance."""
    life.hear(payment(number).correlation_id, Event.FOUND_ELSEWHERE)


def refused(life: Miniature, number: int) -> None:
    """Lets a payment be refused."""
    sending(life, number)
    life.hear(payment(number).correlation_id, Event.REJECTED)


def set_head(memory: Memory, head: int) -> None:
    """Lets the journal's head be what nobody has stored."""
    start = GEOMETRY.area_offset(0) + layout.BASE_JOURNAL_HEAD
    memory.data[start : start + layout.WORD] = head.to_bytes(layout.WORD, "little")


class TestSlots:
    """What becomes of a slot in each state."""

    @pytest.mark.parametrize(
        ("way", "state"),
        [
            (waiting, State.WAITING),
            (sending, State.UNKNOWN),
            (unknown, State.UNKNOWN),
            (settled, State.SETTLED),
            (duplicate, State.DUPLICATE),
            (refused, State.REFUSED),
        ],
    )
    def test_state_after_a_death(self, way, state: State) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        """Waiting waits again, sending becomes unknown, ended stays ended; all else of the slot is kept."""
        life, memory = life_with(1)
        way(life, 1)
        before = life.kept(payment(1).correlation_id)
        successor = Miniature.over(memory)
        assert successor.kept(payment(1).correlation_id) == before._replace(state=state)

    def test_the_successor_is_told_what_to_do(self) -> None:
        """It gets every id with its slot, the free slots, the waiting ones by age, and the unknown ones."""
        life, memory = life_with(1, 2, 3, 4, 5)
        for way, number in ((sending, 2), (settled, 3), (unknown, 5)):
            way(life, number)
        found = Miniature.over(memory).recovered
        assert found.slot_by_id == {payment(number).correlation_id: number - 1 for number in range(1, 6)}
        assert list(found.free) == [6, 5]
        assert found.waiting == [3, 0]  # payment 4 was accepted before payment 1
        assert found.unknown == [1, 4]
        assert found.set_aside == []

    def test_nothing_is_recovered_from_nothing(self) -> None:
        """Zeroed memory is an empty table with all slots free, the lowest to be used first."""
        found = Miniature.over(fresh_memory()).recovered
        assert found._replace(free=array("I")) == ({}, array("I"), [], [], [])
        assert list(found.free) == [6, 5, 4, 3, 2, 1, 0]

    def test_ended_without_a_record_is_freed(self) -> None:
        """A slot whose record was folded, by a dispatcher that died before freeing it, is free again."""
        life, memory = life_with(1, 2)
        settled(life, 1)
        settled(life, 2)
        life.journal.fold(1)
        found = Miniature.over(memory).recovered
        assert found.slot_by_id == {payment(2).correlation_id: 1}
        assert found.free[-1] == 0

    def test_the_journal_decides(self) -> None:
        """A slot whose record is in the journal says the same after recovery, whatever it said before."""
        life, memory = life_with(1, 2)
        for number in (1, 2):
            sending(life, number)
        life.journal.append(Ended(State.SETTLED, 1, 5_000, 101, 0))
        life.journal.append(Ended(State.REFUSED, 1, 5_000, 102, 1))
        successor = Miniature.over(memory)
        assert successor.kept(payment(1).correlation_id).state is State.SETTLED
        assert successor.kept(payment(2).correlation_id).state is State.REFUSED
        assert successor.recovered.unknown == []

    def test_a_record_above_the_head_never_happened(self) -> None:
        """A record stored by a dispatcher that died before the head settles nothing, and is overwritten."""
        life, memory = life_with(1)
        sending(life, 1)
        memory.die_at(1)
        with pytest.raises(Died):
            life.hear(payment(1).correlation_id, Event.PAID)
        memory.live()
        successor = Miniature.over(memory)
        assert successor.kept(payment(1).correlation_id).state is State.UNKNOWN
        assert successor.totals() == (0, 0)
        successor.hear(payment(1).correlation_id, Event.PAID)
        assert successor.totals() == (1, 101)


class TestLanes:
    """What a dispatcher that died between its table and the tail has left in a lane."""

    def test_what_is_in_the_table_is_stepped_over(self) -> None:
        """It is known, and does not come again; what follows does."""
        memory = fresh_memory()
        life = Miniature.over(memory)
        life.publish(payment(1))
        memory.die_at(2)  # body and state of the slot; not the tail
        with pytest.raises(Died):
            life.take()
        memory.live()
        life.publish(payment(2))
        successor = Miniature.over(memory)
        assert successor.lane.tail == 1
        assert successor.take() == [payment(2).correlation_id]
        assert Miniature.over(memory).lane.tail == 2

    def test_a_conflict_is_left_to_be_counted(self) -> None:
        """The same id with another amount is not what was taken."""
        life, memory = life_with(1)
        life.publish(payment(1)._replace(amount_cents=7))
        successor = Miniature.over(memory)
        assert successor.lane.depth == 1
        successor.take()
        assert successor.kept(payment(1).correlation_id).conflicts == 1

    def test_a_copy_that_was_never_published_is_left(self) -> None:
        """A worker died before it stored the head, and another one has brought the same payment: the tail stays."""
        memory = fresh_memory()
        life = Miniature.over(memory)
        memory.die_at(1)
        with pytest.raises(Died):
            life.publish(payment(1))
        memory.live()
        life.table.insert(0, payment(1))
        successor = Miniature.over(memory)
        assert list(successor.recovered.slot_by_id) == [payment(1).correlation_id]
        assert (successor.lane.tail, successor.lane.head) == (0, 0)

    def test_a_damaged_slot_is_left(self) -> None:
        """It is the intake's to wait for or to set aside; so is all that follows it."""
        life, memory = life_with(1)
        life.publish(payment(1))
        life.publish(payment(1))
        memory.data[GEOMETRY.lane_offset(0, 0) + layout.LANE_SLOTS_OFFSET + 2 * layout.LANE_SLOT_LENGTH + 9] ^= 1
        assert Miniature.over(memory).lane.tail == 2

    def test_it_may_be_forgotten_before_the_lane_has_its_turn(self) -> None:
        """One that ended and was folded before its lane was looked at again is not taken for a new one."""
        memory = fresh_memory()
        life = Miniature.over(memory)
        life.publish(payment(1))
        memory.die_at(2)
        with pytest.raises(Died):
            life.take()
        memory.live()
        successor = Miniature.over(memory)
        settled(successor, 1)
        successor.forget(1)
        assert successor.take() == []
        assert successor.totals() == (1, 101)


class TestDamage:
    """What no writer can have left."""

    @pytest.mark.parametrize("offset", [layout.TABLE_ID, layout.TABLE_BODY, layout.TABLE_STATE])
    def test_a_damaged_slot_is_set_aside(self, offset: int) -> None:
        """A slot with a changed byte, in its id, checksum or state, is left as it is and never used."""
        _, memory = life_with(1, 2)
        memory.data[TABLE_START + offset] ^= 0x80
        before = memory.data[TABLE_START : TABLE_START + layout.TABLE_SLOT_LENGTH]
        found = Miniature.over(memory).recovered
        assert found.set_aside == [0]
        assert found.slot_by_id == {payment(2).correlation_id: 1}
        assert 0 not in found.free
        assert memory.data[TABLE_START : TABLE_START + layout.TABLE_SLOT_LENGTH] == before

    def test_a_damaged_slot_with_a_record_is_set_aside(self) -> None:
        """Its record is replayed into its state word and still counts; the slot is not used."""
        life, memory = life_with(1)
        sending(life, 1)
        life.journal.append(Ended(State.SETTLED, 1, 5_000, 101, 0))
        memory.data[TABLE_START + layout.TABLE_ID] ^= 0x80
        successor = Miniature.over(memory)
        assert successor.recovered.set_aside == [0]
        assert successor.table.state(0) is State.SETTLED
        assert successor.totals() == (1, 101)

    def test_a_damaged_record_stops_the_start(self) -> None:
        """Totals with a hole in them are not guessed at: the position is named."""
        life, memory = life_with(1)
        settled(life, 1)
        memory.data[JOURNAL_START + 16] ^= 1
        with pytest.raises(BrokenInvariant, match="^journal record 0 is damaged$"):
            Miniature.over(memory)

    def test_a_record_of_a_slot_that_is_not_there_stops_the_start(self) -> None:
        """A record that is whole but names no slot of this table is damage too."""
        life, memory = life_with(1)
        life.journal.append(Ended(State.SETTLED, 0, 1, 1, GEOMETRY.table_slots))
        with pytest.raises(BrokenInvariant, match="^journal record 0 is damaged$"):
            Miniature.over(memory)

    @pytest.mark.parametrize("head", [2, 8, 1 << 63], ids=["below the tail", "beyond a lap", "far"])
    def test_an_impossible_head_stops_the_start(self, head: int) -> None:
        """A head that can't go with the tail is damage: nothing is freed by it."""
        life, memory = life_with(1, 2, 3, 4)
        for number in range(1, 5):
            settled(life, number)
        life.forget(3)
        set_head(memory, head)
        before = bytes(memory.data)
        with pytest.raises(BrokenInvariant, match=f"^journal head {head} and tail 3 do not fit 4 records$"):
            Miniature.over(memory)
        assert memory.data == before

    @pytest.mark.parametrize("head", [1, 2, 3])
    def test_a_head_that_went_back_stops_the_start(self, head: int) -> None:
        """Payments whose records are above it would be forgotten, and would not count."""
        life, memory = life_with(1, 2, 3, 4)
        for way, number in ((settled, 1), (settled, 2), (refused, 3), (duplicate, 4)):
            way(life, number)
        life.forget(1)
        set_head(memory, head)
        with pytest.raises(BrokenInvariant, match=f"^journal head {head} is too low: the payment of the record there "):
            Miniature.over(memory)

    def test_a_record_above_the_head_of_a_damaged_slot_stops_nothing(self) -> None:
        """Nobody knows whether that payment has ended: its slot is set aside. Nor does one that names no slot."""
        life, memory = life_with(1, 2)
        for slot in (0, GEOMETRY.table_slots):
            life.journal.put(0, Ended(State.SETTLED, 1, 5_000, 101, slot))
            memory.data[TABLE_START + layout.TABLE_ID] = 0x80
            found = Miniature.over(memory).recovered
            assert (found.set_aside, list(found.slot_by_id.values())) == ([0], [1])


class TestAgain:
    """Recovery of a recovery."""

    def everything(self) -> Memory:
        """Memory with a leftover of every kind in it."""
        life, memory = life_with(1, 2, 3, 4, 5, 6)
        for way, number in ((sending, 2), (unknown, 3), (settled, 4), (settled, 5)):
            way(life, number)
        life.journal.fold(1)
        sending(life, 6)
        life.journal.append(Ended(State.SETTLED, 1, 5_000, 106, 5))
        life.publish(payment(7))
        return memory

    def test_a_second_recovery_changes_nothing(self) -> None:
        """A second recovery changes no byte and finds the same."""
        memory = self.everything()
        first = Miniature.over(memory)
        before = bytes(memory.data)
        second = Miniature.over(memory)
        assert memory.data == before
        assert second.recovered == first.recovered

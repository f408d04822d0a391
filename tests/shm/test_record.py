"""shm/record.py: what goes in comes out, and damage never comes out as a payment."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shm import layout
from shm.record import (
    EMPTY_BASE,
    Accepted,
    Base,
    Ended,
    Kept,
    pack_base,
    pack_journal_record,
    pack_lane_slot,
    pack_state,
    pack_table_body,
    unpack_base,
    unpack_journal_record,
    unpack_lane_slot,
    unpack_table_slot,
)
from shm.states import State
from tests.shm.strategies import bases, ended, payments, positions

PAYMENT = Accepted(bytes(range(16)), 1990, 1_752_581_696_789_000)
SETTLED = Ended(State.SETTLED, 1, 1_752_581_696_789, 1990, 77)
GENERATIONS = st.integers(0, 2**32 - 1)


def every_byte_changed(data: bytes, indexes: range) -> Iterator[bytes]:
    """Copies of `data` that differ from it in one of these bytes: 255 for each, so all there are."""
    for index in indexes:
        for change in range(1, 256):
            yield data[:index] + bytes([data[index] ^ change]) + data[index + 1 :]


def table_slot(payment: Accepted, state: State, generation: int) -> bytes:
    """A table slot as a dispatcher leaves it."""
    return pack_state(state, 0, 0, generation).to_bytes(8, "little") + pack_table_body(payment, generation)


class TestLaneSlot:
    """pack_lane_slot and unpack_lane_slot."""

    @given(positions, payments)
    def test_round_trip(self, position: int, payment: Accepted) -> None:
        """A slot is 64 bytes and gives its payment back."""
        slot = pack_lane_slot(position, payment)
        assert len(slot) == layout.LANE_SLOT_LENGTH
        assert unpack_lane_slot(position, slot) == payment

    @given(positions, positions, payments)
    def test_belongs_to_one_position(self, position: int, other: int, payment: Accepted) -> None:
        """A slot read for another position, a lap earlier or later, is none."""
        assert (unpack_lane_slot(other, pack_lane_slot(position, payment)) is None) == (other != position)

    def test_zeroed_slot_is_none(self) -> None:
        """Memory never written holds no payment."""
        assert unpack_lane_slot(0, bytes(64)) is None

    def test_any_changed_byte_is_noticed(self) -> None:
        """Of the body and its checksum no byte can change unnoticed."""
        whole = range(layout.LANE_SLOT_BODY.size + 4)
        assert not any(unpack_lane_slot(9, slot) for slot in every_byte_changed(pack_lane_slot(9, PAYMENT), whole))

    @given(positions, payments, payments, st.integers(0, 64))
    def test_a_mixture_of_two_is_none_or_whole(self, position: int, old: Accepted, new: Accepted, cut: int) -> None:
        """A slot half overwritten by its next lap is the old payment, the new one, or nothing."""
        before, after = pack_lane_slot(position, old), pack_lane_slot(position + 4, new)
        assert unpack_lane_slot(position + 4, after[:cut] + before[cut:]) in {None, new}
        assert unpack_lane_slot(position, after[:cut] + before[cut:]) in {None, old}


class TestTableSlot:
    """pack_state, pack_table_body and unpack_table_slot."""

    @given(payments, st.sampled_from(State), st.integers(0, 1), st.integers(0, 65535), GENERATIONS)
    def test_round_trip(self, payment: Accepted, state: State, processor: int, attempts: int, generation: int) -> None:
        """A fresh body and a state word give back all that was put in, with no attempt and no conflict yet."""
        word = pack_state(state, processor, attempts, generation)
        slot = word.to_bytes(8, "little") + pack_table_body(payment, generation)
        assert unpack_table_slot(slot) == Kept(state, processor, attempts, *payment, 0, 0)

    @given(st.integers(0, 2**20))
    def test_attempts_saturate(self, attempts: int) -> None:
        """Attempts beyond 65,535 spill into no other field."""
        word = pack_state(State.SENDING, 1, attempts, 5)
        assert word >> layout.STATE_GENERATION_SHIFT == 5
        assert word >> layout.STATE_ATTEMPTS_SHIFT & layout.STATE_ATTEMPTS_MAX == min(attempts, 65535)

    def test_generation_wraps(self) -> None:
        """The generation after 2**32 - 1 is 0, in the word and in the checksum alike."""
        slot = pack_state(State.WAITING, 0, 0, 2**32).to_bytes(8, "little") + pack_table_body(PAYMENT, 2**32)
        assert slot == table_slot(PAYMENT, State.WAITING, 0)

    def test_any_changed_byte_of_identity_is_noticed(self) -> None:
        """Of generation, checksum, mark, id, amount and time of acceptance no byte can change unnoticed."""
        covered = range(layout.STATE_GENERATION_SHIFT // 8, layout.TABLE_REQUESTED_AT)
        damaged = every_byte_changed(table_slot(PAYMENT, State.WAITING, 3), covered)
        assert not any(unpack_table_slot(copy) for copy in damaged)

    @pytest.mark.parametrize("value", [len(State), 127, 255])
    def test_an_unknown_state_is_damage(self, value: int) -> None:
        """A state word with a state that does not exist is damage, not an error."""
        assert unpack_table_slot(bytes([value]) + table_slot(PAYMENT, State.WAITING, 3)[1:]) is None

    @pytest.mark.parametrize("processor", [2, 255])
    def test_an_unknown_processor_is_damage(self, processor: int) -> None:
        """The checksum does not cover it, and whoever asks that processor would fail, as would each successor."""
        word = pack_state(State.UNKNOWN, processor, 1, 3)
        assert unpack_table_slot(word.to_bytes(8, "little") + pack_table_body(PAYMENT, 3)) is None

    @pytest.mark.parametrize(("requested_at_ms", "is_damage"), [(2**48 - 1, False), (2**48, True), (2**63, True)])
    def test_a_requested_at_beyond_a_records_is_damage(self, requested_at_ms: int, is_damage: bool) -> None:  # noqa: FBT001
        """The checksum does not cover it. In a journal record it would become another processor, or another end."""
        slot = bytearray(table_slot(PAYMENT, State.UNKNOWN, 3))
        slot[layout.TABLE_REQUESTED_AT : layout.TABLE_CONFLICTS] = requested_at_ms.to_bytes(8, "little")
        assert (unpack_table_slot(bytes(slot)) is None) == is_damage

    def test_a_free_slot_may_hold_anything(self) -> None:
        """A free slot is never damaged: a dispatcher may have died while filling it."""
        kept = unpack_table_slot(table_slot(PAYMENT, State.FREE, 3)[:30] + bytes(34))
        assert kept is not None
        assert kept.state is State.FREE

    @given(payments, payments, GENERATIONS, st.integers(0, 64))
    def test_a_body_of_another_generation_is_damage(
        self, old: Accepted, new: Accepted, generation: int, cut: int
    ) -> None:
        """A slot half overwritten by its next payment is never a third payment, whichever word it shows."""
        before = table_slot(old, State.WAITING, generation)
        after = table_slot(new, State.WAITING, generation + 1)
        kept = unpack_table_slot(after[:cut] + before[cut:])
        assert kept is None or kept[3:6] in {tuple(old), tuple(new)}


class TestJournalRecord:
    """pack_journal_record and unpack_journal_record."""

    @given(positions, ended)
    def test_round_trip(self, position: int, payment: Ended) -> None:
        """A record is 32 bytes and gives its payment back."""
        record = pack_journal_record(position, payment)
        assert len(record) == layout.JOURNAL_RECORD_LENGTH
        assert unpack_journal_record(position, record) == payment

    @given(positions, positions, ended)
    def test_belongs_to_one_position(self, position: int, other: int, payment: Ended) -> None:
        """A record read for another position is none."""
        assert (unpack_journal_record(other, pack_journal_record(position, payment)) is None) == (other != position)

    def test_zeroed_record_is_none(self) -> None:
        """Memory never written holds no record."""
        assert unpack_journal_record(0, bytes(32)) is None

    def test_any_changed_byte_is_noticed(self) -> None:
        """No byte of a record can change unnoticed."""
        record = pack_journal_record(9, SETTLED)
        assert not any(unpack_journal_record(9, copy) for copy in every_byte_changed(record, range(32)))

    @pytest.mark.parametrize(("state", "kind"), [(State.SETTLED, 1), (State.DUPLICATE, 2), (State.REFUSED, 3)])
    def test_each_ended_state_has_its_kind(self, state: State, kind: int) -> None:
        """The byte that says how a payment ended is another than in its slot's state word."""
        record = pack_journal_record(9, SETTLED._replace(state=state))
        assert record[15] == kind
        assert unpack_journal_record(9, record) == SETTLED._replace(state=state)


class TestBase:
    """pack_base and unpack_base."""

    @given(bases)
    def test_round_trip(self, base: Base) -> None:
        """A copy is as long as the layout says and gives its base back."""
        copy = pack_base(base)
        assert len(copy) == layout.BASE_COPY.size
        assert unpack_base(copy) == base

    def test_zeroed_copy_is_the_empty_base(self) -> None:
        """A copy never written is the base of a journal of which nothing was folded."""
        assert unpack_base(bytes(layout.BASE_COPY.size)) == EMPTY_BASE

    @pytest.mark.parametrize("base", [EMPTY_BASE, Base(3, 100, 40, 1_752_581_696_789, 5, 9950, 2, 3980)])
    def test_any_changed_byte_is_noticed(self, base: Base) -> None:
        """No byte of a copy can change unnoticed."""
        copy = pack_base(base)
        assert not any(unpack_base(changed) for changed in every_byte_changed(copy, range(len(copy))))

    def test_without_its_checksum_it_is_damage(self) -> None:
        """Numbers beside a checksum of zero are not taken for a copy never written."""
        assert unpack_base(pack_base(Base(3, 100, 0, 0, 0, 0, 0, 0))[: layout.BASE_BODY.size] + bytes(8)) is None

    @given(bases, bases, st.integers(0, 72))
    def test_a_mixture_of_two_is_none_or_whole(self, old: Base, new: Base, cut: int) -> None:
        """A copy half overwritten is the old base, the new one, or nothing."""
        assert unpack_base(pack_base(new)[:cut] + pack_base(old)[cut:]) in {None, old, new}

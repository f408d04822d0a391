"""A table: every payment in one dispatcher's care, waiting or in flight, and the recently ended ones.

A flat array of slots, written by its dispatcher alone. A slot's state word is stored last and makes the rest true;
every change of it goes through the table of `shm/states.py`, but for a replay, where the journal decides, and a restore
into a copy of the segment. Workers and tools only read, and check the state word again after copying. Which slot holds
which id is the dispatcher's own dict, rebuilt by scanning.
"""

from collections.abc import Callable, Iterator

from shm import layout
from shm.errors import BrokenInvariant
from shm.record import Accepted, Kept, pack_state, pack_table_body, unpack_table_slot
from shm.states import STATES, Event, State, next_state

_SLOT_WORDS = layout.TABLE_SLOT_LENGTH // layout.WORD
_REQUESTED_AT = layout.TABLE_REQUESTED_AT // layout.WORD
_CONFLICTS = layout.TABLE_CONFLICTS // layout.WORD

_FINDS_MAX = 64  # slots an id may have left in the course of time, and chance finds, before a search gives up
_COPIES_MAX = 8  # tries to copy a slot that its dispatcher keeps changing


class Table:
    """One table over any buffer of `Geometry.table_length` bytes. Making one stores nothing.

    Args:
        view: the table's bytes.
        slots: how many slots it has.
        search: finds bytes in the table: (needle, start) to offset, or -1. The segment gives `mmap.find`.
    """

    def __init__(self, view: memoryview, slots: int, search: Callable[[bytes, int], int]) -> None:
        self._view = view
        self._words = view.cast("Q")
        self._slots = slots
        self._search = search

    def __len__(self) -> int:
        """How many slots there are."""
        return self._slots

    def insert(self, slot: int, payment: Accepted) -> None:
        """Puts a payment taken from a lane into a free slot; the state word's store is the commit.

        Raises:
            IllegalTransition: the slot is not free.
            BrokenInvariant: its state word holds no known state.
        """
        state = next_state(self.state(slot), Event.TAKEN)
        generation = (self._words[slot * _SLOT_WORDS] >> layout.STATE_GENERATION_SHIFT) + 1
        start = slot * layout.TABLE_SLOT_LENGTH
        body = pack_table_body(payment, generation)
        self._view[start + layout.TABLE_BODY : start + layout.TABLE_SLOT_LENGTH] = body
        self._words[slot * _SLOT_WORDS] = pack_state(state, 0, 0, generation)

    def begin(self, slot: int, processor: int, requested_at_ms: int) -> int:
        """Writes down an attempt before it is made: requestedAt first, then state, processor and attempts as one word.

        Returns:
            How many attempts have been begun, this one included.

        Raises:
            IllegalTransition: the payment is not waiting.
            BrokenInvariant: its state word holds no known state.
        """
        state = next_state(self.state(slot), Event.ATTEMPT_BEGAN)
        word = self._words[slot * _SLOT_WORDS]
        attempts = (word >> layout.STATE_ATTEMPTS_SHIFT & layout.STATE_ATTEMPTS_MAX) + 1
        self._words[slot * _SLOT_WORDS + _REQUESTED_AT] = requested_at_ms
        generation = word >> layout.STATE_GENERATION_SHIFT
        self._words[slot * _SLOT_WORDS] = pack_state(state, processor, attempts, generation)
        return attempts

    def apply(self, slot: int, event: Event, processor: int | None = None) -> State:
        """Changes a slot's state by `event`, and its processor if one is given; returns the new state.

        Raises:
            IllegalTransition: the state table has no such row.
            BrokenInvariant: its state word holds no known state.
        """
        state = next_state(self.state(slot), event)
        word = self._words[slot * _SLOT_WORDS]
        word = word & ~layout.STATE_MASK | state
        if processor is not None:
            shift = layout.STATE_PROCESSOR_SHIFT
            word = word & ~(layout.STATE_PROCESSOR_MASK << shift) | processor << shift
        self._words[slot * _SLOT_WORDS] = word
        return state

    def replay(self, slot: int, state: State, processor: int) -> None:
        """Makes a slot say what its journal record says; for recovery, since the journal decides."""
        word = self._words[slot * _SLOT_WORDS]
        attempts = word >> layout.STATE_ATTEMPTS_SHIFT & layout.STATE_ATTEMPTS_MAX
        generation = word >> layout.STATE_GENERATION_SHIFT
        self._words[slot * _SLOT_WORDS] = pack_state(state, processor, attempts, generation)

    def restore(self, slot: int, kept: Kept) -> None:
        """Puts a payment and all that is known of it into a free slot; for a table that is being copied into.

        Raises:
            IllegalTransition: the slot is not free.
            BrokenInvariant: its state word holds no known state.
        """
        self.insert(slot, Accepted(kept.correlation_id, kept.amount_cents, kept.accepted_at_us))
        index = slot * _SLOT_WORDS
        self._words[index + _REQUESTED_AT] = kept.requested_at_ms
        self._words[index + _CONFLICTS] = kept.conflicts
        generation = self._words[index] >> layout.STATE_GENERATION_SHIFT
        self._words[index] = pack_state(kept.state, kept.processor, kept.attempts, generation)

    def count_conflict(self, slot: int) -> None:
        """One more copy of this payment with another amount was accepted and then dropped."""
        self._words[slot * _SLOT_WORDS + _CONFLICTS] += 1

    def state(self, slot: int) -> State:
        """The state of a slot.

        Raises:
            BrokenInvariant: the state word holds no known state.
        """
        value = self._words[slot * _SLOT_WORDS] & layout.STATE_MASK
        state = STATES.get(value)
        if state is None:
            raise BrokenInvariant(f"table slot {slot} has the unknown state {value}")
        return state

    def read(self, slot: int) -> Kept | None:
        """A slot's payment, copied whole: the state word is the same before and after. None if it is damaged."""
        index = slot * _SLOT_WORDS
        start = slot * layout.TABLE_SLOT_LENGTH
        for _ in range(_COPIES_MAX):
            word = self._words[index]
            copy = bytes(self._view[start : start + layout.TABLE_SLOT_LENGTH])
            if self._words[index] == word == int.from_bytes(copy[: layout.WORD], "little"):
                return unpack_table_slot(copy)
        return None

    def find(self, correlation_id: bytes) -> Kept | None:
        """The payment with this id by searching memory, for those without the dispatcher's dict. Takes milliseconds."""
        offset = 0
        for _ in range(_FINDS_MAX):
            offset = self._search(layout.MARK + correlation_id, offset)
            if offset < 0:
                return None
            slot, within = divmod(offset, layout.TABLE_SLOT_LENGTH)
            if within == layout.TABLE_MARK:
                kept = self.read(slot)
                if kept and kept.state is not State.FREE and kept.correlation_id == correlation_id:
                    return kept
            offset += 1
        return None

    def ids(self) -> Iterator[tuple[int, int, bytes, int, int]]:
        """Slot, state, id, amount in cents and time of acceptance (µs UTC) of every slot that is not free, as fast as
        can be: checksums are not checked, and the state is a plain number.
        """
        for slot, fields in enumerate(layout.TABLE_SLOT.iter_unpack(self._view)):
            word, _, _, correlation_id, amount_cents, accepted_at_us, _, _ = fields
            state = word & layout.STATE_MASK
            if state:
                yield slot, state, correlation_id, amount_cents, accepted_at_us

    def scan(self) -> Iterator[tuple[int, Kept | None]]:
        """Every slot that is not free with its payment, or with None where damaged; in slot order."""
        for slot in range(self._slots):
            if self._words[slot * _SLOT_WORDS] & layout.STATE_MASK:
                yield slot, self.read(slot)

"""A table: every payment in one dispatcher's care, waiting or in flight, and those that ended and are remembered.

A flat array of slots, written by its dispatcher alone. Which slot holds which id is known by the dispatcher's own dict,
which its successor builds anew from a scan; everyone else searches.

A slot's state word is stored last and makes the rest of the slot count. It changes by the transitions of
`shm/states.py` only, with two exceptions: a replay, where the journal decides, and a restore into a new segment.

Workers, tools and other instances read while the dispatcher writes. They copy the slot between two loads of its state
word (`read`, a sequence lock), and believe the copy only if the word was the same all along. That a believed copy never
holds parts of two payments follows from the order of the dispatcher's stores:

1. Before a slot gets another payment's body, its state word becomes FREE. So whoever has copied a byte of the new body
   then loads FREE or a later word (x86-64 keeps the order of stores, and of loads).
2. The word from before does not come back, as each payment in a slot has another generation (2**32 of them).
3. If the word was FREE from the start, the copy is of a free slot, and nobody looks at the rest of it.

Only requestedAt (while a payment waits) and the count of conflicts may change under the same word. Each is an aligned
word of its own, and `memcpy` is relied on to load it whole, as it does although no manual promises it of vector moves;
other processes show these two and decide nothing by them. On a processor with a weaker order the checksum notices a
body that does not belong to the word, as it covers the generation.
"""

from collections.abc import Callable, Iterator

from shm import layout
from shm.errors import BrokenInvariant
from shm.record import Accepted, Kept, pack_state, pack_table_body, unpack_table_slot
from shm.states import STATES, Event, State, next_state

_SLOT_WORDS = layout.TABLE_SLOT_LENGTH // layout.WORD
_REQUESTED_AT = layout.TABLE_REQUESTED_AT // layout.WORD
_CONFLICTS = layout.TABLE_CONFLICTS // layout.WORD

_FINDS_MAX = 64  # matches that a search looks at: freed slots that still show the id, and the same bytes by chance
_COPIES_MAX = 8  # tries to copy a slot that its dispatcher keeps changing; each takes about a microsecond


class Table:
    """One table over any buffer. Making one stores nothing.

    Over a read-only buffer, reading works and a store is a TypeError.

    Args:
        view: the table's bytes, `Geometry.table_length` of them.
        slots: how many slots it has.
        search: finds bytes in the table, as `bytes.find` does: takes what to find and the offset to begin at, and
            returns the offset of the first match, or -1. A segment gives `mmap.find`.
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
        """Puts a payment taken from a lane into a free slot: the body first, then the state word, which is the commit.

        A crash before the commit leaves a free slot. Its generation is one more than that of the slot's last payment.

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

        A crash before that word leaves a payment that waits: nothing was sent.

        Returns:
            How many attempts have been begun, this one included; never more than 65,536.

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
        """Changes a slot's state by `event`, and its processor if one is given, in one store; returns the new state.

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
        """Stores the state and the processor that the payment's journal record says, whatever the slot said before.

        For recovery, as the journal decides. Attempts and generation stay.
        """
        word = self._words[slot * _SLOT_WORDS]
        attempts = word >> layout.STATE_ATTEMPTS_SHIFT & layout.STATE_ATTEMPTS_MAX
        generation = word >> layout.STATE_GENERATION_SHIFT
        self._words[slot * _SLOT_WORDS] = pack_state(state, processor, attempts, generation)

    def restore(self, slot: int, kept: Kept) -> None:
        """Puts a payment and all that is known of it into a free slot of a new table that nobody else uses yet.

        Several commits, so a crash may leave half of it: the caller throws the new table away then.

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
        """Counts one more copy of this payment that has another amount and is dropped."""
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
        """A slot's payment, copied whole as the top of this file says. Its state is FREE if the slot is free now, and
        then nothing else of it means anything. None: damaged, or the dispatcher changed it during each of eight tries.
        """
        index = slot * _SLOT_WORDS
        start = slot * layout.TABLE_SLOT_LENGTH
        for _ in range(_COPIES_MAX):
            word = self._words[index]
            copy = bytes(self._view[start : start + layout.TABLE_SLOT_LENGTH])
            if self._words[index] == word == int.from_bytes(copy[: layout.WORD], "little"):
                return unpack_table_slot(copy)
        return None

    def find(self, correlation_id: bytes) -> Kept | None:
        """The payment with this id, found by searching the whole table: for processes without the dispatcher's dict.

        None: there is none, or not among the first 64 matches. A miss reads all slots: about 2 ms for 200,000.
        """
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

    def entries(self) -> Iterator[tuple[int, int, bytes, int, int]]:
        """Slot, state (a plain number), id, amount in cents and time of acceptance (µs UTC) of all that is not free.

        As fast as can be, so nothing is checked: of a slot that is damaged, or taken anew at that moment, the fields
        may be of different payments.
        """
        for slot, fields in enumerate(layout.TABLE_SLOT.iter_unpack(self._view)):
            word, _, _, correlation_id, amount_cents, accepted_at_us, _, _ = fields
            state = word & layout.STATE_MASK
            if state:
                yield slot, state, correlation_id, amount_cents, accepted_at_us

    def scan(self) -> Iterator[tuple[int, Kept | None]]:
        """Every slot that is not free with its payment, or with None where `read` gives None; in slot order."""
        for slot in range(self._slots):
            if self._words[slot * _SLOT_WORDS] & layout.STATE_MASK:
                kept = self.read(slot)
                if kept is None or kept.state is not State.FREE:  # it may have been freed since the line above
                    yield slot, kept

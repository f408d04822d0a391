"""Payments to bytes and back: pure, one function each way per kind of record.

Unpacking checks what the bytes claim: a record whose sequence or checksum is not right is None, never a guess.
"""

from enum import IntEnum, unique
from typing import NamedTuple
from zlib import crc32

from shm import layout
from shm.states import STATES, State


class Accepted(NamedTuple):
    """A payment in a lane.

    Args:
        correlation_id: 16 bytes.
        amount_cents: what to pay.
        accepted_at_us: when it was accepted, µs UTC.
    """

    correlation_id: bytes
    amount_cents: int
    accepted_at_us: int


class Kept(NamedTuple):
    """A payment in a table slot.

    Args:
        state: where it stands.
        processor: index of the processor it was last sent to, or that has it; 0 before the first attempt.
        attempts: attempts begun, saturating at 65,535.
        correlation_id: 16 bytes.
        amount_cents: what to pay.
        accepted_at_us: when it was accepted, µs UTC.
        requested_at_ms: the requestedAt last sent, ms UTC; 0 before the first attempt.
        conflicts: copies with another amount that were accepted and then dropped.
    """

    state: State
    processor: int
    attempts: int
    correlation_id: bytes
    amount_cents: int
    accepted_at_us: int
    requested_at_ms: int
    conflicts: int


@unique
class Kind(IntEnum):
    """How a payment ended."""

    SETTLED = 1
    DUPLICATE = 2
    REFUSED = 3


class Ended(NamedTuple):
    """A journal record: one payment that ended.

    Args:
        kind: how it ended. Only settled payments count in totals.
        processor: index of the processor that has it (settled, duplicate) or was asked last (refused); of one that is
            left to a sibling, that of its last attempt, 0 if it was never sent.
        requested_at_ms: requestedAt, ms UTC. Of a settled one as stored at that processor; of a refused one the one
            sent last; of a duplicate the one sent last, or as stored there if it was found after an absence (0 if it
            shows no whole ms since 1970), or, if it is left to a sibling, when that was decided.
        amount_cents: what was accepted here.
        slot: its table slot.
    """

    kind: Kind
    processor: int
    requested_at_ms: int
    amount_cents: int
    slot: int


PROCESSOR_NAMES = ("default", "fallback")
"""What the processors are called, by their index."""

AllTime = tuple[int, int, int, int]
"""Settled payments and their cents: at default, then at fallback. Those of processor p are at 2 * p and 2 * p + 1."""


class Base(NamedTuple):
    """What the folded part of a journal comes to.

    Args:
        epoch: number of the last purge.
        journal_tail: position of the oldest record not folded.
        epoch_start: first position whose record counts in this epoch.
        folded_until_ms: one past the greatest requestedAt ever folded in this epoch, ms UTC; 0 if none.
        default_payments, default_cents, fallback_payments, fallback_cents: settled payments folded in this epoch.
    """

    epoch: int
    journal_tail: int
    epoch_start: int
    folded_until_ms: int
    default_payments: int
    default_cents: int
    fallback_payments: int
    fallback_cents: int

    @property
    def all_time(self) -> AllTime:
        """The totals of what was folded in this epoch."""
        return self.default_payments, self.default_cents, self.fallback_payments, self.fallback_cents

    def counts(self, position: int, ended: Ended) -> bool:
        """Whether a journal record is part of the totals of this epoch."""
        return ended.kind is Kind.SETTLED and position >= self.epoch_start


EMPTY_BASE = Base(0, 0, 0, 0, 0, 0, 0, 0)

EPOCH_TIMES_FROM = 10**12
"""From here on (2001) a purge's number is its time, ms UTC; smaller ones are counted: by 0.1.0, or without Redis."""

# Bytes after the body of each kind of record: the checksum, and padding if there is any.
_LANE_REST = layout.LANE_SLOT_LENGTH - layout.LANE_SLOT_BODY.size
_JOURNAL_REST = layout.JOURNAL_RECORD_LENGTH - layout.JOURNAL_RECORD_BODY.size
_BASE_REST = layout.BASE_COPY.size - layout.BASE_BODY.size

_KINDS = {int(kind): kind for kind in Kind}

KIND_STATES = {Kind.SETTLED: State.SETTLED, Kind.DUPLICATE: State.DUPLICATE, Kind.REFUSED: State.REFUSED}
"""The slot state that belongs to each kind of journal record."""

STATE_KINDS = {state: kind for kind, state in KIND_STATES.items()}
"""The kind of journal record that belongs to each state of a payment that ended."""


def pack_lane_slot(position: int, payment: tuple[bytes, int, int]) -> bytes:
    """The 64 bytes of the lane slot that holds `payment`, with the fields of `Accepted`, at `position`."""
    body = layout.LANE_SLOT_BODY.pack(position + 1, *payment)
    return body + crc32(body).to_bytes(_LANE_REST, "little")


def unpack_lane_slot(position: int, slot: bytes) -> Accepted | None:
    """The payment in a lane slot, or None while the slot does not hold the one of `position`."""
    sequence, correlation_id, amount_cents, accepted_at_us, checksum = layout.LANE_SLOT.unpack(slot)
    if sequence != position + 1 or checksum != crc32(slot[: layout.LANE_SLOT_BODY.size]):
        return None
    return Accepted(correlation_id, amount_cents, accepted_at_us)


def pack_state(state: State, processor: int, attempts: int, generation: int) -> int:
    """The state word of a table slot; attempts saturate, the generation wraps."""
    return (
        state
        | processor << layout.STATE_PROCESSOR_SHIFT
        | min(attempts, layout.STATE_ATTEMPTS_MAX) << layout.STATE_ATTEMPTS_SHIFT
        | (generation & layout.STATE_GENERATION_MASK) << layout.STATE_GENERATION_SHIFT
    )


def pack_table_body(payment: Accepted, generation: int) -> bytes:
    """All of a fresh table slot but its state word: no attempt yet, no conflicts."""
    identity = layout.TABLE_SLOT_IDENTITY.pack(*payment)
    return layout.TABLE_SLOT_BODY.pack(_table_checksum(identity, generation), layout.MARK, *payment, 0, 0)


def _table_checksum(identity: bytes, generation: int) -> int:
    return crc32(layout.GENERATION.pack(generation & layout.STATE_GENERATION_MASK), crc32(identity))


def unpack_table_slot(slot: bytes) -> Kept | None:
    """The payment in a table slot; None if the slot is damaged. A free slot's payment is meaningless."""
    word, checksum, mark, correlation_id, amount_cents, accepted_at_us, requested_at_ms, conflicts = (
        layout.TABLE_SLOT.unpack(slot)
    )
    generation = word >> layout.STATE_GENERATION_SHIFT
    identity = slot[layout.TABLE_ID : layout.TABLE_REQUESTED_AT]
    state = STATES.get(word & layout.STATE_MASK)
    if state is None:
        return None
    if state is not State.FREE and (mark != layout.MARK or checksum != _table_checksum(identity, generation)):
        return None
    return Kept(
        state,
        word >> layout.STATE_PROCESSOR_SHIFT & layout.STATE_PROCESSOR_MASK,
        word >> layout.STATE_ATTEMPTS_SHIFT & layout.STATE_ATTEMPTS_MAX,
        correlation_id,
        amount_cents,
        accepted_at_us,
        requested_at_ms,
        conflicts,
    )


def pack_journal_record(position: int, ended: Ended) -> bytes:
    """The 32 bytes of the journal record at `position`."""
    what = (
        ended.requested_at_ms
        | ended.processor << layout.JOURNAL_PROCESSOR_SHIFT
        | ended.kind << layout.JOURNAL_KIND_SHIFT
    )
    body = layout.JOURNAL_RECORD_BODY.pack(position + 1, what, ended.amount_cents, ended.slot)
    return body + crc32(body).to_bytes(_JOURNAL_REST, "little")


def unpack_journal_record(position: int, record: bytes) -> Ended | None:
    """The ended payment in a journal record, or None if it does not hold the one of `position`."""
    sequence, what, amount_cents, slot, checksum = layout.JOURNAL_RECORD.unpack(record)
    if sequence != position + 1 or checksum != crc32(record[: layout.JOURNAL_RECORD_BODY.size]):
        return None
    return Ended(
        _KINDS[what >> layout.JOURNAL_KIND_SHIFT],
        what >> layout.JOURNAL_PROCESSOR_SHIFT & layout.JOURNAL_BYTE_MASK,
        what & layout.JOURNAL_REQUESTED_AT_MASK,
        amount_cents,
        slot,
    )


def pack_base(base: Base) -> bytes:
    """The 72 bytes of one copy of the base."""
    body = layout.BASE_BODY.pack(*base)
    return body + crc32(body).to_bytes(_BASE_REST, "little")


def unpack_base(copy: bytes) -> Base | None:
    """The base in one of its copies, or None if damaged. A copy never written is the empty base."""
    *numbers, checksum = layout.BASE_COPY.unpack(copy)
    if not any(numbers) and not checksum:
        return EMPTY_BASE
    if checksum != crc32(copy[: layout.BASE_BODY.size]):
        return None
    return Base(*numbers)

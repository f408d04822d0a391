"""Payments to bytes and back: pure, one function each way per kind of record. The bytes are those of `shm/layout.py`.

Unpacking checks what it reads: a record whose sequence or checksum is wrong is None, never a guess.
"""

from typing import NamedTuple
from zlib import crc32

from shm import layout
from shm.states import ENDED, STATES, State


class Accepted(NamedTuple):
    """A payment in a lane.

    Args:
        correlation_id: 16 bytes.
        amount_cents: what to pay, in cents.
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
        attempts: attempts begun; stays at 65,535 once it has reached that.
        correlation_id: 16 bytes.
        amount_cents: what to pay, in cents.
        accepted_at_us: when it was accepted, µs UTC.
        requested_at_ms: the requestedAt of the last attempt, ms UTC; 0 before the first one. Of a payment that waits it
            may be of an attempt never made: it is stored before the state, and a crash in between leaves it alone.
        conflicts: copies with another amount that were accepted and then dropped. A crash between the count and the
            lane's tail has the same copy counted again.
    """

    state: State
    processor: int
    attempts: int
    correlation_id: bytes
    amount_cents: int
    accepted_at_us: int
    requested_at_ms: int
    conflicts: int


class Ended(NamedTuple):
    """A journal record: one payment that ended.

    Args:
        state: how it ended, one of `ENDED`. Only settled payments count in totals.
        processor: index of a processor. Settled or duplicate: the one that has the payment. Refused: the one asked
            last. Left to another instance (a duplicate): the one of the last attempt, 0 if there was none.
        requested_at_ms: ms UTC, below 2**48. Settled: the requestedAt stored at that processor. Refused: the one sent
            last. Duplicate: the one sent last; if it was found at a processor after an absence, the one stored there
            (0 if that is not in whole ms since 1970); if it was left to another instance, when that was decided.
        amount_cents: what was accepted here, in cents.
        slot: its table slot.
    """

    state: State
    processor: int
    requested_at_ms: int
    amount_cents: int
    slot: int


PROCESSOR_NAMES = ("default", "fallback")
"""The names of the processors, by their index."""

AllTime = tuple[int, int, int, int]
"""Settled payments and their cents at default, then the same at fallback: those of processor p are at 2p and 2p + 1."""


class Base(NamedTuple):
    """The totals of a journal's folded records, and where the records that are still in it begin.

    Args:
        epoch: number of the last purge; 0 before the first one.
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
        return ended.state is State.SETTLED and position >= self.epoch_start


EMPTY_BASE = Base(0, 0, 0, 0, 0, 0, 0, 0)

EPOCH_TIMES_FROM = 10**12
"""An epoch from here on is the time of its purge, ms UTC (10**12 lies in 2001). A smaller one is a count of purges, as
version 0.1.0 kept and instances without Redis keep.
"""

# Bytes after the body of each kind of record: the checksum, then zeros if there is room left.
_LANE_REST = layout.LANE_SLOT_LENGTH - layout.LANE_SLOT_BODY.size
_JOURNAL_REST = layout.JOURNAL_RECORD_LENGTH - layout.JOURNAL_RECORD_BODY.size
_BASE_REST = layout.BASE_COPY.size - layout.BASE_BODY.size

_PROCESSORS = len(PROCESSOR_NAMES)

# A journal record has a number of its own for the state in which its payment ended, the kind. It is got by subtraction:
# to look up an enum costs a call.
_KINDS = {1: State.SETTLED, 2: State.DUPLICATE, 3: State.REFUSED}
_STATE_LESS_KIND = 3
assert {state - _STATE_LESS_KIND: state for state in ENDED} == _KINDS, "each end has its kind"


def pack_lane_slot(position: int, payment: tuple[bytes, int, int]) -> bytes:
    """The 64 bytes of the lane slot at `position` that holds `payment`: the fields of an `Accepted`, as any tuple."""
    body = layout.LANE_SLOT_BODY.pack(position + 1, *payment)
    return body + crc32(body).to_bytes(_LANE_REST, "little")


def unpack_lane_slot(position: int, slot: bytes) -> Accepted | None:
    """The payment in the 64 bytes of a lane slot, or None if they are not, or not wholly, the record of `position`."""
    sequence, correlation_id, amount_cents, accepted_at_us, checksum = layout.LANE_SLOT.unpack(slot)
    if sequence != position + 1 or checksum != crc32(slot[: layout.LANE_SLOT_BODY.size]):
        return None
    return Accepted(correlation_id, amount_cents, accepted_at_us)


def pack_state(state: State, processor: int, attempts: int, generation: int) -> int:
    """The state word of a table slot. More than 65,535 attempts become 65,535; the generation is taken modulo 2**32."""
    return (
        state
        | processor << layout.STATE_PROCESSOR_SHIFT
        | min(attempts, layout.STATE_ATTEMPTS_MAX) << layout.STATE_ATTEMPTS_SHIFT
        | (generation & layout.STATE_GENERATION_MASK) << layout.STATE_GENERATION_SHIFT
    )


def pack_table_body(payment: Accepted, generation: int) -> bytes:
    """The 56 bytes of a fresh table slot after its state word: no attempt yet, no conflicts."""
    identity = layout.TABLE_SLOT_IDENTITY.pack(*payment)
    return layout.TABLE_SLOT_BODY.pack(_table_checksum(identity, generation), layout.MARK, *payment, 0, 0)


def _table_checksum(identity: bytes, generation: int) -> int:
    return crc32(layout.GENERATION.pack(generation & layout.STATE_GENERATION_MASK), crc32(identity))


def unpack_table_slot(slot: bytes) -> Kept | None:
    """The payment in the 64 bytes of a table slot; None if they are damaged: an unknown state or processor, a wrong
    mark or CRC, or a requestedAt that no journal record could hold.

    Of a free slot only the state means anything: the rest may be anything, so it is not checked.
    """
    word, checksum, mark, correlation_id, amount_cents, accepted_at_us, requested_at_ms, conflicts = (
        layout.TABLE_SLOT.unpack(slot)
    )
    generation = word >> layout.STATE_GENERATION_SHIFT
    identity = slot[layout.TABLE_ID : layout.TABLE_REQUESTED_AT]
    state = STATES.get(word & layout.STATE_MASK)
    processor = word >> layout.STATE_PROCESSOR_SHIFT & layout.STATE_PROCESSOR_MASK
    if state is None:
        return None
    is_whole = mark == layout.MARK and checksum == _table_checksum(identity, generation)
    is_possible = processor < _PROCESSORS and requested_at_ms <= layout.JOURNAL_REQUESTED_AT_MASK
    if state is not State.FREE and not (is_whole and is_possible):
        return None
    return Kept(
        state,
        processor,
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
        | (ended.state - _STATE_LESS_KIND) << layout.JOURNAL_KIND_SHIFT
    )
    body = layout.JOURNAL_RECORD_BODY.pack(position + 1, what, ended.amount_cents, ended.slot)
    return body + crc32(body).to_bytes(_JOURNAL_REST, "little")


def unpack_journal_record(position: int, record: bytes) -> Ended | None:
    """The ended payment in the 32 bytes of a journal record, or None if they are not, or not wholly, of `position`."""
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
    """The base in the 72 bytes of one of its copies, or None if they are damaged.

    A copy never written, all zero, is the empty base. (The CRC-32 of 64 zero bytes is not zero.)
    """
    *numbers, checksum = layout.BASE_COPY.unpack(copy)
    if not any(numbers) and not checksum:
        return EMPTY_BASE
    if checksum != crc32(copy[: layout.BASE_BODY.size]):
        return None
    return Base(*numbers)

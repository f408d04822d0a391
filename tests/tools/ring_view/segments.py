"""A small segment of its own for a test, filled as workers and dispatchers fill theirs."""

import os
import secrets
from pathlib import Path
from uuid import UUID

from shm import Accepted, Ended, Event, Geometry, Segment, State
from tests.shm.segments import remove

SMALL = Geometry(workers=2, dispatchers=1, lane_slots=4, waiting_slots=8, journal_records=8)
FOLDER = Path("/dev/shm")
BASE_PAGE_BYTES = 4096
SLOT_BYTES = 64


def unique_instance() -> str:
    """A name that no other test and no other process uses."""
    return f"test-{os.getpid()}-{secrets.token_hex(4)}"


def payment_id(number: int) -> UUID:
    """An id that is easy to tell."""
    return UUID(int=number)


class Filled:
    """A new segment and the ways to fill it; `close` removes it."""

    def __init__(self, geometry: Geometry = SMALL) -> None:
        self.instance = unique_instance()
        self.segment = Segment.create(self.instance, geometry)
        self.file = FOLDER / f"gateway-{self.instance}"
        self._next_slot = 0

    def close(self) -> None:
        """Remove the segment and its lock files."""
        remove(self.instance)

    def attach(self) -> Segment:
        """Map it as the program under test does."""
        return Segment.attach(self.instance, read_only=True)

    def publish(self, number: int, *, amount_cents: int = 1990, accepted_at_us: int = 1, worker: int = 0) -> None:
        """Put a payment into a worker's lane."""
        accepted = Accepted(payment_id(number).bytes, amount_cents, accepted_at_us)
        assert self.segment.lane(worker, 0).try_publish(accepted)

    def wait(self, number: int, *, amount_cents: int = 1990, accepted_at_us: int = 1) -> int:
        """Put a payment into the table; returns its slot."""
        slot, self._next_slot = self._next_slot, self._next_slot + 1
        self.segment.table(0).insert(slot, Accepted(payment_id(number).bytes, amount_cents, accepted_at_us))
        return slot

    def settle(self, number: int, processor: int, *, amount_cents: int = 1990, accepted_at_us: int = 1) -> int:
        """Pay a payment at a processor; returns its slot. It is sent at 1,000 ms."""
        slot = self.wait(number, amount_cents=amount_cents, accepted_at_us=accepted_at_us)
        table = self.segment.table(0)
        table.begin(slot, processor, 1000)
        self.segment.journal(0).append(Ended(State.SETTLED, processor, 1000, amount_cents, slot))
        table.apply(slot, Event.PAID)
        return slot

    def damage_slot(self, slot: int) -> None:
        """Turn over a byte of the amount in a table slot."""
        area = self.segment.geometry.area_offset(0)
        start = area + BASE_PAGE_BYTES + self.segment.geometry.journal_length
        self._turn_over(start + slot * SLOT_BYTES + 32)

    def damage_record(self) -> None:
        """Turn over a byte of the amount in the first journal record."""
        self._turn_over(self.segment.geometry.area_offset(0) + BASE_PAGE_BYTES + 16)

    def damage_lane_slot(self) -> None:
        """Turn over a byte of the amount in the first lane's first slot; its head and tail take two cache lines."""
        self._turn_over(self.segment.geometry.lane_offset(0, 0) + 2 * SLOT_BYTES + 24)

    def damage_phase(self) -> None:
        """Turn over a byte of the supervisor's phase."""
        self._turn_over(self.segment.geometry.counters_offset(0) + 16)

    def put_word(self, offset: int, value: int) -> None:
        """Store a word anywhere in the segment."""
        with self.file.open("r+b") as file:
            file.seek(offset)
            file.write(value.to_bytes(8, "little"))

    def _turn_over(self, offset: int) -> None:
        with self.file.open("r+b") as file:
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ 0xFF]))

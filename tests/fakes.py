"""Stand-ins for the world outside, for tests of the server: clocks that turn when told to, memory without a segment.

What stands on either side of the door (`tests/server/fake_door.py`) or of a connection (`tests/server/fake_peer.py`)
has its own file.
"""

from shm import Counters, Journal, Table
from shm.layout import BASE_PAGE_LENGTH, COUNTERS_LENGTH, JOURNAL_RECORD_LENGTH, TABLE_SLOT_LENGTH

NOON_MS = 1_752_582_896_000
"""2025-07-15T12:34:56Z."""


class FakeClock:
    """Two clocks that stand still until a test moves them.

    Args:
        wall_ms: what the wall clock shows, ms UTC.
        ticks: what the ticking clock shows, ms.
    """

    def __init__(self, wall_ms: int = NOON_MS, ticks: int = 1_000_000) -> None:
        self.now_us = wall_ms * 1000
        self.now_ticks_ms = ticks

    def wall_us(self) -> int:
        """Microseconds UTC."""
        return self.now_us

    def ticks_ms(self) -> int:
        """Milliseconds that only go forward."""
        return self.now_ticks_ms

    def advance(self, milliseconds: int) -> None:
        """Both clocks go on."""
        self.now_us += milliseconds * 1000
        self.now_ticks_ms += milliseconds


class FakeArea:
    """A dispatcher's memory without a segment: its table, journal and counters over zeroed bytes.

    Args:
        waiting_slots: table slots for payments that have not ended.
        journal_records: a power of two.
    """

    def __init__(self, waiting_slots: int = 4, journal_records: int = 4) -> None:
        slots = waiting_slots + journal_records
        self.table_bytes = bytearray(slots * TABLE_SLOT_LENGTH)
        self.table = Table(memoryview(self.table_bytes), slots, self.table_bytes.find)
        self._page = memoryview(bytearray(BASE_PAGE_LENGTH))
        self._records = memoryview(bytearray(journal_records * JOURNAL_RECORD_LENGTH))
        self._length = journal_records
        self.journal = self.another_journal()
        self.counters = Counters(memoryview(bytearray(COUNTERS_LENGTH)))

    def another_journal(self) -> Journal:
        """The same journal as another process sees it."""
        return Journal(self._page, self._records, self._length)

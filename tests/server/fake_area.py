"""A dispatcher's memory without a segment: its table, journal and counters over zeroed bytes."""

from shm import Counters, Journal, Table
from shm.layout import BASE_PAGE_LENGTH, COUNTERS_LENGTH, JOURNAL_RECORD_LENGTH, TABLE_SLOT_LENGTH


class FakeArea:
    """One dispatcher's share of a segment.

    Args:
        waiting_slots: table slots for payments that have not ended.
        journal_records: a power of two.

    Attributes:
        journal_memory: base page, records and how many, for another view of the journal.
    """

    def __init__(self, waiting_slots: int = 4, journal_records: int = 4) -> None:
        slots = waiting_slots + journal_records
        self.table_bytes = bytearray(slots * TABLE_SLOT_LENGTH)
        self.table = Table(memoryview(self.table_bytes), slots, self.table_bytes.find)
        page = memoryview(bytearray(BASE_PAGE_LENGTH))
        records = memoryview(bytearray(journal_records * JOURNAL_RECORD_LENGTH))
        self.journal_memory = page, records, journal_records
        self.journal = self.another_journal()
        self.counters = Counters(memoryview(bytearray(COUNTERS_LENGTH)))

    def another_journal(self) -> Journal:
        """The same journal as another process sees it."""
        return Journal(*self.journal_memory)

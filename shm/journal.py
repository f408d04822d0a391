"""A journal: each payment of one dispatcher that ended, in order, and the base that its folded part comes to.

The store of the head *is* the settlement: a record below it has happened, one above it has not. When the journal is
full its oldest records are folded into the base, which is kept twice with a selector word: writing the idle copy and
then the selector is one atomic commit. Written by its dispatcher alone; workers and tools read.
"""

from shm import layout
from shm.errors import BrokenInvariant
from shm.record import (
    EMPTY_BASE,
    Base,
    Ended,
    Kind,
    pack_base,
    pack_journal_record,
    unpack_base,
    unpack_journal_record,
)

_SELECTOR = layout.BASE_SELECTOR // layout.WORD
_LIFE = layout.BASE_LIFE // layout.WORD
_HEAD = layout.BASE_JOURNAL_HEAD // layout.WORD
_COPIES_MAX = 8  # tries to copy a base that its dispatcher keeps committing


class Journal:
    """One journal over its base page and its records.

    Args:
        page: the base page, 4,096 bytes.
        view: the records, 32 bytes each.
        records: how many records there is room for, a power of two; from then on its `capacity`.
    """

    def __init__(self, page: memoryview, view: memoryview, records: int) -> None:
        """Stores nothing."""
        self.capacity = records
        self._page = page
        self._page_words = page.cast("Q")
        self._view = view
        self._mask = records - 1
        self._tail = 0  # the journal tail of the base in force when the selector was `_tail_selector`
        self._tail_selector = -1

    @property
    def head(self) -> int:
        """Records ever appended."""
        return self._page_words[_HEAD]

    @property
    def life(self) -> int:
        """How many times a dispatcher started on this journal."""
        return self._page_words[_LIFE]

    def begin_life(self) -> None:
        """Counts a new dispatcher, once: its life has a number of its own."""
        self._page_words[_LIFE] += 1

    @property
    def base(self) -> Base:
        """The base in force, copied whole.

        Raises:
            BrokenInvariant: the copy that the selector points to is damaged.
        """
        selector = self._page_words[_SELECTOR]
        for _ in range(_COPIES_MAX):
            start = layout.BASE_COPIES[selector & 1]
            base = unpack_base(bytes(self._page[start : start + layout.BASE_COPY.size]))
            after = self._page_words[_SELECTOR]
            if base is not None and after == selector:
                return base
            selector = after
        raise BrokenInvariant(f"base copy {selector & 1} is damaged")

    def commit_base(self, base: Base) -> None:
        """Puts a new base in force in one step."""
        selector = self._page_words[_SELECTOR] + 1
        start = layout.BASE_COPIES[selector & 1]
        self._page[start : start + layout.BASE_COPY.size] = pack_base(base)
        self._page_words[_SELECTOR] = selector
        self._tail, self._tail_selector = base.journal_tail, selector

    @property
    def depth(self) -> int:
        """Records not folded yet; raises as `base` does, which is read only when it is another one."""
        selector = self._page_words[_SELECTOR]
        if selector != self._tail_selector:
            self._tail, self._tail_selector = self.base.journal_tail, selector
        return self._page_words[_HEAD] - self._tail

    def is_full(self) -> bool:
        """Whether records must be folded before one can be appended."""
        return self.depth >= self.capacity

    def append(self, ended: Ended) -> None:
        """Writes down that a payment ended, at the head. The store of the head after it is the commit.

        The caller has made room by folding.

        Raises:
            BrokenInvariant: the journal is full: the record would overwrite one that is not in the base yet.
        """
        if self.is_full():
            raise BrokenInvariant("append to a full journal")
        head = self._page_words[_HEAD]
        self.put(head, ended)
        self._page_words[_HEAD] = head + 1

    def put(self, position: int, ended: Ended) -> None:
        """Stores a record without appending it: below the head only in a journal that is being copied into."""
        start = (position & self._mask) * layout.JOURNAL_RECORD_LENGTH
        self._view[start : start + layout.JOURNAL_RECORD_LENGTH] = pack_journal_record(position, ended)

    def read(self, position: int) -> Ended | None:
        """The record at `position`, below the head; None if it is torn, damaged or overwritten since.

        At or above the head, what a dead dispatcher left may read whole: it has not happened.
        """
        start = (position & self._mask) * layout.JOURNAL_RECORD_LENGTH
        return unpack_journal_record(position, bytes(self._view[start : start + layout.JOURNAL_RECORD_LENGTH]))

    def fold(self, count: int) -> list[int]:
        """Folds the `count` oldest records (or all there are) into the base; returns their table slots, to be freed.

        Raises:
            BrokenInvariant: a record that must be there is damaged.
        """
        base, slots = self.folded(count)
        self.commit_base(base)
        return slots

    def folded(self, count: int) -> tuple[Base, list[int]]:
        """What the base would be after folding the `count` oldest records, and their table slots; stores nothing.

        Raises:
            BrokenInvariant: a record that must be there is damaged.
        """
        base = self.base
        end = min(base.journal_tail + count, self.head)
        totals = [*base.all_time]
        folded_until_ms = base.folded_until_ms
        slots = []
        for position in range(base.journal_tail, end):
            ended = self.read(position)
            if ended is None:
                raise BrokenInvariant(f"journal record {position} is damaged")
            slots.append(ended.slot)
            if base.counts(position, ended):
                totals[2 * ended.processor] += 1
                totals[2 * ended.processor + 1] += ended.amount_cents
                folded_until_ms = max(folded_until_ms, ended.requested_at_ms + 1)
        return Base(base.epoch, end, base.epoch_start, folded_until_ms, *totals), slots

    def begin_epoch(self, epoch: int, start: int | None = None) -> None:
        """Begins a purge's epoch: totals start again from zero; what is remembered stays remembered.

        Args:
            epoch: its number.
            start: the first position that counts again, not below the tail; None: the next record's.

        Raises:
            BrokenInvariant: the base is damaged.
        """
        start = self.head if start is None else start
        self.commit_base(EMPTY_BASE._replace(epoch=epoch, journal_tail=self.base.journal_tail, epoch_start=start))

    def first_requested_since(self, at_ms: int, position: int) -> int:
        """The first position from `position` (or the tail) on that settled a payment requested then or later; else the
        head. Called by the dispatcher; raises as `base` does.
        """
        head = self.head
        for candidate in range(max(position, self.base.journal_tail), head):
            ended = self.read(candidate)
            if ended is not None and ended.kind is Kind.SETTLED and ended.requested_at_ms >= at_ms:
                return candidate
        return head

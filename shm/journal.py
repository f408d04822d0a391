"""A journal: the payments of one dispatcher that ended, in order, and the base: the totals of those already forgotten.

A ring of records, written by its dispatcher alone; workers, tools and other instances read. The record at position p
lies in place p modulo the number of records. Two words commit what is stored before them:

* The head counts the records ever appended. A record is stored first and the head next, and that store of the head *is*
  the settlement: a record below the head has happened, one at or above it has not.
* The selector counts the commits of the base, which is kept twice. A new base goes into the copy that is not in force,
  and the store of the selector puts it in force. A crash before it leaves the base as it was.

When the journal is full its oldest records are *folded*: a new base is committed whose totals include them and whose
tail is past them. Only then may their places be used again, so no record below the head and not below the tail is ever
overwritten. A reader that lags behind the tail sees that: the record there has another sequence.
"""

from shm import layout
from shm.errors import BrokenInvariant
from shm.record import (
    EMPTY_BASE,
    Base,
    Ended,
    pack_base,
    pack_journal_record,
    unpack_base,
    unpack_journal_record,
)
from shm.states import State

_SELECTOR = layout.BASE_SELECTOR // layout.WORD
_LIFE = layout.BASE_LIFE // layout.WORD
_HEAD = layout.BASE_JOURNAL_HEAD // layout.WORD
_COPIES_MAX = 8  # tries to copy a base that its dispatcher keeps committing; each takes a few microseconds


class Journal:
    """One journal over its base page and its records. Over read-only memory, reading works and a store is a TypeError.

    Args:
        page: the base page, 4,096 bytes.
        view: the records, 32 bytes each.
        records: how many records there is room for, a power of two; from then on its `capacity`.
    """

    def __init__(self, page: memoryview, view: memoryview, records: int) -> None:
        """Neither loads nor stores anything."""
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
        """Called once by each dispatcher that starts: counts it, so that its life has a number of its own."""
        self._page_words[_LIFE] += 1

    @property
    def base(self) -> Base:
        """The base in force, copied whole: its checksum is right, and the selector is the same before and after.

        The copy in force is overwritten only after the selector has moved on, so on x86-64 whoever has copied a byte of
        that loads another selector next, and copies again.

        Raises:
            BrokenInvariant: the copy in force is damaged, or the base changed during each of eight tries.
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
        """Puts a new base in force in one step: the store of the selector, after that of the copy."""
        selector = self._page_words[_SELECTOR] + 1
        start = layout.BASE_COPIES[selector & 1]
        self._page[start : start + layout.BASE_COPY.size] = pack_base(base)
        self._page_words[_SELECTOR] = selector
        self._tail, self._tail_selector = base.journal_tail, selector

    @property
    def depth(self) -> int:
        """How many records are not folded yet. Reads the base only if another one is in force than the last time.

        Raises:
            BrokenInvariant: as `base`.
        """
        selector = self._page_words[_SELECTOR]
        if selector != self._tail_selector:
            self._tail, self._tail_selector = self.base.journal_tail, selector
        return self._page_words[_HEAD] - self._tail

    def unfolded(self) -> range:
        """Positions of the records that are not folded yet. For the dispatcher, or while there is none.

        Raises:
            BrokenInvariant: so many can't be, or fewer than none. Or as `base`.
        """
        tail, head = self.base.journal_tail, self.head
        if not 0 <= head - tail <= self.capacity:
            raise BrokenInvariant(f"journal head {head} and tail {tail} do not fit {self.capacity} records")
        return range(tail, head)

    def is_full(self) -> bool:
        """Whether records must be folded before one can be appended; raises as `depth` does."""
        return self.depth >= self.capacity

    def append(self, ended: Ended) -> None:
        """Writes down at the head that a payment ended; the store of the head after the record is the commit.

        Raises:
            BrokenInvariant: the journal is full: the record would overwrite one that is not in the base yet. The caller
                has to fold first. Or as `base`.
        """
        if self.depth >= self.capacity:
            raise BrokenInvariant("append to a full journal")
        head = self._page_words[_HEAD]
        self.put(head, ended)
        self._page_words[_HEAD] = head + 1

    def put(self, position: int, ended: Ended) -> None:
        """Stores a record and leaves the head alone. Other callers than `append` only fill a new copy of a journal."""
        start = (position & self._mask) * layout.JOURNAL_RECORD_LENGTH
        self._view[start : start + layout.JOURNAL_RECORD_LENGTH] = pack_journal_record(position, ended)

    def read(self, position: int) -> Ended | None:
        """The record at `position`, or None if its place does not hold it whole. To be asked for below the head only.

        None below the tail: it has been overwritten. None between tail and head: it is damaged, or, on a processor that
        reorders stores, not visible yet. At or above the head there may be a whole record by a dispatcher that died
        before it stored the head: it has not happened.
        """
        start = (position & self._mask) * layout.JOURNAL_RECORD_LENGTH
        return unpack_journal_record(position, bytes(self._view[start : start + layout.JOURNAL_RECORD_LENGTH]))

    def fold(self, count: int) -> list[int]:
        """Folds the `count` oldest records (or all there are) into the base; returns their table slots.

        The caller frees the slots afterwards. If it dies before that, its successor does: they say that a payment
        ended, and no record does (`shm/recovery.py`).

        Raises:
            BrokenInvariant: one of these records is damaged, and nothing was stored. Or as `base`.
        """
        base, slots = self.folded(count)
        self.commit_base(base)
        return slots

    def folded(self, count: int) -> tuple[Base, list[int]]:
        """What `fold` would commit and return, without storing anything.

        Raises:
            BrokenInvariant: as `fold`.
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
        """Begins a purge's epoch: totals start again from zero, and ended payments stay remembered.

        Args:
            epoch: its number.
            start: the first position that counts in the new epoch, not below the tail; None: the head, so that of all
                that has been appended nothing counts.

        Raises:
            BrokenInvariant: the base is damaged.
        """
        start = self.head if start is None else start
        self.commit_base(EMPTY_BASE._replace(epoch=epoch, journal_tail=self.base.journal_tail, epoch_start=start))

    def first_requested_since(self, at_ms: int, position: int) -> int:
        """The first position of a settlement whose requestedAt is `at_ms` (ms UTC) or later; the head if there is none.

        Called by the dispatcher. Looks from `position` or the tail on, whichever is greater. Raises as `base` does.
        """
        head = self.head
        for candidate in range(max(position, self.base.journal_tail), head):
            ended = self.read(candidate)
            if ended is not None and ended.state is State.SETTLED and ended.requested_at_ms >= at_ms:
                return candidate
        return head

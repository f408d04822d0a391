"""Tables tallied and journals summed up, whole, damaged and changing."""

from collections.abc import Iterator
from typing import cast

import pytest

from shm import Base, BrokenInvariant, Ended, Event, Journal, Kept, State, Table
from tests.tools.ring_view.segments import Filled
from tools.ring_view.contents import DAMAGED_SHOWN_MAX, SUMS_MAX, Scan, age_ms, view_journal, view_table
from tools.ring_view.snapshot import Money, StateTally

NOW_US = 10_000_000
RECORDS = 8


def kept(state: State) -> Kept:
    """A payment in a table slot."""
    return Kept(state, 0, 0, bytes(16), 1990, 1, 0, 0)


class ChangingTable:
    """A table whose slots read differently the second time; stands for one that is being written."""

    def __init__(self, first: list[Kept | None], second: list[Kept | None]) -> None:
        self._first = first
        self._second = second

    def __len__(self) -> int:
        return len(self._first)

    def scan(self) -> Iterator[tuple[int, Kept | None]]:
        """The first look."""
        yield from enumerate(self._first)

    def read(self, slot: int) -> Kept | None:
        """The second look."""
        return self._second[slot]


class ChangingJournal:
    """A journal whose writer does something at each look; stands for one that is being written."""

    def __init__(self, bases: list[Base], unreadable: int = 0) -> None:
        self._bases = bases
        self._unreadable = unreadable
        self.head = 1
        self.life = 1

    @property
    def base(self) -> Base:
        """The next base, the last one for ever."""
        return self._bases.pop(0) if len(self._bases) > 1 else self._bases[0]

    def read(self, position: int) -> Ended | None:
        """Nothing the first times, then a payment."""
        self._unreadable -= 1
        return None if self._unreadable >= 0 else Ended(State.SETTLED, 0, 1000, 1990, 0)


def base(epoch: int = 0, tail: int = 0) -> Base:
    """A base with nothing folded."""
    return Base(epoch, tail, 0, 0, 0, 0, 0, 0)


class TestAgeMs:
    """`age_ms`."""

    @pytest.mark.parametrize(("at_us", "expected"), [(0, 10_000), (NOW_US - 1999, 1), (NOW_US, 0), (NOW_US + 5, 0)])
    def test_whole_milliseconds(self, at_us: int, expected: int) -> None:
        """Ages are rounded down, and what happened after the look began is new, not negative."""
        assert age_ms(at_us, NOW_US) == expected


class TestViewTable:
    """`view_table`."""

    def test_an_empty_table_is_all_free(self, filled: Filled) -> None:
        """A table without payments has free slots and no states."""
        view, changed = view_table(filled.attach().table(0), NOW_US)
        assert (view.slots, view.free, view.states, view.damaged, changed) == (16, 16, {}, 0, 0)

    def test_payments_by_state(self, filled: Filled) -> None:
        """Each state has its count, its amount and the ages of the payments accepted first and last."""
        for number, accepted_at_us in enumerate((7_000_000, 4_000_000, 9_000_000)):
            filled.wait(number, amount_cents=100 + number, accepted_at_us=accepted_at_us)
        filled.settle(3, 1, amount_cents=5, accepted_at_us=2_000_000)
        view, _ = view_table(filled.attach().table(0), NOW_US)
        assert view.states == {"waiting": StateTally(3, 303, 6000, 1000), "settled": StateTally(1, 5, 8000, 8000)}
        assert view.free == 12

    def test_every_state_is_named(self, filled: Filled) -> None:
        """Sending, unknown, duplicate and refused payments are told apart."""
        table = filled.segment.table(0)
        for number, events in enumerate(([], [Event.UNCLEAR], [Event.SHOWN_OTHER], [Event.REJECTED])):
            slot = filled.wait(number)
            table.begin(slot, 0, 1000)
            for event in events:
                table.apply(slot, event)
        view, _ = view_table(filled.attach().table(0), NOW_US)
        assert set(view.states) == {"sending", "unknown", "duplicate", "refused"}

    def test_a_damaged_slot_is_counted_and_named(self, filled: Filled) -> None:
        """A slot that is wrong at a second look too is neither free nor guessed at."""
        filled.wait(0)
        slot = filled.wait(1)
        filled.damage_slot(slot)
        view, changed = view_table(filled.attach().table(0), NOW_US)
        assert (view.damaged, view.damaged_slots, view.free, changed) == (1, (slot,), 14, 0)
        assert view.states["waiting"].count == 1

    def test_only_the_first_damaged_slots_are_named(self) -> None:
        """However many slots are damaged, the list stays short and the count true."""
        many = DAMAGED_SHOWN_MAX + 5
        table = cast("Table", ChangingTable([None] * many, [None] * many))
        view, _ = view_table(table, NOW_US)
        assert (view.damaged, len(view.damaged_slots)) == (many, DAMAGED_SHOWN_MAX)


class TestScan:
    """`Scan` over a table that changes."""

    def test_a_slot_whole_at_the_second_look_is_given(self) -> None:
        """A slot that was changing at first is counted as such and still seen."""
        waiting = kept(State.WAITING)
        scan = Scan(cast("Table", ChangingTable([None, waiting], [waiting, waiting])))
        assert list(scan) == [(1, waiting), (0, waiting)]
        assert (scan.changed, scan.damaged) == (1, [])

    def test_a_slot_freed_meanwhile_is_free(self) -> None:
        """A slot freed between finding and copying it, or between two looks, holds no payment."""
        free = kept(State.FREE)
        scan = Scan(cast("Table", ChangingTable([None, free], [free, free])))
        assert list(scan) == []
        assert (scan.changed, scan.damaged) == (1, [])


class TestViewJournal:
    """`view_journal`."""

    def test_a_new_journal_is_empty(self, filled: Filled) -> None:
        """Without records all totals are zero."""
        view = view_journal(filled.attach().journal(0), RECORDS)
        assert (view.head, view.tail, view.life, view.problem) == (0, 0, 0, None)
        assert view.totals == {"default": Money(), "fallback": Money()}

    def test_totals_are_base_and_records(self, filled: Filled) -> None:
        """Folding moves payments from the records to the base and changes no total."""
        for number in range(4):
            filled.settle(number, number % 2, amount_cents=100 + number)
        before = view_journal(filled.attach().journal(0), RECORDS)
        filled.segment.journal(0).fold(3)
        after = view_journal(filled.attach().journal(0), RECORDS)
        assert before.totals == after.totals == {"default": Money(2, 202), "fallback": Money(2, 204)}
        assert after.base == {"default": Money(2, 202), "fallback": Money(1, 101)}
        assert (after.tail, after.folded_until_ms) == (3, 1001)
        assert (before.kinds["settled"], after.kinds["settled"]) == (4, 1)

    def test_only_settled_payments_of_the_epoch_count(self, filled: Filled) -> None:
        """Duplicates and refused ones are in no total, nor is what was settled before the purge."""
        filled.settle(0, 0)
        journal = filled.segment.journal(0)
        journal.begin_life()
        journal.begin_epoch(7)
        filled.settle(1, 0, amount_cents=250)
        journal.append(Ended(State.DUPLICATE, 0, 1000, 300, 2))
        journal.append(Ended(State.REFUSED, 0, 1000, 400, 3))
        view = view_journal(filled.attach().journal(0), RECORDS)
        assert view.totals == {"default": Money(1, 250), "fallback": Money()}
        assert view.kinds == {"settled": 2, "duplicate": 1, "refused": 1}
        assert (view.epoch, view.epoch_start, view.life) == (7, 1, 1)

    def test_a_processor_without_a_name_is_shown_by_its_index(self, filled: Filled) -> None:
        """Totals of an unexpected processor are not hidden."""
        filled.settle(0, 2)
        assert view_journal(filled.attach().journal(0), RECORDS).totals["processor 2"] == Money(1, 1990)

    def test_a_damaged_record_is_a_problem_and_no_total(self, filled: Filled) -> None:
        """Totals that can't be exact are not given."""
        filled.settle(0, 0)
        filled.damage_record()
        view = view_journal(filled.attach().journal(0), RECORDS)
        assert view.problem == "record 0 is damaged"
        assert view.totals == {}

    def test_a_damaged_base_is_a_problem(self, filled: Filled) -> None:
        """A base that fails its checksum is told, with the head that is still known."""
        filled.settle(0, 0)
        filled.segment.journal(0).fold(1)
        filled.put_word(filled.segment.geometry.area_offset(0) + 256, 12345)
        view = view_journal(filled.attach().journal(0), RECORDS)
        assert view.problem == "base copy 1 is damaged"
        assert view.head == 1

    def test_an_impossible_head_is_a_problem_and_is_not_counted_to(self, filled: Filled) -> None:
        """A head further from the tail than there are records is damage."""
        filled.put_word(filled.segment.geometry.area_offset(0) + 64, 1 << 60)
        view = view_journal(filled.attach().journal(0), RECORDS)
        assert view.problem == f"head {1 << 60} and tail 0 do not fit 8 records"

    def test_a_record_overwritten_while_reading_is_read_anew(self) -> None:
        """When the base moved on, an unreadable record was overwritten: the next try tells the totals."""
        journal = cast("Journal", ChangingJournal([base(), base(tail=1), base()], unreadable=1))
        view = view_journal(journal, RECORDS)
        assert view.totals["default"] == Money(1, 1990)

    def test_an_epoch_begun_while_reading_is_read_anew(self) -> None:
        """Sums that straddle a purge are not shown."""
        view = view_journal(cast("Journal", ChangingJournal([base(epoch=1), base(epoch=2)])), RECORDS)
        assert (view.epoch, view.problem) == (2, None)

    def test_a_writer_that_stays_ahead_is_given_up_on(self) -> None:
        """The reader tries a bounded number of times and says so."""
        journal = cast("Journal", ChangingJournal([base(epoch=number) for number in range(100)]))
        view = view_journal(journal, RECORDS)
        assert view.problem == f"its writer overtook the reader {SUMS_MAX} times"


def test_a_broken_base_is_an_error_of_shm(filled: Filled) -> None:
    """What `view_journal` turns into a sentence is what `shm` raises."""
    filled.segment.journal(0).fold(0)
    filled.put_word(filled.segment.geometry.area_offset(0) + 256, 12345)
    with pytest.raises(BrokenInvariant):
        _ = filled.attach().journal(0).base

"""shm/journal.py: the head is the settlement, and the base is always whole."""

import pytest

from shm import layout
from shm.errors import BrokenInvariant
from shm.journal import Journal
from shm.record import EMPTY_BASE, Base, Ended
from shm.states import State
from tests.shm.memory import TEARS, Died, Memory

RECORDS = 4


def settled(number: int) -> Ended:
    """A settled payment of 100 + number cents, at default if the number is even."""
    return Ended(State.SETTLED, number % 2, 1_000 + number, 100 + number, 50 + number)


def fresh_journal() -> tuple[Journal, Memory]:
    """An empty journal of four records, and its memory."""
    memory = Memory(layout.BASE_PAGE_LENGTH + RECORDS * layout.JOURNAL_RECORD_LENGTH)
    return over(memory), memory


def over(memory: Memory) -> Journal:
    """A journal as another process sees it."""
    page, records = memory.view(0, layout.BASE_PAGE_LENGTH), memory.view(layout.BASE_PAGE_LENGTH)
    return Journal(page, records, RECORDS)


class TestAppend:
    """Journal.append and Journal.read."""

    def test_positions_count_up(self) -> None:
        """The first record is at 0, the head counts them, and each can be read at its position."""
        journal, _ = fresh_journal()
        for number in range(3):
            assert journal.head == number
            journal.append(settled(number))
        assert journal.head == 3
        assert [journal.read(position) for position in range(3)] == [settled(number) for number in range(3)]

    def test_appending_is_two_stores(self) -> None:
        """Appending is two stores; what a death at each of them leaves is the next test."""
        journal, memory = fresh_journal()
        journal.append(settled(0))
        assert memory.stores == 2

    @pytest.mark.parametrize("tear", TEARS)
    @pytest.mark.parametrize("stores", [0, 1])
    def test_a_death_settles_nothing(self, stores: int, tear: str) -> None:
        """Dying while the record or the head is stored leaves the head and all records below it as they were."""
        journal, memory = fresh_journal()
        for number in range(4):
            journal.append(settled(number))
        journal.fold(1)
        memory.die_at(stores, tear)
        with pytest.raises(Died):
            journal.append(settled(4))
        memory.live()
        successor = over(memory)
        assert successor.head == 4
        assert [successor.read(position) for position in range(1, 4)] == [settled(1), settled(2), settled(3)]
        successor.append(settled(9))
        assert successor.read(4) == settled(9)

    def test_a_full_journal_refuses(self) -> None:
        """No record is appended over one that is not in the base yet."""
        journal, memory = fresh_journal()
        for number in range(RECORDS):
            assert not journal.is_full()
            journal.append(settled(number))
        assert journal.is_full()
        before = bytes(memory.data)
        with pytest.raises(BrokenInvariant, match="^append to a full journal$"):
            journal.append(settled(9))
        assert memory.data == before

    def test_fullness_is_known_to_others(self) -> None:
        """What another process appends or folds is seen at once, although a journal remembers the tail it has read."""
        journal, memory = fresh_journal()
        other = over(memory)
        for number in range(RECORDS):
            assert other.depth == number
            journal.append(settled(number))
        assert other.is_full()
        assert over(memory).is_full()
        journal.fold(1)
        assert not other.is_full()
        assert not over(memory).is_full()

    def test_an_overwritten_record_is_none(self) -> None:
        """A position a lap ago is no longer there, and never shows another record."""
        journal, _ = fresh_journal()
        for number in range(RECORDS):
            journal.append(settled(number))
        journal.fold(2)
        journal.append(settled(4))
        assert journal.read(0) is None
        assert journal.read(4) == settled(4)

    def test_a_damaged_record_is_none(self) -> None:
        """A changed byte makes a record unreadable."""
        journal, memory = fresh_journal()
        journal.append(settled(0))
        memory.data[layout.BASE_PAGE_LENGTH + 16] ^= 1
        assert journal.read(0) is None


class TestFold:
    """Journal.fold."""

    def test_folds_the_oldest_into_the_totals(self) -> None:
        """Counts and cents go to their processor, the tail moves on, and the slots come back to be freed."""
        journal, _ = fresh_journal()
        for number in range(4):
            journal.append(settled(number))
        assert journal.fold(3) == [50, 51, 52]
        assert journal.base == Base(0, 3, 0, 1_003, 2, 202, 1, 101)
        assert journal.fold(1) == [53]
        assert journal.base == Base(0, 4, 0, 1_004, 2, 202, 2, 204)

    def test_folds_no_more_than_there_is(self) -> None:
        """Asked for more than there is, it folds all; of an empty journal, nothing."""
        journal, _ = fresh_journal()
        journal.append(settled(0))
        assert journal.fold(100) == [50]
        assert journal.fold(100) == []
        assert journal.base.journal_tail == journal.head == 1

    def test_only_settled_payments_count(self) -> None:
        """Duplicates and refused payments free their slots and change neither totals nor `folded_until_ms`."""
        journal, _ = fresh_journal()
        journal.append(Ended(State.DUPLICATE, 0, 9_000, 500, 1))
        journal.append(Ended(State.REFUSED, 1, 9_000, 500, 2))
        journal.append(settled(0))
        assert journal.fold(3) == [1, 2, 50]
        assert journal.base == Base(0, 3, 0, 1_001, 1, 100, 0, 0)

    def test_folded_until_never_goes_back(self) -> None:
        """A settlement with an older requestedAt leaves `folded_until_ms` where it is."""
        journal, _ = fresh_journal()
        for number in (7, 2):
            journal.append(settled(number))
        journal.fold(2)
        assert journal.base.folded_until_ms == 1_008

    def test_a_damaged_record_is_not_guessed_at(self) -> None:
        """Folding stops with the position of the damaged record, and the base stays as it was."""
        journal, memory = fresh_journal()
        for number in range(2):
            journal.append(settled(number))
        memory.data[layout.BASE_PAGE_LENGTH + layout.JOURNAL_RECORD_LENGTH + 16] ^= 1
        with pytest.raises(BrokenInvariant, match="^journal record 1 is damaged$"):
            journal.fold(2)
        assert journal.base == EMPTY_BASE

    def test_folded_gives_what_fold_does_and_stores_nothing(self) -> None:
        """It gives the base and the slots of a fold, and stores nothing."""
        journal, memory = fresh_journal()
        for number in range(4):
            journal.append(settled(number))
        before = memory.stores
        base, slots = journal.folded(3)
        assert memory.stores == before
        assert journal.fold(3) == slots
        assert journal.base == base


class TestBase:
    """Journal.base, Journal.commit_base and Journal.begin_epoch."""

    def test_a_new_journal_has_the_empty_base(self) -> None:
        """Nothing folded, no epoch, no totals."""
        assert fresh_journal()[0].base == EMPTY_BASE

    def test_copies_take_turns(self) -> None:
        """Each commit is in force at once, and the one before it stays whole in the other copy."""
        journal, memory = fresh_journal()
        for number in range(1, 6):
            before = bytes(memory.data[slice(*copy_in_force(memory))])
            journal.commit_base(EMPTY_BASE._replace(default_payments=number))
            assert journal.base.default_payments == number
            start, _ = copy_in_force(memory)
            other = sum(layout.BASE_COPIES) - start
            assert memory.data[other : other + layout.BASE_COPY.size] == before

    @pytest.mark.parametrize("tear", TEARS)
    @pytest.mark.parametrize("stores", [0, 1])
    def test_a_death_leaves_the_old_base(self, stores: int, tear: str) -> None:
        """Dying while the copy or the selector is stored leaves the base in force as it was; the next commit works."""
        journal, memory = fresh_journal()
        old = Base(1, 2, 3, 4, 5, 6, 7, 8)
        journal.commit_base(old)
        memory.die_at(stores, tear)
        with pytest.raises(Died):
            journal.commit_base(Base(*[2**64 - 1] * 8))
        memory.live()
        assert over(memory).base == old
        over(memory).commit_base(EMPTY_BASE)
        assert journal.base == EMPTY_BASE

    def test_a_base_that_changes_is_read_again(self) -> None:
        """A copy overwritten while it was read is not believed: the one in force by then is read instead."""
        journal, memory = fresh_journal()
        commits = iter([3, 4, 5])

        def commit() -> None:
            for number in commits:
                journal.commit_base(EMPTY_BASE._replace(default_payments=number))

        memory.on_copy = commit
        assert over(memory).base.default_payments == 5

    def test_a_damaged_base_is_a_broken_invariant(self) -> None:
        """The base in force is never guessed at, nor is the older copy taken for it."""
        journal, memory = fresh_journal()
        journal.commit_base(EMPTY_BASE._replace(default_payments=1))
        memory.data[copy_in_force(memory)[0]] ^= 1
        with pytest.raises(BrokenInvariant, match="^base copy 1 is damaged$"):
            _ = journal.base

    def test_an_epoch_begins_with_nothing(self) -> None:
        """After a purge the totals are zero, records from before are folded without counting, later ones count."""
        journal, _ = fresh_journal()
        for number in range(3):
            journal.append(settled(number))
        journal.fold(1)
        journal.begin_epoch(7)
        assert journal.base == Base(7, 1, 3, 0, 0, 0, 0, 0)
        journal.append(settled(3))
        assert journal.fold(3) == [51, 52, 53]
        assert journal.base == Base(7, 4, 3, 1_004, 0, 0, 1, 103)

    def test_an_epoch_can_begin_below_the_head(self) -> None:
        """A purge may be heard of late. What was settled since counts, folded later or not."""
        journal, _ = fresh_journal()
        for number in range(4):
            journal.append(settled(number))
        journal.fold(1)
        journal.begin_epoch(1_002, journal.first_requested_since(1_002, 0))
        assert journal.base == Base(1_002, 1, 2, 0, 0, 0, 0, 0)
        journal.fold(2)
        assert journal.base == Base(1_002, 3, 2, 1_003, 1, 102, 0, 0)

    def test_first_requested_since_passes_over_duplicates(self) -> None:
        """Only settlements are looked at: a duplicate may have any requestedAt."""
        journal, _ = fresh_journal()
        journal.append(settled(1)._replace(state=State.DUPLICATE, requested_at_ms=9_999))
        journal.append(settled(2))
        journal.append(settled(3)._replace(requested_at_ms=9_999))
        assert journal.first_requested_since(9_999, 0) == 2

    def test_first_requested_since_passes_over_a_damaged_record(self) -> None:
        """A purge is taken up all the same; it is the totals that can't be told any more."""
        journal, memory = fresh_journal()
        for number in range(3):
            journal.append(settled(number))
        memory.data[layout.BASE_PAGE_LENGTH + layout.JOURNAL_RECORD_LENGTH] ^= 1
        assert journal.first_requested_since(1_001, 0) == 2

    @pytest.mark.parametrize(
        ("at_ms", "position", "found"),
        [(0, 0, 1), (1_001, 0, 1), (1_002, 0, 2), (1_002, 3, 3), (1_003, 1, 3), (1_004, 0, 4), (0, 4, 4)],
    )
    def test_first_requested_since_begins_at_the_position_or_the_tail(
        self, at_ms: int, position: int, found: int
    ) -> None:
        """From a position or the tail on; the head if there is none."""
        journal, _ = fresh_journal()
        for number in range(4):
            journal.append(settled(number))
        journal.fold(1)
        assert journal.first_requested_since(at_ms, position) == found


class TestLife:
    """Journal.begin_life and Journal.life."""

    def test_each_dispatcher_has_its_own_number(self) -> None:
        """Lives count up from one, over successors too."""
        journal, memory = fresh_journal()
        assert journal.life == 0
        for life in (1, 2):
            over(memory).begin_life()
            assert journal.life == life


def copy_in_force(memory: Memory) -> tuple[int, int]:
    """Start and end of the base copy that the selector points to."""
    start = layout.BASE_COPIES[memory.data[layout.BASE_SELECTOR] % 2]
    return start, start + layout.BASE_COPY.size

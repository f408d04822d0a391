"""server/ledger.py: three levels within their bounds, and changes that bring a copy to the same state."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server import ledger
from server.ledger import Ledger
from server.totals import Levels, Reach, UnknownRange
from server.totals_fields import (
    CELL,
    LONE_MINUTE_LENGTH,
    MINUTE_LENGTH,
    MINUTE_MS,
    minute_name,
    minute_totals,
    second_name,
)
from tests.server.naive_totals import (
    ORIGINS_MS,
    Settled,
    all_time,
    ledger_of,
    settlements,
    small_ledgers,
)

NOON_MS = ORIGINS_MS[1]
NOON_S = NOON_MS // 1000
NOON_MINUTE = NOON_MS // MINUTE_MS


def several_settled(origin_ms: int) -> st.SearchStrategy[list[Settled]]:
    """Enough to reach small bounds."""
    return st.lists(settlements(origin_ms), min_size=10, max_size=30)


settled_payments = st.lists(st.sampled_from(ORIGINS_MS).flatmap(settlements), max_size=30)


class FakeHash:
    """What a ledger's changes make of the fields of one member elsewhere."""

    def __init__(self) -> None:
        self.fields: dict[str, bytes] = {}

    def take(self, told: Ledger, flush: str) -> None:
        """One flush that is `sent`, `lost` (it arrives, but its answer does not) or `failed`; or `none`."""
        if flush == "none":
            return
        changes = told.take_changes()
        if flush != "failed":
            self.fields.update(told.fields(changes))
            for name in changes.dropped:
                self.fields.pop(name, None)
        if flush != "sent":
            told.give_back(changes)


def all_fields(told: Ledger) -> dict[str, bytes]:
    """Every field of a ledger by name."""
    fields = {minute_name(minute): bytes(field) for minute, field in told.minutes.items()}
    return fields | {second_name(second): bytes(field) for second, field in told.details.items()}


class TestAdd:
    """Ledger.add."""

    def test_adds_to_every_level(self) -> None:
        """A settlement is in all time, in its minute and in its second's detail."""
        told = ledger_of([Settled(1, NOON_MS + 61_007, 250)])
        assert told.all_time == (0, 0, 1, 250)
        assert list(told.minutes) == [NOON_MINUTE + 1]
        assert list(told.details) == [NOON_S + 61]
        assert (told.first_minute, told.latest_minute) == (NOON_MINUTE + 1, NOON_MINUTE + 1)

    def test_an_old_one_goes_to_the_finest_level_kept_whole(self) -> None:
        """What lies before the detail kept goes to the minutes, before the minutes to all time, never half-way."""
        told = ledger_of([Settled(0, NOON_MS + 500, 1)])
        told.detail_from_s, told.minutes_from = NOON_S + 60, NOON_MINUTE
        told.add(0, NOON_MS + 59_999, 10)
        assert minute_totals(told.minutes[NOON_MINUTE]) == (2, 11, 0, 0)
        assert list(told.details) == [NOON_S]
        told.add(0, NOON_MS + 60_000, 1000)
        assert list(told.details) == [NOON_S, NOON_S + 60]
        told.add(0, NOON_MS - 1, 100)
        assert list(told.minutes) == [NOON_MINUTE, NOON_MINUTE + 1]
        assert told.all_time == (4, 1111, 0, 0)

    def test_before_exact_from_there_is_only_all_time(self) -> None:
        """Beside what was folded, a minute could not be told whole."""
        told = Ledger((5, 50, 0, 0), NOON_MS + 500)
        told.add(0, NOON_MS + 499, 1)
        assert (told.all_time, told.minutes, told.details) == ((6, 51, 0, 0), {}, {})
        told.add(0, NOON_MS + 500, 1)
        assert (list(told.minutes), list(told.details)) == ([NOON_MINUTE], [NOON_S])


class TestBounds:
    """Every level has a bound, and what falls out of one is still in the coarser ones."""

    @settings(max_examples=40)
    @given(settled_payments, st.integers(1, 8), st.integers(1, 4), st.integers(1, 3))
    def test_hold_whatever_comes(self, settled: list[Settled], cells: int, minutes: int, seconds: int) -> None:
        """Detail by bytes and minutes by number, in any order of requestedAt, even with one of 1970 among them."""
        with small_ledgers(detail_bytes=cells * CELL.size, minutes=minutes, cell_seconds=seconds):
            told = Ledger()
            for one in settled:
                told.add(*one)
                assert sum(map(len, told.details.values())) <= cells * CELL.size
                assert len(told.minutes) <= minutes
                assert told.latest_minute - told.first_minute < minutes or not told.minutes
        assert told.all_time == all_time(settled)
        assert all(minute >= told.minutes_from for minute in told.minutes)
        assert all(second >= told.detail_from_s for second in told.details)
        assert all(second // 60 >= told.minutes_from for second in told.details)

    @settings(max_examples=40)
    @given(settled_payments)
    def test_an_index_that_was_given_up_comes_back(self, settled: list[Settled]) -> None:
        """How many seconds have their cells indexed makes no difference to what is in them."""
        with small_ledgers(cell_seconds=1):
            forgetful = ledger_of(settled)
        assert all_fields(forgetful) == all_fields(ledger_of(settled))

    def test_indexes(self) -> None:
        """However many seconds have detail, few have their cells indexed."""
        with small_ledgers(cell_seconds=3):
            told = ledger_of(Settled(0, NOON_MS + second * 1000, 1) for second in range(10))
        assert (len(told.details), len(told._cells)) == (10, 3)  # noqa: SLF001  only its memory would show it

    def test_the_oldest_detail_goes_first(self) -> None:
        """A full detail drops whole seconds, never part of one."""
        with small_ledgers(detail_bytes=3 * CELL.size):
            told = ledger_of(Settled(0, NOON_MS + ms, 1) for ms in (0, 1, 1000, 2000))
        assert list(told.details) == [NOON_S + 1, NOON_S + 2]
        assert told.detail_from_s == NOON_S + 1
        assert len(told.minutes[NOON_MINUTE]) == LONE_MINUTE_LENGTH

    def test_a_second_larger_than_the_bound_has_no_detail(self) -> None:
        """It is counted by the second at once."""
        with small_ledgers(detail_bytes=CELL.size):
            told = ledger_of([Settled(0, NOON_MS, 1), Settled(0, NOON_MS + 1, 1)])
        assert told.details == {}
        assert told.detail_from_s == NOON_S + 1

    def test_a_minute_goes_with_its_detail(self) -> None:
        """No detail is kept of a minute that is not."""
        with small_ledgers(minutes=2):
            told = ledger_of(Settled(0, NOON_MS + minute * MINUTE_MS, 1) for minute in (0, 1, 2))
        assert (told.first_minute, told.latest_minute) == (NOON_MINUTE + 1, NOON_MINUTE + 2)
        assert (told.minutes_from, told.detail_from_s) == (NOON_MINUTE + 1, NOON_S + 1)
        assert list(told.details) == [NOON_S + 60, NOON_S + 120]

    def test_one_too_old_for_the_minutes_moves_their_beginning(self) -> None:
        """It is in all time alone, so the minutes are told to begin after it."""
        with small_ledgers(minutes=2):
            told = ledger_of([Settled(0, NOON_MS + 5 * MINUTE_MS, 1), Settled(0, NOON_MS, 1)])
        assert told.minutes_from == NOON_MINUTE + 1
        assert list(told.minutes) == [NOON_MINUTE + 5]

    def test_the_real_bounds(self) -> None:
        """Detail of the contest's peak for over a minute, minutes of two days, in five megabytes."""
        assert ledger.DETAIL_BYTES_MAX // CELL.size // 300 > 60
        assert ledger.MINUTES_MAX == 2 * 24 * 60
        assert ledger.DETAIL_BYTES_MAX + ledger.MINUTES_MAX * MINUTE_LENGTH < 6 << 20

    @pytest.mark.slow
    def test_sparse_payments(self) -> None:
        """One payment a second for days fills no memory with seconds of one cell each, and is told without a search."""
        told, copy = Ledger(), FakeHash()
        for second in range(130_000):  # as many as a journal holds; minutes when each search was through all seconds
            told.add(0, NOON_MS + second * 1000, 1)
        while told.has_changes:
            copy.take(told, "sent")
        assert len(told.details) == ledger.DETAIL_BYTES_MAX // (ledger.FIELD_OVERHEAD_BYTES + CELL.size)
        assert len(told.minutes) == -(-130_000 // 60)
        assert copy.fields == all_fields(told)
        assert (min(told.minutes), min(told.details)) == (told.first_minute, told.detail_from_s)


class TestChanges:
    """What is to be sent."""

    @pytest.mark.slow
    @settings(max_examples=60)
    @given(settled_payments, st.lists(st.sampled_from(["sent", "lost", "failed", "none"]), min_size=30, max_size=30))
    def test_bring_a_copy_to_the_same_state(self, settled: list[Settled], flushes: list[str]) -> None:
        """Whatever was sent when, and whatever sending failed, the last flush leaves the copy equal to the ledger."""
        with small_ledgers(detail_bytes=4 * CELL.size, minutes=2, cell_seconds=2):
            told, copy = Ledger(), FakeHash()
            for one, flush in zip(settled, flushes, strict=False):
                told.add(*one)
                copy.take(told, flush)
            copy.take(told, "sent")
        assert copy.fields == all_fields(told)

    def test_are_taken_once(self) -> None:
        """What was taken is not to be sent again unless it is given back."""
        told = ledger_of([Settled(0, NOON_MS, 1)])
        taken = told.take_changes()
        assert (taken.minutes, taken.seconds, taken.dropped) == ({NOON_MINUTE}, {NOON_S}, set())
        assert told.fields(told.take_changes()) == {}
        told.give_back(taken)
        assert told.take_changes() == taken

    def test_a_name_is_dropped_once(self) -> None:
        """The same as with what changed."""
        with small_ledgers(detail_bytes=0):
            told = ledger_of([Settled(0, NOON_MS, 1)])
        taken = [told.take_changes().dropped for _ in range(2)]
        assert taken == [{second_name(NOON_S)}, set()]

    @settings(max_examples=40)
    @given(settled_payments, st.integers(1, 3 * LONE_MINUTE_LENGTH))
    def test_are_taken_in_pieces(self, settled: list[Settled], piece_bytes: int) -> None:
        """Each is as large as told, and at most one field larger; all of them together are everything."""
        told = ledger_of(settled)
        told.everything_changed()
        sent: dict[str, bytes] = {}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ledger, "PIECE_BYTES", piece_bytes)
            while told.has_changes:
                piece = told.fields(told.take_changes())
                assert piece
                sizes = [ledger.FIELD_OVERHEAD_BYTES + len(field) for field in piece.values()]
                assert sum(sizes) - max(sizes) < piece_bytes
                assert not piece.keys() & sent.keys()
                sent |= piece
        assert sent == all_fields(told)

    def test_of_everything(self) -> None:
        """After `everything_changed` all fields are sent, and nothing need be removed: the copy is emptied first."""
        with small_ledgers(minutes=1):
            told = ledger_of([Settled(0, NOON_MS, 1), Settled(0, NOON_MS + MINUTE_MS, 1)])
        told.everything_changed()
        changes = told.take_changes()
        assert told.fields(changes) == all_fields(told)
        assert changes.dropped == set()


class TestTakeUp:
    """Ledger.resume."""

    @pytest.mark.slow
    @settings(max_examples=60)
    @given(st.sampled_from(ORIGINS_MS).flatmap(several_settled), st.integers(0, 30))
    def test_goes_on_as_if_it_had_never_stopped(self, settled: list[Settled], published: int) -> None:
        """A ledger that takes up published levels and is told the rest equals one that was told everything."""
        with small_ledgers(detail_bytes=6 * CELL.size, minutes=2):
            predecessor = ledger_of(settled[:published])
            levels = predecessor.levels()._replace(
                minutes={minute: bytes(field) for minute, field in predecessor.minutes.items()},
                details={second: bytes(field) for second, field in predecessor.details.items()},
            )
            successor = ledger_of(settled[3:])  # of no importance once it takes up something else
            successor.resume(levels)
            for one in settled[published:]:
                successor.add(*one)
            whole = ledger_of(settled)
        assert successor.levels() == whole.levels()

    def test_leaves_what_was_published_as_it_was(self) -> None:
        """The fields taken up are copies: going on does not change what they were read into."""
        levels = ledger_of([Settled(0, NOON_MS, 1)]).levels()
        before = bytes(levels.minutes[NOON_MINUTE]), bytes(levels.details[NOON_S])
        successor = Ledger()
        successor.resume(levels)
        successor.add(0, NOON_MS, 1)
        assert (bytes(levels.minutes[NOON_MINUTE]), bytes(levels.details[NOON_S])) == before

    def test_carries_the_bounds_of_each_level(self) -> None:
        """What the predecessor had forgotten stays forgotten."""
        levels = ledger_of([]).levels()._replace(all_time=(1, 2, 3, 4), reach=Reach(5, 6, 7, 8, 9))
        successor = Ledger()
        successor.resume(levels)
        assert successor.levels() == levels


class TestLevels:
    """Ledger.levels."""

    def test_of_nothing(self) -> None:
        """It has settled nothing, and forgotten nothing since 1970."""
        assert Ledger().levels() == Levels((0, 0, 0, 0), {}, {}, Reach(0, 0, 0, 0, 0), UnknownRange(0, 0, 0))

    def test_passes_unknowns_on(self) -> None:
        """The ledger knows nothing of unknown payments; they come with the question."""
        assert Ledger().levels().unknowns.payments == 0
        assert Ledger().levels(UnknownRange(3, 1, 2)).unknowns == UnknownRange(3, 1, 2)

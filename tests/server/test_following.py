"""server/following.py: a follower counts what its journal tells, whatever was folded or purged in between."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server import following
from server.errors import TotalsUnavailable
from server.following import FAR_PART, JournalFollower
from server.totals import Window
from shm import ENDED, Base, Ended, Journal, State
from tests.server.fake_area import FakeArea
from tests.server.naive_totals import ORIGINS_MS, Settled, all_time, ask, count, settlements, windows

NOON_MS = ORIGINS_MS[1]
RECORDS = 8

appends = st.tuples(st.sampled_from(sorted(ENDED)), settlements(NOON_MS))
folds = st.integers(1, RECORDS)
steps = st.lists(
    st.one_of(appends, appends, appends, folds, st.sampled_from(["purge", "follow"])), min_size=20, max_size=60
)


class Instance:
    """A journal as its dispatcher writes it, and the list of what was settled since the last purge."""

    def __init__(self) -> None:
        self.area = FakeArea(journal_records=RECORDS)
        self.journal = self.area.journal
        self.settled: list[Settled] = []

    def append(self, state: State, one: Settled) -> None:
        """A payment ends; a full journal folds its oldest half."""
        if self.journal.is_full():
            self.journal.fold(RECORDS // 2)
        self.journal.append(Ended(state, one.processor, one.requested_at_ms, one.amount_cents, 0))
        if state is State.SETTLED:
            self.settled.append(one)

    def settle(self, *requested_at_ms: int) -> None:
        """Payments of one cent each are settled at default."""
        for at_ms in requested_at_ms:
            self.append(State.SETTLED, Settled(0, at_ms, 1))

    def purge(self) -> None:
        """Totals begin again."""
        self.journal.begin_epoch(self.journal.base.epoch + 1)
        self.settled = []

    def follower(self) -> JournalFollower:
        """A new one, in another process."""
        return JournalFollower(self.area.another_journal())


class PurgingJournal(Journal):
    """A journal that is purged, and settles one more payment, right after its base was read for the second time."""

    instance: Instance
    reads = 0

    @property
    def base(self) -> Base:
        """The base as it was just before."""
        base = super().base
        self.reads += 1
        if self.reads == 2:
            self.instance.purge()
            self.instance.settle(NOON_MS)
        return base


class TestFollow:
    """JournalFollower.follow."""

    @pytest.mark.slow
    @settings(max_examples=60)
    @given(steps, windows(NOON_MS))
    def test_equals_the_naive_count(self, todo: list[tuple[State, Settled] | int | str], window: Window) -> None:
        """After any interleaving of ends, folds and purges, all time is exact, and so is any window still told."""
        instance = Instance()
        follower = instance.follower()
        for step in [*todo, "follow"]:
            if isinstance(step, tuple):
                instance.append(*step)
            elif isinstance(step, int):
                instance.journal.fold(step)
            elif step == "purge":
                instance.purge()
            else:
                follower.follow()
                assert follower.position == instance.journal.head
                assert follower.ledger.all_time == all_time(instance.settled)
                answer = ask([follower.ledger.levels()], window)
                assert isinstance(answer, str) or (answer.default, answer.fallback) == count(instance.settled, window)
                if not follower.ledger.exact_from_ms:
                    assert not isinstance(answer, str)

    def test_stays_exact_while_it_keeps_up(self) -> None:
        """Folding what was read already costs nothing: windows are told from the beginning."""
        instance = Instance()
        follower = instance.follower()
        for number in range(5 * RECORDS):
            instance.settle(NOON_MS + number)
            assert not follower.follow()
        assert instance.journal.base.journal_tail > 0
        assert follower.ledger.exact_from_ms == 0

    def test_reads_so_much_at_once_and_no_more(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever follows a long journal has time for other things in between."""
        monkeypatch.setattr(following, "RECORDS_AT_ONCE", 3)
        instance = Instance()
        follower = instance.follower()
        instance.settle(*range(NOON_MS, NOON_MS + 7))
        seen = []
        while follower.is_behind:
            assert not follower.follow()
            seen.append(follower.ledger.all_time[0])
        assert seen == [3, 6, 7]

    def test_far_behind(self) -> None:
        """Once more than a quarter of the journal is unread."""
        instance = Instance()
        follower = instance.follower()
        seen = []
        for _ in range(RECORDS // FAR_PART + 1):
            seen.append(follower.is_far_behind)
            instance.settle(NOON_MS)
        assert (any(seen), follower.is_far_behind) == (False, True)
        follower.follow()
        assert (follower.position, follower.is_far_behind) == (RECORDS // FAR_PART + 1, False)

    def test_begins_again_when_it_was_overtaken(self) -> None:
        """What was folded unread is in all time, and `exact_from_ms` is one past the greatest requestedAt in it."""
        instance = Instance()
        follower = instance.follower()
        instance.settle(NOON_MS + 7, NOON_MS + 3, NOON_MS + 50)
        instance.journal.fold(2)
        assert follower.follow()
        assert follower.ledger.all_time == (3, 3, 0, 0)
        assert follower.ledger.exact_from_ms == NOON_MS + 8
        assert not follower.follow()

    def test_begins_again_after_a_purge(self) -> None:
        """Nothing settled before the purge counts, though its records are still there."""
        instance = Instance()
        follower = instance.follower()
        instance.settle(NOON_MS)
        follower.follow()
        instance.purge()
        instance.settle(NOON_MS + 1)
        assert follower.follow()
        assert (follower.epoch, follower.ledger.all_time) == (1, (1, 1, 0, 0))

    def test_folding_after_a_purge_leaves_the_old_epoch_out(self) -> None:
        """Records from before the purge move neither the totals nor `exact_from_ms` when they are folded."""
        instance = Instance()
        instance.settle(NOON_MS + 1000)
        instance.purge()
        instance.journal.fold(1)
        follower = instance.follower()
        follower.follow()
        assert (follower.ledger.all_time, follower.ledger.exact_from_ms) == ((0, 0, 0, 0), 0)

    def test_a_purge_while_it_reads_keeps_the_epochs_apart(self) -> None:
        """What is settled after a purge never counts with what was settled before it."""
        instance = Instance()
        instance.settle(NOON_MS, NOON_MS)
        area = instance.area
        journal = PurgingJournal(*area.journal_memory)
        journal.instance = instance
        follower = JournalFollower(journal)
        follower.follow()
        assert (follower.epoch, follower.ledger.all_time) == (0, (2, 2, 0, 0))
        follower.follow()
        assert (follower.epoch, follower.ledger.all_time) == (1, (1, 1, 0, 0))

    def test_a_record_that_is_unreadable_for_a_moment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It goes on from there: what it has counted is not counted again."""
        instance = Instance()
        follower = instance.follower()
        instance.settle(NOON_MS, NOON_MS, NOON_MS)
        read, unreadable = Journal.read, [2]

        def read_at_the_second_try(journal: Journal, position: int) -> Ended | None:
            if position in unreadable:
                unreadable.remove(position)
                return None
            return read(journal, position)

        monkeypatch.setattr(Journal, "read", read_at_the_second_try)
        follower.follow()
        assert (unreadable, follower.ledger.all_time) == ([], (3, 3, 0, 0))

    def test_gives_up_on_a_record_that_stays_unreadable(self) -> None:
        """Totals that can't be whole are an error, not part of the truth."""
        instance = Instance()
        follower = instance.follower()
        instance.settle(NOON_MS, NOON_MS)
        _, records, _ = instance.area.journal_memory
        records[16] ^= 1
        with pytest.raises(TotalsUnavailable, match="faster than they can be counted"):
            follower.follow()
        records[16] ^= 1
        follower.follow()
        assert follower.ledger.all_time == (2, 2, 0, 0)


class TestTakeUp:
    """JournalFollower.resume."""

    def test_goes_on_from_what_was_published(self) -> None:
        """What lies below the position is not read again, and windows reach as far back as the predecessor's."""
        instance = Instance()
        predecessor = instance.follower()
        instance.settle(*range(NOON_MS, NOON_MS + RECORDS))
        predecessor.follow()
        instance.settle(NOON_MS + 100)  # folds what the successor could not read any more
        successor = instance.follower()
        assert successor.resume(predecessor.epoch, predecessor.position, predecessor.ledger.levels())
        successor.follow()
        assert successor.ledger.exact_from_ms == 0
        assert successor.ledger.all_time == (RECORDS + 1, RECORDS + 1, 0, 0)
        assert ask([successor.ledger.levels()], Window(NOON_MS, NOON_MS))[0] == (1, 1)

    @pytest.mark.parametrize(
        ("epoch", "position", "fits"), [(1, 4, True), (1, 6, True), (1, 3, False), (1, 7, False), (0, 5, False)]
    )
    def test_only_what_fits_the_journal(self, epoch: int, position: int, *, fits: bool) -> None:
        """Another epoch, records folded since, or a position not reached: then it begins from the base."""
        instance = Instance()
        instance.settle(NOON_MS, NOON_MS)
        instance.purge()
        instance.settle(NOON_MS, NOON_MS, NOON_MS, NOON_MS)
        instance.journal.fold(4)
        follower = instance.follower()
        levels = instance.follower().ledger.levels()._replace(all_time=(70, 70, 0, 0))
        assert follower.resume(epoch, position, levels) == fits
        follower.follow()
        expected = 70 + 6 - position if fits else 4
        assert follower.ledger.all_time == (expected, expected, 0, 0)

    def test_takes_up_its_own_epoch_after_a_purge(self) -> None:
        """Records of the old epoch above the position are left out."""
        instance = Instance()
        instance.settle(NOON_MS)
        instance.purge()
        instance.settle(NOON_MS)
        follower = instance.follower()
        assert follower.resume(1, 0, instance.follower().ledger.levels())
        follower.follow()
        assert follower.ledger.all_time == (1, 1, 0, 0)

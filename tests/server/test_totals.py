"""server/totals.py: any window equals the naive count, or says what it was widened to, or says why it can't be told."""

from itertools import product
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.notation import format_instant_ms as told
from server.totals import (
    ALL_TIME,
    Levels,
    Summary,
    Total,
    UnknownRange,
    Window,
    count_window,
    counted_from,
    covering,
    touched,
)
from server.totals_fields import CELL, MINUTE_MS
from shm import Counters, DispatcherCount
from shm.layout import COUNTERS_LENGTH
from tests.server.naive_totals import (
    NO_UNKNOWNS,
    ORIGINS_MS,
    Settled,
    ask,
    count,
    ledger_of,
    settlements,
    small_ledgers,
    windows,
)

NOON_MS = ORIGINS_MS[1]
EDGES_MS = (0, 1, 998, 999, 1_000, 1_001, 1_999, 2_000, 30_500, 59_000, 59_999, 60_000, 60_500, 60_999, 61_000)
NOTHING = Summary(Total(0, 0), Total(0, 0))
Ends = tuple[int | None, int | None]


class Scene(NamedTuple):
    """What several members settled, what of it was folded before, and a window to be asked for."""

    settled: list[list[Settled]]
    folded: list[list[Settled]]
    window: Window

    @property
    def everything(self) -> list[Settled]:
        """All that was settled by anybody."""
        return [one for member in (*self.settled, *self.folded) for one in member]


@st.composite
def scenes(draw: st.DrawFn, *, with_folded: bool = False) -> Scene:
    """One to three members' settlements around one origin, and a window."""
    origin_ms = draw(st.sampled_from(ORIGINS_MS))
    several = st.lists(settlements(origin_ms), max_size=20)
    members = draw(st.integers(1, 3))
    settled = [draw(several) for _ in range(members)]
    folded = [draw(several) if with_folded else list[Settled]() for _ in range(members)]
    return Scene(settled, folded, draw(windows(origin_ms)))


def levels_of(scene: Scene) -> list[Levels]:
    """What every member of a scene has."""
    pairs = zip(scene.settled, scene.folded, strict=True)
    return [ledger_of(settled, folded).levels() for settled, folded in pairs]


def reaching(levels: Levels, **bounds: int) -> Levels:
    """The same levels, with other bounds."""
    return levels._replace(reach=levels.reach._replace(**bounds))


def empty_levels(minutes_from: int = 0) -> Levels:
    """A member that has settled nothing."""
    return reaching(ledger_of([]).levels(), minutes_from=minutes_from)


def documented_window(members: list[Levels], window: Window) -> Window:
    """The window that the resolution's sentences promise to have counted."""
    from_ms, to_ms = window
    kept_from_ms = max(member.reach.minutes_from for member in members) * MINUTE_MS
    detail_from_ms = max(member.reach.detail_from_s for member in members) * 1000
    if from_ms is not None and from_ms < kept_from_ms:
        from_ms = None
    if from_ms is None and to_ms is not None:
        to_ms = max(to_ms, kept_from_ms - 1)
    if from_ms is not None and 0 < from_ms < detail_from_ms:
        from_ms = from_ms // 1000 * 1000
    if to_ms is not None and to_ms < detail_from_ms:
        to_ms = to_ms // 1000 * 1000 + 999
    return Window(from_ms, to_ms)


class TestWindow:
    """Window."""

    @pytest.mark.parametrize(
        ("ends", "span"),
        [
            ((5, 9), (5, 9)),
            ((5, None), (5, None)),
            ((-5, 9), (0, 9)),
            ((None, 9), (10, None)),
            ((None, 0), (1, None)),
            ((None, -9), (0, None)),
        ],
    )
    def test_span(self, ends: Ends, span: tuple[int, int | None]) -> None:
        """What is counted of a window begins in 1970 at the earliest; without `from` it is what lies after the end."""
        assert Window(*ends).span() == span

    @pytest.mark.parametrize(
        ("ends", "is_empty"),
        [((5, 5), False), ((5, 4), True), ((None, 0), False), ((None, -1), True), ((-9, -1), True), ((5, None), False)],
    )
    def test_is_empty(self, ends: Ends, is_empty: bool) -> None:  # noqa: FBT001
        """Nothing is requested between its ends."""
        assert Window(*ends).is_empty is is_empty

    def test_all_time_is_not_empty(self) -> None:
        """It has no ends."""
        assert (ALL_TIME, ALL_TIME.is_empty) == ((None, None), False)


class TestCountWindow:
    """count_window, of everything that a window touches and of nothing else, unless it says otherwise."""

    @pytest.mark.parametrize("processors", [(0,), (1,), (0, 1)])
    def test_whole_seconds_and_cut_ones(self, processors: tuple[int, ...]) -> None:
        """Of a ledger that has the detail of every second each window counts each payment once."""
        moments_ms = [NOON_MS + ms for ms in EDGES_MS]
        settled = [Settled(processor, at_ms, at_ms % 61_007) for at_ms in moments_ms for processor in processors]
        settled += settled  # two in each millisecond
        levels = ledger_of(settled).levels()
        ends_ms = [None, *moments_ms]
        for from_ms, to_ms in product(ends_ms, ends_ms):
            window = Window(from_ms, to_ms)
            assert count_window([levels], window) == Summary(*count(settled, window)), window

    def test_a_minute_without_payments(self) -> None:
        """What comes after it is counted as well."""
        settled = [Settled(0, NOON_MS, 1), Settled(0, NOON_MS + 2 * MINUTE_MS, 10)]
        assert ask([ledger_of(settled).levels()], Window(NOON_MS, None)) == Summary(Total(2, 11), Total(0, 0))

    @pytest.mark.slow
    @settings(max_examples=100)
    @given(scenes())
    def test_equals_the_naive_count(self, scene: Scene) -> None:
        """Whatever was settled where and when, every window has exactly what lies in it, both ends included."""
        assert ask(levels_of(scene), scene.window) == Summary(*count(scene.everything, scene.window))

    @pytest.mark.slow
    @settings(max_examples=80)
    @given(scenes(with_folded=True))
    def test_is_exact_or_refused_after_a_rebuild(self, scene: Scene) -> None:
        """What was folded counts in all windows that need not tell when it was; the others are refused."""
        answer = ask(levels_of(scene), scene.window)
        if isinstance(answer, str):
            from_ms, to_ms = scene.window
            start_ms = from_ms if from_ms is not None else (to_ms or 0) + 1
            exact_from_ms = max(one.requested_at_ms + 1 for member in scene.folded for one in member)
            assert start_ms < exact_from_ms
            assert answer.startswith("an end of the window lies before ")
        else:
            assert answer == Summary(*count(scene.everything, scene.window))

    @pytest.mark.slow
    @settings(max_examples=80)
    @given(scenes(), st.integers(1, 12), st.integers(1, 4))
    def test_is_exact_or_says_its_window_when_levels_ran_out(self, scene: Scene, cells: int, minutes: int) -> None:
        """With detail and minutes dropped, an answer is exact, or of the wider window that it says it is of."""
        with small_ledgers(detail_bytes=cells * CELL.size, minutes=minutes, cell_seconds=2):
            members = levels_of(scene)
        answer = ask(members, scene.window)
        assert isinstance(answer, Summary)
        exact = count(scene.everything, scene.window)
        if answer.resolution is None:
            assert (answer.default, answer.fallback) == exact
        else:
            assert (answer.default, answer.fallback) == count(
                scene.everything, documented_window(members, scene.window)
            )
            assert answer.default >= exact[0]
            assert answer.fallback >= exact[1]

    @pytest.mark.parametrize(
        "window",
        [(5, 4), (NOON_MS + 5, NOON_MS + 4), (NOON_MS + 90_000, NOON_MS), (None, -1), (-9, -1), (0, -1)],
    )
    def test_an_empty_window_is_zeros(self, window: Ends) -> None:
        """A window that ends before it begins, or before 1970, holds nothing, whatever has been forgotten."""
        settled = [Settled(0, NOON_MS, 1)]
        members = [reaching(ledger_of(settled, folded=settled).levels(), minutes_from=NOON_MS, detail_from_s=NOON_MS)]
        members = [member._replace(unknowns=UnknownRange(1, 0, NOON_MS)) for member in members]
        assert ask(members, Window(*window)) == NOTHING

    @pytest.mark.parametrize("window", [(None, 5), (0, 0)])
    def test_no_members_is_nothing(self, window: Ends) -> None:
        """Nobody has settled anything, and nothing was forgotten."""
        assert ask([], Window(*window)) == NOTHING

    def test_members_differ_in_what_they_forgot(self) -> None:
        """One window is counted for all, the narrowest that everyone can answer."""
        settled = [Settled(0, NOON_MS + ms, cents) for ms, cents in ((999, 100), (1100, 1), (1900, 10))]
        coarse = reaching(ledger_of(settled).levels()._replace(details={}), detail_from_s=NOON_MS // 1000 + 2)
        fine = ledger_of(settled).levels()
        answer = ask([coarse, fine], Window(NOON_MS + 1500, None))
        assert answer == Summary(
            Total(4, 22),
            Total(0, 0),
            0,
            f"before {told(NOON_MS + 2000)} payments are kept by the second; the window was widened to whole ones",
        )

    def test_an_end_that_cuts_a_second_without_detail_is_moved_outward(self) -> None:
        """Without a `from` too: what lies in the second is counted, not left out."""
        settled = [Settled(0, NOON_MS + ms, cents) for ms, cents in ((-1, 1), (100, 10), (999, 100), (1001, 1000))]
        member = reaching(ledger_of(settled).levels(), detail_from_s=NOON_MS // 1000 + 1)
        answer = ask([member], Window(None, NOON_MS + 50))
        assert isinstance(answer, Summary)
        assert answer.default == Total(3, 111)
        assert answer.resolution is not None
        answer = ask([member._replace(details={})], Window(NOON_MS, NOON_MS + 50))
        assert isinstance(answer, Summary)
        assert answer.default == Total(2, 110)
        exact = ask([member], Window(None, NOON_MS + 1000))  # cuts the first second that has detail
        assert exact == Summary(Total(3, 111), Total(0, 0))

    def test_an_end_among_forgotten_minutes_is_said(self) -> None:
        """A window without `from` that ends before what is kept counts all that is not kept, and says so."""
        with small_ledgers(minutes=1):
            settled = [Settled(0, NOON_MS + minute * MINUTE_MS, 1) for minute in range(3)]
            member = ledger_of(settled).levels()
        answer = ask([member], Window(None, NOON_MS))
        assert isinstance(answer, Summary)
        assert answer.default == Total(2, 2)
        kept_from_ms = NOON_MS + 2 * MINUTE_MS
        assert answer.resolution == (
            f"payments before {told(kept_from_ms)} are kept as one sum; the window was widened to them all"
        )
        without_detail = reaching(member, detail_from_s=kept_from_ms // 1000 + 1)
        assert ask([without_detail], Window(None, NOON_MS)) == answer  # no seconds are spoken of
        assert ask([member], Window(None, kept_from_ms - 2)) == answer
        whole = ask([member], Window(None, kept_from_ms - 1))
        assert whole == Summary(Total(2, 2), Total(0, 0))

    def test_all_time_needs_no_beginning(self) -> None:
        """A window without either end is answered even if everything was folded."""
        folded = [Settled(1, NOON_MS, 7)]
        assert ask([ledger_of([], folded).levels()], ALL_TIME) == Summary(Total(0, 0), Total(1, 7))

    def test_exact_from_is_the_first_that_can_be_told(self) -> None:
        """A window may begin at `exact_from_ms`, and one that has no `from` may end right before it."""
        folded, settled = [Settled(0, NOON_MS + 499, 1)], [Settled(0, NOON_MS + 500, 10)]
        members = [ledger_of(settled, folded).levels()]
        assert members[0].reach.exact_from_ms == NOON_MS + 500
        assert ask(members, Window(NOON_MS + 500, None)) == Summary(Total(1, 10), Total(0, 0))
        assert ask(members, Window(None, NOON_MS + 499)) == Summary(Total(1, 1), Total(0, 0))
        refusal = f"an end of the window lies before {told(NOON_MS + 500)}, from when on totals are exact"
        assert ask(members, Window(NOON_MS + 499, None)) == refusal
        assert ask(members, Window(None, NOON_MS + 498)) == refusal

    def test_an_early_settlement_counts_only_in_all_time(self) -> None:
        """After a rebuild a settlement with a requestedAt among the folded ones belongs to no window that begins."""
        members = [ledger_of([Settled(0, NOON_MS, 10)], [Settled(0, NOON_MS + 5, 1)]).levels()]
        assert ask(members, Window(NOON_MS + 6, None)) == NOTHING
        assert ask(members, Window(None, NOON_MS + 5)) == Summary(Total(2, 11), Total(0, 0))


class TestCountedFrom:
    """counted_from."""

    @pytest.mark.parametrize("from_ms", [None, -5, 0, 5])
    def test_nothing_is_forgotten_at_first(self, from_ms: int | None) -> None:
        """No window reaches what nobody has forgotten, not even one from before 1970."""
        assert counted_from([empty_levels()], Window(from_ms)) == (Window(from_ms), None)

    @pytest.mark.parametrize("from_ms", [None, 120_000])
    def test_after_all_that_is_forgotten(self, from_ms: int | None) -> None:
        """Or without a beginning: a window is counted from where it begins."""
        members = [empty_levels(minutes_from=1), empty_levels(minutes_from=2)]
        assert counted_from(members, Window(from_ms)) == (Window(from_ms), None)

    @pytest.mark.parametrize("from_ms", [-5, 0, 119_999])
    def test_the_latest_forgetter_decides(self, from_ms: int) -> None:
        """One that begins among what any member has forgotten is counted from the beginning of time, and says so."""
        members = [empty_levels(minutes_from=1), empty_levels(minutes_from=2)]
        sentence = f"payments before {told(120_000)} are kept as one sum; the window was widened to them all"
        assert counted_from(members, Window(from_ms)) == (ALL_TIME, sentence)
        assert counted_from(members, Window(from_ms, 120_000)) == (Window(None, 120_000), sentence)
        empty = Window(from_ms, -9)
        assert counted_from(members, empty) == (empty, None)  # nothing is missing in it


class TestTouched:
    """touched."""

    def test_all_time_touches_nothing(self) -> None:
        """A window without ends is answered from the headers."""
        assert touched(ALL_TIME) is None

    @pytest.mark.parametrize(
        ("window", "expected"),
        [
            ((0, MINUTE_MS - 1), (0, 0, (), ())),
            ((1, MINUTE_MS - 1), (0, 0, (0,), (0,))),
            ((0, MINUTE_MS), (0, 1, (1,), (60,))),
            ((1_500, 1_600), (0, 0, (0,), (1,))),
            ((1_500, 3_000), (0, 0, (0,), (1, 3))),
            ((1_500, 5 * MINUTE_MS), (0, 5, (0, 5), (1, 300))),
            ((1_000, None), (0, None, (0,), ())),
            ((-5, None), (0, None, (), ())),
            ((None, MINUTE_MS - 1), (1, None, (), ())),
            ((None, MINUTE_MS), (1, None, (1,), (60,))),
            ((None, 0), (0, None, (0,), (0,))),
        ],
    )
    def test_examples(self, window: Ends, expected: tuple[Any, ...]) -> None:
        """Only the minutes of a window, and of those that its ends cut through at most two, and two seconds."""
        assert touched(Window(*window)) == expected


class TestUnknowns:
    """How many unknown payments a window may hold."""

    @pytest.mark.parametrize(
        ("window", "expected"),
        [
            ((None, None), 3),
            ((NOON_MS + 20, None), 3),
            ((NOON_MS + 21, None), 0),
            ((None, NOON_MS + 10), 3),
            ((None, NOON_MS + 9), 0),
            ((NOON_MS + 12, NOON_MS + 13), 3),
            ((NOON_MS + 30, NOON_MS + 40), 0),
        ],
    )
    def test_all_of_them_once_the_window_meets_their_range(self, window: Ends, expected: int) -> None:
        """Where exactly each lies is not published: those of a member count together, or not at all."""
        member = empty_levels()._replace(unknowns=UnknownRange(3, NOON_MS + 10, NOON_MS + 20))
        assert count_window([member, empty_levels()], Window(*window)).unknown == expected

    def test_none_at_all(self) -> None:
        """A member without unknown payments adds none, though its range reads as 1970."""
        assert count_window([empty_levels()._replace(unknowns=NO_UNKNOWNS)], Window(None, 5)).unknown == 0


class TestCovering:
    """covering."""

    @pytest.mark.parametrize(
        ("one", "other", "both"),
        [
            ((0, 0, 0), (0, 0, 0), (0, 0, 0)),
            ((2, 5, 9), (0, 0, 0), (2, 5, 9)),
            ((2, 5, 8), (3, 6, 9), (3, 5, 9)),
            ((3, 5, 9), (2, 6, 8), (3, 5, 9)),
        ],
    )
    def test_in_either_order(self, one: tuple[int, ...], other: tuple[int, ...], both: tuple[int, ...]) -> None:
        """As many as in either reading, wherever either has them; the zeros of a reading without any are no time."""
        assert covering(UnknownRange(*one), UnknownRange(*other)) == both
        assert covering(UnknownRange(*other), UnknownRange(*one)) == both


class TestUnknownRange:
    """UnknownRange.of."""

    def test_as_a_row_has_them(self) -> None:
        """How many, and the least and greatest requestedAt."""
        row = Counters(memoryview(bytearray(COUNTERS_LENGTH)))
        assert UnknownRange.of(row) == UnknownRange(0, 0, 0)
        gauges = (DispatcherCount.UNKNOWN, DispatcherCount.UNKNOWN_LEAST_MS, DispatcherCount.UNKNOWN_GREATEST_MS)
        for gauge, value in zip(gauges, (3, 5, 9), strict=True):
            row.put(gauge, value)
        assert UnknownRange.of(row) == UnknownRange(3, 5, 9)

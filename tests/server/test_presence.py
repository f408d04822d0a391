"""server/presence.py: when all ids of a sibling count, and until when; decided from looks that a test makes up."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.presence import HAPROXY_RETURNS_MS, Presence, ReadReason, Sighting, WhatWasRead
from tests.fakes import NOON_MS

STUCK_MS = 5000
RETURNING_MS = HAPROXY_RETURNS_MS + STUCK_MS
LONG_AGO_MS = NOON_MS - RETURNING_MS
NOON_TICKS_MS = 1_000_000

NO_SEGMENT = Sighting(
    is_gone=False, is_leaving=False, has_segment=False, away=frozenset(), has_away_served=False, life_ms=0
)
PRESENT = NO_SEGMENT._replace(has_segment=True, life_ms=LONG_AGO_MS)
LEAVING = PRESENT._replace(is_leaving=True)
GONE = PRESENT._replace(is_gone=True)
SHORT_OF_WORKERS = PRESENT._replace(away=frozenset({0}))
RETURNING = PRESENT._replace(life_ms=LONG_AGO_MS + 1)


def next_life(seen: Sighting) -> Sighting:
    """What is seen of a sibling in a new life, which has begun at noon."""
    return seen._replace(life_ms=NOON_MS)


class Watch:
    """Looks at one sibling from noon on, and reads when it is told to.

    Attributes:
        now_ms: now, by the ticking clock.
        has_read: whether what was read of the sibling counts now.
    """

    def __init__(self) -> None:
        self._presence = Presence(STUCK_MS)
        self.now_ms = NOON_TICKS_MS
        self.has_read = False

    @property
    def wall_ms(self) -> int:
        """Now, ms UTC."""
        return NOON_MS + self.now_ms - NOON_TICKS_MS

    def look(self, seen: Sighting, after_ms: int = 0, *, was_unwatched: bool = False) -> ReadReason | WhatWasRead:
        """The decision after a look, `after_ms` after the one before."""
        self.now_ms += after_ms
        decision = self._presence.decide(seen, self.now_ms, self.wall_ms, was_unwatched=was_unwatched)
        if isinstance(decision, ReadReason):
            self._presence.has_read(decision, seen.life_ms, self.now_ms, self.now_ms)
            self.has_read = True
        elif decision is WhatWasRead.DROP:
            assert self.has_read
            self.has_read = False
        return decision


class TestRead:
    """Presence.decide: when all that a sibling remembers is read, and why."""

    @pytest.mark.parametrize(
        ("seen", "watched", "unwatched"),
        [
            (PRESENT, WhatWasRead.KEEP, ReadReason.UNWATCHED),
            (NO_SEGMENT, WhatWasRead.KEEP, WhatWasRead.KEEP),
            (RETURNING, ReadReason.RETURNING, ReadReason.UNWATCHED),
            (SHORT_OF_WORKERS, ReadReason.SHORT_OF_WORKERS, ReadReason.SHORT_OF_WORKERS),
            (LEAVING, ReadReason.LEAVING, ReadReason.LEAVING),
            (LEAVING._replace(away=frozenset({0})), ReadReason.LEAVING, ReadReason.LEAVING),
            (GONE, ReadReason.GONE, ReadReason.GONE),
            (GONE._replace(is_leaving=True, away=frozenset({0})), ReadReason.GONE, ReadReason.GONE),
            (NO_SEGMENT._replace(is_gone=True), ReadReason.GONE, ReadReason.GONE),
        ],
    )
    def test_at_the_first_look(
        self, seen: Sighting, watched: ReadReason | WhatWasRead, unwatched: ReadReason | WhatWasRead
    ) -> None:
        """Nothing was read before."""
        assert Watch().look(seen) is watched
        assert Watch().look(seen, was_unwatched=True) is unwatched

    @pytest.mark.parametrize(
        ("before", "seen", "decision"),
        [
            (LEAVING, LEAVING, WhatWasRead.KEEP),
            (LEAVING, GONE, ReadReason.GONE),  # it accepted until its workers had left
            (GONE, GONE, WhatWasRead.KEEP),
            (GONE, next_life(GONE), ReadReason.GONE),  # it came and died between two looks
            (GONE, next_life(LEAVING), ReadReason.LEAVING),
            (GONE, next_life(SHORT_OF_WORKERS), WhatWasRead.KEEP),  # nothing has come to it since
            (GONE, next_life(PRESENT), WhatWasRead.KEEP),
            (SHORT_OF_WORKERS, SHORT_OF_WORKERS, WhatWasRead.KEEP),
            (SHORT_OF_WORKERS, LEAVING, ReadReason.LEAVING),
            (SHORT_OF_WORKERS, GONE, ReadReason.GONE),
            (SHORT_OF_WORKERS, next_life(PRESENT), ReadReason.RETURNING),  # its others served until it was gone
            (SHORT_OF_WORKERS, next_life(SHORT_OF_WORKERS), ReadReason.SHORT_OF_WORKERS),  # likewise
            (RETURNING, RETURNING, WhatWasRead.KEEP),
            (RETURNING, next_life(PRESENT), ReadReason.RETURNING),
            (RETURNING, RETURNING._replace(away=frozenset({0})), WhatWasRead.KEEP),
            (RETURNING, GONE, ReadReason.GONE),
        ],
    )
    def test_after_it_was_read(self, before: Sighting, seen: Sighting, decision: ReadReason | WhatWasRead) -> None:
        """Again if it may have accepted more since than its latest ids tell; and always after a time unwatched."""
        watch = Watch()
        assert isinstance(watch.look(before), ReadReason)
        assert watch.look(seen, 1) is decision
        assert isinstance(watch.look(seen, 1, was_unwatched=True), ReadReason)

    def test_who_goes_to_and_fro(self) -> None:
        """What a worker accepts between two absences is read, but only R after the sibling was last read."""
        watch = Watch()
        assert watch.look(SHORT_OF_WORKERS) is ReadReason.SHORT_OF_WORKERS
        for decision in (WhatWasRead.KEEP, ReadReason.SHORT_OF_WORKERS) * 2:
            assert watch.look(PRESENT, RETURNING_MS // 2) is WhatWasRead.KEEP
            assert watch.look(SHORT_OF_WORKERS) is decision

    def test_who_stays_away(self) -> None:
        """What an absent worker had accepted is read once, however long the other workers go on."""
        watch = Watch()
        assert watch.look(SHORT_OF_WORKERS) is ReadReason.SHORT_OF_WORKERS
        assert {watch.look(SHORT_OF_WORKERS, 500) for _ in range(3 * RETURNING_MS // 500)} == {WhatWasRead.KEEP}

    @pytest.mark.parametrize(("seen", "was_unwatched"), [(RETURNING, False), (PRESENT, True)])
    def test_one_goes_away_right_after_it_was_read(self, seen: Sighting, *, was_unwatched: bool) -> None:
        """What that worker accepted between the reading and its end is read R later, too, and once."""
        watch, short = Watch(), seen._replace(away=frozenset({0}))
        assert isinstance(watch.look(seen, was_unwatched=was_unwatched), ReadReason)
        assert watch.look(short, 500) is WhatWasRead.KEEP
        assert watch.look(short, RETURNING_MS - 501) is WhatWasRead.KEEP
        assert watch.look(short, 1) is ReadReason.SHORT_OF_WORKERS
        assert watch.look(short, RETURNING_MS) is WhatWasRead.KEEP

    def test_one_served_between_two_looks(self) -> None:
        """It was away at both; what it accepted in between is read R after the reading, and once."""
        watch, served = Watch(), SHORT_OF_WORKERS._replace(has_away_served=True)
        assert watch.look(served) is ReadReason.SHORT_OF_WORKERS
        assert watch.look(served, 500) is WhatWasRead.KEEP
        assert watch.look(SHORT_OF_WORKERS, RETURNING_MS - 501) is WhatWasRead.KEEP
        assert watch.look(SHORT_OF_WORKERS, 1) is ReadReason.SHORT_OF_WORKERS
        assert {watch.look(SHORT_OF_WORKERS, 500) for _ in range(3 * RETURNING_MS // 500)} == {WhatWasRead.KEEP}

    @pytest.mark.parametrize("then", [frozenset({1}), frozenset({0, 1})])
    def test_another_goes_away(self, then: frozenset[int]) -> None:
        """A second worker served on after the sibling was read for the first one: it is read again R later."""
        watch = Watch()
        assert watch.look(SHORT_OF_WORKERS) is ReadReason.SHORT_OF_WORKERS
        assert watch.look(SHORT_OF_WORKERS, RETURNING_MS - 2) is WhatWasRead.KEEP
        later = PRESENT._replace(away=then)
        assert watch.look(later, 1) is WhatWasRead.KEEP
        assert watch.look(later, 1) is ReadReason.SHORT_OF_WORKERS
        assert watch.look(later, RETURNING_MS) is WhatWasRead.KEEP

    def test_what_was_to_be_read_and_was_not(self) -> None:
        """Reading failed: it is decided again at each look until it has been done."""
        presence = Presence(STUCK_MS)
        for now_ms in range(3):
            assert presence.decide(GONE, now_ms, NOON_MS, was_unwatched=False) is ReadReason.GONE
        presence.has_read(ReadReason.GONE, GONE.life_ms, 3, 3)
        assert presence.decide(GONE, 3, NOON_MS, was_unwatched=False) is WhatWasRead.KEEP

    @pytest.mark.parametrize("absent", [GONE, LEAVING])
    def test_what_was_not_read_before_it_is_back(self, absent: Sighting) -> None:
        """Reading failed until its next life had begun: what it accepted before is read then."""
        presence = Presence(STUCK_MS)
        presence.decide(absent, 0, NOON_MS, was_unwatched=False)
        back = next_life(PRESENT)
        assert presence.decide(back, 1, NOON_MS + 1, was_unwatched=False) is ReadReason.RETURNING


class TestUntilWhen:
    """Presence.decide: how long what was read counts."""

    @pytest.mark.parametrize(
        ("absent", "is_next_life"),
        [(GONE, False), (GONE, True), (LEAVING, False), (LEAVING, True), (SHORT_OF_WORKERS, False)],
    )
    def test_of_one_that_was_absent(self, absent: Sighting, *, is_next_life: bool) -> None:
        """Until R after it was last seen absent, however long it was; then not read again, however young its life."""
        watch = Watch()
        assert isinstance(watch.look(absent), ReadReason)
        assert watch.look(absent, 100 * RETURNING_MS) is WhatWasRead.KEEP
        back = PRESENT._replace(life_ms=watch.wall_ms + 1) if is_next_life else PRESENT
        assert watch.look(back, RETURNING_MS - 1) is WhatWasRead.KEEP
        assert [watch.look(back, 1), watch.look(back)] == [WhatWasRead.DROP, WhatWasRead.KEEP]

    @pytest.mark.parametrize("was_unwatched", [False, True])
    def test_of_one_that_serves(self, *, was_unwatched: bool) -> None:
        """Until R after it was read."""
        watch = Watch()
        assert isinstance(watch.look(RETURNING, was_unwatched=was_unwatched), ReadReason)
        assert watch.look(RETURNING, RETURNING_MS - 1) is WhatWasRead.KEEP
        assert [watch.look(RETURNING, 1), watch.look(RETURNING)] == [WhatWasRead.DROP, WhatWasRead.KEEP]

    @pytest.mark.parametrize("before", [GONE, SHORT_OF_WORKERS, RETURNING])
    def test_of_one_that_was_gone_between_two_looks(self, before: Sighting) -> None:
        """Until R after it was seen to be back, even if ids kept from before would have been dropped sooner."""
        watch = Watch()
        assert isinstance(watch.look(before), ReadReason)
        between = next_life(PRESENT) if before is GONE else PRESENT._replace(life_ms=before.life_ms)
        assert watch.look(between, 1) is WhatWasRead.KEEP
        back = PRESENT._replace(life_ms=watch.wall_ms + RETURNING_MS - 2)
        assert watch.look(back, RETURNING_MS - 2) is ReadReason.RETURNING
        assert watch.look(back, RETURNING_MS - 1) is WhatWasRead.KEEP
        assert [watch.look(back, 1), watch.look(back)] == [WhatWasRead.DROP, WhatWasRead.KEEP]

    @pytest.mark.parametrize("starting", [PRESENT, SHORT_OF_WORKERS])
    def test_of_one_that_is_ready_late(self, starting: Sighting) -> None:
        """It was read when it was gone, and accepts nothing before its web workers are there. Its rows are at first
        those of its predecessor.
        """
        watch = Watch()
        assert watch.look(GONE) is ReadReason.GONE
        assert watch.look(starting._replace(life_ms=GONE.life_ms), 500) is WhatWasRead.KEEP
        assert watch.look(next_life(SHORT_OF_WORKERS), 500) is WhatWasRead.KEEP
        assert watch.look(next_life(PRESENT), 500) is WhatWasRead.KEEP

    def test_of_one_that_seems_to_be_younger(self) -> None:
        """The clock was set back: all the same it is read once in its life."""
        watch, seen = Watch(), PRESENT._replace(life_ms=NOON_MS + RETURNING_MS)
        assert watch.look(seen) is ReadReason.RETURNING
        assert [watch.look(seen, RETURNING_MS), watch.look(seen)] == [WhatWasRead.DROP, WhatWasRead.KEEP]


AWAY = (frozenset({0}), frozenset({1}), frozenset({0, 1}))
SIGHTINGS = st.sampled_from(
    [
        seen._replace(life_ms=life_ms)
        for seen in (PRESENT, *(PRESENT._replace(away=away) for away in AWAY), LEAVING, GONE)
        for life_ms in (LONG_AGO_MS, LONG_AGO_MS + 1, NOON_MS, NOON_MS + RETURNING_MS)
    ]
)
AFTER_MS = st.sampled_from([0, 1, 500, RETURNING_MS // 2, RETURNING_MS - 1, RETURNING_MS])
HISTORIES = st.lists(st.tuples(SIGHTINGS, AFTER_MS, st.booleans()), max_size=8)
History = list[tuple[Sighting, int, bool]]
"""What is seen, how long after the look before, and whether that was a time without a look."""


def is_absent(seen: Sighting) -> bool:
    """Whether it can't answer for its ids."""
    return seen.is_gone or seen.is_leaving or bool(seen.away)


class TestAlways:
    """Presence.decide: what holds after any history."""

    @settings(max_examples=50)
    @given(HISTORIES)
    def test_what_was_read_counts(self, history: History) -> None:
        """While it is absent, and for exactly R after it was last seen absent or read; also after a time unwatched."""
        watch, needed_at_ms = Watch(), 0
        for seen, after_ms, was_unwatched in history:
            decision = watch.look(seen, after_ms, was_unwatched=was_unwatched)
            if is_absent(seen) or isinstance(decision, ReadReason):
                needed_at_ms = watch.now_ms
            assert isinstance(decision, ReadReason) or not was_unwatched
            assert watch.has_read == (watch.now_ms - needed_at_ms < RETURNING_MS)

    @settings(max_examples=50)
    @given(HISTORIES, SIGHTINGS, AFTER_MS)
    def test_the_same_again_is_not_read(self, history: History, seen: Sighting, after_ms: int) -> None:
        """Reading takes long: of looks that show the same the first reads, or one more R later, whatever was before."""
        watch = Watch()
        for before, time_ms, was_unwatched in history:
            watch.look(before, time_ms, was_unwatched=was_unwatched)
        looks = [watch.look(seen, RETURNING_MS), *(watch.look(seen, after_ms) for _ in range(3))]
        assert not any(isinstance(decision, ReadReason) for decision in looks[1:])

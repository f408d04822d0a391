"""server/siblings.py: whoever can't answer for its ids is answered for, and two never leave a payment to each other.

When all that a sibling remembers is read, and how long it counts, is tested in test_presence.py.
"""

import errno
import logging
from typing import cast

import pytest

from server.siblings import LOOKED_LATELY_MS, SERVES_WITHIN_MS, Sibling, Siblings, away_of
from shm import Geometry, Phase, Segment, SegmentForbidden, State
from tests.fakes import NOON_MS, FakeClock
from tests.server.disturbed_volume import DisturbedVolume
from tests.server.other_instance import (
    EARLIER_MS,
    GEOMETRY,
    LATER_MS,
    RETURNING_MS,
    STUCK_MS,
    OtherInstance,
    amount_of,
    copy_of,
    other_instance,
    pass_time,
    sibling_of,
)
from tests.shm.segments import remove, segment_path


@pytest.fixture
def sibling(other: OtherInstance, clock: FakeClock) -> Sibling:
    """What is known here of the other instance."""
    return sibling_of(other.name, clock)


class TestPresent:
    """A sibling that lives."""

    def test_its_latest_ids_count(self, other: OtherInstance, sibling: Sibling) -> None:
        """Whatever was accepted there before, in lanes and tables, with its amount; no other id does."""
        other.start()
        other.take(copy_of(1, 500))
        other.publish(copy_of(2), worker=0)
        other.publish(copy_of(3), copy_of(3, 77))
        found = [amount_of(sibling, copy_of(number, accepted_ms=LATER_MS)) for number in (1, 2, 3, 4)]
        assert found == [500, 1990, 1990, None]

    def test_it_is_followed(self, other: OtherInstance, sibling: Sibling) -> None:
        """What it accepts after the first look counts at the next, taken from its lane or not."""
        other.start()
        assert amount_of(sibling, copy_of(1, accepted_ms=LATER_MS)) is None
        other.publish(copy_of(1), copy_of(2))
        other.skip()
        assert amount_of(sibling, copy_of(1, accepted_ms=LATER_MS)) == 1990
        assert amount_of(sibling, copy_of(2, accepted_ms=LATER_MS)) == 1990

    def test_a_lane_that_ran_past(self, other: OtherInstance, sibling: Sibling) -> None:
        """What was overwritten before it could be read is found in the table."""
        other.start()
        assert amount_of(sibling, copy_of(99)) is None
        numbers = range(1, GEOMETRY.lane_slots + 4)
        for number in numbers:
            other.publish(copy_of(number))
            other.take(copy_of(number))
            other.skip()
        assert {amount_of(sibling, copy_of(number, accepted_ms=LATER_MS)) for number in numbers} == {1990}

    def test_memory_is_bounded(self, other: OtherInstance, sibling: Sibling, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of those accepted there long ago the oldest are forgotten, at the first look as well as later."""
        monkeypatch.setattr("server.siblings.IDS_FOLLOWED_MIN", 3)
        other.start()
        for number in (5, 4, 3, 2, 1):
            other.take(copy_of(number, accepted_ms=EARLIER_MS - number))
        known = [amount_of(sibling, copy_of(number)) is not None for number in (1, 2, 3, 4, 5)]
        assert known == [True, True, True, False, False]
        for number in range(11, 15):
            other.publish(copy_of(number, accepted_ms=EARLIER_MS))
            sibling.look()
            other.skip()
        known = [amount_of(sibling, copy_of(number)) is not None for number in (1, 2, 3, 11, 12, 13, 14)]
        assert known == [False] * 3 + [True] * 4

    def test_one_without_a_segment(self, other: OtherInstance, sibling: Sibling) -> None:
        """One that is about to make it has accepted nothing."""
        Segment.unlink(other.name)
        other.start()
        assert amount_of(sibling, copy_of(1)) is None

    @pytest.mark.parametrize("locks", [False, True])
    def test_one_whose_segment_lost_its_name(
        self, other: OtherInstance, sibling: Sibling, clock: FakeClock, *, locks: bool
    ) -> None:
        """It goes on with it, so all it takes counts; until its heartbeat is old: nobody will pay what it leaves."""
        other.start()
        other.segment.supervisor_counters().beat(clock.ticks_ms() * 1000)
        other.take(copy_of(1))
        assert amount_of(sibling, copy_of(1, accepted_ms=LATER_MS)) == 1990
        (remove if locks else Segment.unlink)(other.name)
        other.publish(copy_of(2))
        clock.advance(STUCK_MS - 1)
        assert [amount_of(sibling, copy_of(number, accepted_ms=LATER_MS)) for number in (1, 2, 3)] == [1990, 1990, None]
        clock.advance(1)
        assert [amount_of(sibling, copy_of(number, accepted_ms=LATER_MS)) for number in (1, 2)] == [None, None]

    def test_one_that_never_was(self, clock: FakeClock) -> None:
        """A name without lock and segment stands for nothing."""
        assert amount_of(sibling_of("test-never-was", clock), copy_of(1)) is None

    def test_a_segment_made_anew(self, other: OtherInstance, sibling: Sibling) -> None:
        """One of another geometry is noticed at once; what the old one held is forgotten."""
        other.take(copy_of(1))
        assert amount_of(sibling, copy_of(1)) == 1990
        Segment.unlink(other.name)
        other.segment = Segment.create(other.name, Geometry(1, 1, 16, 16, 16))
        other.take(copy_of(2), dispatcher=0)
        assert [amount_of(sibling, copy_of(number)) for number in (1, 2)] == [None, 1990]

    def test_a_segment_that_takes_the_place_of_another(
        self, other: OtherInstance, sibling: Sibling, clock: FakeClock
    ) -> None:
        """It is noticed at once, however lately the supervisor of the old one had its heartbeat."""
        other.segment.supervisor_counters().beat(clock.ticks_ms() * 1000)
        sibling.look()
        Segment.unlink(other.name)
        other.segment = Segment.create(other.name, GEOMETRY)
        other.publish(copy_of(1))
        assert amount_of(sibling, copy_of(1, accepted_ms=LATER_MS)) == 1990

    def test_one_that_is_about_to_begin_anew(self, other: OtherInstance, sibling: Sibling) -> None:
        """Nobody pays what is left to a segment that is no more."""
        other.take(copy_of(1))
        assert amount_of(sibling, copy_of(1)) == 1990
        Segment.unlink(other.name)
        other.start(begun=False)
        assert amount_of(sibling, copy_of(1)) is None

    def test_one_that_may_not_be_looked_at(self, clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
        """As one of another user: it is told, once."""

        def refuse(look: str, _: str) -> None:
            if look == "fingerprint":
                raise SegmentForbidden("it is another user's")

        sibling = sibling_of("test-never-was", clock, volume=DisturbedVolume(refuse))
        for _ in range(3):
            assert amount_of(sibling, copy_of(1)) is None
        assert caplog.text.count("can't be known") == 1

    def test_a_segment_that_can_not_be_read(
        self, other: OtherInstance, sibling: Sibling, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is told that its ids can't be known."""
        caplog.set_level(logging.INFO)
        segment_path(other.name).write_bytes(bytes(8192))
        for _ in range(3):
            assert amount_of(sibling, copy_of(1)) is None
        assert caplog.text.count("can't be known") == 1
        assert caplog.text.count(" is gone") == 1
        Segment.unlink(other.name)
        assert amount_of(sibling, copy_of(1)) is None


@pytest.mark.usefixtures("forgetful")
class TestAbsent:
    """A sibling that can't answer for its ids: all that it remembers counts, not only the latest."""

    @pytest.mark.parametrize("state", [state for state in State if state is not State.FREE])
    def test_killed(self, other: OtherInstance, sibling: Sibling, state: State) -> None:
        """Settled or not, with the amount it was accepted with; at once, for HAProxy tries elsewhere within moments."""
        other.start()
        other.take(copy_of(1, 500, accepted_ms=EARLIER_MS), state)
        for number in range(2, 6):
            other.take(copy_of(number))
        assert amount_of(sibling, copy_of(1, 700)) is None
        other.kill()
        assert [amount_of(sibling, copy_of(number, 700)) for number in (1, 2, 99)] == [500, 1990, None]

    @pytest.mark.parametrize("phase", [Phase.LEAVING, Phase.GONE])
    def test_leaving(self, other: OtherInstance, sibling: Sibling, phase: Phase) -> None:
        """From the announcement until the lock is free, which comes a moment after its last word."""
        other.start()
        other.take(copy_of(1, accepted_ms=EARLIER_MS))
        other.take(copy_of(2))
        assert amount_of(sibling, copy_of(1)) is None
        other.say(phase)
        assert amount_of(sibling, copy_of(1)) == 1990

    @pytest.mark.parametrize("how", ["dead", "hung", "starting"])
    def test_with_a_worker_away(self, other: OtherInstance, sibling: Sibling, clock: FakeClock, how: str) -> None:
        """HAProxy sends that one's ids here, though all others live."""
        row = other.segment.worker_counters(1)
        other.start()
        for number in range(1, 6):  # the last two are among the latest
            other.take(copy_of(number, accepted_ms=EARLIER_MS + number))
        assert amount_of(sibling, copy_of(1)) is None
        if how == "hung":
            row.beat((clock.ticks_ms() - SERVES_WITHIN_MS) * 1000)
        else:
            row.phase = Phase.GONE if how == "dead" else Phase.STARTING
        assert amount_of(sibling, copy_of(1)) == 1990

    def test_is_read_once(
        self, other: OtherInstance, sibling: Sibling, clock: FakeClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Its tables take a while: not with each look, though it served until a moment ago."""
        other.start()
        pass_time(sibling, clock, RETURNING_MS)
        for worker in range(GEOMETRY.workers):
            other.segment.worker_counters(worker).phase = Phase.GONE
        with caplog.at_level(logging.INFO):
            pass_time(sibling, clock, RETURNING_MS)
        assert caplog.messages == [f"{other.name} is short of web workers; 0 of its ids count here"]

    def test_a_damaged_row(self, other: OtherInstance, sibling: Sibling) -> None:
        """It is that instance's own affair: nobody ends here."""
        other.start()
        sibling.look()
        for row in (other.segment.worker_counters(0), other.segment.supervisor_counters()):
            row.phase = cast("Phase", 99)
            sibling.look()

    def test_what_it_still_accepts(self, other: OtherInstance, sibling: Sibling) -> None:
        """Its workers may outlive its supervisor for a moment, and HAProxy needs a while to look elsewhere."""
        sibling.look()
        other.publish(copy_of(1))
        assert amount_of(sibling, copy_of(1, accepted_ms=LATER_MS)) == 1990

    def test_back_again(self, other: OtherInstance, sibling: Sibling, clock: FakeClock) -> None:
        """HAProxy sends its ids here for a while after its start; then it answers for itself."""
        other.take(copy_of(1, accepted_ms=EARLIER_MS))
        other.take(copy_of(2))
        assert amount_of(sibling, copy_of(1)) == 1990
        other.start()
        pass_time(sibling, clock, RETURNING_MS - 1)
        assert amount_of(sibling, copy_of(1)) == 1990
        clock.advance(1)
        assert amount_of(sibling, copy_of(1)) is None

    @pytest.mark.parametrize("is_copied", [False, True])
    def test_died_soon_after_it_made_one(self, other: OtherInstance, sibling: Sibling, *, is_copied: bool) -> None:
        """Anew or of another geometry: what it accepted in that moment counts, however short it was."""
        sibling.look()
        Segment.unlink(other.name)
        segment_id = other.segment.segment_id if is_copied else None
        other.segment = Segment.create(other.name, GEOMETRY._replace(lane_slots=16), segment_id=segment_id)
        other.start(NOON_MS)
        other.take(copy_of(1, accepted_ms=EARLIER_MS), State.SENDING)
        other.take(copy_of(2))
        other.kill()
        assert amount_of(sibling, copy_of(1)) == 1990

    def test_lived_and_died_while_it_was_looked_at(self, other: OtherInstance, clock: FakeClock) -> None:
        """Its lock is looked at before its segment: whatever a dead one had made and filled by then is met."""
        lives = 0

        def live_and_die(look: str, _: str) -> None:
            nonlocal lives
            if look == "is_role_free" and lives:
                lives -= 1
                Segment.unlink(other.name)
                other.segment = Segment.create(other.name, GEOMETRY._replace(lane_slots=16))
                other.take(copy_of(1, accepted_ms=EARLIER_MS), State.SENDING)

        sibling = sibling_of(other.name, clock, volume=DisturbedVolume(live_and_die))
        sibling.look()
        lives = 1
        assert amount_of(sibling, copy_of(1)) == 1990
        assert lives == 0

    def test_back_with_another_geometry(self, other: OtherInstance, sibling: Sibling) -> None:
        """What was read of it counts as long as of any other that returns."""
        other.start()
        other.take(copy_of(1, accepted_ms=EARLIER_MS), State.SETTLED, dispatcher=0)
        other.take(copy_of(2))
        other.kill()
        assert amount_of(sibling, copy_of(1)) == 1990
        Segment.unlink(other.name)
        larger = GEOMETRY._replace(lane_slots=16)
        other.segment = Segment.create(other.name, larger, segment_id=other.segment.segment_id)
        other.start(NOON_MS)
        assert amount_of(sibling, copy_of(1)) == 1990

    def test_who_begins_to_look_meanwhile(self, other: OtherInstance, clock: FakeClock) -> None:
        """A new dispatcher reads all of one that is just returning, and of no other one."""
        other.take(copy_of(1, accepted_ms=EARLIER_MS))
        other.take(copy_of(2))
        other.start(NOON_MS - RETURNING_MS + 1)
        assert amount_of(sibling_of(other.name, clock), copy_of(1)) == 1990
        clock.advance(1)
        assert amount_of(sibling_of(other.name, clock), copy_of(1)) is None

    def test_one_that_is_making_its_segment(
        self, other: OtherInstance, sibling: Sibling, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It has accepted nothing yet, and that is no news."""
        other.start()
        with segment_path(other.name).open("r+b") as file:
            file.write(bytes(8))  # its magic
        sibling.look()
        assert caplog.records == []

    def test_is_told(self, other: OtherInstance, sibling: Sibling, caplog: pytest.LogCaptureFixture) -> None:
        """Once, with the number of ids that count here from now on."""
        other.take(copy_of(1))
        with caplog.at_level(logging.INFO):
            sibling.look()
            sibling.look()
        assert caplog.messages == [f"{other.name} is gone; 1 of its ids count here"]


class TestCopies:
    """One id in lanes of both."""

    def test_the_first_accepted_counts(self, other: OtherInstance, sibling: Sibling) -> None:
        """Neither side leaves to the other what the other leaves to it: the later one yields."""
        other.publish(copy_of(1, accepted_ms=NOON_MS))
        assert amount_of(sibling, copy_of(1, accepted_ms=LATER_MS)) == 1990
        assert amount_of(sibling, copy_of(1, accepted_ms=NOON_MS)) is None
        assert amount_of(sibling, copy_of(1, accepted_ms=EARLIER_MS)) is None

    def test_of_several_there_the_first_counts(self, other: OtherInstance, sibling: Sibling) -> None:
        """In whichever of its lanes it lies: the sibling goes by that one, too."""
        other.start()
        other.publish(copy_of(1, 500, accepted_ms=LATER_MS), worker=0)
        other.publish(copy_of(1, 700, accepted_ms=EARLIER_MS), worker=1)
        assert amount_of(sibling, copy_of(1)) == 700

    def test_unless_it_is_taken_there(self, other: OtherInstance, sibling: Sibling) -> None:
        """What a dispatcher has taken it pays, so that an earlier copy here yields."""
        other.publish(copy_of(1))
        assert amount_of(sibling, copy_of(1, accepted_ms=EARLIER_MS)) is None
        other.take(copy_of(1))
        assert amount_of(sibling, copy_of(1, accepted_ms=EARLIER_MS)) == 1990

    def test_both_sides_agree(self, clock: FakeClock) -> None:
        """Exactly one of two copies in the lanes of both is paid."""
        with other_instance() as one, other_instance() as two:
            copies = {one.name: copy_of(1, accepted_ms=NOON_MS - 7), two.name: copy_of(1, accepted_ms=NOON_MS - 5)}
            for each in (one, two):
                each.publish(copies[each.name])
            assert amount_of(sibling_of(two.name, clock), copies[one.name]) is None
            assert amount_of(sibling_of(one.name, clock), copies[two.name]) == 1990

    def test_both_sides_agree_on_the_same_microsecond(self, clock: FakeClock) -> None:
        """The copy of the instance whose name sorts first is paid, the other one is not."""
        with other_instance() as one, other_instance() as two:
            first, second = sorted((one.name, two.name))
            for each in (one, two):
                each.publish(copy_of(1))
            assert amount_of(sibling_of(second, clock, ours=first), copy_of(1)) is None
            assert amount_of(sibling_of(first, clock, ours=second), copy_of(1)) == 1990


class TestAwayOf:
    """away_of."""

    def test_by_phase_and_heartbeat(self, other: OtherInstance, clock: FakeClock) -> None:
        """One that is ready is at work until its heartbeat is too old, to the microsecond."""
        first, second = rows = [other.segment.worker_counters(worker) for worker in range(GEOMETRY.workers)]
        silent_since_us = (clock.ticks_ms() - SERVES_WITHIN_MS) * 1000
        for row in rows:
            row.phase = Phase.READY
            row.beat(silent_since_us + 1)
        assert away_of(rows, clock.ticks_ms()) == set()
        first.beat(silent_since_us)
        assert away_of(rows, clock.ticks_ms()) == {0}
        second.phase = Phase.LEAVING
        assert away_of(rows, clock.ticks_ms()) == {0, 1}


class TestSegments:
    """Siblings.segments."""

    def test_of_those_that_were_looked_at(self, other: OtherInstance, clock: FakeClock) -> None:
        """Be they running or not, but none before the first look, and none of one that has made none."""
        siblings = Siblings([sibling_of("test-never-was", clock), sibling_of(other.name, clock)], clock, [], [])
        assert list(siblings.segments()) == []
        siblings.look()
        assert [segment.segment_id for segment in siblings.segments()] == [other.segment.segment_id]


class TestHasLookedLately:
    """Siblings.has_looked_lately."""

    def test_for_a_quarter_of_a_second(self, other: OtherInstance, clock: FakeClock) -> None:
        """Then a regular look is due again; at first there was none."""
        siblings = Siblings([sibling_of(other.name, clock)], clock, [], [])
        assert not siblings.has_looked_lately()
        siblings.look()
        clock.advance(LOOKED_LATELY_MS - 1)
        assert siblings.has_looked_lately()
        clock.advance(1)
        assert not siblings.has_looked_lately()

    def test_not_if_it_failed(self, other: OtherInstance, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without descriptors nothing is learned."""
        siblings = Siblings([sibling_of(other.name, clock)], clock, [], [])
        monkeypatch.setattr(Sibling, "look", _fail)
        assert not siblings.look()
        assert not siblings.has_looked_lately()


def _fail(*_: object, **__: object) -> None:
    raise OSError(errno.EMFILE, "no descriptors")

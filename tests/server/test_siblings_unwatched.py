"""server/siblings.py: after a time in which nobody here looked or served, all that siblings remember counts."""

import logging
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from server.latest import LatestAccepted
from server.presence import ReadReason
from server.siblings import SERVES_WITHIN_MS, Sibling, Siblings
from shm import Phase, Segment
from tests.fakes import FakeClock
from tests.server.other_instance import (
    EARLIER_MS,
    GEOMETRY,
    NEVER_SILENT_US,
    RETURNING_MS,
    STUCK_MS,
    OtherInstance,
    amount_of,
    copy_of,
    other_instance,
    pass_time,
    sibling_of,
)

pytestmark = pytest.mark.usefixtures("forgetful")


class Ours:
    """Our own instance, which looks at another one whose oldest id is not among its latest.

    Attributes:
        here: the instance.
        rows: of its web workers.
    """

    def __init__(self, here: OtherInstance, other: OtherInstance, clock: FakeClock) -> None:
        self.here = here
        self.rows = [here.segment.worker_counters(worker) for worker in range(GEOMETRY.workers)]
        self._other = other
        self._clock = clock
        other.take(copy_of(1, accepted_ms=EARLIER_MS))
        other.take(copy_of(2))
        other.start()

    def look(self) -> Siblings:
        """A dispatcher begins to look."""
        lanes = [self.here.segment.lane(worker, 0) for worker in range(GEOMETRY.workers)]
        return Siblings([sibling_of(self._other.name, self._clock)], self._clock, self.rows, lanes)

    def look_for_long(self) -> Siblings:
        """A dispatcher has looked for a while, with all web workers at work."""
        self.here.start()
        siblings = self.look()
        pass_time(siblings, self._clock, 2 * RETURNING_MS)
        return siblings


@pytest.fixture
def ours(other: OtherInstance, clock: FakeClock) -> Iterator[Ours]:
    """Our own instance."""
    with other_instance() as here:
        yield Ours(here, other, clock)


def accept_many(other: OtherInstance) -> None:
    """More is accepted, and taken, than the lanes hold."""
    for number in range(2, 4 + GEOMETRY.lane_slots):
        other.publish(copy_of(number))
        other.take(copy_of(number))
        other.skip()


def look_and_freeze(siblings: Siblings, sibling: Sibling, clock: FakeClock, meanwhile: Callable[[], None]) -> None:
    """A look that reads all of a sibling, and stands still at the end of that reading."""
    read_all = sibling._read_all  # noqa: SLF001  there is no other place between a reading and the look's end

    def read_and_freeze(because: ReadReason, life_ms: int) -> None:
        read_all(because, life_ms)
        clock.advance(SERVES_WITHIN_MS + 1)
        meanwhile()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sibling, "_read_all", read_and_freeze)
        siblings.look()


class TestUnwatched:
    """Siblings.look."""

    def test_is_told(self, other: OtherInstance, clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
        """In words that alarm nobody, as it is so at each start; and when it is over."""
        caplog.set_level(logging.INFO)
        other.take(copy_of(1))
        other.start()
        siblings = Siblings([sibling_of(other.name, clock)], clock, [], [])
        pass_time(siblings, clock, 2 * RETURNING_MS)
        assert caplog.messages == [
            f"{other.name} is watched from now on; 1 of its ids count here",
            f"{other.name} answers for its ids itself again",
        ]

    def test_after_a_time_without_a_look(self, other: OtherInstance, clock: FakeClock) -> None:
        """Who stood still, or only begins, may hold requests that their clients have sent there since: for as long as
        such are around all that it remembers counts, what it accepted during that time above all.
        """
        other.take(copy_of(1, accepted_ms=EARLIER_MS))
        other.take(copy_of(2))
        other.start()
        siblings = Siblings([sibling_of(other.name, clock)], clock, [], [])
        assert amount_of(siblings, copy_of(1)) == 1990
        pass_time(siblings, clock, RETURNING_MS)
        assert amount_of(siblings, copy_of(1)) is None
        other.take(copy_of(3, accepted_ms=EARLIER_MS))
        clock.advance(SERVES_WITHIN_MS)
        assert amount_of(siblings, copy_of(3)) is None
        clock.advance(SERVES_WITHIN_MS + 1)
        assert amount_of(siblings, copy_of(3)) == 1990
        pass_time(siblings, clock, RETURNING_MS - 1)
        assert amount_of(siblings, copy_of(3)) == 1990
        clock.advance(1)
        assert amount_of(siblings, copy_of(3)) is None

    @pytest.mark.parametrize("how", ["dead", "starting", "hung"])
    def test_after_a_time_without_a_worker_of_ours(self, ours: Ours, clock: FakeClock, how: str) -> None:
        """A request may have lain in its socket that its client has sent there since; the dispatcher lives on."""
        siblings, row = ours.look_for_long(), ours.rows[1]
        for away_ms, found in ((SERVES_WITHIN_MS, None), (SERVES_WITHIN_MS + 1, 1990)):
            assert amount_of(siblings, copy_of(1)) is None
            if how == "hung":
                row.beat((clock.ticks_ms() - SERVES_WITHIN_MS) * 1000)
            else:
                row.phase = Phase.GONE if how == "dead" else Phase.STARTING
            pass_time(siblings, clock, away_ms)
            assert amount_of(siblings, copy_of(1)) is None
            row.phase = Phase.READY
            row.beat(NEVER_SILENT_US)
            assert amount_of(siblings, copy_of(1)) == found

    def test_one_of_ours_after_another(self, ours: Ours, clock: FakeClock) -> None:
        """Each has its own absence, be others away or not."""
        siblings = ours.look_for_long()
        for row in ours.rows:
            row.phase = Phase.GONE
            pass_time(siblings, clock, 2 * RETURNING_MS)
        assert amount_of(siblings, copy_of(1)) is None
        ours.rows[0].phase = Phase.READY
        assert amount_of(siblings, copy_of(1)) == 1990

    @pytest.mark.parametrize("phase", [Phase.GONE, Phase.LEAVING])
    def test_one_of_ours_was_back_for_a_moment(self, ours: Ours, clock: FakeClock, phase: Phase) -> None:
        """It read what lay in its socket, and is away again when that is taken from its lane."""
        siblings = ours.look_for_long()
        ours.rows[1].phase = phase
        pass_time(siblings, clock, 2 * RETURNING_MS)
        assert amount_of(siblings, copy_of(1)) is None
        ours.here.publish(copy_of(1), worker=1, dispatcher=0)
        assert amount_of(siblings, copy_of(1)) == 1990
        pass_time(siblings, clock, 2 * RETURNING_MS)
        assert amount_of(siblings, copy_of(1)) is None

    def test_what_one_of_ours_published_earlier(self, ours: Ours, clock: FakeClock) -> None:
        """It shows that it was at work then, and not ever since."""
        siblings, row = ours.look_for_long(), ours.rows[1]
        ours.here.publish(copy_of(9), worker=1, dispatcher=0)
        siblings.look()
        row.phase = Phase.GONE
        pass_time(siblings, clock, SERVES_WITHIN_MS + 1)
        row.phase = Phase.READY
        assert amount_of(siblings, copy_of(1)) == 1990

    @pytest.mark.parametrize(("starting_ms", "found"), [(SERVES_WITHIN_MS, None), (SERVES_WITHIN_MS + 1, 1990)])
    def test_a_start_without_workers(
        self, ours: Ours, other: OtherInstance, clock: FakeClock, starting_ms: int, found: int | None
    ) -> None:
        """All is read at once; and again when they are at work, unless that is soon."""
        siblings = ours.look()
        assert amount_of(siblings, copy_of(1)) == 1990
        other.take(copy_of(3, accepted_ms=EARLIER_MS))
        other.take(copy_of(4))
        pass_time(siblings, clock, starting_ms)
        ours.here.start()
        assert amount_of(siblings, copy_of(3)) == found

    def test_absent_before_and_after_a_time_without_a_look(self, other: OtherInstance, clock: FakeClock) -> None:
        """Nobody knows whether it served in between."""
        siblings = Siblings([sibling_of(other.name, clock)], clock, [], [])
        other.start()
        other.say(Phase.LEAVING)
        siblings.look()
        other.take(copy_of(1, accepted_ms=EARLIER_MS))
        other.take(copy_of(2))
        assert amount_of(siblings, copy_of(1)) is None
        clock.advance(SERVES_WITHIN_MS + 1)
        assert amount_of(siblings, copy_of(1)) == 1990

    def test_frozen_while_all_is_read(self, other: OtherInstance, clock: FakeClock) -> None:
        """What was accepted meanwhile is read, too, before anything is taken, if it is too much to be all among the
        latest: it may lie where had been read already.
        """
        other.start()
        sibling = sibling_of(other.name, clock)
        siblings = Siblings([sibling], clock, [], [])

        def accept() -> None:
            other.take(copy_of(1, accepted_ms=EARLIER_MS))
            accept_many(other)

        look_and_freeze(siblings, sibling, clock, accept)
        assert amount_of(siblings, copy_of(1)) == 1990

    def test_in_a_lane_before_all_is_read(self, other: OtherInstance, clock: FakeClock) -> None:
        """What lay in a lane, and was taken to where had been read already, is still known when payments are taken
        right after the look, however much was accepted meanwhile.
        """
        other.start()
        other.publish(copy_of(1, accepted_ms=EARLIER_MS))
        sibling = sibling_of(other.name, clock)
        siblings = Siblings([sibling], clock, [], [])

        def accept() -> None:
            other.take(copy_of(1, accepted_ms=EARLIER_MS))
            other.skip()
            accept_many(other)

        look_and_freeze(siblings, sibling, clock, accept)
        assert siblings.amount_of(copy_of(1)) == 1990

    def test_a_worker_serves_while_all_is_read(self, other: OtherInstance, clock: FakeClock) -> None:
        """It was away before and is away again, as we stood still meanwhile: what it accepted is read R later."""
        other.start()
        other.segment.worker_counters(0).phase = Phase.GONE
        sibling = sibling_of(other.name, clock)
        siblings, read_all = Siblings([sibling], clock, [], []), sibling._read_all  # noqa: SLF001

        def read_and_freeze(because: ReadReason, life_ms: int) -> None:
            read_all(because, life_ms)
            clock.advance(SERVES_WITHIN_MS + 1)
            other.publish(copy_of(1, accepted_ms=EARLIER_MS), worker=0)
            other.take(copy_of(1, accepted_ms=EARLIER_MS))
            other.skip(worker=0)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sibling, "_read_all", read_and_freeze)
            siblings.look()
        for number in (2, 3):  # the other worker goes on: what is to be found is not among the latest any more
            pass_time(siblings, clock, 500)
            other.publish(copy_of(number))
        pass_time(siblings, clock, RETURNING_MS)
        assert amount_of(siblings, copy_of(1)) == 1990

    def test_another_segment_while_all_is_read(self, other: OtherInstance, clock: FakeClock) -> None:
        """What is accepted in a copy of the segment that was read, while this process is frozen, is read, too."""
        sibling = sibling_of(other.name, clock)
        siblings, read_all = Siblings([sibling], clock, [], []), sibling._read_all  # noqa: SLF001

        def read_and_freeze(because: ReadReason, life_ms: int) -> None:
            read_all(because, life_ms)
            clock.advance(SERVES_WITHIN_MS + 1)
            segment_id = other.segment.segment_id
            Segment.unlink(other.name)
            other.segment = Segment.create(other.name, GEOMETRY._replace(lane_slots=16), segment_id=segment_id)
            other.start()
            for payment in (copy_of(1, accepted_ms=EARLIER_MS), copy_of(2), copy_of(3)):
                other.publish(payment)
                other.take(payment)
                other.skip()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sibling, "_read_all", read_and_freeze)
            siblings.look()
        assert amount_of(siblings, copy_of(1)) == 1990

    @pytest.mark.parametrize("reading", [1, 3])
    def test_frozen_for_long_while_all_is_read(
        self, other: OtherInstance, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, reading: int
    ) -> None:
        """What was read counts from the end of the reading on: requests may lie here whose clients went there before.

        Of one look the first two readings of the tables are for the latest ids, the third is for all of them.
        """
        taken, readings = LatestAccepted.taken, count(1)

        def freeze_and_take(latest: LatestAccepted) -> Iterator[tuple[int, int, bytes, int, int]]:
            if next(readings) == reading:
                clock.advance(RETURNING_MS)
            return taken(latest)

        monkeypatch.setattr(LatestAccepted, "taken", freeze_and_take)
        other.take(copy_of(1, accepted_ms=EARLIER_MS))
        other.take(copy_of(2))
        other.start()
        siblings = Siblings([sibling_of(other.name, clock)], clock, [], [])
        siblings.look()
        pass_time(siblings, clock, RETURNING_MS - 1)
        assert amount_of(siblings, copy_of(1)) == 1990
        clock.advance(1)
        assert amount_of(siblings, copy_of(1)) is None

    def test_a_look_that_takes_long(self, other: OtherInstance, clock: FakeClock) -> None:
        """Reading all that they remember is no time without a look, or it would be done again and again; but whoever
        was frozen in the midst of a usual look was away.
        """
        reads: list[int] = []

        class Slow(Sibling):
            """It takes three seconds whenever all is read, and at its third look."""

            looks = 0

            def look(self, *, was_unwatched: bool = False) -> None:
                """Notes when all is read."""
                super().look(was_unwatched=was_unwatched)
                self.looks += 1
                if was_unwatched:
                    reads.append(self.looks)
                if was_unwatched or self.looks == 3:
                    clock.advance(SERVES_WITHIN_MS + 1)

        other.start()
        siblings = Siblings([Slow(other.name, clock, STUCK_MS, ours="")], clock, [], [])
        for _ in range(6):
            siblings.look()
        assert reads == [1, 4]

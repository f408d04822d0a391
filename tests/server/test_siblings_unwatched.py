"""server/siblings.py: after a time in which nobody here looked or served, all that siblings remember counts."""

import pytest

from server.siblings import SERVES_WITHIN_MS, Sibling, Siblings
from shm import Lane, Phase
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


def lanes_of(here: OtherInstance) -> list[Lane]:
    """The lanes of our own instance to the dispatcher that asks."""
    return [here.segment.lane(worker, 0) for worker in range(GEOMETRY.workers)]


class TestUnwatched:
    """Siblings.look."""

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
    def test_after_a_time_without_a_worker_of_ours(self, other: OtherInstance, clock: FakeClock, how: str) -> None:
        """A request may have lain in its socket that its client has sent there since; the dispatcher lives on."""
        other.take(copy_of(1, accepted_ms=EARLIER_MS))
        other.take(copy_of(2))
        other.start()
        with other_instance() as here:
            here.start()
            rows = [here.segment.worker_counters(worker) for worker in range(GEOMETRY.workers)]
            siblings = Siblings([sibling_of(other.name, clock)], clock, rows, lanes_of(here))
            pass_time(siblings, clock, 2 * RETURNING_MS)
            for away_ms, found in ((SERVES_WITHIN_MS, None), (SERVES_WITHIN_MS + 1, 1990)):
                assert amount_of(siblings, copy_of(1)) is None
                if how == "hung":
                    rows[1].beat((clock.ticks_ms() - SERVES_WITHIN_MS) * 1000)
                else:
                    rows[1].phase = Phase.GONE if how == "dead" else Phase.STARTING
                pass_time(siblings, clock, away_ms)
                assert amount_of(siblings, copy_of(1)) is None
                rows[1].phase = Phase.READY
                rows[1].beat(NEVER_SILENT_US)
                assert amount_of(siblings, copy_of(1)) == found

    def test_one_of_ours_after_another(self, other: OtherInstance, clock: FakeClock) -> None:
        """Each has its own absence, be others away or not."""
        other.take(copy_of(1, accepted_ms=EARLIER_MS))
        other.take(copy_of(2))
        other.start()
        with other_instance() as here:
            here.start()
            rows = [here.segment.worker_counters(worker) for worker in range(GEOMETRY.workers)]
            siblings = Siblings([sibling_of(other.name, clock)], clock, rows, lanes_of(here))
            pass_time(siblings, clock, 2 * RETURNING_MS)
            for row in rows:
                row.phase = Phase.GONE
                pass_time(siblings, clock, 2 * RETURNING_MS)
            assert amount_of(siblings, copy_of(1)) is None
            rows[0].phase = Phase.READY
            assert amount_of(siblings, copy_of(1)) == 1990

    @pytest.mark.parametrize("phase", [Phase.GONE, Phase.LEAVING])
    def test_one_of_ours_was_back_for_a_moment(self, other: OtherInstance, clock: FakeClock, phase: Phase) -> None:
        """It read what lay in its socket, and is away again when that is taken from its lane."""
        other.take(copy_of(1, accepted_ms=EARLIER_MS))
        other.take(copy_of(2))
        other.start()
        with other_instance() as here:
            here.start()
            rows = [here.segment.worker_counters(worker) for worker in range(GEOMETRY.workers)]
            siblings = Siblings([sibling_of(other.name, clock)], clock, rows, lanes_of(here))
            pass_time(siblings, clock, 2 * RETURNING_MS)
            rows[1].phase = phase
            pass_time(siblings, clock, 2 * RETURNING_MS)
            assert amount_of(siblings, copy_of(1)) is None
            here.publish(copy_of(1), worker=1, dispatcher=0)
            assert amount_of(siblings, copy_of(1)) == 1990
            pass_time(siblings, clock, 2 * RETURNING_MS)
            assert amount_of(siblings, copy_of(1)) is None

    def test_a_start_without_workers(self, other: OtherInstance, clock: FakeClock) -> None:
        """All is read at once; and again when they are at work, unless that is soon."""
        other.take(copy_of(1, accepted_ms=EARLIER_MS))
        other.start()
        with other_instance() as here:
            rows = [here.segment.worker_counters(worker) for worker in range(GEOMETRY.workers)]
            for starting_ms, found in ((SERVES_WITHIN_MS, None), (SERVES_WITHIN_MS + 1, 1990)):
                siblings = Siblings([sibling_of(other.name, clock)], clock, rows, lanes_of(here))
                assert amount_of(siblings, copy_of(1)) == 1990
                other.take(copy_of(2, accepted_ms=EARLIER_MS))
                other.take(copy_of(3))
                pass_time(siblings, clock, starting_ms)
                here.start()
                assert amount_of(siblings, copy_of(2)) == found
                here.close()
                for row in rows:
                    row.phase = Phase.GONE

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

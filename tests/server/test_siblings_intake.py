"""server/siblings.py: what intake asks of it before a payment is taken from a lane."""

import errno

import pytest

from server.custody import Custody
from server.intake import Intake
from server.siblings import Siblings
from shm import DispatcherCount, Lane, Segment
from tests.fakes import NOON_MS, FakeClock
from tests.server.disturbed_volume import DisturbedVolume
from tests.server.fake_area import FakeArea
from tests.server.other_instance import GEOMETRY, OtherInstance, copy_of, sibling_of

LATER_MS = NOON_MS + 1


@pytest.fixture
def own(instance: str) -> Lane:
    """A lane of this instance."""
    return Segment.create(instance, GEOMETRY).lane(0, 0)


class TestIntake:
    """What a dispatcher does with payments whose ids an absent sibling has."""

    def test_are_not_paid_again(self, other: OtherInstance, clock: FakeClock, own: Lane) -> None:
        """The same amount is a repetition, another one a conflict; others are taken, and ids known here first."""
        other.take(copy_of(1))
        other.publish(copy_of(2))
        area = FakeArea(waiting_slots=8)
        custody = Custody([own], area.table, area.journal, area.counters, lambda _: None)
        siblings = Siblings([sibling_of("test-never-was", clock), sibling_of(other.name, clock)], clock, [], [])
        intake = Intake([own], custody, area.counters, clock, siblings=siblings, after_absence=False)
        custody.take(copy_of(4))
        other.take(copy_of(4))
        for payment in (copy_of(1), copy_of(2, 5), copy_of(3), copy_of(4, 7)):
            assert own.try_publish(payment._replace(accepted_at_us=LATER_MS * 1000))
        assert not intake.take()
        assert own.depth == 0
        taken = [custody.read(slot).correlation_id for slot in custody.waiting]
        assert taken == [copy_of(4).correlation_id, copy_of(3).correlation_id]
        assert area.counters.get(DispatcherCount.REPEATED) == 1
        assert area.counters.get(DispatcherCount.CONFLICTS) == 2

    def test_nothing_is_taken_while_they_can_not_be_looked_at(
        self, other: OtherInstance, clock: FakeClock, own: Lane, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Without descriptors the dispatcher goes on with what it has, and says so once each time."""
        other.take(copy_of(1))
        area = FakeArea(waiting_slots=8)
        custody = Custody([own], area.table, area.journal, area.counters, lambda _: None)
        reasons = [OSError(errno.EMFILE, "no descriptors")] * 3

        def refuse(look: str, _: str) -> None:
            if look == "is_role_free" and reasons:  # a lock's file
                raise reasons.pop()

        sibling = sibling_of(other.name, clock, volume=DisturbedVolume(refuse))
        intake = Intake(
            [own], custody, area.counters, clock, siblings=Siblings([sibling], clock, [], []), after_absence=False
        )
        assert own.try_publish(copy_of(1, accepted_ms=LATER_MS))
        assert [intake.take() for _ in range(3)] == [False] * 3
        assert own.depth == 1
        assert caplog.text.count("siblings can't be looked at") == 1
        intake.take()
        assert own.depth == 0
        assert area.counters.get(DispatcherCount.REPEATED) == 1
        reasons.append(OSError(errno.EMFILE, "no descriptors"))
        assert own.try_publish(copy_of(2))
        intake.take()
        assert caplog.text.count("siblings can't be looked at") == 2

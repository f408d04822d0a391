"""server/verification.py: what is done with the copies that siblings have, round by round."""

import errno
from collections.abc import Callable, Sequence

import pytest

from server import verification
from server.copies import Payer
from server.custody import Custody
from server.intake import Intake
from server.siblings import Siblings
from shm import DispatcherCount, Geometry, Lane, State
from tests.fakes import FakeClock
from tests.server.fake_area import FakeArea
from tests.server.other_instance import OtherInstance, copy_of
from tests.server.returned import Returned


class FakeCopy:
    """A sibling's copy of something: that one pays it, it does not, or that can't be told yet."""

    def __init__(self, payer: Payer) -> None:
        self.payer = payer

    def who_pays(self, _: int) -> Payer:
        """Who the test says."""
        return self.payer


class TestSeveralSiblings:
    """The same payment at more than one."""

    @pytest.mark.parametrize(
        "payers",
        [(Payer.US, Payer.SIBLING), (Payer.SIBLING, Payer.US), (Payer.UNDECIDED, Payer.SIBLING)],
    )
    def test_one_that_pays_is_enough(self, monkeypatch: pytest.MonkeyPatch, payers: Sequence[Payer]) -> None:
        """Whatever the others say, it is a duplicate of that one's."""
        returned = Returned(1)
        found = {copy_of(1).correlation_id: [FakeCopy(payer) for payer in payers]}
        monkeypatch.setattr(returned.siblings, "copies", lambda _: found)
        copies = verification._Copies(returned.custody, returned.siblings, returned.clock)  # noqa: SLF001  one step of it
        assert not copies.leave_to_siblings()
        assert (list(returned.custody.unverified), len(returned.ended())) == ([], 1)


class TestWithoutDescriptors:
    """Siblings can't be looked at."""

    async def test_for_a_while(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing is decided meanwhile, and the process goes on; it ends itself if that lasts."""
        returned = Returned(1, 2)
        looks = iter(range(2))

        def copies(_: Callable[[bytes], bool]) -> dict[bytes, list[FakeCopy]]:
            if next(looks) == 0:
                raise OSError(errno.EMFILE, "no descriptors")
            assert len(returned.custody.unverified) == 2
            return {copy_of(1).correlation_id: [FakeCopy(Payer.SIBLING)]}

        monkeypatch.setattr(returned.siblings, "copies", copies)
        await returned.verify()
        assert (returned.waiting(), len(returned.ended())) == ([2], 1)


class TestSlots:
    """What has been looked for is remembered by slot."""

    def test_one_left_to_a_sibling_is_forgotten_with_its_slot(self, other: OtherInstance) -> None:
        """The next payment in there is another one, whose copies have not been looked for."""
        other.start()
        other.has_verified()
        other.take(copy_of(1))
        other.take(copy_of(3))
        returned = Returned(1, siblings=(other.name,))
        custody = returned.custody
        copies = verification._Copies(custody, returned.siblings, returned.clock)  # noqa: SLF001  one step at a time
        copies.leave_to_siblings()
        custody._fold()  # noqa: SLF001  else it takes as many ends as the journal holds
        assert custody.take(copy_of(3), verified=False)
        assert list(custody.unverified) == [0]
        copies.leave_to_siblings()
        assert len(returned.ended()) == 2

    def test_one_that_comes_later_is_looked_for(self, other: OtherInstance) -> None:
        """Though nothing has been decided yet of what was there before."""
        other.start()
        other.has_verified()
        other.take(copy_of(2))
        returned = Returned(1, siblings=(other.name,))
        copies = verification._Copies(returned.custody, returned.siblings, returned.clock)  # noqa: SLF001  one step at a time
        copies.leave_to_siblings()
        assert returned.custody.take(copy_of(2), verified=False)
        copies.leave_to_siblings()
        assert [record.state for record in returned.ended()] == [State.DUPLICATE]
        assert len(returned.custody.unverified) == 1


class TestEndsInOneGo:
    """Many that a sibling has are ended at once: the oldest are forgotten meanwhile, and others take their slots."""

    def test_who_comes_in_meanwhile_is_not_lost(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever waits in the table is verified in the next round."""
        lane = Lane(memoryview(bytearray(Geometry(1, 1, 32, 1, 2).lane_length)), 32)
        area = FakeArea(waiting_slots=40, journal_records=8)
        custody = Custody([lane], area.table, area.journal, area.counters, lambda _: None)
        for number in range(40):
            custody.take(copy_of(number), verified=False)
        for number in range(100, 130):
            assert lane.try_publish(copy_of(number))
        clock = FakeClock()
        siblings = Siblings([], clock, [], [])
        intake = Intake([lane], custody, area.counters, clock, siblings=siblings, after_absence=True)
        custody.before_forgetting = intake.take
        found = {copy_of(number).correlation_id: [FakeCopy(Payer.SIBLING)] for number in range(40)}
        monkeypatch.setattr(siblings, "copies", lambda _: found)
        copies = verification._Copies(custody, siblings, clock)  # noqa: SLF001  one step of it
        assert not copies.leave_to_siblings()
        assert area.counters.get(DispatcherCount.TAKEN) == 70
        there = {slot for slot, kept in area.table.scan() if kept and kept.state is State.WAITING}
        assert set(custody.unverified) == there
        assert len(custody.unverified) == 30

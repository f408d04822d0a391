"""server/neighbours.py: who may have settled more than Redis knows, and would not be missed."""

from collections.abc import Iterator

import pytest

from server.neighbours import ATTACH_MS, Neighbours, Told
from shm import Member, Segment
from tests.fakes import FakeClock
from tests.server.other_instance import GEOMETRY, OtherInstance, other_instance
from tests.shm.segments import segment_path


@pytest.fixture
def other() -> Iterator[OtherInstance]:
    """An instance of this volume."""
    with other_instance() as made:
        yield made


@pytest.fixture
def clock() -> FakeClock:
    """It is noon."""
    return FakeClock()


def names(other: OtherInstance) -> list[str]:
    """Of its members."""
    return [str(Member(other.segment.segment_id, number)) for number in range(GEOMETRY.dispatchers)]


class TestUnheard:
    """Neighbours.unheard."""

    def test_who_never_lived(self, other: OtherInstance, clock: FakeClock) -> None:
        """A segment whose dispatchers have never started has settled nothing, and no segment neither."""
        assert Neighbours(["test-never-was", other.name], clock).unheard({}) is None

    def test_who_never_published(self, other: OtherInstance, clock: FakeClock) -> None:
        """One that has lived is missed, each dispatcher by itself."""
        first, second = names(other)
        other.segment.journal(1).begin_life()
        neighbours = Neighbours([other.name], clock)
        assert neighbours.unheard({first: Told(1, said_goodbye=False)}) == (
            f"instance {second} has not published its totals yet"
        )
        assert neighbours.unheard({second: Told(1, said_goodbye=False)}) is None

    def test_who_is_back(self, other: OtherInstance, clock: FakeClock) -> None:
        """A goodbye is that of one life, and ends with the next one's beginning."""
        first, _ = names(other)
        journal = other.segment.journal(0)
        life = journal.begin_life()
        neighbours = Neighbours([other.name], clock)
        goodbye = {first: Told(life, said_goodbye=True)}
        assert neighbours.unheard(goodbye) is None
        assert journal.begin_life() == life + 1
        assert neighbours.unheard(goodbye) == f"instance {first} is back and has not published its totals yet"
        assert neighbours.unheard({first: Told(life + 1, said_goodbye=True)}) is None

    def test_who_lives_is_missed_by_others(self, other: OtherInstance, clock: FakeClock) -> None:
        """Without a goodbye its silence shows in Redis itself."""
        first, _ = names(other)
        other.segment.journal(0).begin_life()
        other.segment.journal(0).begin_life()
        assert Neighbours([other.name], clock).unheard({first: Told(1, said_goodbye=False)}) is None

    def test_a_segment_that_was_made_anew(self, other: OtherInstance, clock: FakeClock) -> None:
        """It is found within a second; until then the one before it counts."""
        first, _ = names(other)
        other.segment.journal(0).begin_life()
        neighbours = Neighbours([other.name], clock)
        assert first in (neighbours.unheard({}) or "")
        Segment.unlink(other.name, locks=False)
        other.segment = Segment.create(other.name, GEOMETRY)
        clock.advance(ATTACH_MS - 1)
        assert first in (neighbours.unheard({}) or "")
        clock.advance(1)
        assert neighbours.unheard({}) is None

    def test_a_segment_that_can_not_be_read(self, other: OtherInstance, clock: FakeClock) -> None:
        """Nobody knows what was settled in it, whatever Redis says; until it can be read again."""
        path = segment_path(other.name)
        whole = path.read_bytes()
        path.write_bytes(b"something else" * 1000)
        neighbours = Neighbours([other.name], clock)
        assert f"what instance {other.name} has settled can't be seen" in (neighbours.unheard({}) or "")
        path.write_bytes(whole)
        clock.advance(ATTACH_MS)
        assert neighbours.unheard({}) is None

    def test_a_segment_in_the_making(self, other: OtherInstance, clock: FakeClock) -> None:
        """Nothing has been settled in it."""
        segment_path(other.name).write_bytes(bytes(4096))
        assert Neighbours([other.name], clock).unheard({}) is None

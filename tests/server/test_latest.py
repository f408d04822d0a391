"""server/latest.py: the ids that an instance has accepted lately, over the segment of one."""

from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.latest import LatestAccepted, LatestIds
from tests.fakes import NOON_MS
from tests.server.other_instance import GEOMETRY, OtherInstance, copy_of
from tests.shm.segments import damaged_head

SIZE = 3


@pytest.fixture
def latest(other: OtherInstance) -> LatestAccepted:
    """What is known of its latest ids: nothing yet."""
    workers, dispatchers = range(GEOMETRY.workers), range(GEOMETRY.dispatchers)
    lanes = [other.segment.lane(worker, dispatcher) for worker in workers for dispatcher in dispatchers]
    return LatestAccepted(lanes, [other.segment.table(dispatcher) for dispatcher in dispatchers], SIZE)


def known(latest: LatestAccepted, *numbers: int) -> list[int]:
    """Which of these ids it knows."""
    return [number for number in numbers if latest.get(copy_of(number).correlation_id) is not None]


class TestLatestIds:
    """LatestIds."""

    @given(st.lists(st.tuples(st.integers(0, 2**63 - 1), st.integers(1, 2**50)), min_size=1, max_size=5))
    def test_the_first_accepted_counts(self, accepted: list[tuple[int, int]]) -> None:
        """In whatever order several payments with one id are met."""
        latest = LatestIds(4)
        for amount_cents, accepted_at_us in accepted:
            latest.add(bytes(16), amount_cents, accepted_at_us)
        first = min(accepted, key=lambda one: one[1])
        assert latest.get(bytes(16)) == first

    @given(st.lists(st.integers(0, 9), min_size=1, max_size=40))
    @example([0, 1, 2, 3, 4, 0, 5, 6])
    def test_who_comes_again_is_among_the_latest(self, numbers: list[int]) -> None:
        """A client repeats what a web worker has forgotten: it is published once more."""
        latest = LatestIds(SIZE)
        for time_us, number in enumerate(numbers):
            latest.add(copy_of(number).correlation_id, 1990, time_us)
        last = list(dict.fromkeys(reversed(numbers)))[:SIZE]
        assert [number for number in last if latest.get(copy_of(number).correlation_id) is None] == []


class TestLatestAccepted:
    """LatestAccepted."""

    def test_at_first(self, other: OtherInstance, latest: LatestAccepted) -> None:
        """What lies in lanes, and the newest of the tables, with amount and time."""
        for number in range(1, 6):
            other.take(copy_of(number, accepted_ms=NOON_MS + number), dispatcher=number % 2)
        other.publish(copy_of(9, 500))
        latest.follow()
        assert known(latest, *range(10)) == [3, 4, 5, 9]
        assert latest.get(copy_of(9).correlation_id) == (500, NOON_MS * 1000)

    def test_afterwards(self, other: OtherInstance, latest: LatestAccepted) -> None:
        """What was published since is learned, taken or not; the oldest are forgotten."""
        latest.follow()
        for number in range(1, 9):
            other.publish(copy_of(number))
            latest.follow()
            other.skip()
        assert known(latest, *range(10)) == [4, 5, 6, 7, 8]

    def test_missed(self, other: OtherInstance, latest: LatestAccepted) -> None:
        """What was overwritten in a lane before it could be read is found in the table."""
        latest.follow()
        for number in range(1, GEOMETRY.lane_slots + 2):
            other.publish(copy_of(number))
            other.take(copy_of(number, accepted_ms=NOON_MS - number))
            other.skip()
        latest.follow()
        assert 1 in known(latest, 1)

    def test_taken_while_it_looks(self, other: OtherInstance, monkeypatch: pytest.MonkeyPatch) -> None:
        """A payment taken into a table that has been read already is still found in its lane."""
        lane, table = other.segment.lane(1, 1), other.segment.table(1)
        entries, taken = table.entries, iter((1, 2))  # one after each time that the table is read

        def entries_too_soon() -> Iterator[tuple[int, int, bytes, int, int]]:
            yield from list(entries())
            other.take(copy_of(next(taken)))
            lane.advance(lane.tail + 1)

        monkeypatch.setattr(table, "entries", entries_too_soon)
        latest = LatestAccepted([lane], [table], SIZE)
        other.publish(copy_of(1), copy_of(2))
        latest.follow()
        assert known(latest, 1, 2) == [1, 2]

    def test_more_than_a_lane_holds_is_taken_while_it_looks(
        self, other: OtherInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who looks stands still between tables and lanes: what was overwritten there is in the tables by now."""
        lane, table = other.segment.lane(1, 1), other.segment.table(1)
        ids, numbers, reads = table.entries, range(1, GEOMETRY.lane_slots + 2), list[int]()

        def ids_and_a_freeze() -> Iterator[tuple[int, int, bytes, int, int]]:
            yield from list(ids())
            reads.append(len(reads))
            if len(reads) == 2:
                for number in numbers:
                    other.publish(copy_of(number))
                    other.take(copy_of(number))
                    other.skip()

        monkeypatch.setattr(table, "entries", ids_and_a_freeze)
        latest = LatestAccepted([lane], [table], len(numbers))
        latest.follow()
        assert known(latest, *numbers) == [*numbers]

    def test_a_damaged_slot(self, other: OtherInstance, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is not waited for: nobody knows what it holds, and it may stay until its instance is started again."""
        lane = other.segment.lane(1, 1)
        other.publish(copy_of(1), copy_of(2))
        peek = lane.peek
        monkeypatch.setattr(lane, "peek", lambda position: None if position == 0 else peek(position))
        latest = LatestAccepted([lane], [], SIZE)
        latest.follow()
        assert known(latest, 1, 2) == [2]

    def test_a_damaged_head(self, other: OtherInstance, latest: LatestAccepted) -> None:
        """What another instance's damaged memory promises is not looked for without end."""
        other.publish(copy_of(1), copy_of(2))
        with damaged_head(other.segment.lane(1, 1)):
            assert latest.follow() == [0, 0, 0, GEOMETRY.lane_slots]
            assert known(latest, 1, 2) == [1, 2]
            assert latest.follow() == [0, 0, 0, 0]

    def test_taken(self, other: OtherInstance, latest: LatestAccepted) -> None:
        """What is taken is found in any table; what lies in a lane is not taken yet."""
        other.publish(copy_of(1))
        latest.follow()
        assert not latest.has_taken(copy_of(1).correlation_id)
        other.take(copy_of(1), dispatcher=0)
        other.take(copy_of(2), dispatcher=1)
        assert latest.has_taken(copy_of(1).correlation_id)
        assert [taken[2] for taken in latest.taken()] == [copy_of(1).correlation_id, copy_of(2).correlation_id]

    def test_nobody(self) -> None:
        """An instance without a segment has accepted nothing."""
        nothing = LatestAccepted([], [], SIZE)
        nothing.follow()
        assert nothing.get(bytes(16)) is None
        assert not nothing.has_taken(bytes(16))

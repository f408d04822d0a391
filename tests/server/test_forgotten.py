"""server/forgotten.py: a forgotten id is known until all that lay in the lanes then has been taken."""

import pytest

from server.forgotten import ForgottenIds
from shm import Accepted, Geometry, Lane

SLOTS = 4
ONE, TWO = b"1".rjust(16), b"2".rjust(16)


@pytest.fixture
def lanes() -> list[Lane]:
    """Two empty lanes."""
    length = Geometry(1, 1, SLOTS, 1, 2).lane_length
    return [Lane(memoryview(bytearray(length)), SLOTS) for _ in range(2)]


def publish(lane: Lane, count: int = 1) -> None:
    """Some payment comes, or several."""
    for _ in range(count):
        assert lane.try_publish(Accepted(b"x" * 16, 1990, 1))


def test_empty_lanes(lanes: list[Lane]) -> None:
    """No copy can come, so nothing is kept."""
    ids = ForgottenIds(lanes)
    ids.add({ONE: 1990})
    assert ids.amounts == {}
    assert ids.amount_of(ONE) is None


@pytest.mark.parametrize("first", [0, 1])
def test_until_each_lane_has_been_taken_from(lanes: list[Lane], first: int) -> None:
    """Up to where it was filled then; what comes later tells nothing."""
    ids = ForgottenIds(lanes)
    publish(lanes[0], 2)
    publish(lanes[1])
    ids.add({ONE: 1990, TWO: 5})
    for lane in lanes:
        publish(lane)
    heads = (2, 1)
    lanes[first].advance(heads[first])
    assert (ids.amount_of(ONE), ids.amount_of(TWO), ids.amount_of(b"3".rjust(16))) == (1990, 5, None)
    lanes[1 - first].advance(heads[1 - first])
    assert ids.amount_of(ONE) is None
    assert ids.amounts == {}


def test_some_earlier_than_others(lanes: list[Lane]) -> None:
    """Each is known as long as itself may have a copy there."""
    ids = ForgottenIds(lanes)
    publish(lanes[0])
    ids.add({ONE: 1990})
    publish(lanes[0])
    ids.add({TWO: 5})
    lanes[0].advance(1)
    assert (ids.amount_of(ONE), ids.amount_of(TWO)) == (None, 5)
    assert ids.amounts == {TWO: 5}


def test_dropped_as_others_are_added(lanes: list[Lane]) -> None:
    """Though nobody has asked for any: else they would gather."""
    ids = ForgottenIds(lanes)
    publish(lanes[0])
    ids.add({ONE: 1990})
    lanes[0].advance(1)
    publish(lanes[1])
    ids.add({TWO: 5})
    assert ids.amounts == {TWO: 5}

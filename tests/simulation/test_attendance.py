"""Who is at work in a simulated instance, and what HAProxy thinks of that when a supervisor follows another."""

from collections.abc import Iterator

import pytest

from tests.simulation.attendance import Attendance
from tests.simulation.plan import draw_plan
from tests.simulation.seat import RISES_WITHIN_S
from tests.simulation.world import World


@pytest.fixture
def world() -> Iterator[World]:
    """Any."""
    world = World(draw_plan(0), tracing=False)
    yield world
    world.loop.close()


class TestAttendance:
    """Attendance."""

    def test_first_supervisor(self, world: World) -> None:
        """HAProxy has not looked yet, and takes all for up."""
        attendance = Attendance(world, world.plan.config)
        attendance.seat_anew(2)
        assert all(seat.is_up(0) for seat in attendance.seats)

    def test_next_supervisor(self, world: World) -> None:
        """HAProxy was refused meanwhile, and finds out a moment later that somebody is there."""
        attendance = Attendance(world, world.plan.config)
        attendance.seat_anew(1)
        attendance.worker_back(0, [])
        attendance.close()
        attendance.seat_anew(1)
        assert not attendance.seats[0].is_up(0)
        attendance.worker_back(0, [])
        assert attendance.seats[0].is_up(RISES_WITHIN_S)

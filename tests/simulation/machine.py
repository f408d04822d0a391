"""What all processes of a machine share: its clocks, and what can be read in a segment."""

from collections.abc import Collection

from shm import Segment, State
from tests.simulation.world import START_US, World

TICKS_START_MS = 5_000_000


class MachineClock:
    """The clocks of the machine that all instances run on; the wall clock can be moved."""

    def __init__(self, world: World) -> None:
        self._loop = world.loop
        self.step_us = 0

    def wall_us(self) -> int:
        """Microseconds UTC."""
        return START_US + int(self._loop.time() * 1_000_000) + self.step_us

    def ticks_ms(self) -> int:
        """Milliseconds that only go forward."""
        return int(self._loop.time() * 1000) + TICKS_START_MS


def ids_in_tables(segment: Segment, states: Collection[State]) -> set[bytes]:
    """The ids in a segment's tables whose payments are in one of some states."""
    tables = (segment.table(index) for index in range(segment.geometry.dispatchers))
    kept = (kept for table in tables for _, kept in table.scan())
    return {one.correlation_id for one in kept if one is not None and one.state in states}


def ids_in_lanes(segment: Segment) -> dict[bytes, int]:
    """The ids in a segment's lanes, and when each was accepted first, µs UTC."""
    ids: dict[bytes, int] = {}
    for worker in range(segment.geometry.workers):
        for dispatcher in range(segment.geometry.dispatchers):
            lane = segment.lane(worker, dispatcher)
            for accepted in map(lane.peek, range(lane.tail, lane.head)):
                if accepted is not None:
                    ids.setdefault(accepted.correlation_id, accepted.accepted_at_us)
    return ids

"""Another instance on the same volume: a small segment, and a process that holds the locks of its roles."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from server.clock import Clock
from server.presence import HAPROXY_RETURNS_MS
from server.siblings import Sibling, Siblings
from server.volume import THIS_VOLUME, Volume
from shm import Accepted, DispatcherCount, Event, FileLock, Geometry, Phase, Segment, State, take_role
from tests.fakes import NOON_MS, FakeClock
from tests.shm.processes import end, forked
from tests.shm.segments import fresh_instance

GEOMETRY = Geometry(workers=2, dispatchers=2, lane_slots=8, waiting_slots=32, journal_records=8)
NEVER_SILENT_US = 10**15  # a beat of the far future
LONG_AGO_MS = NOON_MS - 3_600_000
LATER_MS = NOON_MS + 1
EARLIER_MS = NOON_MS - 1
STUCK_MS = 5000  # STUCK_S's default
RETURNING_MS = HAPROXY_RETURNS_MS + STUCK_MS
_WAYS = {
    State.WAITING: [],
    State.SENDING: [Event.ATTEMPT_BEGAN],
    State.UNKNOWN: [Event.ATTEMPT_BEGAN, Event.UNCLEAR],
    State.SETTLED: [Event.ATTEMPT_BEGAN, Event.PAID],
    State.DUPLICATE: [Event.FOUND_ELSEWHERE],
    State.REFUSED: [Event.ATTEMPT_BEGAN, Event.REJECTED],
}


def copy_of(number: int, amount_cents: int = 1990, *, accepted_ms: int = NOON_MS) -> Accepted:
    """A payment with this id; copies of it may differ in amount and time."""
    return Accepted(number.to_bytes(16, "big"), amount_cents, accepted_ms * 1000)


def sibling_of(name: str, clock: Clock, *, ours: str = "", volume: Volume = THIS_VOLUME) -> Sibling:
    """What the instance `ours` knows of another one; by default one whose name sorts before all others."""
    return Sibling(name, clock, STUCK_MS, ours=ours, volume=volume)


def amount_of(sibling: Sibling | Siblings, payment: Accepted) -> int | None:
    """A payment arrives here: what was accepted under its id by one who is absent now."""
    sibling.look()
    return sibling.amount_of(payment)


def pass_time(sibling: Sibling | Siblings, clock: FakeClock, ms: int) -> None:
    """Time goes by, and the sibling is looked at twice a second."""
    while ms > 0:
        clock.advance(min(ms, 500))
        sibling.look()
        ms -= 500


class OtherInstance:
    """The instance `name`; nobody plays a role in it until `start`.

    Attributes:
        name: its name.
        segment: its segment, for a test to write what its processes would.
        pid: of its supervisor; 0 while it has none.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.segment = Segment.create(name, GEOMETRY)
        self.pid = 0
        self._used = 0
        self._life = ExitStack()

    def start(self, at_ms: int = LONG_AGO_MS, *, begun: bool = True) -> None:
        """A process takes the supervisor's lock and, if it gets so far, begins its row and has dispatchers."""

        def supervise() -> list[FileLock]:
            locks = [take_role(self.name, "supervisor")]
            if begun:
                row = self.segment.supervisor_counters()
                row.begin(os.getpid(), at_ms)
                row.phase = Phase.READY
                for worker in range(GEOMETRY.workers):
                    self.segment.worker_counters(worker).phase = Phase.READY
                    self.segment.worker_counters(worker).beat(NEVER_SILENT_US)
                locks += [take_role(self.name, f"dispatcher-{number}") for number in range(GEOMETRY.dispatchers)]
            return locks

        self.pid = self._life.enter_context(forked(supervise))

    def kill(self) -> None:
        """Its supervisor is killed."""
        assert end(self.pid) == -9
        self.close()

    def close(self) -> None:
        """Nothing of it is left running."""
        self._life.close()
        self.pid = 0

    def say(self, phase: Phase) -> None:
        """Its supervisor says where it stands."""
        self.segment.supervisor_counters().phase = phase

    def has_verified(self) -> None:
        """Its dispatchers have verified all that waited when they were started."""
        since_ms = self.segment.supervisor_counters().started_at_ms
        for dispatcher in range(GEOMETRY.dispatchers):
            self.segment.dispatcher_counters(dispatcher).put(DispatcherCount.VERIFIED_FOR_MS, since_ms)

    def publish(self, *payments: Accepted, worker: int = 1, dispatcher: int = 1) -> None:
        """A web worker accepts payments."""
        for payment in payments:
            assert self.segment.lane(worker, dispatcher).try_publish(payment)

    def skip(self, worker: int = 1, dispatcher: int = 1) -> None:
        """A dispatcher is done with all that lies in a lane."""
        lane = self.segment.lane(worker, dispatcher)
        lane.advance(lane.head)

    def take(self, payment: Accepted, state: State = State.WAITING, dispatcher: int = 1) -> None:
        """A dispatcher has a payment in its table, and it stands there."""
        table = self.segment.table(dispatcher)
        slot, self._used = self._used, self._used + 1
        table.insert(slot, payment)
        for event in _WAYS[state]:
            if event is Event.ATTEMPT_BEGAN:
                table.begin(slot, 0, NOON_MS)
            else:
                table.apply(slot, event)
        assert table.state(slot) is state


@contextmanager
def other_instance() -> Iterator[OtherInstance]:
    """Gives another instance; nothing of it is left afterwards."""
    with fresh_instance() as name:
        other = OtherInstance(name)
        try:
            yield other
        finally:
            other.close()

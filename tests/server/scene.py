"""A dispatcher with everything around it but processes: a small segment, two fake processors, a fake clock."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Self

from server.attempt import stamp_ms
from server.circuit import Circuit
from server.custody import Custody
from server.dispatcher import Dispatcher
from server.intake import Intake
from server.pacing import GATHER_MS, Pacer
from server.routing import Router, make_policy
from server.sender import Sender
from server.siblings import Siblings
from shm import Accepted, Counters, DispatcherCount, Ended, Geometry, Kept, Segment, State
from tests.fakes import NOON_MS, FakeClock, FakeProcessor, idle
from tests.shm.segments import fresh_instance

GEOMETRY = Geometry(workers=2, dispatchers=1, lane_slots=256, waiting_slots=256, journal_records=64)
SLOW_MS = 1000
WAIT_MS = 4500
"""How long a payment waits for the default processor: 1.5 s for each of 3 percentage points."""


def id_of(number: int) -> bytes:
    """A correlation id."""
    return number.to_bytes(16, "big")


def text_of(number: int) -> str:
    """The same id as the processors see it."""
    text = id_of(number).hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def payment(number: int, amount_cents: int = 1990, accepted_at_us: int = NOON_MS * 1000) -> Accepted:
    """A payment in a lane."""
    return Accepted(id_of(number), amount_cents, accepted_at_us)


@contextmanager
def fresh_segment(geometry: Geometry = GEOMETRY) -> Iterator[Segment]:
    """Gives a new segment, gone afterwards."""
    with fresh_instance() as instance:
        yield Segment.create(instance, geometry)


class Scene:
    """One life of a dispatcher over a segment; a further one over the same segment is its successor.

    Args:
        segment: with any geometry of one dispatcher.
        in_flight_max: payments at once, per processor.
        attempts_max: as the setting.
        place: which of the instances it is, from 0.
        places: how many instances there are.
    """

    def __init__(
        self,
        segment: Segment,
        *,
        in_flight_max: int = 100,
        attempts_max: int = 0,
        place: int = 0,
        places: int = 1,
    ) -> None:
        self.clock = FakeClock()
        self.fakes = (FakeProcessor(), FakeProcessor())
        self.processors = (self.fakes[0].processor(0), self.fakes[1].processor(1))
        self.segment = segment
        self.counters: Counters = segment.dispatcher_counters(0)
        self.journal = segment.journal(0)
        self.table = segment.table(0)
        self.lanes = [segment.lane(worker, 0) for worker in range(segment.geometry.workers)]
        self.ends = 0
        self.quiet = 0
        self.throttled_periods = 0
        self.custody = Custody(self.lanes, self.table, self.journal, self.counters, self._count_end)
        policy = make_policy((700, 1000), 1500)
        self.circuits = (Circuit(in_flight_max, SLOW_MS), Circuit(in_flight_max, SLOW_MS))
        self.pacer = Pacer(self.clock.ticks_ms(), lambda: self.throttled_periods)
        intake = Intake(
            self.lanes,
            self.custody,
            self.counters,
            self.clock,
            siblings=Siblings([], self.clock, [], []),
            after_absence=False,
        )
        self.custody.before_forgetting = intake.take
        stamp = partial(stamp_ms, place=place, places=places)
        sender = Sender(self.custody, self.processors, self.circuits, self.counters, self.clock, stamp, attempts_max)
        self.dispatcher = Dispatcher(
            self.custody,
            intake,
            Router(self.circuits, policy),
            self.pacer,
            sender,
            self.counters,
            self.clock,
            on_quiet=self._be_quiet,
        )
        self.doorbell = os.eventfd(0, os.EFD_NONBLOCK)
        self.bugs: list[BaseException] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self.bugs.append(context["exception"]))

    async def __aenter__(self) -> Self:
        self.dispatcher.start(self.doorbell)
        await idle()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.dispatcher.aclose()
        os.close(self.doorbell)

    def _be_quiet(self) -> None:
        self.quiet += 1

    def _count_end(self, _: int) -> None:
        self.ends += 1

    def accept(self, *numbers: int, lane: int = 0, amount_cents: int = 1990) -> None:
        """A web worker accepts payments now, and does not ring."""
        for number in numbers:
            taken = payment(number, amount_cents, self.clock.wall_us())
            assert self.lanes[lane].try_publish(taken)

    async def pass_time(self, ms: int = 0) -> None:
        """Lets time pass, then a turn come and all that follows from it."""
        self.clock.advance(ms)
        os.eventfd_write(self.doorbell, 1)
        await idle()
        assert self.bugs == [], self.bugs

    async def work_off(self, most_turns: int = 100) -> None:
        """Lets time pass until nothing waits and no lane holds anything."""
        for _ in range(most_turns):
            await self.pass_time(GATHER_MS)
            if not self.custody.waiting and not any(lane.depth for lane in self.lanes):
                return
        raise AssertionError(f"{len(self.custody.waiting)} payments still wait")

    async def pay(self, number: int = 1) -> Kept:
        """Accepts a payment, lets it be attempted, and says where it stands then."""
        self.accept(number)
        await self.pass_time()
        return self.kept(number)

    def kept(self, number: int = 1) -> Kept:
        """Where a payment stands."""
        kept = self.table.find(id_of(number))
        assert kept is not None, f"payment {number} is not in the table"
        return kept

    def states(self) -> list[State]:
        """Where all payments stand, in slot order."""
        return [kept.state for _, kept in self.table.scan() if kept is not None]

    def ended(self) -> list[Ended]:
        """The journal."""
        records = [self.journal.read(position) for position in range(self.journal.head)]
        return [record for record in records if record is not None]

    def count(self, what: DispatcherCount) -> int:
        """One of the dispatcher's counts."""
        return self.counters.get(what)


def hanging() -> asyncio.Future[int]:
    """An answer that comes when the test has it come."""
    return asyncio.get_running_loop().create_future()

"""What a simulated instance holds: its memory, which outlives its processes, and what others must know of it."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from server.children import Role
from server.config import Config
from shm import (
    ENDED,
    UNSETTLED,
    Accepted,
    Counters,
    Fingerprint,
    Geometry,
    Member,
    Segment,
    State,
    count_unsettled,
    layout,
)
from shm.migration import copy_remembered
from tests.simulation.absences import Returns
from tests.simulation.attendance import Attendance
from tests.simulation.coverage import Fault
from tests.simulation.machine import MachineClock, ids_in_lanes, ids_in_tables
from tests.simulation.plan import draw_geometry
from tests.simulation.segment import SimulatedSegment
from tests.simulation.truth import MemberTruth, Truth
from tests.simulation.world import World

FIRST_ID = 0xA000_0000_0000_0001
NOTICED_S = 0.005  # an absence longer than this is noticed by siblings: they look before they take anything


class Holdings:
    """One instance's.

    Args:
        world: of this run.
        number: 0 or 1.
        config: its settings.
        truth: what is told of every commit.
        clock: the machine's.
        alone: whether there is no other.

    Attributes:
        attendance: who is at work here.
        members: the truth of each dispatcher.
        view: its memory.
        deadly: where a store may be the last, and how many of them a life that is going to die at one has at most.
        doubted: ids that lay in its lanes when it last started.
        owed_elsewhere: ids that waited then and that a sibling had sent to a processor.
    """

    def __init__(
        self, world: World, number: int, config: Config, truth: Truth, *, clock: MachineClock, alone: bool
    ) -> None:
        self.number = number
        self.config = replace(config, instance=f"app{number}", siblings=() if alone else (f"app{1 - number}",))
        self.clock = clock
        self.attendance = Attendance(world, self.config)
        self.doubted: dict[bytes, int] = {}
        self.owed_elsewhere: set[bytes] = set()
        self.segment_id = FIRST_ID + number
        dispatchers = range(config.dispatchers)
        self.members = [MemberTruth(str(Member(self.segment_id, index)), number) for index in dispatchers]
        for member in self.members:
            truth.members[member.name] = member
        self._world = world
        self._truth = truth
        self._absent_since_s: float | None = None
        self._absent_ids: dict[bytes, int] = {}  # when an id in a lane was accepted, µs UTC; 0: it was in a table
        self._copies_made = 0
        # Id to how many payments its lanes had got when it was first among them, in this geometry.
        self._accepted: dict[bytes, int] = {}
        self._map(config.geometry, bytearray(config.geometry.size))

    def _map(self, geometry: Geometry, data: bytearray) -> None:
        """Its memory from now on."""
        self.geometry = geometry
        self.data = data
        self.view = self.seen_through(memoryview(data))
        dispatchers = range(geometry.dispatchers)
        self._lanes = [self.view.lane(worker, one) for worker in range(geometry.workers) for one in dispatchers]
        self._accepted.clear()
        areas = [geometry.area_offset(index) for index in range(geometry.dispatchers)]
        lanes = geometry.lanes_offset
        self.deadly: list[tuple[Callable[[int], bool], int]] = [
            (lambda _: True, 300),
            (lambda start: start >= lanes, 300),
            (lambda start: any(area <= start < area + layout.BASE_PAGE_LENGTH for area in areas), 30),
        ]

    def seen_through(self, view: memoryview) -> SimulatedSegment:
        """Its segment, as a process sees it."""
        return SimulatedSegment(
            self.data,
            view,
            self.geometry,
            self.segment_id,
            truth=self._truth,
            members=self.members,
            coverage=self._world.coverage,
            on_publish=self.has_published,
        )

    def change_geometry(self) -> None:
        """Now and then its segment is copied into another geometry, as `shm.migrate` does with a real one."""
        world, plan = self._world, self._world.plan
        if not world.faulty or world.rng.random() >= plan.chances.get(Fault.COPIED, 0) or count_unsettled(self.view):
            return
        dispatchers = self.geometry.dispatchers
        geometry = draw_geometry(world.rng, dispatchers=dispatchers, in_lanes_max=plan.sibling_ids_max)
        data = bytearray(geometry.size)
        old, new = (Segment(*memory, self.segment_id, 0) for memory in ((self.data, self.geometry), (data, geometry)))  # type: ignore[arg-type]  # as in SimulatedSegment
        copy_remembered(old, new)
        for index, member in enumerate(self.members):
            self._truth.based(member, new.journal(index).base)
        world.note(Fault.COPIED)
        world.say(f"instance {self.number} has another geometry: {geometry}")
        self._copies_made += 1
        self._map(geometry, data)
        self.config = replace(
            self.config,
            web_workers=geometry.workers,
            lane_slots=geometry.lane_slots,
            waiting_slots=geometry.waiting_slots,
            journal_records=geometry.journal_records,
        )

    def row(self, role: Role) -> Counters:
        """A process's row of counters."""
        if role.kind == "worker":
            return self.view.worker_counters(role.number)
        return self.view.dispatcher_counters(role.number)

    def has_published(self, worker: int, correlation_id: bytes, accepted_at_us: int) -> None:
        """A web worker has published a payment."""
        self._accepted.setdefault(correlation_id, self.published())
        self._truth.published(self.number, correlation_id, accepted_at_us)

    def published(self) -> int:
        """How many payments its lanes have got."""
        return sum(lane.head for lane in self._lanes)

    def claims(self, correlation_id: bytes, taken_at_s: float, returns: Returns) -> str | None:
        """What an id is that it remembers, if a sibling's dispatcher with those returns must know it now; else None."""
        if self._is_among_latest(correlation_id):
            return "among the latest of another instance"
        bound_s = self.attendance.bound_s(returns)
        if bound_s is not None and taken_at_s < bound_s:
            return "among what another instance had taken before one of the two was away"
        return None

    def _is_among_latest(self, correlation_id: bytes) -> bool:
        """Whether siblings must know it from following its lanes."""
        accepted = self._accepted.get(correlation_id)
        met_late = (len(self._lanes) - 1) * self.geometry.lane_slots  # older ones, from other lanes
        return accepted is not None and self.published() - accepted + met_late < self._world.plan.sibling_ids_max

    def paying_ids(self) -> set[bytes]:
        """The ids that it has sent to a processor, and whose outcome was not a no."""
        return ids_in_tables(self.view, {State.SENDING, State.UNKNOWN, State.SETTLED})

    def begin_absence(self) -> None:
        """From now on siblings answer for what it has accepted."""
        self.attendance.leave()
        self._absent_since_s = self._world.loop.time()
        in_tables = dict.fromkeys(ids_in_tables(self.view, ENDED | UNSETTLED), 0)
        self._absent_ids = ids_in_lanes(self.view) | in_tables

    def end_absence(self, siblings: Iterable["Holdings"]) -> None:
        """It starts, and doubts what it finds."""
        self._absent_since_s = None
        self.doubted = ids_in_lanes(self.view)
        waiting = set(self.doubted) | ids_in_tables(self.view, {State.WAITING})
        self.owed_elsewhere = {known for one in siblings for known in waiting & one.paying_ids()}

    def answers_for(self, payment: Accepted) -> bool:
        """Whether it is absent for long enough to be noticed, and has accepted this payment's id before."""
        since_s = self._absent_since_s
        if since_s is None or self._world.loop.time() - since_s <= NOTICED_S:
            return False
        known = payment.correlation_id
        if not any(known in member.known for member in self.members) and known not in ids_in_lanes(self.view):
            return False  # forgotten while it was leaving
        accepted_at_us = self._absent_ids.get(known, payment.accepted_at_us)
        if accepted_at_us and not self._is_among_latest(known):
            return False  # it lay in a lane when siblings read the tables
        return accepted_at_us < payment.accepted_at_us

    def map(self) -> SimulatedSegment:
        """Its segment, to be read."""
        return self.view

    def fingerprint(self) -> Fingerprint:
        """What tells that segment from another one it had."""
        return Fingerprint(self._copies_made, b"")

    def is_settled(self) -> bool:
        """Whether nothing accepted waits for anything."""
        return not any(member.unsettled() for member in self.members) and not ids_in_lanes(self.view)

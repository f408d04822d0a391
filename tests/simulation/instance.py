"""A simulated instance: its memory, and a supervisor that forks, reaps and stops its processes as the real one does."""

import os
from collections.abc import Callable
from dataclasses import replace

from server.children import Children, Role, roles_of
from server.config import Config
from server.dispatcher_process import LAST_FLUSH_WITHIN_MS
from server.supervisor import LOOK_MS
from server.worker import STOP_WITHIN_S
from shm import (
    ENDED,
    SUPERVISOR,
    UNSETTLED,
    Accepted,
    Counters,
    Fingerprint,
    Geometry,
    Member,
    Phase,
    Segment,
    State,
    count_unsettled,
    layout,
)
from shm.migration import copy_remembered
from shm.role import RETRY_S
from tests.shm.memory import TEARS
from tests.simulation.coverage import Fault
from tests.simulation.machine import MachineClock, ids_in_lanes, ids_in_tables
from tests.simulation.memory import MortalMemory
from tests.simulation.plan import draw_geometry
from tests.simulation.process import Life, Surroundings, dispatch, serve
from tests.simulation.processors import SimulatedProcessor
from tests.simulation.redis_link import SimulatedRedis
from tests.simulation.segment import SimulatedSegment
from tests.simulation.truth import MemberTruth, Truth
from tests.simulation.world import World

FIRST_ID = 0xA000_0000_0000_0001
DYING_S = 0.004
NOTICED_S = 0.005  # an absence longer than this is noticed by siblings: they look every 2 ms


class Instance:
    """One instance.

    Args:
        world: of this run.
        number: 0 or 1.
        config: its settings.
        truth: what is told of every commit.
        processors: default and fallback.
        server: Redis.
        clock: the machine's.
        alone: whether there is no other.

    Attributes:
        up: whether its container runs and is to go on.
        supervised: whether its supervisor lives.
        siblings: the other instances by name; set once they exist.
        doubted: ids that lay in its lanes when it last started.
        owed_elsewhere: ids that waited then and that a sibling had sent to a processor.
        lives: the process of each role that has one.
        past: every life that has ended; their pending tasks must not be collected.
    """

    def __init__(
        self,
        world: World,
        number: int,
        config: Config,
        truth: Truth,
        processors: tuple[SimulatedProcessor, SimulatedProcessor],
        server: SimulatedRedis,
        *,
        clock: MachineClock,
        alone: bool,
    ) -> None:
        self.number = number
        self.config = replace(config, instance=f"app{number}", siblings=() if alone else (f"app{1 - number}",))
        self.supervised = False
        self.doubted: dict[bytes, int] = {}
        self.owed_elsewhere: set[bytes] = set()
        self._absent_since_s: float | None = None
        self._absent_ids: dict[bytes, int] = {}
        self.siblings: dict[str, Instance] = {}
        self.clock = clock
        self.segment_id = FIRST_ID + number
        self._copies_made = 0
        self.up = False
        self.lives: dict[Role, Life] = {}
        self.past: list[Life] = []
        dispatchers = range(config.dispatchers)
        self.members = [MemberTruth(str(Member(self.segment_id, index)), number) for index in dispatchers]
        self._world = world
        self._truth = truth
        self._processors = processors
        self._server = server
        self._doorbells = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in dispatchers]
        self._children = Children([])
        self._pids = 0
        self._stopping = 0  # number of the stop under way; a start makes it stale
        for member in self.members:
            truth.members[member.name] = member
        self._map(config.geometry, bytearray(config.geometry.size))

    def _map(self, geometry: Geometry, data: bytearray) -> None:
        """Its memory from now on."""
        self.geometry = geometry
        self.data = data
        self.view = self._segment(memoryview(data))
        areas = [geometry.area_offset(index) for index in range(geometry.dispatchers)]
        lanes = geometry.lanes_offset
        self._deadly: list[tuple[Callable[[int], bool], int]] = [
            (lambda _: True, 300),
            (lambda start: start >= lanes, 300),
            (lambda start: any(area <= start < area + layout.BASE_PAGE_LENGTH for area in areas), 30),
        ]  # where a store may be the last, and how many of them a life that is going to die at one has at most

    def _segment(self, view: memoryview) -> SimulatedSegment:
        return SimulatedSegment(
            self.data,
            view,
            self.geometry,
            self.segment_id,
            truth=self._truth,
            members=self.members,
            coverage=self._world.coverage,
        )

    def _start_with_other_settings(self) -> None:
        """Its segment is copied into another geometry, as `shm.migrate` does with a real one."""
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

    def start(self, ago_ms: int = 0) -> None:
        """The container starts: all roles are filled. It may say that it started some time ago."""
        if self.up:
            return
        if self.lives:  # a stop is under way; the container starts once it is over
            self._world.later(RETRY_S, self.start, ago_ms)
            return
        self._start_with_other_settings()
        self._world.say(f"instance {self.number} starts")
        self.up = self.supervised = True
        self._absent_since_s = None
        self.doubted = ids_in_lanes(self.view)
        waiting = set(self.doubted) | ids_in_tables(self.view, {State.WAITING})
        self.owed_elsewhere = {known for one in self.siblings.values() for known in waiting & one.paying_ids()}
        counters = self.view.supervisor_counters()
        counters.begin(1, self.clock.wall_us() // 1000 - ago_ms)
        counters.phase = Phase.READY
        self._stopping += 1
        self._children = Children(roles_of(self.config))
        self._fill()

    def _fill(self) -> None:
        if not self.up:
            return
        for role in self._children.due(self.clock.ticks_ms()):
            self._fork(role)
        if len(self.lives) < self.config.dispatchers + self.config.web_workers:
            wait_ms = self._children.wait_ms(self.clock.ticks_ms(), LOOK_MS)
            self._world.later(wait_ms / 1000 + self._world.latency_s(), self._fill)

    def _fork(self, role: Role) -> None:
        world = self._world
        self._pids += 1
        name = f"{self.number}/{role}.{self._pids}"
        fault = Fault.WORKER_DIED_AT_STORE if role.kind == "worker" else Fault.DISPATCHER_DIED_AT_STORE
        if world.faulty and world.rng.random() < world.plan.chances.get(fault, 0):
            life = self._mortal(role, name, fault)
        else:
            life = Life(name, self._segment(memoryview(self.data)))
            world.say(f"{life} is born")
        life.began_at_s = world.loop.time()
        self.lives[role] = life
        self._row(role).phase = Phase.STARTING
        self._children.born(role, self._pids, self.clock.ticks_ms())
        around = Surroundings(world, self.clock, self._processors, self._server, self, self.siblings)
        if role.kind == "worker":
            work = serve(life, self.config, role.number, self._doorbells, around)
        else:
            work = dispatch(life, self.config, role.number, self._doorbells[role.number], around)
        task = world.loop.create_task(work, context=life.context)
        life.task = task
        task.add_done_callback(lambda _: self._ended(role, life), context=world.context)

    def _row(self, role: Role) -> Counters:
        if role.kind == "worker":
            return self.view.worker_counters(role.number)
        return self.view.dispatcher_counters(role.number)

    def _mortal(self, role: Role, name: str, fault: Fault) -> Life:
        """A process that is going to die at one of its stores."""
        rng = self._world.rng
        counts, most = rng.choice(self._deadly[: 2 if role.kind == "worker" else 3])
        stores = int(most ** rng.random()) - 1
        tear = rng.choice(list(TEARS))
        memory = MortalMemory(self.data, stores, tear, lambda torn: self._fall(role, life, fault, torn), counts=counts)
        life = Life(name, self._segment(memory.view()))
        life.memory = memory
        self._world.say(f"{life} is born, to die after {stores} stores")
        return life

    def _fall(self, role: Role, life: Life, fault: Fault, torn: bool) -> None:  # noqa: FBT001  a callback's argument
        """Kills a process at its fatal store."""
        if torn:
            self._world.note(Fault.TORN_STORE)
        self.kill(role, life, fault)

    def _ended(self, role: Role, life: Life) -> None:
        """A process came to the end of its work by itself."""
        if life.dead:
            return
        if not life.task.cancelled() and (error := life.task.exception()) is not None:
            self._world.fail(f"{life} failed: {error!r}")
        self._world.say(f"{life} ends")
        self._bury(role, life)

    def kill(self, role: Role, life: Life, fault: Fault | None) -> None:
        """SIGKILL, if it still lives."""
        if life.dead:
            return
        if fault is not None:
            self._world.note(fault)
        self._world.say(f"{life} is dead")
        self._bury(role, life)

    def _bury(self, role: Role, life: Life) -> None:
        """The supervisor is told of a death, and fills the role when it is due."""
        life.dead = True
        life.gate = None
        life.held.clear()
        self.past.append(life)
        if self.lives.get(role) is life:
            del self.lives[role]
            self._children.died(int(life.name.rsplit(".", 1)[1]), self.clock.ticks_ms())
            if self.supervised:
                self._row(role).phase = Phase.GONE
        self._world.later(self._world.latency_s(), self._fill)

    def kill_all(self) -> None:
        """The container dies."""
        self.kill_supervisor()
        for role, life in list(self.lives.items()):
            self.kill(role, life, None)
        self._begin_absence()

    def kill_supervisor(self) -> None:
        """The first process dies; the kernel ends the others a moment later, in any order."""
        self.up = self.supervised = False
        self._stopping += 1
        for role, life in self.lives.items():
            self._world.later(self._world.rng.random() * DYING_S, self._die_with_parent, role, life)

    def _die_with_parent(self, role: Role, life: Life) -> None:
        self.kill(role, life, None)
        if not self.lives and not self.supervised:
            self._begin_absence()

    def stop(self) -> None:
        """The container is told to stop: workers leave first, then dispatchers settle what they can."""
        if not self.up:
            return
        self.up = False  # whoever ends is not replaced
        self._begin_absence()
        self.view.supervisor_counters().phase = Phase.LEAVING
        self._stopping += 1
        self._world.say(f"instance {self.number} is told to stop")
        self._stop_kind("worker", self._stopping)

    def _stop_kind(self, kind: str, stopping: int) -> None:
        if stopping != self._stopping:
            return
        leave_ms = self.config.leave_ms + STOP_WITHIN_S * 1000
        drain_ms = self.config.drain_ms + LAST_FLUSH_WITHIN_MS
        within_ms = LOOK_MS + (leave_ms if kind == "worker" else drain_ms)
        for role in [role for role in self.lives if role.kind == kind]:
            self.terminate(role)
        self._wait_for_end(kind, stopping, self.clock.ticks_ms() + within_ms)

    def _wait_for_end(self, kind: str, stopping: int, deadline_ms: int) -> None:
        if stopping != self._stopping:
            return
        if not any(role.kind == kind for role in self.lives):
            if kind == "worker":
                self._stop_kind("dispatcher", stopping)
            else:
                self.supervised = False
                self._begin_absence()
                self.view.supervisor_counters().phase = Phase.GONE
        elif self.clock.ticks_ms() > deadline_ms:
            self._world.note(Fault.STOPPED_LATE)
            self.kill_all()
        else:
            self._world.later(0.01, self._wait_for_end, kind, stopping, deadline_ms)

    def terminate(self, role: Role) -> None:
        """SIGTERM to one process."""
        if life := self.lives.get(role):
            self._world.loop.call_soon(life.terminate, context=life.context)

    def paying_ids(self) -> set[bytes]:
        """The ids that it has sent to a processor, and whose outcome was not a no."""
        return ids_in_tables(self.view, {State.SENDING, State.UNKNOWN, State.SETTLED})

    def _begin_absence(self) -> None:
        """From now on siblings answer for what it has accepted."""
        self._absent_since_s = self._world.loop.time()
        self._absent_ids = ids_in_lanes(self.view) | dict.fromkeys(ids_in_tables(self.view, ENDED | UNSETTLED), 0)

    def answers_for(self, payment: Accepted) -> bool:
        """Whether it is absent for long enough to be noticed, and has accepted this payment's id before."""
        since_s = self._absent_since_s
        if since_s is None or self._world.loop.time() - since_s <= NOTICED_S:
            return False
        known = payment.correlation_id
        if not any(known in member.known for member in self.members) and known not in ids_in_lanes(self.view):
            return False  # forgotten while it was leaving
        return self._absent_ids.get(known, payment.accepted_at_us) < payment.accepted_at_us

    def plays(self, role: str) -> bool:
        """Whether a living process holds a role's lock."""
        return self.supervised if role == SUPERVISOR else any(str(one) == role for one in self.lives)

    def map(self) -> SimulatedSegment:
        """Its segment, to be read."""
        return self.view

    def fingerprint(self) -> Fingerprint:
        """What tells that segment from another one it had."""
        return Fingerprint(self._copies_made, b"")

    def close(self) -> None:
        """The run is over."""
        for doorbell in self._doorbells:
            os.close(doorbell)

    def is_settled(self) -> bool:
        """Whether nothing accepted waits for anything."""
        return not any(member.unsettled() for member in self.members) and not ids_in_lanes(self.view)

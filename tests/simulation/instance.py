"""A simulated instance: what it holds, and a supervisor that forks, watches, reaps and stops its processes as the real
one does.
"""

import os
from collections.abc import Callable

from server.children import Children, Role, roles_of
from server.config import Config
from server.supervisor import LOOK_MS, START_WITHIN_MS, stop_within_ms
from shm import SUPERVISOR, Phase
from shm.role import RETRY_S
from tests.shm.memory import TEARS
from tests.simulation.absences import Returns
from tests.simulation.coverage import Fault
from tests.simulation.halts import HaltingMemory, Halts
from tests.simulation.holdings import Holdings
from tests.simulation.loop import Owner
from tests.simulation.machine import MachineClock
from tests.simulation.memory import MortalMemory
from tests.simulation.process import Life, Surroundings, dispatch, serve
from tests.simulation.processors import SimulatedProcessor
from tests.simulation.redis_link import SimulatedRedis
from tests.simulation.seat import SILENT_S, Request
from tests.simulation.truth import Truth
from tests.simulation.world import World

DYING_S = 0.004
CRASHES_WITHIN_S = 3.0  # a web worker starts within a second or two, and may have read its socket by then
HANGS_AT_START_CHANCE = 0.3
TIMERS_FIRST_CHANCE = 0.5  # uvloop runs what is due before it looks at its sockets; what it had begun comes before


class Instance(Holdings):
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
        super().__init__(world, number, config, truth, clock=clock, alone=alone)
        self.supervised = False
        self.siblings: dict[str, Instance] = {}
        self.up = False
        self.lives: dict[Role, Life] = {}
        self.past: list[Life] = []
        self._processors = processors
        self._server = server
        self._doorbells = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(config.dispatchers)]
        self._children = Children([])
        self._pids = 0
        self._supervisor = Owner()
        self._thawed_at_s = 0.0
        self._broken_until_s: dict[Role, float] = {}

    def start(self, ago_ms: int = 0) -> None:
        """The container starts: all roles are filled. It may say that it started some time ago."""
        if self.up:
            return
        if self.lives:  # a stop is under way; the container starts once it is over
            self._world.later(RETRY_S, self.start, ago_ms)
            return
        self.change_geometry()
        self._world.say(f"instance {self.number} starts")
        self.up = self.supervised = True
        self.end_absence(self.siblings.values())
        counters = self.view.supervisor_counters()
        counters.begin(1, self.clock.wall_us() // 1000 - ago_ms)
        counters.phase = Phase.READY
        self._supervisor = Owner()
        self.attendance.seat_anew(self.config.web_workers)
        self._children = Children(roles_of(self.config))
        self._fill()

    def _later(self, delay_s: float, callback: Callable[..., object], *args: object) -> None:
        """Has the supervisor do something later, unless it is dead by then."""
        self._world.loop.call_later(delay_s, callback, *args, context=self._supervisor.context)

    def _fill(self) -> None:
        if not self.up:
            return
        for role in self._children.due(self.clock.ticks_ms()):
            self._fork(role)
        if len(self.lives) < self.config.dispatchers + self.config.web_workers:
            wait_ms = self._children.wait_ms(self.clock.ticks_ms(), LOOK_MS)
            self._later(wait_ms / 1000 + self._world.latency_s(), self._fill)

    def _fork(self, role: Role) -> None:
        world = self._world
        self._pids += 1
        name = f"{self.number}/{role}.{self._pids}"
        fault = Fault.WORKER_DIED_AT_STORE if role.kind == "worker" else Fault.DISPATCHER_DIED_AT_STORE
        if world.faulty and world.rng.random() < world.plan.chances.get(fault, 0):
            life = self._mortal(role, name, fault)
        else:
            view = HaltingMemory(self.data).view() if world.plan.halts else memoryview(self.data)
            life = Life(name, self.seen_through(view), self.attendance.returns())
            world.say(f"{life} is born")
        if world.plan.halts:
            life.halts = Halts(
                world,
                life,
                pause=lambda: self.pause(role, life),
                is_frozen=lambda: self.frozen,
                resume=lambda: self.resume(role, life),
            )
        life.began_at_s = world.loop.time()
        self.lives[role] = life
        self.row(role).phase = Phase.STARTING
        self._children.born(role, self._pids, self.clock.ticks_ms())
        around = Surroundings(world, self.clock, self._processors, self._server, self, self.siblings)
        if role.kind == "worker":
            work = serve(life, self.config, role.number, self._doorbells, around)
        else:
            work = dispatch(life, self.config, role.number, self._doorbells[role.number], around)
        task = world.loop.create_task(work, context=life.context)
        life.task = task
        task.add_done_callback(lambda _: self._ended(role, life), context=world.context)
        if world.loop.time() < self._broken_until_s.get(role, 0):
            self._break(role, life)

    def _break(self, role: Role, life: Life) -> None:
        """A process that can't live: it dies soon, whatever it did until then, or has not started for long."""
        rng = self._world.rng
        if rng.random() < HANGS_AT_START_CHANCE:
            self.pause(role, life)
            self._world.later(self._broken_until_s[role] - self._world.loop.time(), self.resume, role, life)
        else:
            self._world.later(rng.random() ** 3 * CRASHES_WITHIN_S, self._crash, role, life)

    def _crash(self, role: Role, life: Life) -> None:
        """Kills a process that can't live, unless nothing goes wrong any more."""
        if self._world.faulty:
            self.kill(role, life, None)

    def _mortal(self, role: Role, name: str, fault: Fault) -> Life:
        """A process that is going to die at one of its stores."""
        rng = self._world.rng
        counts, most = rng.choice(self.deadly[: 2 if role.kind == "worker" else 3])
        stores = int(most ** rng.random()) - 1
        tear = rng.choice(list(TEARS))
        memory = MortalMemory(self.data, stores, tear, lambda torn: self._fall(role, life, fault, torn), counts=counts)
        life = Life(name, self.seen_through(memory.view()), self.attendance.returns())
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
            if role.kind == "worker" and role.number < len(self.attendance.seats):
                self.attendance.worker_away(role.number, answers=False, silently=self._supervisor.paused)
            pid = int(life.name.rsplit(".", 1)[1])
            self._world.loop.call_soon(self._reap, role, pid, context=self._supervisor.context)

    def _reap(self, role: Role, pid: int) -> None:
        self._children.died(pid, self.clock.ticks_ms())
        self.row(role).phase = Phase.GONE
        self._later(self._world.latency_s(), self._fill)

    def pause(self, role: Role, life: Life) -> None:
        """SIGSTOP; the supervisor kills who is silent for too long."""
        life.paused, life.paused_at_s = True, self._world.loop.time()
        life.published_elsewhere = self._published_elsewhere()
        self._world.say(f"{life} is frozen")
        if role.kind == "worker" and life.gate is not None:
            self.attendance.worker_away(role.number, answers=False, silently=True)
        self._watch(role, life, life.paused_at_s)

    def _watch(self, role: Role, life: Life, paused_at_s: float) -> None:
        """Looks at a frozen process's heartbeat when it may be too old."""
        is_starting = self.row(role).phase is Phase.STARTING
        within_s = max(self.config.stuck_ms, START_WITHIN_MS if is_starting else 0) / 1000
        silent_s = self._world.loop.time() - max(paused_at_s, self._thawed_at_s)
        if not self.up or life.dead or not life.paused or life.paused_at_s != paused_at_s:
            return
        if silent_s > within_s:
            self.kill(role, life, Fault.KILLED_AS_STUCK)
        else:
            self._later(
                within_s - silent_s + self._world.rng.random() * LOOK_MS / 1000, self._watch, role, life, paused_at_s
            )

    def resume(self, role: Role, life: Life) -> None:
        """SIGCONT: it does what has come due, in the order in which that came or timers first."""
        if life.dead or not life.paused or life.halted:
            return
        world, away_s = self._world, self._world.loop.time() - life.paused_at_s
        world.say(f"{life} goes on")
        world.loop.resume(life, timers_first=world.rng.random() < TIMERS_FIRST_CHANCE)
        if role.kind == "dispatcher":
            read_at_s = life.paused_at_s if self._has_followed(life) else None
            life.returns.note(world.loop.time(), is_sure=away_s >= SILENT_S, read_at_s=read_at_s)
        elif life.gate is not None and not life.gate.leaving:
            self.worker_serves(life, role.number)

    def _has_followed(self, life: Life) -> bool:
        """Whether a dispatcher that stood still while it looked at its siblings does not look again: they have accepted
        no more meanwhile than it knows as their latest.
        """
        if life.halts is None or not life.halts.is_looking:
            return False
        return self._published_elsewhere() - life.published_elsewhere <= self._world.plan.sibling_ids_max

    def _published_elsewhere(self) -> int:
        return sum(one.published() for one in self.siblings.values())

    @property
    def frozen(self) -> bool:
        """Whether all of its processes are."""
        return self._supervisor.paused

    def freeze(self) -> None:
        """`docker pause`, or a machine that has no time for it."""
        self._supervisor.paused = True
        for role, life in self.lives.items():
            if not life.paused:
                self.pause(role, life)

    def thaw(self, within_s: float) -> None:
        """Each process of it goes on soon, in any order."""
        if not self.frozen:
            return
        self._thawed_at_s = self._world.loop.time()
        self._world.loop.resume(self._supervisor)
        for role, life in self.lives.items():
            self._world.later(self._world.rng.random() * within_s, self.resume, role, life)

    def keep_away(self, role: Role, for_s: float, *, kills: bool) -> None:
        """Whoever is forked for a role can't live, for some time; `kills` whoever plays it now."""
        self._broken_until_s[role] = self._world.loop.time() + for_s
        if kills and (life := self.lives.get(role)):
            self.kill(role, life, None)

    def mend(self) -> None:
        """Nothing keeps its processes from living any more."""
        self._broken_until_s.clear()
        self.thaw(0)
        for role, life in self.lives.items():
            self.resume(role, life)

    def worker_serves(self, life: Life, worker: int) -> None:
        """A web worker begins to read its socket, or goes on."""
        self.attendance.worker_back(worker, [one for role, one in self.lives.items() if role.kind == "dispatcher"])
        self.attendance.read(worker, life)

    def worker_leaves(self, worker: int) -> None:
        """A web worker says so from now on."""
        self.attendance.worker_away(worker, answers=True, silently=False)

    def hand_over(self, worker: int, request: Request) -> bool:
        """A request comes; False if nobody listens."""
        if not self.supervised or worker >= len(self.attendance.seats):
            return False
        life = self.lives.get(Role("worker", worker))
        self.attendance.hand_over(worker, life if life is not None and life.gate is not None else None, request)
        return True

    def has_published(self, worker: int, correlation_id: bytes, accepted_at_us: int) -> None:
        """A web worker has published a payment."""
        super().has_published(worker, correlation_id, accepted_at_us)
        dispatcher = Role("dispatcher", self.geometry.dispatcher_of(correlation_id))
        self.attendance.accepted(worker, self.lives.get(dispatcher))

    def returns_of(self, dispatcher: int) -> Returns | None:
        """When a dispatcher of it came back from absences; None if it is dead."""
        life = self.lives.get(Role("dispatcher", dispatcher))
        return None if life is None else life.returns

    def is_look_old(self, dispatcher: int) -> bool:
        """Whether a dispatcher of it has stood still since it last looked at its siblings."""
        life = self.lives.get(Role("dispatcher", dispatcher))
        return life is not None and life.halts is not None and life.halts.is_look_old

    def has_halted(self, dispatcher: int) -> bool:
        """Whether a dispatcher of it stands still in the midst of a step."""
        life = self.lives.get(Role("dispatcher", dispatcher))
        return life is not None and life.halted

    def kill_all(self) -> None:
        """The container dies."""
        self.kill_supervisor()
        for role, life in list(self.lives.items()):
            self.kill(role, life, None)
        self.begin_absence()

    def kill_supervisor(self) -> None:
        """The first process dies; the kernel ends the others a moment later, in any order."""
        self.up = self.supervised = False
        self._supervisor.dead = True
        self.attendance.close()
        for role, life in self.lives.items():
            self._world.later(self._world.rng.random() * DYING_S, self._die_with_parent, role, life)

    def _die_with_parent(self, role: Role, life: Life) -> None:
        self.kill(role, life, None)
        if not self.lives and not self.supervised:
            self.begin_absence()

    def stop(self) -> None:
        """The container is told to stop: workers leave first, then dispatchers settle what they can."""
        if not self.up or self.frozen:
            return
        self.up = False  # who ends is not replaced, but for dispatchers until the workers have left
        self.begin_absence()
        self.view.supervisor_counters().phase = Phase.LEAVING
        self._world.say(f"instance {self.number} is told to stop")
        self._stop_kind("worker")

    def _stop_kind(self, kind: str) -> None:
        for role in [role for role in self.lives if role.kind == kind]:
            self.terminate(role)
        self._wait_for_end(kind, self.clock.ticks_ms() + stop_within_ms(self.config)[kind])

    def _wait_for_end(self, kind: str, deadline_ms: int) -> None:
        left = [(role, life) for role, life in self.lives.items() if role.kind == kind]
        if left and self.clock.ticks_ms() > deadline_ms:
            self._world.note(Fault.STOPPED_LATE)
            for role, life in left:
                self.kill(role, life, None)
        if kind == "worker":
            for role in self._children.due(self.clock.ticks_ms(), "dispatcher"):
                self._world.note(Fault.REPLACED_IN_STOP)
                self._fork(role)
        if left:
            self._later(0.01, self._wait_for_end, kind, deadline_ms)
        elif kind == "worker":
            self._stop_kind("dispatcher")
        else:
            self.supervised = False
            self._supervisor.dead = True
            self.begin_absence()
            self.attendance.close()
            self.view.supervisor_counters().phase = Phase.GONE

    def terminate(self, role: Role) -> None:
        """SIGTERM to one process."""
        if life := self.lives.get(role):
            self._world.loop.call_soon(life.terminate, context=life.context)

    def plays(self, role: str) -> bool:
        """Whether a living process holds a role's lock."""
        return self.supervised if role == SUPERVISOR else any(str(one) == role for one in self.lives)

    def close(self) -> None:
        """The run is over."""
        for doorbell in self._doorbells:
            os.close(doorbell)

"""Faults that happen at a time of their own: to processes, processors, Redis and clocks."""

from server.children import Role
from tests.simulation.coverage import Fault
from tests.simulation.instance import DYING_S, Instance
from tests.simulation.process import Life
from tests.simulation.processors import SimulatedProcessor
from tests.simulation.redis_link import SimulatedRedis
from tests.simulation.world import World

DELAYS_S = (0, 0, 0.005, 0.05, 0.3, 1, 2, 5, 10)
STEPS_S = (-7200, -60, -1.5, -0.2, 0.2, 1.5, 60, 7200, 300_000)

STUCK_S = 4.0  # longer than most orderly stops may take

ABSENCES = (2, 6)  # of a plan that has them: how many
FREEZES_S = ((0, 2), (2, 8), (8, 25))  # before HAProxy turns elsewhere; about then; and for longer than R
TURN_S = (8, 14)  # from one web worker's absence to the next one's: about R
TURN_AWAY_S = (4, 16)
HANGS_CHANCE = 0.5
SOON_S = 0.3  # a dispatcher looks at its siblings every 0.5 s


class Monkey:
    """Does what the plan says, at random times, to random victims; and undoes all of it in the end.

    Args:
        world: of this run.
        instances: their processes and clocks.
        processors: their delays and failures.
        server: Redis.
    """

    def __init__(
        self,
        world: World,
        instances: list[Instance],
        processors: tuple[SimulatedProcessor, SimulatedProcessor],
        server: SimulatedRedis,
    ) -> None:
        self._world = world
        self._instances = instances
        self._processors = processors
        self._server = server
        self._acts = {
            Fault.WORKER_KILLED: lambda: self._kill("worker", Fault.WORKER_KILLED),
            Fault.DISPATCHER_KILLED: lambda: self._kill("dispatcher", Fault.DISPATCHER_KILLED),
            Fault.INSTANCE_KILLED: self._kill_instance,
            Fault.ALL_KILLED: self._kill_all,
            Fault.INSTANCE_STOPPED: self._stop_instance,
            Fault.DISPATCHER_STOPPED: self._stop_dispatcher,
            Fault.PAUSED: self._pause,
            Fault.WORKER_AWAY: self._keep_worker_away,
            Fault.FAMILY_FROZEN: self._freeze,
            Fault.PROCESSOR_DELAY: self._delay,
            Fault.PROCESSOR_FAILING: self._fail,
            Fault.REDIS_AWAY: self._redis_away,
            Fault.REDIS_SILENT: self._redis_silent,
            Fault.REDIS_SLOW: self._redis_slow,
            Fault.REDIS_EMPTIED: self._redis_emptied,
            Fault.REDIS_RESTORED: self._redis_restored,
            Fault.REDIS_CLOCK: self._redis_clock,
            Fault.CLOCK: self._clock,
        }

    def start(self) -> None:
        """Sets the times."""
        world, rng = self._world, self._world.rng
        for _ in range(world.plan.events_count):
            act = self._acts.get(rng.choice(world.plan.events))
            if act is not None:
                world.later(rng.random() * world.plan.faults_s, act)
        if world.plan.absences:
            self._start_absences()
        if world.plan.siege:
            for processor in self._processors:
                processor.failing = True
                world.later(world.plan.faults_s * rng.uniform(0.5, 1), setattr, processor, "failing", False)
            world.later(world.plan.faults_s * rng.uniform(0.1, 0.6), self._kill_instance)
        if Fault.REDIS_RESTORED in world.plan.events:
            for _ in range(6):
                world.later(rng.random() * world.plan.faults_s, self._server.keep_copy)

    def _start_absences(self) -> None:
        """Of few kinds in one run: what matters is often how one absence follows another of its kind."""
        world, rng = self._world, self._world.rng
        acts = (
            self._keep_worker_away,
            self._keep_workers_away_in_turn,
            self._freeze,
            self._restart_soon,
            self._stop_instance,
            self._kill_instance,
        )
        kinds = rng.sample(acts, rng.choice((1, 1, 2)))
        for _ in range(rng.randint(*ABSENCES)):
            world.later(rng.random() * world.plan.faults_s, rng.choice(kinds))

    def undo(self) -> None:
        """From now on nothing goes wrong, and what was down is up."""
        for processor in self._processors:
            processor.delay_s = 0.005
            processor.failing = False
        self._redis_up()
        for instance in self._instances:
            self._restart(instance)
            self._server.disturb()
            instance.mend()
            for life in instance.lives.values():
                if life.memory is not None:
                    life.memory.live()

    def _victim(self, kind: str) -> tuple[Instance, Role, Life] | None:
        instance = self._world.rng.choice(self._instances)
        living = [(role, life) for role, life in instance.lives.items() if role.kind == kind]
        return (instance, *self._world.rng.choice(living)) if living else None

    def _kill(self, kind: str, fault: Fault) -> None:
        if victim := self._victim(kind):
            instance, role, life = victim
            instance.kill(role, life, fault)

    def _kill_instance(self) -> None:
        self._world.note(Fault.INSTANCE_KILLED)
        self._kill_supervisor(self._world.rng.choice(self._instances))

    def _kill_all(self) -> None:
        """The machine dies, so to speak; what is in memory stays, and Redis may begin anew."""
        self._world.note(Fault.ALL_KILLED)
        for instance in self._instances:
            self._kill_supervisor(instance)
        if self._world.rng.random() < 0.5:
            self._redis_emptied()

    def _restart_soon(self) -> None:
        """So soon that siblings may not see that it was gone, and HAProxy does."""
        instance = self._world.rng.choice(self._instances)
        self._world.note(Fault.INSTANCE_KILLED)
        instance.kill_supervisor()
        self._world.later(DYING_S + self._world.rng.random() * SOON_S, self._restart, instance)

    def _kill_supervisor(self, instance: Instance) -> None:
        instance.kill_supervisor()
        self._world.later(DYING_S + self._world.rng.random() ** 2 * 4, self._restart, instance)

    def _stop_instance(self) -> None:
        instance = self._world.rng.choice(self._instances)
        if instance.frozen:
            return
        self._world.note(Fault.INSTANCE_STOPPED)
        instance.stop()
        world, restart_s = self._world, self._world.rng.random() * 6
        stuck = [(role, life) for role, life in instance.lives.items() if role.kind == "dispatcher"]
        if stuck and world.loop.time() < world.plan.faults_s - STUCK_S and world.rng.random() < 0.5:
            instance.pause(*stuck[0])
            restart_s += STUCK_S
        world.later(restart_s, self._restart, instance)

    def _restart(self, instance: Instance) -> None:
        if not instance.up:
            instance.kill_all()  # a stop that was not over yet
            instance.start()

    def _stop_dispatcher(self) -> None:
        if victim := self._victim("dispatcher"):
            self._world.note(Fault.DISPATCHER_STOPPED)
            victim[0].terminate(victim[1])

    def _pause(self) -> None:
        if victim := self._victim(self._world.rng.choice(("worker", "dispatcher"))):
            instance, role, life = victim
            if not life.paused:
                self._world.note(Fault.PAUSED)
                self._server.disturb()
                instance.pause(role, life)
                self._world.later(self._world.rng.random() ** 2 * 6, self._resume, instance, role, life)

    def _resume(self, instance: Instance, role: Role, life: Life) -> None:
        if not instance.frozen:
            self._server.disturb()
            instance.resume(role, life)

    def _keep_worker_away(self) -> None:
        if victim := self._victim("worker"):
            self._keep_away(victim[0], victim[1], self._freeze_s())

    def _keep_workers_away_in_turn(self) -> None:
        """One goes before the other is back, or soon after; and long after its siblings have read for the first."""
        world, rng = self._world, self._world.rng
        instance = rng.choice(self._instances)
        workers, after_s = instance.config.web_workers, 0.0
        for number in (*rng.sample(range(workers), workers), rng.randrange(workers)):
            role = Role("worker", number)
            world.later(after_s, self._keep_away, instance, role, rng.uniform(*TURN_AWAY_S))
            after_s += rng.uniform(*TURN_S)

    def _keep_away(self, instance: Instance, role: Role, for_s: float) -> None:
        """A web worker hangs, dies again and again, or does not start."""
        world = self._world
        if not world.faulty:
            return
        world.note(Fault.WORKER_AWAY)
        world.say(f"{instance.number}/{role} is away for {for_s:.1f} s")
        life = instance.lives.get(role)
        if life is not None and world.rng.random() < HANGS_CHANCE:
            instance.pause(role, life)
            world.later(for_s, self._resume, instance, role, life)
        instance.keep_away(role, for_s, kills=life is None or not life.paused)

    def _freeze_s(self) -> float:
        return self._world.rng.uniform(*self._world.rng.choice(FREEZES_S))

    def _freeze(self) -> None:
        instance = self._world.rng.choice(self._instances)
        if instance.supervised and not instance.frozen:
            self._world.note(Fault.FAMILY_FROZEN)
            self._server.disturb()
            self._world.say(f"instance {instance.number} is frozen")
            instance.freeze()
            self._world.later(self._freeze_s(), self._thaw, instance)

    def _thaw(self, instance: Instance) -> None:
        self._server.disturb()
        instance.thaw(self._world.rng.choice((0.01, 0.5)))

    def _delay(self) -> None:
        processor = self._world.rng.choice(self._processors)
        processor.delay_s = self._world.rng.choice(DELAYS_S)
        self._world.note(Fault.PROCESSOR_DELAY)
        self._world.say(f"processor {processor.index} takes {processor.delay_s} s")

    def _fail(self) -> None:
        processor = self._world.rng.choice(self._processors)
        processor.failing = not processor.failing
        self._world.note(Fault.PROCESSOR_FAILING)
        self._world.say(f"processor {processor.index} {'fails' if processor.failing else 'is well'}")

    def _redis_away(self) -> None:
        self._world.note(Fault.REDIS_AWAY)
        self._server.away = True
        self._redis_later_up()

    def _redis_silent(self) -> None:
        self._world.note(Fault.REDIS_SILENT)
        self._server.silent = True
        self._redis_later_up()

    def _redis_slow(self) -> None:
        self._world.note(Fault.REDIS_SLOW)
        self._server.slow_s = self._world.rng.choice((0.02, 0.2, 1.5))
        self._redis_later_up()

    def _redis_later_up(self) -> None:
        self._server.disturb()
        self._world.later(self._world.rng.random() ** 2 * 5, self._redis_up)

    def _redis_up(self) -> None:
        server = self._server
        if server.away or server.silent or server.slow_s:
            server.disturb()
        server.away, server.silent, server.slow_s = False, False, 0.0
        self._world.say("Redis is well")

    def _redis_emptied(self) -> None:
        self._world.note(Fault.REDIS_EMPTIED)
        self._server.disturb()
        self._server.lose_data()

    def _redis_restored(self) -> None:
        self._world.note(Fault.REDIS_RESTORED)
        self._server.disturb()
        self._server.restore()

    def _redis_clock(self) -> None:
        self._world.note(Fault.REDIS_CLOCK)
        self._server.disturb()
        self._server.clock_step_ms += self._world.rng.choice((-60_000, -1000, 1000, 60_000))

    def _clock(self) -> None:
        step_s = self._world.rng.choice(STEPS_S)
        self._world.note(Fault.CLOCK)
        self._world.say(f"the wall clock moves by {step_s} s")
        self._instances[0].clock.step_us += int(step_s * 1_000_000)

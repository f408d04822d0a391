"""One run from its seed to its verdict."""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Iterator
from typing import Any, NamedTuple
from unittest.mock import patch

from server import ledger, redis_totals, siblings
from server.custody import Custody
from server.presence import Presence, ReadReason, WhatWasRead
from shm import Accepted, DispatcherCount, State
from tests.simulation.audit import Auditor
from tests.simulation.clients import Clients
from tests.simulation.coverage import TAKINGS, Coverage, Fault
from tests.simulation.faults import Monkey
from tests.simulation.halts import halting
from tests.simulation.instance import Instance
from tests.simulation.loop import Deadlock
from tests.simulation.machine import MachineClock
from tests.simulation.plan import Plan, draw_plan
from tests.simulation.processors import SimulatedProcessor
from tests.simulation.redis_link import SimulatedRedis
from tests.simulation.truth import Truth
from tests.simulation.world import World

SETTLED_WITHIN_S = 60.0  # of virtual time, once the faults have stopped
LOOK_S = 0.05
LONG_AGO_MS = 60_000  # an instance that started then is no longer taken for one that just returned


class Outcome(NamedTuple):
    """What came of a run.

    Args:
        seed: which.
        failures: broken invariants, the first one first; empty if all held.
        coverage: what was met.
        trace: the story, if it was asked for.
        virtual_s: how long it took in virtual time.
        callbacks: how many callbacks ran.
        summaries: how many summaries were given and compared.
    """

    seed: int
    failures: list[str]
    coverage: Coverage
    trace: list[str]
    virtual_s: float
    callbacks: int
    summaries: int


class Run:
    """One run: everything that is in it."""

    def __init__(self, seed: int, *, tracing: bool) -> None:
        plan = draw_plan(seed)
        self.world = World(plan, tracing=tracing)
        self.truth = Truth(self.world)
        self.auditor = Auditor(self.world, self.truth)
        self.server = SimulatedRedis(self.world, self.auditor)
        self.auditor.server = self.server
        processors = tuple(SimulatedProcessor(self.world, index, self.truth.stored) for index in range(2))
        self.truth.rejected = tuple(one.rejected for one in processors)
        self.processors = (processors[0], processors[1])
        clock = MachineClock(self.world)
        for number in range(plan.instances):
            instance = Instance(
                self.world,
                number,
                plan.config,
                self.truth,
                self.processors,
                self.server,
                clock=clock,
                alone=plan.instances == 1,
            )
            self.auditor.instances.append(instance)
        self.instances = self.auditor.instances
        self.truth.families.extend(self.instances)
        for one, other in itertools.permutations(self.instances, 2):
            one.siblings[other.config.instance] = other
        self.clients = Clients(self.world, self.truth, self.instances)
        self.monkey = Monkey(self.world, self.instances, self.processors, self.server)

    async def live(self) -> None:
        """The faults, the peace after them, and the final checks."""
        world = self.world
        world.say(f"{world.plan}")
        for instance in self.instances:
            world.later(world.rng.random() * 0.1, instance.start, world.rng.choice((0, LONG_AGO_MS)))
        self.clients.start()
        self.monkey.start()
        self.auditor.start()
        await asyncio.sleep(world.plan.faults_s)
        world.faulty = False
        world.say("faults stop")
        self.monkey.undo()
        deadline_s = world.loop.time() + SETTLED_WITHIN_S
        while not self._is_settled():
            if world.loop.time() > deadline_s:
                world.fail(f"not everything settles: {self._unsettled()}")
                return
            await asyncio.sleep(LOOK_S)
        world.say("everything is settled")
        await self.auditor.check_final(deadline_s)
        self.check()

    def _is_settled(self) -> bool:
        return not self.clients.busy and all(instance.is_settled() for instance in self.instances)

    def _unsettled(self) -> str:
        waiting = {name: member.unsettled() for name, member in self.truth.members.items()}
        return f"{self.clients.busy} clients, unsettled {waiting}"

    def check(self) -> None:
        """What must hold once everything is settled."""
        world, truth = self.world, self.truth
        self.auditor.check_purges()
        stored = {(index, known) for index, rows in enumerate(truth.rows) for known in rows}
        if stored != set(truth.counted):
            world.fail(f"stored and not counted: {stored - set(truth.counted)}")
        for correlation_id, amounts in self.clients.accepted.items():
            if not truth.ended_as[correlation_id] & {State.SETTLED, State.REFUSED}:
                ends = truth.ended_as[correlation_id]
                world.fail(f"{correlation_id.hex()[:4]} got a 202 for {amounts} and was lost: {ends}")
        if any(amounts - truth.sent[known] for known, amounts in self.clients.accepted.items()):
            world.fail("an amount that nobody sent was accepted")
        for instance in self.instances:
            for index in range(instance.config.dispatchers):
                row = instance.view.dispatcher_counters(index)
                if aside := row.get(DispatcherCount.SET_ASIDE):
                    world.fail(f"instance {instance.number}: {aside} slots were set aside")
                for _ in instance.view.table(index).scan():
                    pass

    def close(self) -> None:
        """Ends what still lives, without letting it do anything."""
        for instance in self.instances:
            for life in instance.lives.values():
                life.dead = True
            instance.close()
        for task in asyncio.all_tasks(self.world.loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001  they are not forgotten
            with contextlib.suppress(RuntimeError):
                coroutine = task.get_coro()
                if coroutine is not None:
                    coroutine.close()
        self.world.loop.close()


def run_seed(seed: int, *, tracing: bool = False) -> Outcome:
    """Runs one seed."""
    run = Run(seed, tracing=tracing)
    world = run.world
    halts = halting() if world.plan.halts else contextlib.nullcontext()
    with _watched(world.coverage), _quiet(), _small_memories(world.plan), halts:
        main = world.loop.create_task(run.live(), context=world.context)
        try:
            world.loop.run_until_complete(main)
        except Deadlock as error:
            world.failures.append(str(error))
        except RuntimeError:
            if not world.failures:
                raise
        finally:
            run.close()
    return Outcome(
        seed,
        world.failures,
        world.coverage,
        world.trace,
        world.loop.time(),
        world.loop.handled,
        run.auditor.given,
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the real code's warnings off the screen: they are what a run is made of."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


@contextlib.contextmanager
def _small_memories(plan: Plan) -> Iterator[None]:
    """Makes what ledgers and siblings remember small enough to run out within seconds."""
    with (
        patch.object(ledger, "DETAIL_BYTES_MAX", plan.detail_bytes_max),
        patch.object(ledger, "FIELD_OVERHEAD_BYTES", 0),
        patch.object(ledger, "PIECE_BYTES", plan.piece_bytes),
        patch.object(redis_totals, "FIELDS_AT_ONCE", 128 if plan.piece_bytes > 1 else 2),
        patch.object(ledger, "MINUTES_MAX", plan.minutes_max),
        patch.object(ledger, "CELL_SECONDS_MAX", 2),
        patch.object(siblings, "IDS_FOLLOWED_MIN", plan.sibling_ids_max),
    ):
        yield


@contextlib.contextmanager
def _watched(coverage: Coverage) -> Iterator[None]:
    """Counts what no store shows: copies met, full tables, and what is made of a sibling."""
    take, decide = Custody.take, Presence.decide

    def watched_take(self: Any, payment: Accepted, **options: Any) -> bool:
        before = [self._counters.get(taking) for taking in TAKINGS]
        is_taken = take(self, payment, **options)
        after = [self._counters.get(taking) for taking in TAKINGS]
        coverage.takings.update(taking for taking, a, b in zip(TAKINGS, before, after, strict=True) if a != b)
        coverage.faults[Fault.TABLE_FULL] += not is_taken
        return is_taken

    def watched_decide(self: Any, *arguments: Any, **options: Any) -> ReadReason | WhatWasRead:
        decision = decide(self, *arguments, **options)
        if decision is not WhatWasRead.KEEP:
            coverage.decisions[decision] += 1
        return decision

    with patch.object(Custody, "take", watched_take), patch.object(Presence, "decide", watched_decide):
        yield

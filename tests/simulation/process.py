"""The simulated processes of an instance: the real worker's gate and the real `DispatcherProcess`, each one life."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Coroutine, Mapping
from typing import Any, NamedTuple, Protocol, cast

from server.child import BEAT_S
from server.clock import Clock
from server.config import Config
from server.dispatcher_process import DispatcherProcess
from server.errors import TotalsUnavailable
from server.gate import Gate
from server.local_totals import LocalTotals
from server.outside import SPARE_CONNECTIONS, Outside
from server.processors import Processor
from server.redis_totals import TotalsHash
from server.siblings import Sibling, Siblings
from server.volume import Volume
from shm import Counters, Fingerprint, Phase
from tests.simulation.absences import Returns
from tests.simulation.halts import halt_here
from tests.simulation.loop import Owner
from tests.simulation.memory import MortalMemory
from tests.simulation.network import Line
from tests.simulation.processors import SimulatedProcessor
from tests.simulation.redis_link import Connection, SimulatedRedis
from tests.simulation.segment import SimulatedSegment
from tests.simulation.wire import WireTransport
from tests.simulation.world import World

FOLLOW_S = 1.0  # as `server.worker` does


class Life(Owner):
    """One process from its fork to its end.

    Args:
        name: for the story.
        segment: the instance's memory as this process sees it.

    Attributes:
        gate: a worker's way in, while it is ready.
        local: a worker's reader of totals when there is no Redis.
        began_at_s: when it was forked.
        paused_at_s: when it was frozen last.
        published_elsewhere: how many payments its siblings had accepted then.
        returns: a dispatcher's, and its web workers', from absences.
        memory: what it dies at, if it is going to die at a store.
        task: its work.
    """

    def __init__(self, name: str, segment: SimulatedSegment, returns: Returns) -> None:
        super().__init__()
        self.name = name
        self.segment = segment
        self.returns = returns
        self.gate: Gate | None = None
        self.local: LocalTotals | None = None
        self.began_at_s = 0.0
        self.paused_at_s = 0.0
        self.published_elsewhere = 0
        self.memory: MortalMemory | None = None
        self.task: asyncio.Task[None]

    @property
    def halts_count(self) -> int:
        """How often it has stood still in the midst of a step."""
        return 0 if self.halts is None else self.halts.count

    def __str__(self) -> str:
        """As in the story."""
        return self.name

    def terminate(self) -> None:
        """SIGTERM, which waits until there is a handler."""
        handler = self.signals.get(signal.SIGTERM)
        if handler is None:
            asyncio.get_running_loop().call_soon(self.terminate)
        else:
            handler()


class Family(Protocol):
    """An instance as its siblings see it."""

    def plays(self, role: str) -> bool:
        """Whether a living process holds a role's lock."""

    def map(self) -> SimulatedSegment:
        """Its segment, to be read."""

    def fingerprint(self) -> Fingerprint:
        """What tells that segment from another one it had."""

    def worker_serves(self, life: "Life", worker: int) -> None:
        """A web worker of it begins to read its socket."""

    def worker_leaves(self, worker: int) -> None:
        """A web worker of it says so from now on."""


class Surroundings(NamedTuple):
    """What a process reaches beyond its instance's memory.

    Args:
        world: of this run.
        clock: the machine's.
        processors: default and fallback.
        server: Redis.
        home: its instance.
        siblings: the other instances by name.
    """

    world: World
    clock: Clock
    processors: tuple[SimulatedProcessor, SimulatedProcessor]
    server: SimulatedRedis
    home: Family
    siblings: Mapping[str, Family]


class SimulatedVolume(Volume):
    """The volume of the simulated machine."""

    def __init__(self, families: Mapping[str, Family]) -> None:
        self._families = families

    def fingerprint(self, instance: str) -> Fingerprint:
        """Each instance has a segment all the time."""
        halt_here()
        return self._families[instance].fingerprint()

    def attach(self, instance: str) -> SimulatedSegment:
        """Nothing is mapped: all of it is there."""
        halt_here()
        return self._families[instance].map()

    def is_role_free(self, instance: str, role: str) -> bool:
        """Whoever is dead plays nothing."""
        halt_here()
        return not self._families[instance].plays(role)


def _processor(life: Life, config: Config, processor: SimulatedProcessor, url: str, world: World) -> Processor:
    """A dispatcher's client of a processor."""
    timeout_s = config.attempt_timeout_ms / 1000
    most = config.in_flight_max_per_dispatcher + SPARE_CONNECTIONS
    line = Line(world, life, processor, timeout_s=timeout_s, in_flight_max=most)
    if not world.plan.wire:
        return cast("Processor", line)
    return Processor(processor.index, url, transport=WireTransport(world, line), timeout_s=timeout_s)


def _outside(life: Life, config: Config, index: int, around: Surroundings) -> Outside:
    """What a dispatcher reaches, as `server.outside.outside_of` has it."""
    world, clock, volume = around.world, around.clock, SimulatedVolume(around.siblings)
    default = _processor(life, config, around.processors[0], config.processor_default_url, world)
    fallback = _processor(life, config, around.processors[1], config.processor_fallback_url, world)
    siblings = (Sibling(name, clock, config.stuck_ms, ours=config.instance, volume=volume) for name in config.siblings)
    totals = TotalsHash(Connection(world, around.server)) if config.redis_url else None
    rows, lanes = life.segment.worker_rows(), life.segment.lanes_to(index)
    return Outside((default, fallback), Siblings(siblings, clock, rows, lanes), totals, lambda: 0)


def dispatch(life: Life, config: Config, index: int, doorbell: int, around: Surroundings) -> Coroutine[Any, Any, None]:
    """A dispatcher's life, as `server.dispatcher_process.serve` has it."""

    async def live() -> None:
        counters = life.segment.dispatcher_counters(index)
        counters.begin(1, 0)
        outside = _outside(life, config, index, around)
        await DispatcherProcess(config, life.segment, index, counters, around.clock, outside).run(doorbell)
        counters.phase = Phase.GONE

    return live()


def serve(
    life: Life, config: Config, index: int, doorbells: list[int], around: Surroundings
) -> Coroutine[Any, Any, None]:
    """A web worker's life, as `server.worker.serve` has it, without sockets: clients call its gate."""
    world = around.world

    def ring(doorbell: int) -> None:
        os.eventfd_write(doorbell, 1)
        world.loop.ring(doorbell)

    async def follow(local: LocalTotals) -> None:
        while True:
            await asyncio.sleep(FOLLOW_S)
            with contextlib.suppress(TotalsUnavailable):
                await local.follow()

    def beat(counters: Counters) -> None:
        counters.beat(around.clock.ticks_ms() * 1000)
        if life.gate is not None:
            world.loop.call_later(BEAT_S, beat, counters)

    async def live() -> None:
        counters = life.segment.worker_counters(index)
        counters.begin(1, 0)
        life.gate = Gate(
            life.segment,
            index,
            doorbells,
            recent_ids=config.recent_ids,
            lookups_per_s=config.lookups_per_s,
            clock=around.clock,
            ring=ring,
        )
        following: asyncio.Task[None] | None = None
        stop = world.loop.create_future()
        world.loop.add_signal_handler(signal.SIGTERM, stop.cancel)
        if not config.redis_url:
            life.local = LocalTotals(life.segment, counters, lambda role: not around.home.plays(role), around.clock)
            following = world.loop.create_task(follow(life.local))
        beat(counters)
        counters.phase = Phase.READY
        around.home.worker_serves(life, index)
        with contextlib.suppress(asyncio.CancelledError):
            await stop
        life.gate.leaving = True
        counters.phase = Phase.LEAVING
        around.home.worker_leaves(index)
        done = world.loop.create_future()
        world.loop.call_later(config.leave_ms / 1000, done.set_result, None)
        await done
        if following is not None:
            following.cancel()
        life.gate = None
        counters.phase = Phase.GONE

    return live()

"""A process that stands still in the midst of a step: between two loads or stores, or two payments of a batch.

The kernel may take the core from a process anywhere, and `docker pause` or a starved machine may keep it for seconds.
Elsewhere in the simulation a process is frozen between two callbacks of its loop only; here the others go on while one
of its calls is on the stack.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

from server.siblings import Siblings
from shm import Lane, Table
from tests.shm.memory import Died, Memory
from tests.simulation.coverage import Fault
from tests.simulation.loop import OWNER, Owner
from tests.simulation.world import World

POINTS_MAX = 2000  # most points that a process passes before it stands still; a few are as likely as hundreds
NESTED_MAX = 3  # calls that stand still on one stack: the lowest can't go on before those above it
READ_WEIGHT = 500  # all of a sibling is read seldom, and what it accepts before that is noted down is easily missed
HALTS_S = ((0, 0.003), (0, 0.003), (0, 0.3), (0, 3), (2, 8), (8, 25))
LONG_S = 0.3  # so long that a call to Redis may have timed out meanwhile


class Halts:
    """When one process stands still.

    Args:
        world: of this run.
        owner: the process.
        pause: freezes it.
        is_frozen: whether its whole instance is frozen.
        resume: lets it go on.

    Attributes:
        count: how often it has stood still.
        ends_s: when it last went on, and when it last did after a long time; virtual time.
        is_looking: whether it looks at its siblings.
        is_look_old: whether it has stood still since it last began to do so.
    """

    def __init__(
        self,
        world: World,
        owner: Owner,
        *,
        pause: Callable[[], None],
        is_frozen: Callable[[], bool],
        resume: Callable[[], None],
    ) -> None:
        self.count = 0
        self.ends_s = (-1.0, -1.0)
        self.is_looking = self.is_look_old = False
        self._world = world
        self._owner = owner
        self._pause = pause
        self._is_frozen = is_frozen
        self._resume = resume
        self._left = self._draw()

    def _draw(self) -> int:
        return int(POINTS_MAX ** self._world.rng.random())

    def point(self, weight: int = 1) -> None:
        """Here the process may stand still.

        Args:
            weight: for how many points this one counts.

        Raises:
            Died: it was killed, or the run has ended.
        """
        owner, world = self._owner, self._world
        if owner.dead:
            raise Died
        if owner.halted or owner.paused or owner.undivided or not world.faulty or world.loop.nested >= NESTED_MAX:
            return
        self._left -= weight
        if self._left <= 0:
            self._left = self._draw()
            self._stand_still(world.rng.uniform(*world.rng.choice(HALTS_S)))

    def _stand_still(self, for_s: float) -> None:
        owner, world = self._owner, self._world
        began_s = world.loop.time()
        world.note(Fault.HALTED)
        self.count += 1
        self.is_look_old = True
        owner.halted = True
        self._pause()
        over: list[bool] = []
        world.later(for_s, over.append, True)
        goes_on = world.loop.run_others(lambda: owner.dead or (self._is_over(over) and not self._is_frozen()))
        owner.halted = False
        if not goes_on:
            owner.dead = True  # so that nobody wonders why it ends
        if owner.dead:
            raise Died
        now_s = world.loop.time()
        self.ends_s = (now_s, now_s if now_s - began_s >= LONG_S else self.ends_s[1])
        self._resume()

    def _is_over(self, over: list[bool]) -> bool:
        return bool(over) or not self._world.faulty


class HaltingMemory(Memory):
    """An instance's bytes as seen by a process that may stand still at each of its loads and stores."""

    def __init__(self, data: bytearray) -> None:
        super().__init__(0)
        self.data = data
        self.on_copy = self.on_load = halt_here

    def store(self, start: int, data: bytes, tear: Callable[[int], slice]) -> None:
        """Stores, a little later perhaps."""
        halt_here()
        self.data[start : start + len(data)] = data


def halt_here(weight: int = 1) -> None:
    """A point at which whatever process runs may stand still; it counts for `weight` points."""
    owner = OWNER.get(None)
    if owner is not None and owner.halts is not None:
        owner.halts.point(weight)


@contextlib.contextmanager
def in_one_go() -> Iterator[None]:
    """Held for what is no part of the code of the process that runs: what the truth looks at in one of its steps."""
    owner = OWNER.get(None)
    if owner is None or owner.undivided:
        yield
        return
    owner.undivided = True
    try:
        yield
    finally:
        owner.undivided = False


@contextlib.contextmanager
def halting() -> Iterator[None]:
    """Adds the points that are no loads or stores of its own segment: readings of a sibling, and offers of the core."""
    entries, peek, look = Table.entries, Lane.peek, Siblings.look

    def halting_entries(self: Any) -> Iterator[Any]:
        for entry in entries(self):
            halt_here()
            yield entry
        halt_here(READ_WEIGHT)

    def halting_peek(self: Any, position: int) -> Any:
        halt_here()
        return peek(self, position)

    def noted_look(self: Any) -> bool:
        owner = OWNER.get(None)
        if owner is None or owner.halts is None:
            return look(self)
        owner.halts.is_looking, owner.halts.is_look_old = True, False
        try:
            return look(self)
        finally:
            owner.halts.is_looking = False

    with (
        patch.object(Table, "entries", halting_entries),
        patch.object(Lane, "peek", halting_peek),
        patch.object(Siblings, "look", noted_look),
        patch("server.intake.yield_core", halt_here),
        patch("server.custody.yield_core", halt_here),
        patch("server.sender.yield_core", halt_here),
    ):
        yield

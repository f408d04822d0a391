"""The simulated payment processors: the contract and the traps of the real ones (`tools/processor`), without faults.

The delay is read when a request begins and slept before the failing flag is read and before the row is stored; whoever
hangs up does not stop it. `GET /payments/{id}` is neither delayed nor failing. Beyond so many running and so many
waiting requests the answer is 429.
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from server.attempt import Shown
from tests.simulation.coverage import Fault
from tests.simulation.world import World

HEALTH_EVERY_S = 5.0


class Request(NamedTuple):
    """A `POST /payments` and the way back."""

    correlation_id: bytes
    amount_cents: int
    requested_at_ms: int
    answer: Callable[[int], None]


class SimulatedProcessor:
    """One of the two.

    Args:
        world: of this run.
        index: 0 default, 1 fallback.
        on_store: told (index, id, row) of every row stored.

    Attributes:
        rows: id to what is stored.
        delay_s: of requests that begin now.
        failing: whether requests that have slept get a 500.
        rejected: ids for which a 400 or 413 came instead, from here or from something in front.
    """

    def __init__(self, world: World, index: int, on_store: Callable[[int, bytes, Shown], None]) -> None:
        self.index = index
        self.rows: dict[bytes, Shown] = {}
        self.rejected = set[bytes]()
        self.delay_s = 0.0
        self.failing = False
        self._world = world
        self._on_store = on_store
        self._running = 0
        self._waiting: deque[Request] = deque()
        self._health_at_s = -HEALTH_EVERY_S

    def post(self, request: Request) -> None:
        """A payment arrives."""
        if self._running < self._world.plan.running_max:
            self._run(request)
        elif len(self._waiting) < self._world.plan.waiting_max:
            self._waiting.append(request)
        else:
            self._world.note(Fault.BUSY)
            request.answer(429)

    def _run(self, request: Request) -> None:
        self._running += 1
        self._world.later(self.delay_s, self._finish, request)

    def _finish(self, request: Request) -> None:
        self._running -= 1
        status = self._store(request)
        if self._waiting:
            self._run(self._waiting.popleft())
        request.answer(status)

    def _store(self, request: Request) -> int:
        if self.failing:
            return 500
        if request.correlation_id in self.rows:
            return 422
        row = self.rows[request.correlation_id] = Shown(request.amount_cents, request.requested_at_ms)
        self._on_store(self.index, request.correlation_id, row)
        return 200

    def ask_health(self) -> tuple[bool, int] | None:
        """Failing and least response time in ms; None when asked too often."""
        now_s = self._world.loop.time()
        if now_s - self._health_at_s < HEALTH_EVERY_S:
            return None
        self._health_at_s = now_s
        return self.failing, int(self.delay_s * 1000)

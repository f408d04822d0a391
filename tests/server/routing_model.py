"""A small model of time: payments arrive, a router sends them, two processors change their behaviour by stages.

Events in a heap instead of processes, a clock that jumps, and the processors' traps: the delay is over before the
failing flag is looked at, and a health poll tells of the moment it was made. What the dispatcher does beside routing
(memory, journals, unknown outcomes) is left out.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from server.routing import Circuit, CircuitState, Router, make_policy

TURN_MS = 20  # the dispatcher's longest pause while something waits
HEALTH_EVERY_MS = 5100
NETWORK_MS = 2
SENT_PER_TURN_MAX = 32
FOREVER_MS = 1 << 40


class Behaviour(NamedTuple):
    """How a processor behaves.

    Args:
        delay_ms: from a request to its answer.
        failing: whether it answers with 500.
        busy: whether it answers with 429, at once.
    """

    delay_ms: int = 0
    failing: bool = False
    busy: bool = False


class Stage(NamedTuple):
    """Both processors from a moment on."""

    from_ms: int
    default: Behaviour
    fallback: Behaviour


class Settled(NamedTuple):
    """A payment that was paid."""

    accepted_ms: int
    settled_ms: int
    processor: int


class Outcome(NamedTuple):
    """What became of everything.

    Args:
        settled: in the order of settlement.
        unpaid: payments still waiting or in flight at the end.
        noes_ms: when each processor said no, to whatever.
    """

    settled: list[Settled]
    unpaid: int
    noes_ms: tuple[list[int], list[int]]

    @property
    def fallback_share(self) -> float:
        """Part of the payments that the dearer processor got."""
        return sum(one.processor for one in self.settled) / len(self.settled)

    def waited_ms_max(self, from_ms: int = 0, until_ms: int = FOREVER_MS) -> int:
        """The longest time to settlement of the payments accepted in a span."""
        return max(one.settled_ms - one.accepted_ms for one in self.settled if from_ms <= one.accepted_ms < until_ms)

    def noes(self, processor: int, from_ms: int = 0, until_ms: int = FOREVER_MS) -> int:
        """How often a processor said no in a span."""
        return sum(from_ms <= at_ms < until_ms for at_ms in self.noes_ms[processor])


class RoutingModel:
    """One instance under a load.

    Args:
        stages: by ascending `from_ms`, the first from 0.
        arrivals_ms: when payments are accepted.
        fees_bp: of default and fallback.
        limit: requests at once per processor.
        slow_ms: slower than this is slow.
        with_health: whether health polls are made.
    """

    def __init__(
        self,
        stages: list[Stage],
        arrivals_ms: Iterable[int],
        *,
        fees_bp: tuple[int, int] = (700, 1000),
        limit: int = 64,
        slow_ms: int = 1250,
        with_health: bool = True,
    ) -> None:
        self._stages = stages
        self._arrivals = deque(sorted(arrivals_ms))
        self.circuits = (Circuit(limit, slow_ms), Circuit(limit, slow_ms))
        self._router = Router(self.circuits, make_policy(fees_bp, 1500, slow_ms, limit))
        self._with_health = with_health
        self._waiting: deque[int] = deque()
        self._answers: list[tuple[int, int, int, int]] = []  # heap of (when, token, processor, accepted)
        self._outcome = Outcome([], 0, ([], []))
        self._tokens = itertools.count()

    def run(self, until_ms: int) -> Outcome:
        """Everything from 0 to `until_ms`, or until nothing is left to do."""
        turn_ms, health_ms, now_ms = 0, 0, 0
        while now_ms <= until_ms and (self._arrivals or self._waiting or self._answers):
            if now_ms >= health_ms:
                health_ms += HEALTH_EVERY_MS
                self._poll(now_ms)
            while self._answers and self._answers[0][0] <= now_ms:
                self._hear(now_ms, *heapq.heappop(self._answers)[1:])
            while self._arrivals and self._arrivals[0] <= now_ms:
                self._waiting.append(self._arrivals.popleft())
            more = self._send(now_ms)
            turn_ms = now_ms + 1 if more else now_ms + TURN_MS
            now_ms = self._next_ms(now_ms, turn_ms if self._waiting else FOREVER_MS, health_ms)
        in_flight = sum(circuit.in_flight for circuit in self.circuits)
        return self._outcome._replace(unpaid=len(self._arrivals) + len(self._waiting) + in_flight)

    def _next_ms(self, now_ms: int, turn_ms: int, health_ms: int) -> int:
        answer_ms = self._answers[0][0] if self._answers else FOREVER_MS
        arrival_ms = self._arrivals[0] if self._arrivals else FOREVER_MS
        return max(min(turn_ms, health_ms, answer_ms, arrival_ms), now_ms + 1)

    def _behaviour(self, processor: int, now_ms: int) -> Behaviour:
        stage = [stage for stage in self._stages if stage.from_ms <= now_ms][-1]
        return stage.fallback if processor else stage.default

    def _poll(self, now_ms: int) -> None:
        for processor, circuit in enumerate(self.circuits):
            delay_ms, failing, _ = self._behaviour(processor, now_ms)
            if self._with_health:
                circuit.hear_health(failing=failing, response_ms_min=delay_ms, now_ms=now_ms)

    def _send(self, now_ms: int) -> bool:
        """One turn; whether more may be sent at once."""
        for _ in range(SENT_PER_TURN_MAX):
            if not self._waiting:
                return False
            processor = self._router.choose(now_ms - self._waiting[0], now_ms)
            if processor is None:
                return False
            self._begin(processor, self._waiting.popleft(), now_ms)
        return bool(self._waiting)

    def _begin(self, processor: int, accepted_ms: int, now_ms: int) -> None:
        circuit, token = self.circuits[processor], next(self._tokens)
        assert circuit.state is not CircuitState.HALF_OPEN, "a second probe"
        circuit.begin(token, now_ms)
        behaviour = self._behaviour(processor, now_ms)
        answer_ms = now_ms + NETWORK_MS + (0 if behaviour.busy else behaviour.delay_ms)
        heapq.heappush(self._answers, (answer_ms, token, processor, accepted_ms))

    def _hear(self, now_ms: int, token: int, processor: int, accepted_ms: int) -> None:
        circuit, behaviour = self.circuits[processor], self._behaviour(processor, now_ms)
        if not behaviour.busy and not behaviour.failing:
            circuit.succeed(token, now_ms)
            self._outcome.settled.append(Settled(accepted_ms, now_ms, processor))
            return
        if behaviour.busy:
            circuit.refuse(token, now_ms)
        else:
            circuit.fail(token, now_ms)
        self._waiting.appendleft(accepted_ms)
        self._outcome.noes_ms[processor].append(now_ms)

"""For the tests of server/circuit.py and server/routing.py: circuits in a known state, and a small model of time.

In the model payments arrive, routers send them, and two processors change their behaviour by stages.

Events in a heap instead of processes, a clock that jumps, and the processors' traps: the delay is over before the
failing flag is looked at, and a health poll tells of the moment it was made. As in the contest two instances share the
load, each knows only what its own payments met, and both hear of each health poll. What the dispatcher does beside
routing (memory, journals, pace but for its bursts, unknown outcomes) is left out.

Nothing is in step by itself: dice say when polls are made, how long the network takes, and who gets a payment.
"""

import heapq
import itertools
import random
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from server.circuit import PROBE_PAUSE_MIN_MS, Circuit
from server.config import load
from server.custody import IN_FRONT_ATTEMPTS_MAX
from server.dispatcher import BUSY_MS
from server.pacing import BURST, GATHER_MS
from server.processors import HEALTH_EVERY_MS
from server.routing import Router, make_policy

INSTANCES = 2
HEALTH_TRY_MS = 1000  # within this after the end of a health poll's lease somebody takes the next
NETWORK_MS = (2, 6)
DEFAULTS = load({})
FOREVER_MS = 1 << 40
NOW_MS = 1_000_000
SLOW_MS = 1000


def fresh(limit_max: int = 8) -> Circuit:
    """A circuit of which nothing is known."""
    return Circuit(limit_max, SLOW_MS)


def answered(latency_ms: int, limit_max: int = 8) -> Circuit:
    """Its last answer, which came just now, took so long."""
    circuit = fresh(limit_max)
    circuit.begin(0, NOW_MS - latency_ms)
    circuit.succeed(0, NOW_MS)
    return circuit


def opened(ago_ms: int = 0) -> Circuit:
    """A payment failed so long ago, and none before."""
    circuit = fresh()
    circuit.begin(0, NOW_MS - ago_ms)
    circuit.fail(0, NOW_MS - ago_ms)
    return circuit


def probing(limit_max: int = 8) -> Circuit:
    """Token 1 is its probe, begun just now."""
    circuit = fresh(limit_max)
    circuit.begin(0, NOW_MS - PROBE_PAUSE_MIN_MS)
    circuit.fail(0, NOW_MS - PROBE_PAUSE_MIN_MS)
    circuit.begin(1, NOW_MS)
    return circuit


def asleep(circuit: Circuit, probes: int) -> Circuit:
    """The same with so many more probes, slots from 50 on, the newest begun just now."""
    for slot in range(50, 50 + probes):
        circuit.begin(slot, NOW_MS)
    return circuit


def recovered(ago_ms: int = 0) -> Circuit:
    """Its only outage ended so long ago."""
    circuit = fresh()
    circuit.begin(0, NOW_MS - ago_ms - 1)
    circuit.fail(0, NOW_MS - ago_ms - 1)
    circuit.begin(1, NOW_MS - ago_ms - 1)
    circuit.succeed(1, NOW_MS - ago_ms)
    return circuit


def told(circuit: Circuit, response_ms_min: int, *, failing: bool = False) -> Circuit:
    """The same after a health poll just now."""
    circuit.note_health(failing=failing, response_ms_min=response_ms_min, now_ms=NOW_MS)
    return circuit


def loaded(circuit: Circuit, requests: int, age_ms: int = 0) -> Circuit:
    """The same with requests in flight, begun so long ago."""
    for slot in range(100, 100 + requests):
        circuit.begin(slot, NOW_MS - age_ms)
    return circuit


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


class Payment(NamedTuple):
    """One that waits, or is being sent."""

    accepted_ms: int
    attempts: int = 0


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


class Instance:
    """One of the instances: what it knows of the processors, and what waits there.

    Args:
        circuits: of default and fallback.
        router: decides by them.
        turn_ms: when its next turn comes.
    """

    def __init__(self, circuits: tuple[Circuit, Circuit], router: Router, turn_ms: int) -> None:
        self.circuits = circuits
        self.router = router
        self.turn_ms = turn_ms
        self.arrived: deque[Payment] = deque()  # accepted, and not seen before its next turn
        self.waiting: deque[Payment] = deque()

    def unpaid(self) -> int:
        """How many payments it has."""
        return len(self.arrived) + len(self.waiting) + sum(circuit.in_flight for circuit in self.circuits)


class Answer(NamedTuple):
    """What a processor will say; compared by time, and by slot when that is the same."""

    at_ms: int
    slot: int
    instance: Instance
    processor: int
    payment: Payment


class RoutingModel:
    """Two instances under a load.

    Args:
        stages: by ascending `from_ms`, the first from 0.
        arrivals_ms: when payments are accepted.
        fees_bp: of default and fallback.
        limit: requests at once per processor and instance.
        with_health: whether health polls are made.
        dice: chance.
    """

    def __init__(
        self,
        stages: list[Stage],
        arrivals_ms: Iterable[int],
        *,
        fees_bp: tuple[int, int] = (DEFAULTS.fee_default_bp, DEFAULTS.fee_fallback_bp),
        limit: int = 64,
        with_health: bool = True,
        dice: random.Random,
    ) -> None:
        self._stages = stages
        self._arrivals = deque(sorted(arrivals_ms))
        self._dice = dice
        self.instances = list[Instance]()
        for _ in range(INSTANCES):
            circuits = (Circuit(limit, DEFAULTS.slow_ms), Circuit(limit, DEFAULTS.slow_ms))
            router = Router(circuits, make_policy(fees_bp, DEFAULTS.wait_ms_per_fee_point))
            self.instances.append(Instance(circuits, router, dice.randrange(GATHER_MS)))
        self._polls_ms = [dice.randrange(HEALTH_EVERY_MS) if with_health else FOREVER_MS for _ in range(2)]
        self._answers: list[Answer] = []  # a heap
        self._outcome = Outcome([], 0, ([], []))
        self._slots = itertools.count()

    def run(self, until_ms: int) -> Outcome:
        """Everything from 0 to `until_ms`, or until nothing is left to do."""
        now_ms = 0
        while now_ms <= until_ms and (self._arrivals or any(one.unpaid() for one in self.instances)):
            for processor in range(2):
                if now_ms >= self._polls_ms[processor]:
                    self._poll(processor, now_ms)
            while self._answers and self._answers[0].at_ms <= now_ms:
                self._hear(heapq.heappop(self._answers), now_ms)
            while self._arrivals and self._arrivals[0] <= now_ms:
                self._dice.choice(self.instances).arrived.append(Payment(self._arrivals.popleft()))
            for instance in self.instances:
                if now_ms >= instance.turn_ms:
                    self._turn(instance, now_ms)
            answer_ms = self._answers[0].at_ms if self._answers else FOREVER_MS
            now_ms = max(min(answer_ms, *self._polls_ms, *(one.turn_ms for one in self.instances)), now_ms + 1)
        return self._outcome._replace(unpaid=len(self._arrivals) + sum(one.unpaid() for one in self.instances))

    def _behaviour(self, processor: int, now_ms: int) -> Behaviour:
        stage = [stage for stage in self._stages if stage.from_ms <= now_ms][-1]
        return stage.fallback if processor else stage.default

    def _poll(self, processor: int, now_ms: int) -> None:
        self._polls_ms[processor] = now_ms + HEALTH_EVERY_MS + self._dice.randrange(HEALTH_TRY_MS)
        delay_ms, failing, _ = self._behaviour(processor, now_ms)
        for instance in self.instances:
            instance.circuits[processor].note_health(failing=failing, response_ms_min=delay_ms, now_ms=now_ms)

    def _turn(self, instance: Instance, now_ms: int) -> None:
        instance.waiting.extend(instance.arrived)
        instance.arrived.clear()
        more = self._send(instance, now_ms)
        instance.turn_ms = now_ms + (1 if more else BUSY_MS if instance.waiting else GATHER_MS)

    def _send(self, instance: Instance, now_ms: int) -> bool:
        """What may be sent in one turn; whether more may be sent at once."""
        waiting = instance.waiting
        for _ in range(BURST):
            if not waiting:
                return False
            processor = instance.router.choose(now_ms - waiting[0].accepted_ms, len(waiting), now_ms)
            if processor is None:
                return False
            self._begin(instance, processor, waiting.popleft(), now_ms)
        return bool(waiting)

    def _begin(self, instance: Instance, processor: int, payment: Payment, now_ms: int) -> None:
        slot, tried = next(self._slots), payment._replace(attempts=payment.attempts + 1)
        instance.circuits[processor].begin(slot, now_ms)
        behaviour = self._behaviour(processor, now_ms)
        answer_ms = now_ms + self._dice.randint(*NETWORK_MS) + (0 if behaviour.busy else behaviour.delay_ms)
        heapq.heappush(self._answers, Answer(answer_ms, slot, instance, processor, tried))

    def _hear(self, answer: Answer, now_ms: int) -> None:
        instance, processor = answer.instance, answer.processor
        circuit, behaviour = instance.circuits[processor], self._behaviour(processor, now_ms)
        if behaviour.busy or behaviour.failing:
            (circuit.back_off if behaviour.busy else circuit.fail)(answer.slot, now_ms)
            in_front = answer.payment.attempts < IN_FRONT_ATTEMPTS_MAX
            (instance.waiting.appendleft if in_front else instance.waiting.append)(answer.payment)
            self._outcome.noes_ms[processor].append(now_ms)
        else:
            circuit.succeed(answer.slot, now_ms)
            self._outcome.settled.append(Settled(answer.payment.accepted_ms, now_ms, processor))
        if instance.waiting:
            instance.turn_ms = now_ms

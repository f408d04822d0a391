"""Clients: they send payments, repeat what was not answered, and send copies, some with another amount.

An id is pinned to one instance, as HAProxy does, and comes to another only while its own is down. Where the plan has
`OTHER_INSTANCE`, copies are sent to both although both live: the design's known exception (*One id at two instances*).
"""

import asyncio

from server.payments import Acceptance, Payment
from tests.simulation.coverage import Fault
from tests.simulation.instance import Instance
from tests.simulation.process import Life
from tests.simulation.truth import Truth
from tests.simulation.world import World

ANSWER_WITHIN_S = 0.5
TRIES_MAX = 6
PAUSE_S = 0.4


class Clients:
    """Everyone who sends payments.

    Args:
        world: of this run.
        truth: told of every amount sent.
        instances: whom they send to.

    Attributes:
        accepted: id to the amounts that got a 202.
    """

    def __init__(self, world: World, truth: Truth, instances: list[Instance]) -> None:
        self.accepted: dict[bytes, set[int]] = {}
        self._world = world
        self._truth = truth
        self._instances = instances
        self._busy: set[asyncio.Task[None]] = set()
        self._scheduled = 0

    @property
    def busy(self) -> int:
        """How many of them have something to do, now or later."""
        return len(self._busy) + self._scheduled

    def start(self) -> None:
        """Sends everything the plan says, over the time of the faults."""
        world, rng = self._world, self._world.rng
        at_s = 0.0
        for number in range(world.plan.payments):
            if not world.plan.bursts or rng.random() < 0.2:
                at_s = rng.random() * world.plan.faults_s
            correlation_id = number.to_bytes(2, "big") + rng.randbytes(14)
            self._scheduled += 1
            world.later(at_s, self._begin, correlation_id, rng.randint(1, 10 ** rng.randint(1, 8)))

    def _begin(self, correlation_id: bytes, amount_cents: int) -> None:
        instance = self._world.rng.choice(self._instances)
        self._spawn(correlation_id, amount_cents, instance)
        while self._world.chance(Fault.COPY):
            self._scheduled += 1
            self._world.later(self._world.rng.random() ** 3 * 4, self._copy, correlation_id, amount_cents, instance)

    def _copy(self, correlation_id: bytes, amount_cents: int, instance: Instance) -> None:
        if len(self._instances) > 1 and self._world.chance(Fault.OTHER_INSTANCE):
            instance = self._world.rng.choice(self._instances)
        if self._world.chance(Fault.OTHER_AMOUNT):
            amount_cents += 1
        self._spawn(correlation_id, amount_cents, instance)

    def _spawn(self, correlation_id: bytes, amount_cents: int, instance: Instance) -> None:
        self._scheduled -= 1
        worker = correlation_id[2] % instance.config.web_workers
        if instance.config.web_workers > 1 and self._world.chance(Fault.OTHER_WORKER):
            worker = 1 - worker
        self._truth.sent[correlation_id].add(amount_cents)
        work = self._send((correlation_id, amount_cents), instance, worker)
        task = self._world.loop.create_task(work, context=self._world.context)
        self._busy.add(task)
        task.add_done_callback(self._busy.discard)

    async def _send(self, payment: Payment, instance: Instance, worker: int) -> None:
        """Sends one payment until it is answered for good, or the client gives up."""
        world = self._world
        correlation_id, amount_cents = payment
        for _ in range(TRIES_MAX):
            acceptance = await self._ask(payment, instance, worker)
            if world.tracing:
                short = correlation_id.hex()[:4]
                world.say(f"client of {short} hears {acceptance} of {instance.number}/worker-{worker}")
            if acceptance in {Acceptance.ACCEPTED, Acceptance.REPEATED}:
                self.accepted.setdefault(correlation_id, set()).add(amount_cents)
                return
            if acceptance is Acceptance.CONFLICT:
                return
            world.note(Fault.NO_ANSWER if acceptance is None else Fault.LANE_FULL)
            await asyncio.sleep(world.rng.random() * PAUSE_S)
            if acceptance is None and not instance.up:
                instance = self._other_than(instance)

    def _other_than(self, instance: Instance) -> Instance:
        """Where HAProxy sends an id while its own instance is down."""
        other = next((one for one in self._instances if one is not instance and one.up), instance)
        if other is not instance:
            self._world.note(Fault.FAILED_OVER)
        return other

    async def _ask(self, payment: Payment, instance: Instance, worker: int) -> Acceptance | None:
        """One request and its answer; None if there is none."""
        world = self._world
        life = next((life for role, life in instance.lives.items() if role == ("worker", worker)), None)
        if life is None or life.gate is None:
            return None
        answer: asyncio.Future[Acceptance | None] = world.loop.create_future()
        give_up = world.loop.call_later(ANSWER_WITHIN_S, _settle, answer, None)
        world.loop.call_later(world.latency_s(), self._accept, life, payment, answer, context=life.context)
        try:
            return await answer
        finally:
            give_up.cancel()

    def _accept(self, life: Life, payment: Payment, answer: "asyncio.Future[Acceptance | None]") -> None:
        """Runs in the worker's process."""
        if life.gate is None:
            return
        acceptance = life.gate.accept(payment)
        self._world.later(self._world.latency_s(), _settle, answer, acceptance)


def _settle(answer: "asyncio.Future[Acceptance | None]", acceptance: Acceptance | None) -> None:
    if not answer.done():
        answer.set_result(acceptance)

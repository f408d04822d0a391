"""Clients: they send payments, repeat what was not answered, and send copies, some with another amount.

An id is pinned to one web worker, as HAProxy does, and comes to another only while that one is down for HAProxy. Where
the plan has `OTHER_INSTANCE`, copies are sent straight to an instance, whichever HAProxy would choose: the design's
known exception (*One id at two instances*).
"""

import asyncio
from functools import partial

from server.payments import Acceptance, Payment
from tests.simulation.coverage import Fault
from tests.simulation.instance import Instance
from tests.simulation.process import Life
from tests.simulation.truth import Truth
from tests.simulation.world import World

ANSWER_WITHIN_S = 0.5
TRIES_MAX = 6
COPY_WITHIN_S = 4


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
        self._spawn(correlation_id, amount_cents, None)
        while self._world.chance(Fault.COPY):
            self._scheduled += 1
            self._world.later(self._copied_after_s(), self._copy, correlation_id, amount_cents)

    def _copied_after_s(self) -> float:
        plan, part = self._world.plan, self._world.rng.random()
        return part * plan.faults_s if plan.absences else part**3 * COPY_WITHIN_S

    def _copy(self, correlation_id: bytes, amount_cents: int) -> None:
        straight = None
        if len(self._instances) > 1 and self._world.draw(Fault.OTHER_INSTANCE):
            straight = self._world.rng.choice(self._instances)
        if self._world.chance(Fault.OTHER_AMOUNT):
            amount_cents += 1
        self._spawn(correlation_id, amount_cents, straight)

    def _spawn(self, correlation_id: bytes, amount_cents: int, straight: Instance | None) -> None:
        self._scheduled -= 1
        other_worker = self._world.draw(Fault.OTHER_WORKER)
        self._truth.sent[correlation_id].add(amount_cents)
        work = self._send((correlation_id, amount_cents), straight, other_worker=other_worker)
        task = self._world.loop.create_task(work, context=self._world.context)
        self._busy.add(task)
        task.add_done_callback(self._busy.discard)

    async def _send(self, payment: Payment, straight: Instance | None, *, other_worker: bool) -> None:
        """Sends one payment until it is answered for good, or the client gives up."""
        world = self._world
        correlation_id, amount_cents = payment
        for _ in range(TRIES_MAX):
            instance, worker = self._way_of(correlation_id, straight, other_worker=other_worker)
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
            await asyncio.sleep(world.rng.random() * world.plan.patience_s)

    def _way_of(self, correlation_id: bytes, straight: Instance | None, *, other_worker: bool) -> tuple[Instance, int]:
        """Where a request goes now; notes what is unusual about that."""
        own, server = self._servers_of(correlation_id)
        instance, worker = server
        if straight is not None and straight.up and straight is not instance:
            instance = straight
            self._world.note(Fault.OTHER_INSTANCE)
        elif server != own:
            self._world.note(Fault.FAILED_OVER)
        if other_worker and instance.config.web_workers > 1:
            worker += 1
            self._world.note(Fault.OTHER_WORKER)
        return instance, worker % instance.config.web_workers

    def _servers_of(self, correlation_id: bytes) -> tuple[tuple[Instance, int], tuple[Instance, int]]:
        """An id's own worker, and the one that HAProxy sends it to now: the first that is up; its own if none is."""
        servers = [(one, number) for one in self._instances for number in range(one.config.web_workers)]
        first = correlation_id[2] % len(servers)
        now_s = self._world.loop.time()
        in_turn = servers[first:] + servers[:first]
        up = (one for one in in_turn if one[0].attendance.seats[one[1]].is_up(now_s))
        return in_turn[0], next(up, in_turn[0])

    async def _ask(self, payment: Payment, instance: Instance, worker: int) -> Acceptance | None:
        """One request and its answer; None if there is none."""
        world = self._world
        answer: asyncio.Future[Acceptance | None] = world.loop.create_future()
        if not instance.hand_over(worker, partial(self._accept, payment, answer)):
            return None
        give_up = world.loop.call_later(ANSWER_WITHIN_S, _settle, answer, None)
        try:
            return await answer
        finally:
            give_up.cancel()

    def _accept(self, payment: Payment, answer: "asyncio.Future[Acceptance | None]", life: Life) -> None:
        """Runs in the worker's process."""
        if life.gate is None:
            return
        if answer.done():
            self._world.note(Fault.READ_LATE)
        acceptance = life.gate.accept(payment)
        self._world.later(self._world.latency_s(), _settle, answer, acceptance)


def _settle(answer: "asyncio.Future[Acceptance | None]", acceptance: Acceptance | None) -> None:
    if not answer.done():
        answer.set_result(acceptance)

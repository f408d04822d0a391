"""What lies between a dispatcher and a processor, and everything that goes wrong there.

A `Line` stands where `server.processors.Processor` does. What is on its way goes on whatever becomes of the sender.
"""

from server.attempt import Shown
from server.errors import OutcomeUnknown, ProcessorError, ProcessorUnreachable
from server.processors import QUESTION_TIMEOUT_S, Health
from tests.simulation.coverage import Fault
from tests.simulation.loop import Owner
from tests.simulation.processors import Request, SimulatedProcessor
from tests.simulation.world import World

LATE_S_MAX = 10.0

Answer = int | Shown | Health | ProcessorError | None


class Exchange:
    """One request, and whoever waits for its answer.

    Args:
        world: of this run.
        owner: the process that waits.
        timeout_s: how long it does.
    """

    def __init__(self, world: World, owner: Owner, timeout_s: float) -> None:
        self._world = world
        self.owner = owner
        self._future = world.loop.create_future()
        self._timer = world.loop.call_later(timeout_s, self._expire)

    async def wait(self) -> Answer:
        """The answer.

        Raises:
            ProcessorError: there is none.
        """
        try:
            answer: Answer = await self._future
        finally:
            self._timer.cancel()
        if isinstance(answer, ProcessorError):
            raise answer
        return answer

    def _expire(self) -> None:
        self.settle(OutcomeUnknown("time-out"))

    def settle(self, answer: Answer) -> None:
        """The answer is here, or surely won't come."""
        if self.owner.dead:
            self._world.note(Fault.ANSWERED_THE_DEAD)
        elif not self._future.done():
            self._future.set_result(answer)

    def answer_later(self, answer: Answer, more_s: float = 0) -> None:
        """The answer is on its way."""
        self._world.later(self._world.latency_s() + more_s, self.settle, answer)


class Line:
    """One process's connection to one processor.

    Args:
        world: of this run.
        owner: the process.
        processor: the other end.
        timeout_s: how long a payment waits for its answer.
        in_flight_max: how many requests there may be at once.
    """

    def __init__(
        self, world: World, owner: Owner, processor: SimulatedProcessor, *, timeout_s: float, in_flight_max: int
    ) -> None:
        self.index = processor.index
        self.name = ("default", "fallback")[processor.index]
        self._world = world
        self._owner = owner
        self._processor = processor
        self._timeout_s = timeout_s
        self._in_flight_max = in_flight_max
        self._in_flight = 0

    async def pay(self, correlation_id: bytes, amount_cents: int, requested_at_ms: int) -> int:
        """As `Processor.pay`."""
        world = self._world
        if world.tracing:
            world.say(f"{self._owner} POST {correlation_id.hex()[:4]} at {self.name}, requestedAt {requested_at_ms}")
        if world.chance(Fault.NOT_REACHED):
            raise ProcessorUnreachable("no connection")
        exchange = Exchange(world, self._owner, self._timeout_s)
        slow_s = world.rng.random() * LATE_S_MAX if world.chance(Fault.REQUEST_SLOW) else 0
        request = Request(
            correlation_id, amount_cents, requested_at_ms, lambda status: self._answered(exchange, status)
        )
        if world.chance(Fault.REPLAYED):
            request = self._replayed(request)
        world.later(world.latency_s() + slow_s, self._arrive, exchange, request)
        status = await self._wait(exchange)
        assert isinstance(status, int)
        return status

    async def _wait(self, exchange: Exchange) -> Answer:
        self._in_flight += 1
        if self._in_flight > self._in_flight_max:
            self._world.fail(f"{self._in_flight} requests at once to {self.name}")
        try:
            answer = await exchange.wait()
        except ProcessorError as error:
            self._world.say(f"{self._owner} has no answer of {self.name}: {error}")
            raise
        finally:
            self._in_flight -= 1
        self._world.say(f"{self._owner} hears {answer} of {self.name}")
        return answer

    def _arrive(self, exchange: Exchange, request: Request) -> None:
        """Lets a request arrive at the processor, or lets something go wrong as it arrives."""
        world, rng = self._world, self._world.rng
        if world.chance(Fault.HUNG_UP_BEFORE):
            exchange.answer_later(OutcomeUnknown("hung up"))
        elif world.chance(Fault.NEVER_ANSWERED) and rng.random() < 0.5:
            return
        elif world.chance(Fault.BUSY):
            exchange.answer_later(429)
        elif world.chance(Fault.UNAVAILABLE):
            exchange.answer_later(503)
        elif world.chance(Fault.REJECTED):
            self._processor.rejected.add(request.correlation_id)
            exchange.answer_later(rng.choice((400, 413)))
        elif world.chance(Fault.MISUSED):
            exchange.answer_later(rng.choice((401, 404, 405)))
        else:
            if world.chance(Fault.HUNG_UP_FIRST):
                exchange.answer_later(OutcomeUnknown("hung up"))
            self._processor.post(request)

    def _answered(self, exchange: Exchange, status: int) -> None:
        """Sends an answer on its way back, or lets something go wrong with it."""
        world, rng = self._world, self._world.rng
        if exchange.owner.dead and status == 200:
            world.note(Fault.STORED_FOR_THE_DEAD)
        if world.chance(Fault.NEVER_ANSWERED):
            return
        if world.chance(Fault.HUNG_UP_AFTER):
            exchange.answer_later(OutcomeUnknown("hung up"))
        elif world.chance(Fault.MALFORMED):
            exchange.answer_later(OutcomeUnknown("malformed answer"))
        elif world.chance(Fault.BAD_GATEWAY):
            exchange.answer_later(rng.choice((502, 504)))
        else:
            late_s = rng.random() * LATE_S_MAX if world.chance(Fault.ANSWERED_LATE) else 0
            exchange.answer_later(status, late_s)

    def _replayed(self, request: Request) -> Request:
        """Something between the two sends the request again and passes on the second answer: a 422 if it is stored."""

        def again(status: int) -> None:
            if status == 200:
                self._processor.post(
                    request._replace(answer=lambda second: request.answer(422 if second == 422 else 200))
                )
            else:
                request.answer(status)

        return request._replace(answer=again)

    async def show(self, correlation_id: bytes) -> Shown | None:
        """As `Processor.show`."""
        world = self._world
        world.say(f"{self._owner} GET {correlation_id.hex()[:4]} at {self.name}")
        if world.chance(Fault.NOT_SHOWN):
            raise (ProcessorUnreachable if world.rng.random() < 0.5 else OutcomeUnknown)("not shown")
        exchange = Exchange(world, self._owner, QUESTION_TIMEOUT_S)
        world.later(world.latency_s(), lambda: exchange.answer_later(self._processor.rows.get(correlation_id)))
        shown = await self._wait(exchange)
        assert shown is None or isinstance(shown, Shown)
        return shown

    async def health(self) -> Health | None:
        """As `Processor.health`."""
        world = self._world
        if world.chance(Fault.NOT_SHOWN):
            raise OutcomeUnknown("no health")
        exchange = Exchange(world, self._owner, QUESTION_TIMEOUT_S)
        found = self._processor.ask_health()
        exchange.answer_later(None if found is None else Health(*found))
        health = await exchange.wait()
        assert health is None or isinstance(health, Health)
        return health

    async def aclose(self) -> None:
        """As `Processor.aclose`."""

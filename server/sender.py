"""Attempts at paying, each from its beginning to what follows from its answer: written down, sent, concluded.

The dispatcher decides when a payment is sent, and to which processor (`server/dispatcher.py`); `server/attempt.py` has
what each answer means, and `shm/states.py` what state follows.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from http import HTTPStatus

from server.attempt import event_of_error, event_of_status, is_misuse
from server.circuit import Circuit
from server.clock import Clock
from server.custody import Custody
from server.errors import ProcessorError
from server.outages import Outages
from server.processors import Processor
from server.unknowns import Unknowns
from server.yielding import yield_core
from shm import ENDED, Counters, DispatcherCount, Event, Kept, State, next_state

_log = logging.getLogger(__name__)


class Sender:
    """The attempts of one dispatcher that are under way.

    Args:
        custody: the dispatcher's payments, recovered.
        processors: default and fallback.
        circuits: of both; told of each attempt's beginning and end.
        counters: the dispatcher's row.
        clock: ticking clock.
        stamp: makes requestedAt from the time of sending, both ms UTC (`attempt.stamp_ms`).
        attempts_max: how many attempts may end in a sure no before the payment is refused; 0: any number.

    Attributes:
        stamp: as given.
        under_way: a task for each attempt that has not ended.
        unknowns: asks what became of payments without a clear answer.
        on_end: told that an attempt has ended, and in which state its payment is now; set by the dispatcher.
    """

    def __init__(
        self,
        custody: Custody,
        processors: tuple[Processor, Processor],
        circuits: tuple[Circuit, Circuit],
        counters: Counters,
        clock: Clock,
        stamp: Callable[[int], int],
        attempts_max: int,
    ) -> None:
        self._custody = custody
        self._processors = processors
        self._circuits = circuits
        self._counters = counters
        self._clock = clock
        self.stamp = stamp
        self._attempts_max = attempts_max
        self._outages = Outages([one.name for one in processors])
        self._loop = asyncio.get_running_loop()
        self.under_way: set[asyncio.Task[State]] = set()
        self.unknowns = Unknowns(custody, processors, circuits, clock, on_misuse=self._note_misuse)
        self.on_end: Callable[[State], None] = _tell_nobody

    def send(self, slot: int, kept: Kept, processor: int, requested_at_ms: int) -> None:
        """Begins an attempt: writes it down, and has it made after what is going on now.

        Args:
            slot: the payment's table slot; the payment waits there, and has been taken out of its queue.
            kept: the payment.
            processor: where it goes.
            requested_at_ms: what `stamp` made of the time of sending.
        """
        attempts = self._custody.begin(slot, processor, requested_at_ms)
        self._circuits[processor].begin(slot, self._clock.ticks_ms())
        kept = kept._replace(processor=processor, requested_at_ms=requested_at_ms, attempts=attempts)
        task = self._loop.create_task(self._attempt(slot, kept))
        self.under_way.add(task)
        task.add_done_callback(partial(self._attempted, slot, requested_at_ms))

    def _attempted(self, slot: int, requested_at_ms: int, task: asyncio.Task[State]) -> None:
        self.under_way.discard(task)
        if task.cancelled():
            self._custody.mark_unknown(slot, Event.UNCLEAR, requested_at_ms)
        else:  # a bug in here reaches the loop's exception handler, which ends the process
            self.on_end(task.result())

    async def _attempt(self, slot: int, kept: Kept) -> State:
        """Makes one attempt: sends the request, and does what follows from its answer; returns the payment's state."""
        status, processor = 0, self._processors[kept.processor]
        yield_core()
        try:
            status = await processor.pay(kept.correlation_id, kept.amount_cents, kept.requested_at_ms)
            event = event_of_status(status)
        except ProcessorError as error:
            event = event_of_error(error)
            self._outages.note(kept.processor, str(error))
            _log.debug("attempt failed: %s", error)
        yield_core()
        if event is Event.PAID:
            self._circuits[kept.processor].succeed(slot, self._clock.ticks_ms())
        else:
            self._note_unpaid(kept.processor, slot, event, status)
        if event is None:
            event = await self.unknowns.look_up(kept)
        return self._conclude(slot, kept, event)

    def _note_unpaid(self, processor: int, slot: int, event: Event | None, status: int) -> None:
        """Tells the circuit, and the log, of an answer that is no clear yes."""
        circuit, now_ms = self._circuits[processor], self._clock.ticks_ms()
        if event is None:  # 422: an answer about this payment, not about the processor
            circuit.forget(slot)
        elif event is Event.REJECTED:  # no outage, but what answers may not be the processor
            circuit.forget(slot)
            self._note_misuse(processor, status)
        else:
            if status == HTTPStatus.TOO_MANY_REQUESTS:
                circuit.back_off(slot, now_ms)
            else:
                circuit.fail(slot, now_ms, is_unclear=event is Event.UNCLEAR)
            if status:
                self._outages.note(processor, f"status {status}")
            if is_misuse(status):
                self._note_misuse(processor, status)

    def _note_misuse(self, processor: int, status: int) -> None:
        self._counters.add(DispatcherCount.MISCONFIGURED)
        self._outages.note_misuse(processor, status, self._clock.ticks_ms())

    def _conclude(self, slot: int, kept: Kept, event: Event) -> State:
        """Does what follows from an attempt's outcome; returns the payment's state.

        | the outcome | what follows |
        | --- | --- |
        | `PAID`, `SHOWN_OURS`, `SHOWN_OTHER` | the payment ends |
        | `SURE_NO` | it waits again, or is refused if this was its last attempt |
        | `REJECTED`, by the first processor | as after a `SURE_NO`, but for a while only the other one may take it |
        | `REJECTED`, by both | it is refused |
        | `UNCLEAR` | it is unknown, and asked about |
        """
        if event is Event.REJECTED and self._custody.rejected.note(slot, kept.processor, self._clock.ticks_ms()):
            event = Event.SURE_NO  # the other processor may take it
        if event is Event.SURE_NO and 0 < self._attempts_max <= kept.attempts:
            event = Event.REJECTED
        state = next_state(State.SENDING, event)
        if state in ENDED:
            self._custody.end(slot, event, kept)
            if state is State.REFUSED:
                self._outages.note_refusal(kept, self._clock.ticks_ms())
        elif state is State.WAITING:
            self._custody.wait_again(slot, kept.attempts)
        else:
            self._custody.mark_unknown(slot, event, kept.requested_at_ms)
            self.unknowns.add(slot)
        return state

    def log_outages(self) -> None:
        """Logs each outage or slowness that has begun, or ended, since the last beat; called with every beat."""
        self._outages.log_changes(self._circuits, self._clock.ticks_ms())

    async def aclose(self) -> None:
        """Stops at once: what is under way is unknown from now on, as after a crash, and nothing more is asked."""
        for task in self.under_way:
            task.cancel()
        await asyncio.gather(*self.under_way, return_exceptions=True)
        await self.unknowns.aclose()


def _tell_nobody(_: State) -> None:
    """Tells nobody, as long as there is no dispatcher."""

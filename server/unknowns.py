"""Finds out what became of payments whose outcome is unknown, at the processor they belong to and nowhere else.

First the processor is asked whether it has the payment (`GET`, neither delayed nor failing in an outage). If it shows
it, that decides. If it does not have it, or gives no usable answer, the payment is sent again with the same
requestedAt. A 404 proves nothing, because an earlier request may still be asleep in the processor; and a processor that
can't show a payment may be able to pay it. The pauses between questions about a payment double, and the asking never
ends. Each processor has a queue of its own: one that never answers does not hold up what the other would tell at once.
"""

import asyncio
import heapq
import logging
from collections.abc import Callable
from functools import partial

from server.attempt import Shown, compare, event_of_error, event_of_status, is_misuse
from server.circuit import Circuit
from server.clock import Clock
from server.custody import Custody
from server.errors import OutcomeUnknown, ProcessorError, ProcessorUnreachable
from server.processors import Processor
from shm import ENDED, Event, Kept, State, next_state

PAUSE_MIN_MS = 50  # a payment whose connection a restart cut is settled before an audit looks
PAUSE_MAX_MS = 5000  # longer than any delay of the contest's processors, and no load worth speaking of
ASKED_AT_ONCE_MAX = 16  # questions under way, to each processor
UNDECIDED_PAUSE_MS = 10  # between two questions while answers decide nothing: 100 a second, however many are unknown

_log = logging.getLogger(__name__)


class Unknowns:
    """The schedule of questions about unknown payments of one dispatcher.

    Args:
        custody: whose payments these are.
        processors: default and fallback.
        circuits: of both; told how many payments are unknown there, and when one of them is paid.
        clock: for the pauses.
        on_misuse: told the processor and the status of an answer that blames the question itself.

    Attributes:
        wake: called when a question has ended or a new one is scheduled: it sees to it that `ask_due` is called; set by
            the dispatcher, which asks what is due when it starts.
    """

    def __init__(
        self,
        custody: Custody,
        processors: tuple[Processor, Processor],
        circuits: tuple[Circuit, Circuit],
        clock: Clock,
        *,
        on_misuse: Callable[[int, int], None],
    ) -> None:
        self._custody = custody
        self._processors = processors
        self._circuits = circuits
        self._clock = clock
        self.wake: Callable[[], None] = _wake_nobody
        self._on_misuse = on_misuse
        self._queues = tuple(_Queue() for _ in processors)
        for slot in custody.unknown:
            self.add(slot)

    def add(self, slot: int) -> None:
        """Schedules the first question about a payment that has become unknown."""
        processor = self._custody.read(slot).processor
        self._circuits[processor].unknown += 1
        queue = self._queues[processor]
        heapq.heappush(queue.due, (self._clock.ticks_ms() + PAUSE_MIN_MS, slot, PAUSE_MIN_MS * 2))
        self.wake()

    def due_in_ms(self, most_ms: int) -> int:
        """In how many milliseconds the next question is due, `most_ms` at most."""
        due_ms = min((queue.next_at_ms() for queue in self._queues if queue.has_next()), default=None)
        return most_ms if due_ms is None else min(max(due_ms - self._clock.ticks_ms(), 1), most_ms)

    def ask_due(self) -> None:
        """Asks what is due, as far as the bound on questions at once allows."""
        for queue in self._queues:
            while queue.has_next() and queue.next_at_ms() <= self._clock.ticks_ms():
                _, slot, pause_ms = heapq.heappop(queue.due)
                queue.free_at_ms = self._clock.ticks_ms() + queue.pause_ms
                task = asyncio.get_running_loop().create_task(self._ask(queue, slot, pause_ms))
                queue.asking.add(task)
                task.add_done_callback(partial(self._asked, queue))

    def _asked(self, queue: "_Queue", task: asyncio.Task[None]) -> None:
        queue.asking.discard(task)
        if not task.cancelled():
            task.result()  # a bug in here reaches the loop's exception handler, which ends the process
            self.wake()

    async def _ask(self, queue: "_Queue", slot: int, pause_ms: int) -> None:
        kept = self._custody.read(slot)
        event = await self._find_out(kept)
        if next_state(State.UNKNOWN, event) in ENDED:
            queue.pause_ms = 0
            self._circuits[kept.processor].unknown -= 1
            if event is Event.PAID:  # being shown tells nothing: that works in an outage, too
                self._circuits[kept.processor].note_paid(self._clock.ticks_ms())
            self._custody.end(slot, event, kept)
            return
        queue.pause_ms = UNDECIDED_PAUSE_MS
        self._custody.mark_unknown(slot, event, kept.requested_at_ms)
        heapq.heappush(queue.due, (self._clock.ticks_ms() + pause_ms, slot, min(pause_ms * 2, PAUSE_MAX_MS)))

    async def _find_out(self, kept: Kept) -> Event:
        """Finds out what can be known now: `PAID`, `SHOWN_OURS`, `SHOWN_OTHER`, or an event that decides nothing."""
        processor = self._processors[kept.processor]
        try:
            shown = await self._shown(kept)
            if shown is not None:
                return compare(shown, kept.amount_cents, kept.requested_at_ms)
            status = await processor.pay(kept.correlation_id, kept.amount_cents, kept.requested_at_ms)
        except ProcessorError as error:
            _log.debug("nothing was found out about an unknown payment: %s", error)
            return event_of_error(error)
        if is_misuse(status):
            self._on_misuse(kept.processor, status)
        return event_of_status(status) or await self.look_up(kept)

    async def look_up(self, kept: Kept) -> Event:
        """Asks, after a 422, whose payment the processor has under this id. `UNCLEAR` if that can't be told now."""
        try:
            shown = await self._shown(kept)
        except ProcessorUnreachable:
            return Event.UNCLEAR
        return Event.UNCLEAR if shown is None else compare(shown, kept.amount_cents, kept.requested_at_ms)

    async def _shown(self, kept: Kept) -> Shown | None:
        """What the processor shows of a payment; None if it does not have it, or gives no usable answer.

        Raises:
            ProcessorUnreachable: the question was surely not sent.
        """
        try:
            return await self._processors[kept.processor].show(kept.correlation_id)
        except OutcomeUnknown as error:
            _log.debug("an unknown payment is not shown: %s", error)
            return None

    async def aclose(self) -> None:
        """Stops asking; what was asked about stays unknown."""
        asking = [task for queue in self._queues for task in queue.asking]
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


class _Queue:
    """The questions to one processor: those to come, and those under way."""

    def __init__(self) -> None:
        self.due: list[tuple[int, int, int]] = []  # heap of (when, table slot, pause before the next one)
        self.asking: set[asyncio.Task[None]] = set()
        self.pause_ms = 0  # between two questions to this processor; 0 if the last answer ended a payment
        self.free_at_ms = 0  # no question is asked before

    def next_at_ms(self) -> int:
        """When the next question may be asked, in ticks of the clock."""
        return max(self.due[0][0], self.free_at_ms)

    def has_next(self) -> bool:
        """Whether there is a next question, and room for it."""
        return bool(self.due) and len(self.asking) < ASKED_AT_ONCE_MAX


def _wake_nobody() -> None:
    """Wakes nobody, as long as there is no dispatcher."""

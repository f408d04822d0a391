"""A dispatcher's process: its parts, and how it starts, beats and stops. Everything here runs in the child."""

import asyncio
import contextlib
import errno
import signal
from collections.abc import Coroutine, Iterator
from functools import partial
from typing import Any

import uvloop

from server import child
from server.attempt import stamp_ms
from server.circuit import Circuit
from server.clock import Clock, SystemClock
from server.config import Config
from server.custody import Custody
from server.dispatcher import Dispatcher
from server.health import poll_alone, poll_shared
from server.intake import Intake
from server.latency import HEALTH_FRESH_MS
from server.outside import Outside, outside_of
from server.pacing import Pacer
from server.processors import Health
from server.publisher import Publisher
from server.purges import last_purge
from server.redis_totals import SharedHealth, TotalsHash
from server.routing import Router, make_policy
from server.sender import Sender
from server.verification import verify
from server.yielding import run_what_is_ready
from shm import (
    Counters,
    DispatcherCount,
    Journal,
    Member,
    Phase,
    Segment,
    WorkerCount,
    dispatcher_role,
    take_role,
)

OLD_MS = 1000  # what was requested longer ago is published at once: an audit's window ends 1.5 s ago
DRAIN_LOOK_S = 0.02  # between two looks at whether all is settled
TOLD_TOGETHER_S = 0.2  # if SIGTERM went to the whole process group, the supervisor's row says so by then
VERIFY_LOOK_S = 0.01  # between two looks at whether lanes still hold what is to be verified
LOOK_PAUSE_S = 0.1  # at least between two looks at the siblings: they may take long
FIRST_FLUSH_WITHIN_S = 0.5  # payments do not wait longer for Redis, and only after an absence
# Looks at the siblings that may fail in a row. After one more the process ends: its idle connections keep their
# descriptors, and its successor begins without any.
FAILED_LOOKS_MAX = 6
LAST_FLUSH_WITHIN_MS = 3500  # three calls to Redis that time out, and a little


def serve(config: Config, segment: Segment, index: int, doorbell: int) -> int:
    """Plays the role of dispatcher `index` until told to stop; returns the exit status.

    Args:
        config: all settings.
        segment: as the supervisor has mapped it: by now its name may lead nowhere, or to another segment.
        index: the dispatcher's number.
        doorbell: the eventfd that web workers write to wake it.

    Raises:
        RoleTaken: another process plays this role.
        OSError: the lock's file can't be opened.
        BrokenInvariant: the journal, its base or the table is damaged.
    """
    with take_role(config.instance, dispatcher_role(index)):
        counters, clock = segment.dispatcher_counters(index), SystemClock()
        child.begin(counters)
        outside = outside_of(config, segment, index, clock)
        process = DispatcherProcess(config, segment, index, counters, clock, outside)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(process.run(doorbell))
        counters.phase = Phase.GONE
    return 0


class DispatcherProcess:
    """One dispatcher with its publisher and health pollers, wired together.

    Some of the parts call each other back:

    * custody reports each payment that ends or becomes unknown (`_note_change`); the publisher is told, and perhaps
      hurried;
    * the sender tells the dispatcher that an attempt has ended, and `Unknowns` tells it that a question has ended;
    * the dispatcher hurries the publisher when no settlement is about to follow;
    * custody has intake empty the lanes before it forgets payments;
    * what is polled of a processor's health goes to its circuit.

    Args:
        config: all settings.
        segment: the instance's.
        index: the dispatcher's number.
        counters: the dispatcher's row.
        clock: wall and ticking clock.
        outside: what it reaches beyond the segment; closed in the end.
    """

    def __init__(
        self, config: Config, segment: Segment, index: int, counters: Counters, clock: Clock, outside: Outside
    ) -> None:
        self._config = config
        self._segment = segment
        self._index = index
        self._counters = counters
        self._clock = clock
        self._outside = outside
        self._journal = segment.journal(index)
        self._publisher: Publisher | None = None
        self._failed_looks = 0
        policy = make_policy((config.fee_default_bp, config.fee_fallback_bp), config.wait_ms_per_fee_point)
        limit = config.in_flight_max_per_dispatcher
        self._router = Router((Circuit(limit, config.slow_ms), Circuit(limit, config.slow_ms)), policy)
        # If only the dispatcher died, its instance was not absent: workers and lanes were there all the time. So there
        # is nothing to verify, unless the predecessor had not finished that: then all that waits by now is verified.
        supervised_since_ms = segment.supervisor_counters().started_at_ms
        self._after_absence = counters.get(DispatcherCount.VERIFIED_FOR_MS) != supervised_since_ms

    async def run(self, doorbell: int) -> None:
        """Does everything that this process does, from recovery to the last flush."""
        loop = asyncio.get_running_loop()
        child.crash_on_bugs(loop)
        stop = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        child.unblock_sigterm()
        lanes = self._segment.lanes_to(self._index)
        custody = Custody(lanes, self._segment.table(self._index), self._journal, self._counters, self._note_change)
        if self._after_absence:  # what waited may have been paid by a sibling meanwhile
            custody.mark_waiting_unverified()
        self._journal.begin_life()  # not before: until here all is still as a predecessor's goodbye said
        intake = Intake(
            lanes,
            custody,
            self._counters,
            self._clock,
            siblings=self._outside.siblings,
            after_absence=self._after_absence,
        )
        intake.log_taken_up(dispatcher_role(self._index))
        custody.before_forgetting = intake.take
        publisher = self._publisher = self._make_publisher(self._outside.totals) if self._outside.totals else None
        dispatcher = self._make_dispatcher(custody, intake)
        background = [loop.create_task(self._beat_regularly(dispatcher))]
        if self._after_absence:
            background.append(loop.create_task(self._verify(custody, intake)))
        background += [loop.create_task(work) for work in self._publishing_and_polling()]
        for task in background:
            task.add_done_callback(_end_process_on_failure)
        # Shows what is unknown. And recovery may have taken long, but from READY on a process that is silent is killed.
        dispatcher.beat(self._clock.ticks_ms())
        self._counters.phase = Phase.READY
        if publisher and self._after_absence:
            await _wait_for_first_flush(publisher)
        dispatcher.start(doorbell)
        await stop.wait()
        self._counters.phase = Phase.LEAVING
        await self._drain(dispatcher)
        await dispatcher.aclose()
        await child.end_tasks(background)
        if publisher:
            await publisher.say_goodbye()
        await self._outside.aclose()

    def _make_publisher(self, totals: TotalsHash) -> Publisher:
        """Makes the publisher, and tells it of the last purge that any journal here knows: Redis may have lost it."""
        publisher = Publisher(
            Member(self._segment.segment_id, self._index),
            self._journal,
            self._segment.roster(self._index),
            self._counters,
            totals,
            flush_s=self._config.flush_ms / 1000,
            hear_shared_health=self._hear_shared_health,
            hear_member=self._outside.siblings.hear_member,
        )
        self._outside.siblings.look()
        publisher.hear_of_purge(last_purge([self._segment, *self._outside.siblings.segments()]))
        return publisher

    def _make_dispatcher(self, custody: Custody, intake: Intake) -> Dispatcher:
        config, outside = self._config, self._outside
        names = sorted({config.instance, *config.siblings})
        stamp = partial(stamp_ms, place=names.index(config.instance), places=len(names))
        sender = Sender(
            custody, outside.processors, self._router.circuits, self._counters, self._clock, stamp, config.attempts_max
        )
        pacer = Pacer(self._clock.ticks_ms(), outside.throttled_periods)
        on_quiet = self._publisher.hurry if self._publisher else None
        return Dispatcher(custody, intake, self._router, pacer, sender, self._counters, self._clock, on_quiet=on_quiet)

    def _publishing_and_polling(self) -> Iterator[Coroutine[Any, Any, None]]:
        """The coroutines that publish totals and poll the processors' health, through Redis or alone."""
        processors, totals = self._outside.processors, self._outside.totals
        if totals and self._publisher:
            yield self._publisher.run()
            yield from (poll_shared(one, totals, self._clock) for one in processors)
        elif self._index == 0:  # a processor allows one rate for all dispatchers together
            yield from (poll_alone(one, self._hear_health) for one in processors)

    def _note_change(self, requested_at_ms: int) -> None:
        """Tells the publisher that a payment ended or became unknown; hurries it if that was requested `OLD_MS` ago.

        Without Redis nothing is published: web workers read the journal.
        """
        if self._publisher:
            self._publisher.note_change()
            if self._clock.wall_us() // 1000 - requested_at_ms >= OLD_MS:
                self._publisher.hurry()

    async def _verify(self, custody: Custody, intake: Intake) -> None:
        """Verifies what waited after an absence, then writes down that this is done, so no successor repeats it."""
        while custody.unverified or intake.has_unverified():
            await verify(custody, self._outside.processors, self._outside.siblings, self._clock)
            await asyncio.sleep(VERIFY_LOOK_S)
        self._counters.put(DispatcherCount.VERIFIED_FOR_MS, self._segment.supervisor_counters().started_at_ms)

    def _hear_health(self, processor: int, health: Health) -> None:
        """Tells a processor's circuit of its health, whichever instance polled it."""
        self._router.circuits[processor].note_health(
            failing=health.failing, response_ms_min=health.response_ms_min, now_ms=self._clock.ticks_ms()
        )

    def _hear_shared_health(self, processor: int, shared: SharedHealth) -> None:
        """Tells the circuit of a poll that Redis has, unless it is old: Redis keeps it while all instances are down."""
        if self._clock.wall_us() // 1000 - shared.polled_at_ms <= HEALTH_FRESH_MS:
            self._hear_health(processor, shared.health)

    async def _beat_regularly(self, dispatcher: Dispatcher) -> None:
        """Twice a second, until cancelled: shows what has been handled, looks at the siblings, takes up a local purge.

        A heartbeat is a time, and says that all that had reached this process by then has been handled. So the time is
        taken before the loop catches up, and stored afterwards.

        Raises:
            OSError: the siblings could not be looked at for too long.
        """
        while True:
            began_ms = self._clock.ticks_ms()
            await run_what_is_ready()
            dispatcher.beat(began_ms)
            self._look_at_siblings()
            looked_ms = self._clock.ticks_ms()  # reading a sibling that has died takes a quarter of a second
            await run_what_is_ready()
            self._counters.beat(looked_ms * 1000)
            if not self._config.redis_url:
                _take_up_local_purge(self._segment, self._journal)
            await asyncio.sleep(max(child.BEAT_S - (self._clock.ticks_ms() - began_ms) / 1000, LOOK_PAUSE_S))

    def _look_at_siblings(self) -> None:
        """Learns what siblings have accepted, unless a taking of payments has just done so; raises OSError if that has
        been impossible for too long.
        """
        siblings = self._outside.siblings
        self._failed_looks = 0 if siblings.has_looked_lately() or siblings.look() else self._failed_looks + 1
        if self._failed_looks > FAILED_LOOKS_MAX and self._counters.phase is not Phase.LEAVING:
            raise OSError(errno.EMFILE, f"siblings could not be looked at for {self._failed_looks} beats")

    async def _drain(self, dispatcher: Dispatcher) -> None:
        """Waits until all is settled, for `DRAIN_S` at most; the rest stays in the segment.

        What it waits for ends in several independent ways, so it looks again and again instead of being told.
        """
        deadline_ms = self._clock.ticks_ms() + self._config.drain_ms
        await asyncio.sleep(min(TOLD_TOGETHER_S, self._config.drain_ms / 1000))
        # In this order: once the workers have ended, no payment comes after the look at what is unsettled.
        while self._may_accept_still() or dispatcher.unsettled():
            if self._clock.ticks_ms() >= deadline_ms:
                return
            await asyncio.sleep(DRAIN_LOOK_S)

    def _may_accept_still(self) -> bool:
        """Whether the instance is stopping and has web workers that have not ended: they may still accept payments."""
        if self._segment.supervisor_counters().phase is not Phase.LEAVING:
            return False
        return any(row.phase is not Phase.GONE for row in self._segment.worker_rows())


async def _wait_for_first_flush(publisher: Publisher) -> None:
    """Waits, `FIRST_FLUSH_WITHIN_S` at most, until a predecessor's goodbye is undone: before anything is paid."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FIRST_FLUSH_WITHIN_S):
            await publisher.first_flush_done.wait()


def _take_up_local_purge(segment: Segment, journal: Journal) -> None:
    """Begins the epoch that a web worker has asked for in its counters: this is how a purge is made without Redis."""
    epoch = max(row.get(WorkerCount.PURGE_EPOCH) for row in segment.worker_rows())
    if epoch > journal.base.epoch:
        journal.begin_epoch(epoch)


def _end_process_on_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.result()  # raised in the loop, whose exception handler ends the process

"""The dispatcher: takes payments from the lanes, routes them, has them sent. One asyncio loop, bounded work per turn.

A *turn* takes payments from the lanes, sends what may be sent, and asks about unknown ones that are due. While payments
come they are taken every 200 ms, so that one wake-up serves several; else a turn comes when a worker writes the
eventfd, and at least every 0.25 s. Nobody waits for it: clients have their 202, and requestedAt is stamped when an
attempt begins. Payments leave in small bursts with pauses (`server/pacing.py`), so no web worker waits long for a core.
"""

import asyncio
import logging
import os
from collections.abc import Callable

from server.clock import Clock
from server.custody import Custody
from server.intake import Intake
from server.pacing import GATHER_MS, Pacer
from server.routing import Router
from server.sender import Sender
from shm import Counters, State

IDLE_MS = 250  # never sleeps longer: a wake-up can be lost, as x86-64 may let a load overtake an earlier store
BUSY_MS = 20  # while something waits for a processor: probes and waits come due without a wake-up

_log = logging.getLogger(__name__)


class Dispatcher:
    """One dispatcher of an instance.

    Args:
        custody: the payments in its care, recovered.
        intake: the reading end of its lanes.
        router: decides which processor a payment goes to.
        pacer: decides how fast.
        sender: makes the attempts.
        counters: its row.
        clock: wall and ticking clock.
        on_quiet: called when nothing is in flight or waiting any more: no settlement is about to follow the last.
    """

    def __init__(
        self,
        custody: Custody,
        intake: Intake,
        router: Router,
        pacer: Pacer,
        sender: Sender,
        counters: Counters,
        clock: Clock,
        *,
        on_quiet: Callable[[], None] | None,
    ) -> None:
        self._custody = custody
        self._intake = intake
        self._router = router
        self._pacer = pacer
        self._sender = sender
        self._unknowns = sender.unknowns
        self._counters = counters
        self._clock = clock
        self._on_quiet = on_quiet
        self._turn_is_due = False
        self._gathering_until_ms = 0
        # True: something waits for a processor, or for room in the table: the next answer is followed by a turn.
        self._turn_on_answer = False
        self._doorbell: int | None = None  # set from `start` to `aclose`
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        sender.on_end, sender.unknowns.wake = self._on_end, self._turn_soon

    def start(self, doorbell: int) -> None:
        """Begins to work; `doorbell` is the eventfd that workers write while this dispatcher sleeps."""
        self._doorbell = doorbell
        self._loop.add_reader(doorbell, self._on_doorbell, doorbell)
        self._turn_soon()

    def _on_doorbell(self, doorbell: int) -> None:
        os.eventfd_read(doorbell)
        # A worker that read `sleeping` just before the last turn cleared it may ring while payments gather: the lanes
        # are looked at then, too.
        self._gathering_until_ms = 0
        self._turn()

    def _turn_soon(self) -> None:
        """Makes sure that a turn comes after what is going on now."""
        if not self._turn_is_due:
            self._turn_is_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_is_due = False
        if self._doorbell is None:
            return
        self._counters.sleeping = False
        now_ms = self._clock.ticks_ms()
        can_take_more = self._take(now_ms)
        sleep_ms = self._send_waiting(now_ms)
        self._unknowns.ask_due()
        gathering_ms = self._gathering_until_ms - now_ms
        if gathering_ms > 0:
            sleep_ms = min(sleep_ms, gathering_ms)
        elif not can_take_more:
            can_take_more = self._announce_sleep()
        if can_take_more:
            self._turn_soon()
        self._set_timer(min(sleep_ms, self._unknowns.due_in_ms(IDLE_MS)))

    def _announce_sleep(self) -> bool:
        """Sets `sleeping`, then looks at the lanes again; returns whether a payment can be taken. A worker stores its
        payment first and then reads `sleeping`, so at least one side sees what the other has stored (but see IDLE_MS).
        """
        self._counters.sleeping = True
        if self._intake.is_empty():
            return False
        has_room = self._custody.room > 0
        self._turn_on_answer |= not has_room
        return has_room

    def _take(self, now_ms: int) -> bool:
        """Takes what has gathered in the lanes; returns whether there is more that can be taken at once."""
        if now_ms < self._gathering_until_ms or self._intake.is_empty():
            return False
        more = self._intake.take()
        if not more and self._custody.room:
            self._gathering_until_ms = now_ms + GATHER_MS
        return more

    def _set_timer(self, sleep_ms: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(sleep_ms / 1000, self._turn)

    def _send_waiting(self, now_ms: int) -> int:
        """Sends waiting payments, as far as pace and routing allow; returns in how many ms to try again."""
        waiting, rejected = self._custody.waiting, self._custody.rejected
        if rejected:
            self._custody.lift_rejected(now_ms)
        if waiting or rejected:
            self._pacer.adapt(now_ms)
        now_us = self._clock.wall_us()
        requested_at_ms = self._sender.stamp(now_us // 1000)
        self._turn_on_answer = False
        if rejected:
            self._send_first_rejected(now_ms, requested_at_ms)
        while waiting:
            kept = self._custody.read(waiting[0])
            waited_ms = abs(now_us - kept.accepted_at_us) // 1000  # a clock that was set back must not make it wait
            processor = self._router.choose(waited_ms, len(waiting), now_ms)
            if processor is None:
                self._turn_on_answer = True
                break
            if not self._pacer.take(now_ms):
                return self._pacer.wait_ms()
            self._sender.send(waiting.popleft(), kept, processor, requested_at_ms)
        if rejected and not self._send_rejected(now_ms, requested_at_ms):
            return self._pacer.wait_ms()
        return BUSY_MS if waiting or rejected else IDLE_MS

    def _send_first_rejected(self, now_ms: int, requested_at_ms: int) -> None:
        """Sends one to each processor that is well, before all other payments: they may use up the pace for long."""
        for processor, slots in enumerate(self._custody.rejected.queues):
            if slots and self._router.circuits[processor].has_room() and self._pacer.take(now_ms):
                slot = slots.popleft()
                self._sender.send(slot, self._custody.read(slot), processor, requested_at_ms)

    def _send_rejected(self, now_ms: int, requested_at_ms: int) -> bool:
        """Sends payments that one processor has rejected to the other; False if the pace allows no more now.

        They follow those that may go to either: one that the other fails on must not be its every probe.
        """
        for processor, slots in enumerate(self._custody.rejected.queues):
            while slots and self._router.may_go_to(processor, now_ms):
                if not self._pacer.take(now_ms):
                    return False
                slot = slots.popleft()
                self._sender.send(slot, self._custody.read(slot), processor, requested_at_ms)
            if slots and self._router.circuits[processor].in_flight:
                self._turn_on_answer = True  # its answer may make room
        return True

    def _on_end(self, state: State) -> None:
        """An attempt has ended, and its payment is in `state` now."""
        if self._turn_on_answer or state is State.WAITING:
            self._turn_soon()
        elif self._on_quiet and not self._sender.under_way and not self._custody.waiting:
            self._on_quiet()

    def beat(self, until_ms: int) -> None:
        """Shows until when this process has handled what reached it, and where payments stand; logs outages."""
        self._counters.beat(until_ms * 1000)
        self._custody.show_gauges(len(self._sender.under_way))
        self._sender.log_outages()

    def unsettled(self) -> int:
        """How many payments are in a lane, waiting, in flight or unknown."""
        return (
            self._intake.depth()
            + self._custody.waiting_count()
            + len(self._sender.under_way)
            + len(self._custody.unknown)
        )

    async def aclose(self) -> None:
        """Stops at once, with no further turn. What was in flight is unknown from now on, as after a crash."""
        if self._doorbell is not None:
            self._loop.remove_reader(self._doorbell)
            self._doorbell = None
        if self._timer is not None:
            self._timer.cancel()
        await self._sender.aclose()
        self._custody.show_gauges(0)  # the last flush publishes how many are unknown
        if unsettled := self.unsettled():
            _log.warning("%d payments stay unsettled in the segment; this instance's next life pays them", unsettled)

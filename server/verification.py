"""After an absence of the whole instance: makes sure that nobody else paid what it finds waiting, before it pays.

While an instance is down its clients may send again and reach another one. So each payment that waited is looked up in
the siblings' segments and at both processors (`GET`, neither delayed nor failing in an outage). Found anywhere, it is a
duplicate of what was paid there or is going to be; found nowhere, it waits like any other. Until both processors have
answered it is not paid at either: the silent one may have it.
"""

import asyncio
import logging
from collections.abc import Collection, Iterator

from server.clock import Clock
from server.copies import Copy
from server.custody import Custody
from server.errors import ProcessorError
from server.processors import Processor
from server.siblings import Siblings

VERIFIED_AT_ONCE_MAX = 8  # beside what is paid: a processor runs 800 requests at once (Settings, IN_FLIGHT_MAX)
LOOK_UP_WITHIN_S = 2.0  # what hangs is asked again, so that the others need not wait for it
PAUSE_MIN_S = 0.05
PAUSE_MAX_S = 1.0  # eight questions a second to a processor that refuses, and a second late when it answers again
GATHERED_FOR_MS = 10_000  # reading a sibling's whole table takes some 50 ms

_log = logging.getLogger(__name__)


async def verify(custody: Custody, processors: tuple[Processor, Processor], siblings: Siblings, clock: Clock) -> None:
    """Verifies everything unverified in `custody`; what is clean then waits. Goes on until nothing is left.

    Args:
        custody: the payments of this dispatcher.
        processors: both are asked.
        siblings: whose segments are searched.
        clock: for the stamp of what a sibling accepted and has not sent yet.
    """
    copies = _Copies(custody, siblings, clock)
    silent = set[str]()  # names of processors that have given no answer
    askers = [_Asker(custody, processors, copies, silent) for _ in range(VERIFIED_AT_ONCE_MAX)]
    undecided: Collection[int]
    undecided_pause_s = PAUSE_MIN_S
    while custody.unverified:
        try:
            undecided = copies.leave_to_siblings()
        except OSError:  # no descriptor to look with: nobody can tell now; if that lasts, this process ends
            undecided = set(custody.unverified)
        # What the lanes bring meanwhile is for the next round, and so are the undecided.
        slots = iter([slot for slot in custody.unverified if slot not in undecided])
        await asyncio.gather(*(asker.ask(slots) for asker in askers))
        undecided_pause_s = await _pause(undecided_pause_s) if undecided else PAUSE_MIN_S


async def _pause(pause_s: float) -> float:
    """Waits; returns how long to wait the next time."""
    await asyncio.sleep(pause_s)
    return min(pause_s * 2, PAUSE_MAX_S)


class _Copies:
    """What siblings have of the payments that are unverified here, gathered now and then: that takes a while.

    Args:
        custody: whose unverified payments.
        siblings: who may have them.
        clock: stamps what is left to a sibling, and tells when to gather again.
    """

    def __init__(self, custody: Custody, siblings: Siblings, clock: Clock) -> None:
        self._custody = custody
        self._siblings = siblings
        self._clock = clock
        self._gathered_for = set[int]()  # slots
        self._gathered_at_ms = 0
        self._found: dict[int, list[Copy]] = {}

    def leave_to_siblings(self) -> Collection[int]:
        """Ends what a sibling has paid or is going to pay; returns the slots of which that can't be told yet.

        Each copy is looked at again right before that: a sibling may have begun another life since they were gathered,
        and would leave to this instance what this one leaves to it.
        """
        self._gather()
        undecided = dict[int, list[Copy]]()
        for slot, copies in self._found.items():
            kept = self._custody.read(slot)
            found = [copy.wins_over(kept.accepted_at_us) for copy in copies]
            if True in found:
                self._gathered_for.discard(slot)
                self._custody.end_unverified(slot, kept.processor, self._clock.wall_us() // 1000)
            elif None in found:
                undecided[slot] = copies
        self._found = undecided
        return undecided

    def forget(self, slot: int) -> None:
        """Forgets a slot that has been verified: the next payment in there is another one."""
        self._gathered_for.discard(slot)

    def _gather(self) -> None:
        """Gathers copies if payments have come since; and after a time, as a sibling's segment may be new."""
        now_ms = self._clock.ticks_ms()
        unverified = set(self._custody.unverified)
        if now_ms - self._gathered_at_ms < GATHERED_FOR_MS and unverified <= self._gathered_for:
            self._found = {slot: copies for slot, copies in self._found.items() if slot in unverified}
            return
        copies = self._siblings.copies(self._custody.knows)
        self._gathered_for, self._gathered_at_ms = unverified, now_ms
        self._found = {
            slot: copies[correlation_id]
            for slot in (unverified if copies else ())
            if (correlation_id := self._custody.read(slot).correlation_id) in copies
        }


class _Asker:
    """One of those that look payments up, each one after another; while a processor is silent its pauses grow.

    Args:
        custody: the payments of this dispatcher.
        processors: both are asked.
        copies: told of each payment that has been verified.
        silent: names of the processors already told of; shared by all askers.
    """

    def __init__(
        self, custody: Custody, processors: tuple[Processor, Processor], copies: _Copies, silent: set[str]
    ) -> None:
        self._custody = custody
        self._processors = processors
        self._copies = copies
        self._silent = silent
        self._pause_s = PAUSE_MIN_S

    async def ask(self, slots: Iterator[int]) -> None:
        """Verifies what others have left of these slots."""
        for slot in slots:
            if await self._verify(slot):
                self._copies.forget(slot)
                self._pause_s = PAUSE_MIN_S
            else:
                self._pause_s = await _pause(self._pause_s)

    async def _verify(self, slot: int) -> bool:
        """Looks a payment up at both processors. False if one gave no answer: then it comes again after all others."""
        correlation_id = self._custody.read(slot).correlation_id
        for processor in self._processors:
            try:
                async with asyncio.timeout(LOOK_UP_WITHIN_S):
                    shown = await processor.show(correlation_id)
            except (ProcessorError, TimeoutError) as error:
                self._complain(processor.name, str(error) or "no answer in time")
                self._custody.verify_last(slot)
                return False
            if shown is not None:
                requested_at_ms = max(shown.requested_at_ms or 0, 0)  # 0 if it says so in no whole ms since 1970
                self._custody.end_unverified(slot, processor.index, requested_at_ms)
                return True
        self._custody.mark_verified(slot)
        return True

    def _complain(self, name: str, reason: str) -> None:
        """Logs that a processor gives no answer, once for all askers."""
        if name not in self._silent:
            self._silent.add(name)
            _log.warning(
                "what waited before the start is not paid until both processors have answered, and %s has not: %s",
                name,
                reason,
            )

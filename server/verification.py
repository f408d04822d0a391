"""After an absence of the whole instance: makes sure that nobody else has paid what waits here, before it is paid.

While an instance is down its clients may send again and reach another one. So each payment that waited is looked up in
the siblings' segments and at both processors (`GET`, which is neither delayed nor fails in an outage). If it is found
anywhere, it is a duplicate of what was or will be paid there; if nowhere, it waits like any other. Until both
processors have answered it is not paid at either: the silent one may have it.
"""

import asyncio
import logging
from collections.abc import Collection, Iterator

from server.clock import Clock
from server.copies import Copy, Payer
from server.custody import Custody
from server.errors import ProcessorError
from server.processors import Processor
from server.siblings import Siblings

VERIFIED_AT_ONCE_MAX = 8  # beside payments: a processor runs 800 requests at once (see the setting IN_FLIGHT_MAX)
LOOK_UP_WITHIN_S = 2.0  # a look-up that hangs is made again later, so that other payments need not wait for it
PAUSE_MIN_S = 0.05
PAUSE_MAX_S = 1.0  # eight look-ups a second at a processor that refuses, and a second lost once it answers again
GATHERED_FOR_MS = 10_000  # how long gathered copies serve: reading a sibling's whole table takes some 50 ms

_log = logging.getLogger(__name__)


async def verify(custody: Custody, processors: tuple[Processor, Processor], siblings: Siblings, clock: Clock) -> None:
    """Verifies everything unverified in `custody`, until nothing is left; what nobody else has paid then waits there.

    Args:
        custody: the payments of this dispatcher.
        processors: both are asked.
        siblings: whose segments are searched.
        clock: stamps what is left to a sibling, and tells when to look for its copies again.
    """
    copies = _Copies(custody, siblings, clock)
    silent = set[str]()  # names of processors that have given no answer
    askers = [_Asker(custody, processors, copies, silent) for _ in range(VERIFIED_AT_ONCE_MAX)]
    undecided: Collection[int]
    undecided_pause_s = PAUSE_MIN_S
    while custody.unverified:
        try:
            undecided = copies.leave_to_siblings()
        except OSError:  # no descriptors to look with: nothing can be decided; if that lasts, this process ends
            undecided = set(custody.unverified)
        # What comes from the lanes meanwhile is for the next round, and so are the undecided.
        slots = iter([slot for slot in custody.unverified if slot not in undecided])
        await asyncio.gather(*(asker.ask(slots) for asker in askers))
        undecided_pause_s = await _pause(undecided_pause_s) if undecided else PAUSE_MIN_S
    if silent:
        _log.warning("what waited before the start has been looked up: what nobody else has paid is paid from now on")


async def _pause(pause_s: float) -> float:
    """Waits; returns how long to wait the next time."""
    await asyncio.sleep(pause_s)
    return min(pause_s * 2, PAUSE_MAX_S)


class _Copies:
    """The copies that siblings have of the payments unverified here; gathered only now and then, as that takes a while.

    Args:
        custody: the payments of this dispatcher.
        siblings: those who may have copies.
        clock: stamps what is left to a sibling, and tells when to gather again.
    """

    def __init__(self, custody: Custody, siblings: Siblings, clock: Clock) -> None:
        self._custody = custody
        self._siblings = siblings
        self._clock = clock
        self._gathered_for = set[int]()  # the slots that were unverified then, less those verified since
        self._gathered_at_ms = 0
        self._found: dict[int, list[Copy]] = {}

    def leave_to_siblings(self) -> Collection[int]:
        """Ends what a sibling has paid or is going to pay; returns the slots for which nobody can tell yet.

        Each copy is looked at again right before: its sibling may have begun another life since the copies were
        gathered, and would then leave to this instance what this one leaves to it.
        """
        self._gather()
        undecided = dict[int, list[Copy]]()
        for slot, copies in self._found.items():
            kept = self._custody.read(slot)
            payers = [copy.who_pays(kept.accepted_at_us) for copy in copies]
            if Payer.SIBLING in payers:
                self._gathered_for.discard(slot)
                self._custody.end_unverified(slot, kept.processor, self._clock.wall_us() // 1000)
            elif Payer.UNDECIDED in payers:
                undecided[slot] = copies
        self._found = undecided
        return undecided

    def forget(self, slot: int) -> None:
        """Forgets a slot that has been verified: the next payment in that slot will be another."""
        self._gathered_for.discard(slot)

    def _gather(self) -> None:
        """Gathers copies if payments came since the last time, or after a while: a sibling's segment may be new."""
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
    """Looks payments up, one after another; several do so at once. While a processor is silent its pauses grow.

    Args:
        custody: the payments of this dispatcher.
        processors: both are asked.
        copies: told of each payment that has been verified.
        silent: names of the processors whose silence has been logged; shared by all askers.
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
        """Verifies the payments in `slots`, which all askers share: each takes the next one."""
        for slot in slots:
            if await self._verify(slot):
                self._copies.forget(slot)
                self._pause_s = PAUSE_MIN_S
            else:
                self._pause_s = await _pause(self._pause_s)

    async def _verify(self, slot: int) -> bool:
        """Looks a payment up at both processors; False if one gave no answer: it comes again after the others."""
        correlation_id = self._custody.read(slot).correlation_id
        for processor in self._processors:
            try:
                async with asyncio.timeout(LOOK_UP_WITHIN_S):
                    shown = await processor.show(correlation_id)
            except (ProcessorError, TimeoutError) as error:
                self._log_silence(processor.name, str(error) or f"{processor.name}: no answer in time")
                self._custody.verify_later(slot)
                return False
            if shown is not None:
                requested_at_ms = max(shown.requested_at_ms or 0, 0)  # 0: it shows none in whole ms since 1970
                self._custody.end_unverified(slot, processor.index, requested_at_ms)
                return True
        self._custody.mark_verified(slot)
        return True

    def _log_silence(self, name: str, reason: str) -> None:
        """Logs that a processor gives no answer, once for all askers."""
        if name not in self._silent:
            self._silent.add(name)
            _log.warning(
                "what waited before the start is not paid until both processors have answered, and one gives no clear "
                "answer: %s",
                reason,
            )

"""After an absence of the whole instance: makes sure that nobody else paid what it finds waiting, before it pays.

While an instance is down its clients may send again and reach another one. So each payment that waited is looked up in
the siblings' segments and at both processors (`GET`, neither delayed nor failing in an outage). Found anywhere, it is a
duplicate of what was paid there or is going to be; found nowhere, it waits like any other. Until both processors have
answered it is not paid at either: the silent one may have it.
"""

import asyncio
import logging
from itertools import islice

from server.clock import Clock
from server.custody import Custody
from server.errors import ProcessorError
from server.processors import Processor
from server.siblings import Copy, Siblings
from shm import Event, Kept

ASKED_AT_ONCE_MAX = 8
PAUSE_MIN_S = 0.05
PAUSE_MAX_S = 1.0  # eight questions a second to a processor that does not answer, and a second late when it does again

_log = logging.getLogger(__name__)


async def verify(custody: Custody, processors: tuple[Processor, Processor], siblings: Siblings, clock: Clock) -> None:
    """Verifies everything unverified in `custody`; what is clean then waits. Goes on until nothing is left.

    Args:
        custody: the payments of this dispatcher.
        processors: both are asked.
        siblings: whose segments are searched.
        clock: for the stamp of what a sibling accepted and has not sent yet.
    """
    pause_s = PAUSE_MIN_S
    silent = set[str]()  # names of processors that give no answer
    undecided: dict[int, list[Copy]] = {}
    while custody.unverified:
        undecided = _leave_to_siblings(custody, siblings, clock, undecided)
        left = len(custody.unverified)  # what the lanes bring meanwhile is for the next round, and the undecided
        custody.unverified.extend(undecided)
        while left:
            count = min(left, ASKED_AT_ONCE_MAX)
            slots = list(islice(custody.unverified, count))
            answered = await asyncio.gather(*(_verify_one(slot, custody, processors, silent) for slot in slots))
            left -= count
            if all(answered) and not undecided:
                pause_s = PAUSE_MIN_S
            elif not all(answered):
                pause_s = await _pause(pause_s)
        if undecided:
            pause_s = await _pause(pause_s)


async def _pause(pause_s: float) -> float:
    """Waits; returns how long to wait the next time."""
    await asyncio.sleep(pause_s)
    return min(pause_s * 2, PAUSE_MAX_S)


def _leave_to_siblings(
    custody: Custody, siblings: Siblings, clock: Clock, known: dict[int, list[Copy]]
) -> dict[int, list[Copy]]:
    """Ends what a sibling has paid or is going to pay; returns the slots of which that can't be told yet, and takes
    them out of `unverified`.

    Each copy is looked at again right before that: a sibling may have begun another life since they were gathered, and
    would leave to this instance what this one leaves to it.

    What was returned the last time comes in as `known`: of those slots the copies need not be gathered again.
    """
    is_gathered = known.keys() == set(custody.unverified)  # else something has come since
    copies = {} if is_gathered else siblings.copies(custody.knows)
    undecided: dict[int, list[Copy]] = {}
    if not copies and not known:
        return undecided
    for _ in range(len(custody.unverified)):
        slot = custody.unverified.popleft()
        kept = custody.read(slot)
        candidates = known.get(slot) or copies.get(kept.correlation_id, [])
        found = [copy.counts_before(kept.accepted_at_us) for copy in candidates]
        if True in found:
            _end_as_duplicate(slot, kept, custody, kept.processor, clock.wall_us() // 1000)
        elif None in found:
            undecided[slot] = candidates
        else:
            custody.unverified.append(slot)
    return undecided


async def _verify_one(slot: int, custody: Custody, processors: tuple[Processor, Processor], silent: set[str]) -> bool:
    """Looks a payment up at both processors. False if one gave no answer: then it comes again after all others."""
    kept = custody.read(slot)
    for processor in processors:
        try:
            shown = await processor.show(kept.correlation_id)
        except ProcessorError as error:
            if processor.name not in silent:
                _log.warning("what waited before the start is not paid until both processors have answered: %s", error)
                silent.add(processor.name)
            custody.unverified.remove(slot)
            custody.unverified.append(slot)
            return False
        silent.discard(processor.name)
        if shown is not None:
            custody.unverified.remove(slot)
            requested_at_ms = max(shown.requested_at_ms or 0, 0)  # 0 if it says so in no whole ms since 1970
            _end_as_duplicate(slot, kept, custody, processor.index, requested_at_ms)
            return True
    custody.unverified.remove(slot)
    custody.waiting.append(slot)
    return True


def _end_as_duplicate(slot: int, kept: Kept, custody: Custody, processor: int, requested_at_ms: int) -> None:
    custody.end(slot, Event.FOUND_ELSEWHERE, kept._replace(processor=processor, requested_at_ms=requested_at_ms))

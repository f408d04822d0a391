"""Polls the processors' health within the rate they allow, which is for all instances together.

With Redis, the dispatcher that gets a processor's lease polls it and shares the answer; all read it with their next
flush. Without Redis, the first dispatcher of the only instance polls, and the others go by their circuits alone. A poll
that fails tells nobody anything: circuits decide alone then.
"""

import asyncio
import logging
from collections.abc import Callable

from server.clock import Clock
from server.errors import ProcessorError, TotalsUnavailable
from server.processors import HEALTH_EVERY_MS, Health, Processor
from server.redis_totals import LEASE_AGAIN_MS, SharedHealth, TotalsHash

RETRY_MS = 1000  # between attempts to get the lease while Redis is away

_log = logging.getLogger(__name__)


async def poll_shared(processor: Processor, totals: TotalsHash, clock: Clock) -> None:
    """Polls one processor whenever this dispatcher gets its lease, until cancelled."""
    while True:
        try:
            begun_ms = clock.ticks_ms()
            again_ms = await totals.lease_health_poll(processor.index)
            if not again_ms:
                health = await _ask(processor)
                if health is not None:
                    await totals.share_health(processor.index, SharedHealth(health, clock.wall_us() // 1000))
                again_ms = max(begun_ms + HEALTH_EVERY_MS - clock.ticks_ms(), LEASE_AGAIN_MS)
        except TotalsUnavailable as error:
            again_ms = RETRY_MS
            _log.debug("health of %s is not shared: %s", processor.name, error)
        await asyncio.sleep(again_ms / 1000)


async def poll_alone(processor: Processor, hear_health: Callable[[int, Health], None]) -> None:
    """Polls one processor as often as it allows, until cancelled.

    Args:
        processor: the one to poll.
        hear_health: called with the processor's index and what it said of itself.
    """
    while True:
        health = await _ask(processor)
        if health is not None:
            hear_health(processor.index, health)
        await asyncio.sleep(HEALTH_EVERY_MS / 1000)


async def _ask(processor: Processor) -> Health | None:
    """What a processor says of itself; None if it gives no answer, or was asked too often."""
    try:
        return await processor.health()
    except ProcessorError as error:
        _log.debug("no health of %s: %s", processor.name, error)
        return None

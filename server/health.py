"""Asks the processors' health within the rate they allow, which is for all instances together.

With Redis, whoever gets a processor's lease asks and shares the answer; everyone hears it with the next flush. Without,
the first dispatcher of the only instance asks, and the others go by their circuits. A poll that fails is told by its
absence: circuits decide alone.
"""

import asyncio
import logging
from collections.abc import Callable

from server.clock import Clock
from server.errors import ProcessorError, TotalsUnavailable
from server.processors import Processor
from server.redis_totals import LEASE_MS, TotalsHash

LEASE_TRY_S = 1.0  # how often an instance tries for the lease: adds this much, at most, to the age of the news

_log = logging.getLogger(__name__)


async def poll_shared(processor: Processor, totals: TotalsHash, clock: Clock) -> None:
    """Polls one processor whenever this instance gets its lease, until cancelled."""
    while True:
        await asyncio.sleep(LEASE_TRY_S)
        try:
            if not await totals.lease_health_poll(processor.index):
                continue
            health = await processor.health()
            if health is not None:
                await totals.share_health(processor.index, health, clock.wall_us() // 1000)
        except (ProcessorError, TotalsUnavailable) as error:
            _log.debug("no health of %s: %s", processor.name, error)


async def poll_alone(processor: Processor, hear_health: Callable[[int, bool, int], None]) -> None:
    """Polls one processor as often as it allows, until cancelled.

    Args:
        processor: whom to ask.
        hear_health: told (processor, failing, least response time in ms).
    """
    while True:
        try:
            health = await processor.health()
            if health is not None:
                hear_health(processor.index, health.failing, health.response_ms_min)
        except ProcessorError as error:
            _log.debug("no health of %s: %s", processor.name, error)
        await asyncio.sleep(LEASE_MS / 1000)

"""What a dispatcher reaches beyond its instance's memory: processors, siblings, Redis, its CPU quota."""

from collections.abc import Callable
from typing import NamedTuple

from server.circuit import PROBES_MAX
from server.clock import Clock
from server.config import Config
from server.processors import Processor
from server.quota import CpuQuota
from server.redis_client import RedisClient
from server.redis_totals import TotalsHash
from server.siblings import Sibling, Siblings
from server.transport import KeepAliveTransport
from server.unknowns import ASKED_AT_ONCE_MAX
from server.verification import VERIFIED_AT_ONCE_MAX
from shm import Segment

SPARE_CONNECTIONS = ASKED_AT_ONCE_MAX + VERIFIED_AT_ONCE_MAX + PROBES_MAX + 2
"""Connections beside those of ordinary payments: for questions about unknown and unverified ones, for probes and one
more out of turn, and for a health poll."""


class Outside(NamedTuple):
    """What one dispatcher reaches.

    Args:
        processors: default and fallback.
        siblings: the other instances.
        totals: the Redis hash; None: totals are kept locally.
        throttled_periods: tells how often the container has been frozen so far.
    """

    processors: tuple[Processor, Processor]
    siblings: Siblings
    totals: TotalsHash | None
    throttled_periods: Callable[[], int]

    async def aclose(self) -> None:
        """Closes all connections."""
        if self.totals:
            await self.totals.aclose()
        for processor in self.processors:
            await processor.aclose()


def outside_of(config: Config, segment: Segment, index: int, clock: Clock) -> Outside:
    """Makes what the settings name. Nothing is connected yet.

    Args:
        config: all settings.
        segment: of the instance.
        index: the dispatcher's number.
        clock: wall and ticking clock.
    """
    connections_max = config.in_flight_max_per_dispatcher + SPARE_CONNECTIONS
    timeout_s = config.attempt_timeout_ms / 1000
    default, fallback = (
        Processor(number, url, transport=KeepAliveTransport(url, connections_max=connections_max), timeout_s=timeout_s)
        for number, url in enumerate((config.processor_default_url, config.processor_fallback_url))
    )
    siblings = (Sibling(name, clock, config.stuck_ms, ours=config.instance) for name in config.siblings)
    totals = TotalsHash(RedisClient(config.redis_url)) if config.redis_url else None
    rows, lanes = segment.worker_rows(), segment.lanes_to(index)
    return Outside((default, fallback), Siblings(siblings, clock, rows, lanes), totals, CpuQuota().throttled_periods)

"""An idle instance costs next to nothing."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.integration.conftest import Start
from tests.integration.instances import Processors
from tests.redis_server import RedisServer

pytestmark = pytest.mark.slow

MEASURED_S = 8.0
WAKE_UPS_PER_S_MAX = 20  # two heartbeats of each process, and the dispatcher's looks at its lanes, flushes and leases
SHARE_MAX = 0.25  # of a core: who never sleeps uses all of one; on a calm machine this is 0.006 to 0.008


def used_s(pids: list[int]) -> float:
    """The processor time that processes have used so far, in seconds (first number of schedstat: ns)."""
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in pids) / 1e9


def wake_ups(pids: list[int]) -> int:
    """How often processes have gone to sleep so far, whatever else the machine does."""
    statuses = (Path(f"/proc/{pid}/status").read_text() for pid in pids)
    return sum(int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0]) for status in statuses)


class TestIdle:
    """With nothing to do but beats, polls and flushes."""

    async def test_wake_ups(self, start: Start, processors: Processors, redis: RedisServer) -> None:
        """An instance as in Docker is woken a few times a second, and sleeps again."""
        instance = await start(REDIS_URL=redis.url)
        await instance.pay(range(100))
        await processors.wait_stored(range(100))
        await asyncio.sleep(1)
        pids = instance.pids()
        before, used_before_s, begun_s = wake_ups(pids), used_s(pids), time.monotonic()
        await asyncio.sleep(MEASURED_S)
        took_s = time.monotonic() - begun_s
        assert (wake_ups(pids) - before) / took_s < WAKE_UPS_PER_S_MAX
        assert (used_s(pids) - used_before_s) / took_s < SHARE_MAX

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
SHARE_MAX = 0.01  # of a core


def used_s(pids: list[int]) -> float:
    """The processor time that processes have used so far, in seconds (first number of schedstat: ns)."""
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in pids) / 1e9


class TestIdle:
    """With nothing to do but beats, polls and flushes."""

    async def test_cpu(self, start: Start, processors: Processors, redis: RedisServer) -> None:
        """An instance as in Docker uses less than a hundredth of a core."""
        instance = await start(REDIS_URL=redis.url)
        await instance.pay(range(100))
        await processors.wait_stored(range(100))
        await asyncio.sleep(1)
        pids = instance.pids()
        before_s, begun_s = used_s(pids), time.monotonic()
        await asyncio.sleep(MEASURED_S)
        share = (used_s(pids) - before_s) / (time.monotonic() - begun_s)
        assert share < SHARE_MAX, f"{share:.2%} of a core"

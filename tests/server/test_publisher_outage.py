"""A publisher that starts while Redis is away: of what is settled meanwhile nothing is folded unread."""

import asyncio

import pytest

from server import publisher as module
from server.totals import Total
from tests.fakes import NOON_MS
from tests.server.desk import Desk
from tests.server.scene import GEOMETRY

SETTLED = 4 * GEOMETRY.journal_records


@pytest.mark.parametrize("had_published", [False, True])
async def test_windows_reach_back(desk: Desk, monkeypatch: pytest.MonkeyPatch, *, had_published: bool) -> None:
    """Of an outage that is longer than the journal, whether Redis comes back empty or as it was."""
    monkeypatch.setattr(module, "BEAT_S", 0.001)
    if had_published:
        await desk.flush(1)
        desk = Desk(desk.segment, desk.totals)
    desk.totals.away = True
    running = asyncio.create_task(desk.publisher.run())
    for second in range(SETTLED):
        desk.settle(requested_at_ms=NOON_MS + 1000 * second)
        if second % 8 == 0:
            await asyncio.sleep(0.005)
    desk.totals.away = False
    await asyncio.wait_for(desk.publisher.first_flush_done.wait(), 1)
    running.cancel()
    assert desk.shown(NOON_MS + 1000, NOON_MS + 1000 * SETTLED) == Total(SETTLED - 1, (SETTLED - 1) * 1990)

"""The publisher after a freeze: a flush says that nothing else was settled, so it comes after what was missed."""

import asyncio

import pytest

from server import publisher as module
from tests.server.desk import Desk


@pytest.mark.parametrize("is_pending", [False, True])
async def test_what_was_missed_comes_first(desk: Desk, monkeypatch: pytest.MonkeyPatch, *, is_pending: bool) -> None:
    """Whether the flush is due because of a settlement before the freeze, or as a sign of life."""
    monkeypatch.setattr(module, "BEAT_S", 0.01)

    async def hear_an_answer() -> None:
        desk.settle()

    monkeypatch.setattr(module, "run_what_is_ready", hear_an_answer)
    if is_pending:
        desk.settle()
        desk.publisher.note_change()
    running = asyncio.create_task(desk.publisher.run())
    while not desk.totals.flushes:
        await asyncio.sleep(0.001)
    running.cancel()
    assert desk.totals.flushes[0][0].position == 1 + is_pending

"""The publisher when there is much: long journals are read, and much is sent, in pieces."""

import asyncio
from typing import Any

import pytest

from server import following, ledger
from server.totals import Total
from shm import DispatcherCount
from tests.fakes import NOON_MS
from tests.server.desk import Desk
from tests.server.scene import GEOMETRY


class TestPieces:
    """Publisher.flush."""

    async def test_pieces(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is too much for one flush comes in several, each on top of the one before; only the last is whole."""
        monkeypatch.setattr(ledger, "PIECE_BYTES", 1)
        for second in range(3):
            desk.settle(requested_at_ms=NOON_MS + second * 1000)
        assert await desk.flush()
        headers = [header for header, _, _ in desk.totals.flushes]
        assert [len(fields) for _, fields, _ in desk.totals.flushes] == [1, 1, 1, 1]
        assert [builds_on for _, _, builds_on in desk.totals.flushes] == [None, *(one.version for one in headers[:3])]
        assert [header.is_whole for header in headers] == [0, 0, 0, 1]
        assert desk.shown(NOON_MS, NOON_MS + 1500) == Total(2, 3980)

    async def test_lost_between_two_pieces(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """What was not sent is sent the next time, and nothing counts as published before it is whole."""
        monkeypatch.setattr(ledger, "PIECE_BYTES", 1)
        desk.settle(2)
        take = desk.totals.flush

        async def away_after_the_first(*arguments: Any, **options: Any) -> Any:
            found = await take(*arguments, **options)
            desk.totals.away = True
            return found

        monkeypatch.setattr(desk.totals, "flush", away_after_the_first)
        assert not await desk.flush()
        assert desk.totals.header is not None
        assert (desk.totals.header.is_whole, desk.counters.get(DispatcherCount.PUBLISHED)) == (0, 0)
        monkeypatch.setattr(desk.totals, "flush", take)
        desk.totals.away = False
        assert await desk.flush(1)
        assert desk.totals.flushes[1][2] == desk.totals.flushes[0][0].version
        assert (desk.totals.header.is_whole, desk.counters.get(DispatcherCount.PUBLISHED)) == (1, 3)
        assert desk.shown() == Total(3, 5970)

    async def test_settled_between_pieces(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """More than the journal holds, as Redis is slow: it is read in between, so every window is told still."""
        monkeypatch.setattr(ledger, "PIECE_BYTES", 1)
        take, left = desk.totals.flush, iter(range(10))

        async def settle_meanwhile(*arguments: Any, **options: Any) -> Any:
            if next(left, None) is not None:
                desk.settle(GEOMETRY.journal_records // 4)
            return await take(*arguments, **options)

        monkeypatch.setattr(desk.totals, "flush", settle_meanwhile)
        for second in range(1, 12):
            desk.settle(requested_at_ms=NOON_MS + second * 1000)
        for _ in range(2):
            assert await desk.flush()
        assert desk.journal.base.journal_tail > 11
        assert desk.shown().payments == 10 * GEOMETRY.journal_records // 4
        assert desk.shown(NOON_MS, None).payments == desk.journal.head

    async def test_ends_while_more_is_settled(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is settled meanwhile is left to the next flush, else none would be whole as long as payments come."""
        monkeypatch.setattr(ledger, "PIECE_BYTES", 1)
        take, seconds = desk.totals.flush, iter(range(3, 43))

        async def settle_meanwhile(*arguments: Any, **options: Any) -> Any:
            for second in (next(seconds), next(seconds)):
                desk.settle(requested_at_ms=NOON_MS + second * 1000)
            return await take(*arguments, **options)

        for second in range(3):
            desk.settle(requested_at_ms=NOON_MS + second * 1000)
        monkeypatch.setattr(desk.totals, "flush", settle_meanwhile)
        assert await desk.flush()
        assert [header.is_whole for header, _, _ in desk.totals.flushes] == [0, 0, 0, 1]

    async def test_overtaken_by_the_journal(self, desk: Desk) -> None:
        """What was folded meanwhile is in no field: everything is written anew."""
        await desk.flush(1)
        for second in range(300):
            desk.settle(requested_at_ms=NOON_MS + second * 1000)
        assert await desk.flush()
        assert [builds_on for _, _, builds_on in desk.totals.flushes] == [None, None]
        assert desk.shown(None, None).payments == 301

    async def test_long_journal(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """While it is read, others have their turns."""
        monkeypatch.setattr(following, "RECORDS_AT_ONCE", 2)
        turns: list[None] = []
        desk.settle(7)
        asyncio.get_running_loop().call_soon(turns.append, None)
        assert await desk.flush()
        assert turns
        assert desk.shown() == Total(7, 13_930)

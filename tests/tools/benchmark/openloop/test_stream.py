"""Tests of tools/benchmark/openloop/stream.py, over real sockets."""

import asyncio
import time

import pytest

from tests.tools.benchmark.openloop.servers import ACCEPTED, CLOSING, FULL, serving
from tests.tools.benchmark.openloop.test_plan import PLAN
from tools.benchmark.openloop import stream as module
from tools.benchmark.openloop.messages import LATE, Interval
from tools.benchmark.openloop.requests import PaymentRequests
from tools.benchmark.openloop.schedule import Group, groups
from tools.benchmark.openloop.stream import Stream

NS_PER_MS = 1_000_000


async def sent(port: int, spans: list[tuple[int, int]], connections: int = 2) -> tuple[Interval, list[int]]:
    """What happened in a load of these (rate, ms), and the phases that began."""
    phases: list[int] = []
    stream = Stream(PaymentRequests(PLAN), ("127.0.0.1", port), first_turn=10, on_phase=phases.append)
    await stream.connect(connections)
    stream.start(groups(spans, time.monotonic_ns()))
    try:
        async with asyncio.timeout(10):
            await stream.over.wait()
    finally:
        stream.close()
    return stream.take(), phases


@pytest.mark.slow
class TestStream:
    """A real server in the same loop."""

    async def test_everything_due_is_sent_and_answered(self) -> None:
        """One request each, with the numbers that follow one another, and the phases in their order."""
        async with serving(lambda _: ACCEPTED) as (port, requests):
            interval, phases = await sent(port, [(100, 200), (50, 100)])
        assert (interval.sent, interval.held, interval.waiting) == (25, 0, 0)
        assert (interval.statuses, phases) == ({202: 25}, [0, 1, 2])
        assert requests == [PaymentRequests(PLAN).make(turn).data for turn in range(10, 35)]
        assert interval.latencies["accepted"].count == 25
        assert interval.latencies[LATE].count == 25
        assert interval.cents == sum(PaymentRequests(PLAN).make(turn).cents for turn in range(10, 35))

    async def test_a_slow_server_does_not_slow_the_load(self) -> None:
        """Latency counts from when a request was due: the second one waits for the first one's connection."""

        def answer(_: bytes) -> bytes:
            time.sleep(0.1)  # the whole loop stands still
            return ACCEPTED

        async with serving(answer) as (port, _):
            interval, _ = await sent(port, [(100, 20)], connections=1)
        assert interval.statuses == {202: 2}
        first_us, second_us = (interval.latencies["accepted"].quantiles_us([share])[0] for share in (0.5, 1.0))
        assert first_us >= 100_000
        assert second_us >= 190_000

    async def test_refusals_and_hang_ups_are_told_by_their_number(self) -> None:
        """A connection that is gone is replaced."""
        answers = [ACCEPTED, FULL, None, CLOSING]
        async with serving(lambda _: answers.pop(0) if answers else ACCEPTED) as (port, _):
            interval, _ = await sent(port, [(40, 250)], connections=1)
        assert interval.statuses == {202: 8, 503: 1, 0: 1}
        assert interval.failed == [(11, 503), (12, 0)]

    async def test_a_server_that_goes_and_comes_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What was due meanwhile waits, and is sent late."""
        monkeypatch.setattr(module, "CONNECT_AGAIN_S", 0.01)
        async with serving(lambda _: None) as (port, _):
            stream = Stream(PaymentRequests(PLAN), ("127.0.0.1", port))
            await stream.connect(1)
            stream.start(groups([(10, 400)], time.monotonic_ns()))
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.1)
        async with serving(lambda _: ACCEPTED, port), asyncio.timeout(10):
            await stream.over.wait()
        stream.close()
        statuses = stream.take().statuses
        assert sum(statuses.values()) == 4
        assert 1 <= statuses[0] <= 3  # a second and a third one may have reached the old server

    async def test_is_closed_while_it_still_tries_to_connect(self) -> None:
        """An interrupt leaves nothing behind."""
        async with serving(lambda _: None) as (port, _):
            stream = Stream(PaymentRequests(PLAN), ("127.0.0.1", port))
            await stream.connect(1)
            stream.start(groups([(10, 60_000)], time.monotonic_ns()))
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.15)
        stream.close()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def test_what_no_connection_is_free_for_is_held_back_and_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """After a while, so that the wait has a bound; and what is never answered is given up."""
        monkeypatch.setattr(module, "HELD_AFTER_S", 0.15)
        monkeypatch.setattr(module, "ANSWER_TIMEOUT_S", 0.3)
        monkeypatch.setattr(module, "CHECK_S", 0.02)
        async with serving(lambda _: b"") as (port, requests):
            interval, _ = await sent(port, [(50, 100)], connections=2)
        assert len(requests) == interval.sent == 2
        assert (interval.held, interval.statuses) == (3, {0: 2})

    async def test_many_are_sent_in_groups(self) -> None:
        """Faster than it wakes up."""
        async with serving(lambda _: ACCEPTED) as (port, _):
            interval, _ = await sent(port, [(4000, 100)], connections=8)
        assert interval.sent == 400
        assert interval.statuses == {202: 400}
        assert interval.latencies[LATE].count == 100

    async def test_a_server_that_is_not_there_is_an_error(self) -> None:
        """Before anything is sent."""
        async with serving(lambda _: ACCEPTED) as (port, _):
            pass
        stream = Stream(PaymentRequests(PLAN), ("127.0.0.1", port))
        with pytest.raises(OSError, match="refused|failed"):
            await stream.connect(1)
        stream.start(iter([Group(0, 0, 0)]))
        assert stream.over.is_set()
        stream.close()

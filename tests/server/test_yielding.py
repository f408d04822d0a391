"""Whoever waits for the core gets it between any two payments, at each step that a payment goes through."""

import os
from collections.abc import Callable

import pytest

from server.custody import Custody
from server.yielding import give_way
from shm import DispatcherCount, Ended, Event, Kind
from tests.fakes import idle
from tests.server.fake_area import FakeArea
from tests.server.scene import Scene, fresh_segment, hanging, payment

PAYMENTS = 6

Watch = Callable[[Callable[[], int]], set[int]]
"""Takes what tells a number; gives the set that its values go into."""


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Watch:
    """Watches a number: gives the set of its values at the moments when the core was given away."""
    watched: list[tuple[Callable[[], int], set[int]]] = []

    def watch(number: Callable[[], int]) -> set[int]:
        watched.append((number, set()))
        return watched[-1][1]

    def look() -> None:
        for number, values in watched:
            values.add(number())

    monkeypatch.setattr(os, "sched_yield", look)
    return watch


class TestGiveWay:
    """The core is given away."""

    def test_comes_back(self) -> None:
        """With nobody waiting the call returns at once."""
        give_way()

    async def test_between_payments(self, seen: Watch) -> None:
        """No two payments are taken, sent or ended without it."""
        with fresh_segment() as segment:
            async with Scene(segment) as scene:
                answers = [hanging() for _ in range(PAYMENTS)]
                scene.fakes[0].answers.extend(answers)
                taken = seen(lambda: scene.count(DispatcherCount.TAKEN))
                sent = seen(lambda: len(scene.fakes[0].posts))
                ended = seen(lambda: scene.ends)
                scene.accept(*range(PAYMENTS))
                await scene.pass_time()
                for answer in answers:
                    answer.set_result(200)
                await idle()
                assert scene.ends == PAYMENTS
                assert taken == {*range(PAYMENTS + 1)}
                assert sent == {*range(PAYMENTS + 1)}
                assert ended == {*range(PAYMENTS)}

    def test_between_forgotten_payments(self, seen: Watch) -> None:
        """No two ended payments are forgotten without it."""
        area = FakeArea(waiting_slots=1, journal_records=PAYMENTS + 2)
        custody = Custody(area.table, area.journal, area.counters, lambda _: None)
        forgotten = seen(
            lambda: PAYMENTS + 2 - sum(custody.knows(payment(number).correlation_id) for number in range(PAYMENTS + 2))
        )
        for number in range(PAYMENTS + 3):
            custody.take(payment(number))
            slot = custody.waiting.popleft()
            custody.begin(slot, 0, 1)
            custody.end(slot, Event.PAID, Ended(Kind.SETTLED, 0, 1, 1990, slot))
        assert forgotten >= set(range(1, PAYMENTS + 3))

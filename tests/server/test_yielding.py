"""Whoever waits for the core gets it between any two payments: taken, sent, ended or forgotten."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server import custody as custody_module
from server.custody import Custody
from server.yielding import REST_FACTOR, CoreYielder, yield_core
from shm import DispatcherCount, Event, Segment
from tests.fakes import idle
from tests.server.fake_area import FakeArea
from tests.server.scene import Scene, hanging, payment

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

    monkeypatch.setattr(yield_core, "_clock_ns", lambda: 0)
    monkeypatch.setattr(yield_core, "_rest_until_ns", 0)
    monkeypatch.setattr(yield_core, "_sched_yield", look)
    return watch


class Core:
    """A core that somebody else wants for a time that a test says."""

    def __init__(self) -> None:
        self.now_ns = 1_000
        self.wanted_ns = 0
        self.given = 0
        self.yielder = CoreYielder(lambda: self.now_ns, self.run_others)

    def run_others(self) -> None:
        """They take the core for as long as they want."""
        self.given += 1
        self.now_ns += self.wanted_ns


class TestCoreYielder:
    """CoreYielder."""

    def test_offers_each_time_while_no_process_waits(self) -> None:
        """An offer that costs nothing is not rationed."""
        core = Core()
        for _ in range(10):
            core.yielder()
        assert core.given == 10

    @given(st.lists(st.tuples(st.integers(1, 10_000), st.integers(0, 100_000)), min_size=1, max_size=100))
    def test_others_get_no_more_than_a_fifth(self, steps: list[tuple[int, int]]) -> None:
        """However long they want it and however often it is offered: but for the last time, which is not over yet."""
        core = Core()
        others_ns, last_ns = 0, 0
        for own_ns, core.wanted_ns in steps:
            core.now_ns += own_ns
            before_ns = core.now_ns
            core.yielder()
            last_ns = core.now_ns - before_ns or last_ns
            others_ns += core.now_ns - before_ns
        assert (others_ns - last_ns) * (REST_FACTOR + 1) <= core.now_ns

    def test_offers_again_after_its_rest(self) -> None:
        """Not before, and then at once."""
        core = Core()
        core.wanted_ns = 50
        core.yielder()
        core.now_ns += REST_FACTOR * 50 - 1
        core.yielder()
        assert core.given == 1
        core.now_ns += 1
        core.yielder()
        assert core.given == 2


class TestGiveWay:
    """The core is given away."""

    async def test_between_payments(self, seen: Watch, segment: Segment) -> None:
        """No two payments are taken, sent or ended without it."""
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

    def test_between_forgotten_payments(self, seen: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
        """No two ended payments are forgotten without it."""
        monkeypatch.setattr(custody_module, "FOLD_PART", 1)
        area = FakeArea(waiting_slots=1, journal_records=PAYMENTS + 2)
        custody = Custody([], area.table, area.journal, area.counters, lambda _: None)
        forgotten = seen(
            lambda: PAYMENTS + 2 - sum(custody.knows(payment(number).correlation_id) for number in range(PAYMENTS + 2))
        )
        for number in range(PAYMENTS + 3):
            custody.take(payment(number))
            slot = custody.waiting.popleft()
            custody.begin(slot, 0, 1)
            custody.end(slot, Event.PAID, custody.read(slot))
        assert forgotten >= set(range(1, PAYMENTS + 3))

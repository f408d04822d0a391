"""The dispatcher in an outage whose answers are never clear, as of a proxy before a processor that is gone."""

from collections.abc import Iterator

import httpx
import pytest

from server.circuit import UNKNOWN_FEW, CircuitState
from shm import Geometry, Segment, State
from tests.fakes import Answer
from tests.server.scene import Scene, fresh_segment

GEOMETRY = Geometry(workers=1, dispatchers=1, lane_slots=256, waiting_slots=256, journal_records=4096)
STEP_MS = 50
WAIT_MS = 4500  # for the cheaper processor


@pytest.fixture
def segment() -> Iterator[Segment]:
    """A small segment that remembers everything that these tests do."""
    with fresh_segment(GEOMETRY) as made:
        yield made


@pytest.mark.parametrize("answer", [502, 404, httpx.ReadError])
async def test_few_payments_are_bound(segment: Segment, answer: Answer) -> None:
    """Two minutes bind some sixty to the dead processor, not 240; the other one pays all the rest."""
    async with Scene(segment) as scene:
        scene.fakes[0].answer = answer
        for number in range(2400):
            scene.accept(number)
            await scene.pass_time(STEP_MS)
        await scene.pass_time(WAIT_MS)
        await scene.work_off()
        unknown = scene.circuits[0].unknown
        assert UNKNOWN_FEW < unknown < 70
        assert scene.states().count(State.UNKNOWN) == unknown
        assert [ended.processor for ended in scene.ended()] == [1] * (2400 - unknown)


async def test_they_see_the_recovery(segment: Segment) -> None:
    """Though no payment is risked there for seconds: one of those bound is paid, and all others follow."""
    async with Scene(segment) as scene:
        scene.fakes[0].answer = 502
        for number in range(1200):
            scene.accept(number)
            await scene.pass_time(STEP_MS)
        posts = len(scene.fakes[0].posts)
        scene.fakes[0].answer = 200
        until_ms = scene.clock.ticks_ms() + 1000
        while scene.circuits[0].state is not CircuitState.CLOSED:
            await scene.pass_time(STEP_MS)
            assert scene.clock.ticks_ms() < until_ms
        assert scene.fakes[0].posts[posts].correlation_id in {
            post.correlation_id for post in scene.fakes[0].posts[:posts]
        }

"""What the log is told of outages, by a dispatcher that meets them."""

import logging

import httpx
import pytest

from server.outages import WELL_BEATS
from shm import Segment
from tests.fakes import Answer
from tests.server.scene import SLOW_MS, Scene, hanging

AGAIN = "default takes payments again"
SLOW = f"default is slow: an answer takes {SLOW_MS + 1} ms or more"


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> None:
    """From INFO on."""
    caplog.set_level(logging.INFO)


def beat(scene: Scene, times: int) -> None:
    """So many beats without anything between them."""
    for _ in range(times):
        scene.dispatcher.beat(scene.clock.ticks_ms())


def tell_health(scene: Scene, *, response_ms_min: int) -> None:
    """A poll of the default processor, which works."""
    scene.circuits[0].note_health(failing=False, response_ms_min=response_ms_min, now_ms=scene.clock.ticks_ms())


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (500, "default fails: status 500"),
        (429, "default fails: status 429"),
        (httpx.ConnectError, "default fails: as the test has it"),
    ],
)
async def test_once(segment: Segment, answer: Answer, told: str, caplog: pytest.LogCaptureFixture) -> None:
    """One failure is logged by the next beat, and by none after it; the end once it has lasted for a while."""
    async with Scene(segment, in_flight_max=1) as scene:
        scene.fakes[0].answer = answer
        await scene.pay()
        assert caplog.messages == []
        for _ in range(3):
            beat(scene, 1)
            await scene.pass_time(1_000)
        assert caplog.messages == [told]
        scene.fakes[0].answer = 200
        await scene.pass_time(5_000)
        beat(scene, WELL_BEATS - 1)
        assert caplog.messages == [told]
        beat(scene, WELL_BEATS)
        assert caplog.messages == [told, AGAIN]


async def test_flickering(segment: Segment, caplog: pytest.LogCaptureFixture) -> None:
    """A processor that comes and goes does not fill the log."""
    async with Scene(segment) as scene:
        for number in range(20):
            scene.fakes[0].answer = 500 if number % 2 else 200
            scene.accept(number)
            await scene.pass_time(1_000)
            beat(scene, 2)
        assert caplog.messages == ["default fails: status 500"]


async def test_told_by_its_health(segment: Segment, caplog: pytest.LogCaptureFixture) -> None:
    """A processor that says so fails, though no payment has met it since the last outage."""
    async with Scene(segment) as scene:
        scene.fakes[0].answers.append(500)
        await scene.pay()
        beat(scene, 1)
        await scene.pass_time(5_000)
        beat(scene, WELL_BEATS)
        scene.circuits[0].note_health(failing=True, response_ms_min=0, now_ms=scene.clock.ticks_ms())
        beat(scene, 1)
        assert caplog.messages[1:] == [AGAIN, "default fails: its health check says so"]


async def test_slow(segment: Segment, caplog: pytest.LogCaptureFixture) -> None:
    """Told once by the first beat that finds it slow; the end once it has been fast for a while."""
    async with Scene(segment) as scene:
        tell_health(scene, response_ms_min=SLOW_MS)
        beat(scene, 2)
        assert caplog.messages == []
        tell_health(scene, response_ms_min=SLOW_MS + 1)
        beat(scene, WELL_BEATS)
        assert caplog.messages == [SLOW]
        tell_health(scene, response_ms_min=5)
        beat(scene, WELL_BEATS - 1)
        tell_health(scene, response_ms_min=SLOW_MS + 1)
        beat(scene, 1)
        tell_health(scene, response_ms_min=5)
        beat(scene, WELL_BEATS - 1)
        assert caplog.messages == [SLOW]
        beat(scene, WELL_BEATS)
        assert caplog.messages == [SLOW, "default is fast again"]


async def test_hangs(segment: Segment, caplog: pytest.LogCaptureFixture) -> None:
    """Seen from a request that has no answer yet; and when that fails, it is an outage."""
    async with Scene(segment) as scene:
        scene.fakes[0].answer = hanging()
        scene.accept(1)
        await scene.pass_time()
        await scene.pass_time(SLOW_MS + 1)
        beat(scene, 1)
        assert [message.partition(":")[0] for message in caplog.messages] == ["default is slow"]
        scene.circuits[0].note_health(failing=True, response_ms_min=0, now_ms=scene.clock.ticks_ms())
        beat(scene, 1)
        assert caplog.messages[1:] == ["default fails: its health check says so"]


async def test_slow_after_an_outage(segment: Segment, caplog: pytest.LogCaptureFixture) -> None:
    """The outage is over though answers are slow; that is told of next."""
    async with Scene(segment) as scene:
        scene.fakes[0].answers.append(500)
        await scene.pay()
        beat(scene, 1)
        await scene.pass_time(5_000)
        tell_health(scene, response_ms_min=SLOW_MS + 1)
        beat(scene, WELL_BEATS + 1)
        assert caplog.messages == ["default fails: status 500", AGAIN, SLOW]

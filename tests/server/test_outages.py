"""What the log is told of outages, by a dispatcher that meets them."""

import logging

import httpx
import pytest

from tests.fakes import Answer
from tests.server.scene import Scene, fresh_segment

UNREACHABLE = "default fails: as the test has it"
AGAIN = "default takes payments again"


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> None:
    """From INFO on."""
    caplog.set_level(logging.INFO)


@pytest.mark.parametrize(("answer", "told"), [(500, "default fails: status 500"), (httpx.ConnectError, UNREACHABLE)])
async def test_once(answer: Answer, told: str, caplog: pytest.LogCaptureFixture) -> None:
    """A failure alone is told by the next beat, those after it by none, and the end when payments go there again."""
    with fresh_segment() as segment:
        async with Scene(segment) as scene:
            scene.fakes[0].answer = answer
            await scene.pay()
            assert caplog.messages == []
            for _ in range(3):
                scene.dispatcher.beat()
                await scene.pass_time(1_000)
            assert caplog.messages == [told]
            scene.fakes[0].answer = 200
            await scene.pass_time(5_000)
            for _ in range(2):
                scene.dispatcher.beat()
            assert caplog.messages == [told, AGAIN]


async def test_told_by_its_health(caplog: pytest.LogCaptureFixture) -> None:
    """A processor that says so fails, though no payment has met it."""
    with fresh_segment() as segment:
        async with Scene(segment) as scene:
            scene.circuits[1].hear_health(failing=True, response_ms_min=0, now_ms=scene.clock.ticks_ms())
            scene.dispatcher.beat()
            assert caplog.messages == ["fallback fails: its health check says so"]

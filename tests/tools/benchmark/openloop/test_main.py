"""Tests of tools/benchmark/openloop/__main__.py."""

import asyncio
import dataclasses
import gc
import io
import signal
import subprocess
import sys

import pytest

from tests.tools.benchmark.openloop.servers import ACCEPTED, serving
from tests.tools.benchmark.openloop.test_plan import PLAN
from tools.benchmark.endpoints import free_port
from tools.benchmark.openloop import __main__ as program
from tools.benchmark.openloop.messages import Began, Finished, Interval, Message, decode
from tools.benchmark.openloop.plan import LoadPlan, Phase, encode
from tools.benchmark.targets import ROOT

SUMMARY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def plan_for(port: int, *phases: Phase) -> LoadPlan:
    """A small load."""
    return dataclasses.replace(PLAN, port=port, phases=phases)


def answer(request: bytes) -> bytes:
    """A gateway's answers."""
    return ACCEPTED if request.startswith(b"POST") else SUMMARY


@pytest.mark.slow
class TestCarryOut:
    """A whole load, in this process."""

    async def test_tells_all_of_it(self) -> None:
        """Phases with the number of their first payment, both kinds of request, then the end."""
        messages: list[Message] = []
        async with serving(answer) as (port, requests):
            await program.carry_out(plan_for(port, Phase("a", 100, 50), Phase("b", 200, 100, 50)), messages.append)
        assert [(each.phase, each.first_turn) for each in messages if isinstance(each, Began)] == [
            (0, 100),
            (1, 105),
            (2, 125),
        ]
        used_s = [each.cpu_s for each in messages if isinstance(each, Began)]
        assert 0 < used_s[0] < used_s[1] < used_s[2]
        intervals = [each for each in messages if isinstance(each, Interval)]
        assert sum(each.sent for each in intervals if each.stream == "payments") == 25
        assert sum(each.sent for each in intervals if each.stream == "payments" and each.phase == 0) == 5
        assert sum(each.sent for each in intervals if each.stream == "summaries") == 10
        assert len(requests) == 35
        last = messages[-1]
        assert isinstance(last, Finished)
        assert len(last.samples) == 10
        assert 0 < last.cpu_s < 5

    async def test_payments_alone_need_no_other_connections(self) -> None:
        """Without summaries there is one stream."""
        messages: list[Message] = []
        async with serving(answer) as (port, _):
            await program.carry_out(plan_for(port, Phase("a", 100, 50)), messages.append)
        assert {each.stream for each in messages if isinstance(each, Interval)} == {"payments"}


@pytest.mark.slow
class TestMain:
    """The process."""

    def test_reads_a_plan_and_says_lines(self) -> None:
        """One message each; status 0."""

        async def run() -> tuple[int, str]:
            async with serving(answer) as (port, _):
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "tools.benchmark.openloop"),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    cwd=ROOT,
                )
                said, _ = await process.communicate(encode(plan_for(port, Phase("a", 100, 50))).encode())
                assert process.returncode is not None
                return process.returncode, said.decode()

        status, said = asyncio.run(run())
        messages = [decode(line) for line in said.splitlines()]
        assert status == 0
        assert isinstance(messages[0], Began)
        assert isinstance(messages[-1], Finished)

    def test_nobody_there_is_a_sentence(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """And status 3."""
        monkeypatch.setattr(sys, "stdin", io.StringIO(encode(plan_for(free_port(), Phase("a", 100, 50)))))
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        monkeypatch.setattr(gc, "disable", lambda: None)
        monkeypatch.setattr(gc, "freeze", lambda: None)
        assert program.main() == 3
        assert "takes no connections" in capsys.readouterr().out

"""Tests of tools/benchmark/openload.py, with the real generator."""

import dataclasses
import sys
import threading
from pathlib import Path

import pytest

from tests.tools.benchmark.openloop.test_plan import PLAN
from tests.tools.benchmark.samples import Bank
from tools.benchmark import openload
from tools.benchmark.endpoints import free_port
from tools.benchmark.errors import GeneratorError, ScenarioError
from tools.benchmark.openload import run_load
from tools.benchmark.openloop.messages import Began, Finished, Message
from tools.benchmark.openloop.plan import LoadPlan, Phase
from tools.benchmark.targets import local_port


def plan_for(bank: Bank, *phases: Phase) -> LoadPlan:
    """A small load on the bank."""
    port = local_port(bank.gateway.url)
    assert port is not None
    return dataclasses.replace(PLAN, port=port, phases=phases or (Phase("load", 300, 50),))


def children() -> list[str]:
    """What this process has started and is still there."""
    return Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text(encoding="ascii").split()


@pytest.mark.slow
class TestRunLoad:
    """A whole load."""

    def test_events_come_as_they_are_said(self, bank: Bank) -> None:
        """The payments are at the gateway, and the ticks come in between."""
        before = children()
        messages: list[Message] = []
        ticks: list[int] = []
        assert run_load(plan_for(bank), messages.append, lambda: ticks.append(len(messages)), 0.05) == []
        assert isinstance(messages[0], Began)
        assert isinstance(messages[-1], Finished)
        assert len(bank.rows[0]) == 15
        assert len(ticks) > 3
        assert children() == before

    def test_an_interrupt_leaves_nothing_behind(self, bank: Bank) -> None:
        """The generator is gone before anything else goes on."""
        before = children()

        def interrupt(_: Message) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_load(plan_for(bank, Phase("load", 60_000, 50)), interrupt, lambda: None, 0.05)
        assert children() == before

    def test_one_that_gives_up_is_a_sentence(self, bank: Bank) -> None:
        """Its last words are in it."""
        plan = dataclasses.replace(plan_for(bank), port=free_port())
        with pytest.raises(GeneratorError, match=r"gave up \(status 3\)\. .*takes no connections"):
            run_load(plan, lambda _: None, lambda: None, 0.05)

    def test_one_that_hangs_is_a_sentence(self, bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
        """The wait has an end."""
        monkeypatch.setattr(openload, "COMMAND", (sys.executable, "-c", "import time; print('hm'); time.sleep(60)"))
        monkeypatch.setattr(openload, "GRACE_S", 0.0)
        with pytest.raises(GeneratorError, match="did not end within 0 s"):
            run_load(plan_for(bank), lambda _: None, lambda: None, 0.05)

    def test_a_plan_that_makes_no_sense_is_not_started(self, bank: Bank) -> None:
        """A sentence instead."""
        with pytest.raises(ScenarioError, match="duration_ms"):
            run_load(plan_for(bank, Phase("load", 0, 50)), lambda _: None, lambda: None, 0.05)

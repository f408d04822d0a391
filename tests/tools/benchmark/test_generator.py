"""Tests of tools/benchmark/generator.py, and of load.js by running it."""

import dataclasses
import errno
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from tests.tools.benchmark.samples import SCENARIO, Asked, Bank
from tools.benchmark import generator
from tools.benchmark.endpoints import free_port
from tools.benchmark.errors import GeneratorError
from tools.benchmark.events import Audited, Changed, Ended, Event, Failed, Started, Totals
from tools.benchmark.generator import Plan, Progress, document, generate
from tools.benchmark.latencies import count_of, of_metrics
from tools.benchmark.payments import possible
from tools.benchmark.scenario import parse, with_random_amounts


def plan_for(bank: Bank, target: str | None = None) -> Plan:
    """The small load, with another amount each time."""
    scenario = with_random_amounts(SCENARIO)
    default, fallback = (each.url for each in bank.processors)
    return Plan(scenario, "cafe", 7, target or bank.gateway.url, (default, fallback), "secret")


def children() -> list[str]:
    """What this process has started and is still there, k6 and what became of it; others may run their own."""
    return Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text(encoding="ascii").split()


class TestDocument:
    """The plan as load.js reads it."""

    def test_holds_everything_and_is_json(self) -> None:
        """The scenario in it can be read back."""
        plan = Plan(SCENARIO, "cafe", 7, "http://a", ("http://b", "http://c"), "123")
        made = json.loads(json.dumps(document(plan, Path("/x/metrics.json"))))
        assert parse(made.pop("scenario")) == SCENARIO
        assert made == {
            "run": "cafe",
            "seed": 7,
            "target": "http://a",
            "processors": ["http://b", "http://c"],
            "token": "123",
            "metrics_path": "/x/metrics.json",
        }


class TestGenerateBefore:
    """Before k6 is started."""

    @pytest.mark.parametrize(
        ("folder", "sentence"), [("gone", "There is no folder for k6's plan: No such"), ("", "can't be written to")]
    )
    def test_a_plan_without_a_place_is_a_sentence(
        self, bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, sentence: str
    ) -> None:
        """A TMPDIR that went, or is full."""

        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / folder))
        monkeypatch.setattr(Path, "write_text", refuse)
        with pytest.raises(GeneratorError, match=sentence):
            generate(plan_for(bank), lambda _: None, lambda _: None)
        assert list(tmp_path.iterdir()) == []


class TestK6Path:
    """Where k6 is."""

    def test_a_missing_k6_is_a_sentence(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The message says where it should come from."""
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        with pytest.raises(GeneratorError, match=r"k6 is not at .*requirements-dev\.lock"):
            generator.k6_path()


@pytest.mark.slow
class TestGenerate:
    """A real k6."""

    def test_a_whole_load(self, bank: Bank) -> None:
        """Payments, audits, stages and metrics are what the plan and `payments` say; a log of all of it is told."""
        before = children()
        events: list[Event] = []
        ticks: list[Progress] = []
        plan = plan_for(bank)
        made = generate(plan, events.append, ticks.append)
        assert made.remarks == []
        sent = {row[0]: row[1] for row in bank.rows[0]}
        expected = dict(possible("cafe", 7, plan.scenario.amount, users=7, turns=5))
        assert len(sent) == len(bank.rows[0]) == count_of(made.metrics, "accepted") > 0
        assert sent == {each: expected[each].amount_cents for each in sent}
        assert sum(sent.values()) == count_of(made.metrics, "accepted_cents")
        latencies = of_metrics(made.metrics, 2)
        assert latencies.kinds["payment"].count == len(sent) == sum(each.count for each in latencies.stages)
        assert latencies.every.count == sum(each.count for each in latencies.kinds.values())
        assert bank.changes == [
            (side, what, {what: value})
            for _, values in (("first", (0, 0, False, False)), ("second", (100, 0, True, False)))
            for side, what, value in zip((0, 1, 0, 1), ("delay", "delay", "failure", "failure"), values, strict=True)
        ]
        assert {asked.token for each in bank.processors for asked in each.asked} == {"secret"}
        assert isinstance(events[0], Started)
        assert [each.stage for each in events if isinstance(each, Changed)] == [0, 1]
        audits = [each.summaries for each in events if isinstance(each, Audited)]
        assert len(audits) in {3, 4}
        assert {audit.to_ms - audit.from_ms for audit in audits} == {13_500}
        assert isinstance(events[-1], Ended)
        assert events[-1].summaries.gateway == (Totals(len(sent), sum(sent.values())), Totals(0, 0))
        assert max(tick.accepted for tick in ticks) > 0
        assert made.cpu_s > 0
        assert children() == before

    def test_an_unanswered_payment_is_told(self, bank: Bank) -> None:
        """A gateway that is not there makes failures with status 0, and audits without its side."""
        events: list[Event] = []
        made = generate(plan_for(bank, f"http://127.0.0.1:{free_port()}"), events.append, lambda _: None)
        failed = [each for each in events if isinstance(each, Failed)]
        assert len(failed) == count_of(made.metrics, "unanswered") > 0
        assert {each.status for each in failed} == {0}
        assert all(each.summaries.gateway is None for each in events if isinstance(each, Audited))
        assert any("refused" in remark for remark in made.remarks)

    def test_a_sleeping_auditor_does_not_delay_the_end(self, bank: Bank) -> None:
        """The money is counted soon after the last payment, however far apart audits are."""
        plan = plan_for(bank)
        audit = dataclasses.replace(plan.scenario.audit, every_s=20)
        plan = dataclasses.replace(plan, scenario=dataclasses.replace(plan.scenario, audit=audit))
        events: list[Event] = []
        assert generate(plan, events.append, lambda _: None).remarks == []
        started, ended = events[0], events[-1]
        assert isinstance(started, Started)
        assert isinstance(ended, Ended)
        assert ended.summaries.at_ms - started.at_ms < 10_000

    @pytest.mark.parametrize("shown", [{"totalRequests": 1}, {"totalRequests": "x", "totalAmount": 1}, {}])
    def test_a_summary_without_totals_is_none(self, bank: Bank, shown: dict[str, object]) -> None:
        """The audit is told all the same, without the gateway's side; so is the end."""
        answer = bank.gateway.answer

        def malformed(asked: Asked) -> tuple[int, bytes]:
            said = json.dumps({"default": shown, "fallback": shown}).encode()
            return (200, said) if asked.path.startswith("/payments-summary") else answer(asked)

        bank.gateway.answer = malformed
        events: list[Event] = []
        made = generate(plan_for(bank), events.append, lambda _: None)
        assert made.remarks == []
        told = [each.summaries for each in events if isinstance(each, Audited | Ended)]
        assert len(told) in {4, 5}
        assert all(each.gateway is None and None not in each.processors for each in told)

    def test_leaves_no_k6_behind_when_interrupted(self, bank: Bank) -> None:
        """A Ctrl-C while it runs ends k6 before anything else goes on."""
        before = children()

        def interrupt(event: Event) -> None:
            if isinstance(event, Audited):
                raise KeyboardInterrupt

        started_s = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            generate(plan_for(bank), interrupt, lambda _: None)
        assert time.monotonic() - started_s < 10
        assert children() == before

    def test_a_k6_that_gives_up_is_a_sentence(
        self, bank: Bank, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Its last words are in the message."""
        broken = tmp_path / "broken.js"
        broken.write_text("throw new Error('no such thing');", encoding="ascii")
        monkeypatch.setattr(generator, "SCRIPT", broken)
        with pytest.raises(GeneratorError, match=r"k6 gave up \(status 107\)\. .*no such thing"):
            generate(plan_for(bank), lambda _: None, lambda _: None)

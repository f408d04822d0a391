"""Tests of tools/benchmark/summary.py."""

import io

import pytest

from tests.tools.benchmark.samples import Asked, Bank, processors_of, summaries, target_of
from tools.benchmark import containers, openrun, settling, summary
from tools.benchmark.errors import GeneratorError
from tools.benchmark.events import Summaries
from tools.benchmark.openloop.windows import KINDS
from tools.benchmark.openrun import OpenRun, Setup
from tools.benchmark.progress import Screen
from tools.benchmark.summary import Ask, fill, measure, phases_of

ASK = Ask(fill=60, fill_per_s=60, rate_per_s=30, summaries_per_s=16, duration_s=1)


@pytest.fixture(autouse=True)
def without_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    """No containers, whatever runs on this machine; short phases."""
    monkeypatch.setattr(containers, "running", list)
    monkeypatch.setattr(summary, "WARM_UP_MS", 200)
    monkeypatch.setattr(summary, "QUIET_PER_KIND", 1)
    monkeypatch.setattr(settling, "POLL_S", 0.02)


def setup_for(bank: Bank) -> Setup:
    """A run on the bank."""
    return Setup(target_of(bank), processors_of(bank), 7, 4, 0.3)


class TestPhasesOf:
    """After the fill."""

    def test_payments_alone_then_with_summaries(self) -> None:
        """So that the one can be compared with the other."""
        found = [(each.name, each.payments_per_s, each.summaries_per_s) for each in phases_of(ASK)]
        assert found == [("warm-up", 30, 16), ("calm", 30, 0), ("asked", 30, 16)]


@pytest.mark.slow
class TestFill:
    """The payments before."""

    def test_is_as_many_as_asked_for_in_chunks(self, bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each goes on where the last one ended."""
        monkeypatch.setattr(summary, "CHUNK_MS", 500)
        screen = Screen(io.StringIO())
        with OpenRun(setup_for(bank), screen) as run:
            fill(run, ASK.fill, ASK.fill_per_s)
        assert len({row[0] for row in bank.rows[0]}) == 60
        assert run.notes[-1].startswith("filled with 60 payments")

    def test_is_slower_after_a_refusal_and_has_an_end(self, bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
        """A gateway that takes nothing is not asked for ever."""
        monkeypatch.setattr(summary, "CHUNK_MS", 200)
        monkeypatch.setattr(summary, "CHUNKS_MAX", 2)
        bank.refuses = 503
        said = io.StringIO()
        with OpenRun(setup_for(bank), Screen(said)) as run, pytest.raises(GeneratorError, match="Only 0 payments"):
            fill(run, ASK.fill, ASK.fill_per_s)
        assert "12 payments of the fill were not taken: going on at 48/s" in said.getvalue()

    def test_is_slower_if_settling_lags(self, bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing was refused then, and nothing of the kind is said."""
        monkeypatch.setattr(summary, "CHUNK_MS", 500)
        monkeypatch.setattr(summary, "LAG_S_MAX", 0.0)
        said = io.StringIO()
        with OpenRun(setup_for(bank), Screen(said)) as run:
            fill(run, ASK.fill, ASK.fill_per_s)
        assert "  settling was 0 s behind: going on at 48/s" in said.getvalue()
        assert "not taken" not in said.getvalue()


@pytest.mark.slow
class TestMeasure:
    """A small run on the bank."""

    def test_a_whole_run(self, bank: Bank) -> None:
        """Summaries of every kind are counted apart, and are what the processors say."""
        sheet = measure(setup_for(bank), ASK, Screen(io.StringIO()))
        assert sheet.faults() == []
        assert sheet.more["at_rest"].count == 8
        assert sheet.more["under_load"].wrong == 0
        assert set(sheet.more["summaries"]["kinds"]) == set(KINDS)
        assert [goal.name for goal in sheet.goals][:2] == ["summary p99 ms", "summary p99 ms, slowest kind of window"]
        assert "compared with the processors at rest: 8 answers" in sheet.lines[-1]

    def test_an_audit_of_the_fill_counts(self, bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
        """One that differs is a fault, as of any other load."""
        made: list[Summaries] = []

        def audit(*_: object) -> Summaries:
            made.append(summaries((1, 1) if made else (1, 2)))
            return made[-1]

        monkeypatch.setattr(openrun, "audit", audit)
        monkeypatch.setattr(OpenRun.load, "__kwdefaults__", {"tick_s": 0.1, "audit_every_s": 0.2})
        told = measure(setup_for(bank), ASK, Screen(io.StringIO())).faults()
        assert told == [f"1 of {len(made)} audits differ."]

    def test_a_payment_charged_twice_is_found(self, bank: Bank) -> None:
        """Though the summaries are what the processors say."""
        bank.double = 1
        told = measure(setup_for(bank), ASK, Screen(io.StringIO())).faults()
        assert told == ["1 payments charged more than once."]

    def test_summaries_that_fail_are_told(self, bank: Bank) -> None:
        """And are no right answers."""
        answer = bank.gateway.answer

        def broken(asked: Asked) -> tuple[int, bytes]:
            return (503, b"not now") if asked.path.startswith("/payments-summary?") else answer(asked)

        bank.gateway.answer = broken
        told = measure(setup_for(bank), ASK, Screen(io.StringIO())).faults()
        assert any("summaries refused" in each for each in told)
        assert any("summaries were wrong: from: " in each for each in told)

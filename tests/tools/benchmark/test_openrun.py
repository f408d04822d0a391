"""Tests of tools/benchmark/openrun.py."""

import dataclasses
import io

import pytest

from tests.tools.benchmark.samples import Bank, processors_of, target_of
from tools.benchmark import containers, openrun, settling, text
from tools.benchmark.containers import Container
from tools.benchmark.endpoints import Processor, free_port
from tools.benchmark.errors import EndpointError, GeneratorError
from tools.benchmark.openloop.plan import Phase
from tools.benchmark.openrun import Hooks, OpenRun, Setup
from tools.benchmark.outcome import money_faults
from tools.benchmark.progress import Screen
from tools.benchmark.reconcile import NAMED_MAX
from tools.benchmark.targets import Target

PHASES = [Phase("first", 200, 50), Phase("second", 300, 50)]


def setup_for(bank: Bank, **changes: object) -> Setup:
    """A run on the bank."""
    setup = Setup(target_of(bank), processors_of(bank), seed=7, connections=4, settle_s=2.0)
    return dataclasses.replace(setup, **changes)  # type: ignore[arg-type]


def opened(setup: Setup) -> OpenRun:
    """A run that nobody watches."""
    return OpenRun(setup, Screen(io.StringIO()))


@pytest.fixture(autouse=True)
def without_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    """No containers, whatever runs on this machine."""
    monkeypatch.setattr(containers, "running", list)
    monkeypatch.setattr(settling, "POLL_S", 0.02)


class TestEnter:
    """Before the loads."""

    def test_books_are_empty_and_processors_calm(self, bank: Bank) -> None:
        """At the beginning, and calm again at the end."""
        bank.rows[0].append(["old", 1, 1])
        with opened(setup_for(bank)):
            assert bank.rows == ([], [])
            bank.changes.clear()
        assert bank.changes[-1] == (1, "failure", {"failure": False})

    def test_a_gateway_that_does_not_purge_is_a_sentence(self, bank: Bank) -> None:
        """The processors are calm all the same."""
        bank.purges = False
        with pytest.raises(EndpointError, match="PURGE_ENABLED=1"), opened(setup_for(bank)):
            pass
        assert bank.changes[-1] == (1, "failure", {"failure": False})

    def test_sends_to_the_container_itself(self, bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
        """Past docker's proxy, and says so."""
        port = target_of(bank).local_port
        assert port is not None
        direct = {port: ("172.26.0.2", 9999)}
        found = [Container("x", "main", "haproxy", 1, frozenset({port}), direct)]
        monkeypatch.setattr(containers, "running", lambda: found)
        with opened(setup_for(bank)) as run:
            assert run.notes == ["sent to 172.26.0.2:9999, bypassing docker's proxy for localhost"]


@pytest.mark.slow
class TestLoad:
    """Real loads, small ones."""

    def test_is_observed_and_settled(self, bank: Bank) -> None:
        """A poll and a snapshot at each phase's edges; every payment is found in the books."""
        phases: list[str] = []
        ticks: list[int] = []
        with opened(setup_for(bank)) as run:
            hooks = Hooks(phases.append, lambda: ticks.append(1))
            observed = run.load(PHASES, hooks, tick_s=0.05, audit_every_s=0.2)
            settlement = run.settle()
        assert phases == ["first", "second"]
        assert ticks
        first, second, last = (each.stored for each in observed.at_edges if each)
        assert 0 <= first < 10 <= second < last == 25
        assert len(observed.snapshots) == 3
        assert observed.polls
        assert observed.audits
        assert settlement.quiet_s is not None
        assert settlement.findings is not None
        assert settlement.findings.by_row
        assert money_faults(settlement.findings) == []
        assert (run.answered.accepted, run.answered.cents) == (25, sum(row[1] for row in bank.rows[0]))
        assert {row[0] for row in bank.rows[0]} == {run.correlation_id(turn) for turn in range(25)}
        used, early, late = run.used(observed), run.used(observed, 0, 0), run.used(observed, 1, 1)
        assert used.generator_cpu_s == pytest.approx(early.generator_cpu_s + late.generator_cpu_s)
        assert 0 < early.generator_cpu_s < used.generator_cpu_s <= observed.tally.cpu_s
        assert used.containers == []

    def test_a_second_load_goes_on_with_other_payments(self, bank: Bank) -> None:
        """Of the same run: all of them are checked together."""
        with opened(setup_for(bank)) as run:
            audits = [len(run.load(PHASES[:1], tick_s=0.05, audit_every_s=0.1).audits) for _ in range(2)]
            findings = run.settle().findings
        assert 0 < audits[0] < len(run.audits) == sum(audits)
        assert findings is not None
        assert money_faults(findings) == []
        assert run.answered.accepted == len({row[0] for row in bank.rows[0]}) == 20

    def test_what_is_lost_doubled_or_refused_is_found(self, bank: Bank) -> None:
        """By its id."""
        bank.lose = bank.double = 1
        with opened(setup_for(bank)) as run:
            run.load(PHASES[:1])
            bank.refuses = 503
            run.load(PHASES[:1])
            settlement = run.settle()
        assert settlement.quiet_s is not None  # by their totals both sides agree
        assert settlement.findings is not None
        assert settlement.findings.twice.count == settlement.findings.lost.count == 1
        assert settlement.findings.lost.ids == [run.correlation_id(0)]
        assert (run.answered.accepted, run.answered.refused, run.answered.by_status) == (10, 10, {503: 10})
        assert len(settlement.findings.lost.ids) <= NAMED_MAX

    def test_very_many_are_checked_by_their_totals(self, bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
        """A bound for the bench's own memory."""
        monkeypatch.setattr(openrun, "ROWS_MAX", 5)
        with opened(setup_for(bank)) as run:
            run.load(PHASES[:1])
            findings = run.settle().findings
        assert findings is not None
        assert not findings.by_row
        assert money_faults(findings) == []

    def test_an_audit_that_differs_is_shown_at_once(self, bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
        """Not only at the end."""
        screen = io.StringIO()
        monkeypatch.setattr(text, "differs", lambda _: True)
        with OpenRun(setup_for(bank), Screen(screen)) as run:
            run.load(PHASES[:1], tick_s=0.05, audit_every_s=0.05)
        assert "an audit differs" in screen.getvalue()
        assert "    default: gateway" in screen.getvalue()

    def test_the_floor_is_not_asked_for_money(self, bank: Bank) -> None:
        """No polls, no audits, no settlement."""
        setup = setup_for(bank, target=Target("floor", bank.gateway.url, settles=False))
        with opened(setup) as run:
            observed = run.load(PHASES[:1], tick_s=0.05, audit_every_s=0.05)
            assert run.settle() == (None, None)
        assert (observed.polls, observed.audits, observed.at_edges) == ([], [], [None, None])

    def test_processors_that_do_not_answer_leave_gaps(self, bank: Bank) -> None:
        """The load goes on."""
        default, _ = processors_of(bank)
        with opened(setup_for(bank)) as run:
            run.setup = dataclasses.replace(
                run.setup, processors=(default, Processor("fallback", f"http://127.0.0.1:{free_port()}")), settle_s=0.05
            )
            observed = run.load(PHASES[:1])
            settlement = run.settle()
            run.setup = setup_for(bank)
        assert observed.at_edges == [None, None]
        assert settlement == (None, None)

    def test_a_generator_that_ends_early_is_a_sentence(self, bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
        """Half a load is no measurement."""
        monkeypatch.setattr(openrun, "run_load", lambda *_: ["so and so"])
        with opened(setup_for(bank)) as run, pytest.raises(GeneratorError, match=r"ended before its load did\. so and"):
            run.load(PHASES)

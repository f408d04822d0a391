"""Tests of tools/benchmark/preparing.py."""

import signal

import pytest

from tests.tools.benchmark.samples import Bank, processors_of, target_of
from tools.benchmark import containers
from tools.benchmark.containers import Container
from tools.benchmark.endpoints import Processor, free_port
from tools.benchmark.errors import DockerError, EndpointError
from tools.benchmark.preparing import behave, calm, metered, prepare
from tools.benchmark.scenario import Condition
from tools.benchmark.targets import Target

ROUGH = (Condition(5, failing=True), Condition(7, failing=False))
IN_FORCE = [(0, "delay", {"delay": 5}), (0, "failure", {"failure": True}), (1, "delay", {"delay": 7})]
CALMED = [(side, what, {what: value}) for side in (0, 1) for what, value in (("delay", 0), ("failure", False))]


class TestMetered:
    """Which containers."""

    def test_those_of_the_target_and_of_the_processors(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each once, though both processors belong to one project; those of somebody else are left out."""
        names = (
            ("main", "app1", None),
            ("main", "haproxy", 9999),
            ("pays", "default", 8001),
            ("pays", "fallback", 8002),
        )
        found = [
            Container(service, project, service, 1, frozenset({port} if port else ()))
            for project, service, port in names
        ]
        monkeypatch.setattr(containers, "running", lambda: [*found, Container("x", "other", "x", 1, frozenset({1}))])
        processors = (Processor("default", "http://localhost:8001"), Processor("fallback", "http://localhost:8002"))
        ours, theirs, notes = metered(Target("gateway", "http://localhost:9999"), processors)
        assert [each.service for each in ours] == ["app1", "haproxy"]
        assert [each.service for each in theirs] == ["default", "fallback"]
        assert notes == []

    def test_none_elsewhere(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another machine's containers can't be read."""
        monkeypatch.setattr(containers, "running", list)
        far = Processor("default", "http://far:1"), Processor("fallback", "http://far:2")
        assert metered(Target("gateway", "http://far:9999"), far) == ([], [], [])

    def test_a_docker_that_does_not_tell_is_a_note(self, bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
        """The load is run without meters, and the result says why it has none."""

        def refuse() -> list[Container]:
            raise DockerError("no such daemon.")

        monkeypatch.setattr(containers, "running", refuse)
        assert metered(target_of(bank), processors_of(bank)) == ([], [], ["no meters: no such daemon."])


class TestPrepare:
    """Before the load."""

    def test_first_stage_is_set_and_everything_emptied(self, bank: Bank) -> None:
        """Token, delay and failure of the first stage; both processors and the gateway start from zero."""
        bank.rows[0].append(["old", 1, 1])
        prepare(target_of(bank), processors_of(bank), ROUGH)
        assert [change for change in bank.changes if change[1] != "token"][:3] == IN_FORCE
        assert [change[0] for change in bank.changes if change[1] == "token"] == [0, 1]
        assert bank.rows == ([], [])
        assert bank.gateway.asked[-1].path == "/purge-payments"

    def test_a_gateway_that_does_not_purge_is_a_sentence(self, bank: Bank) -> None:
        """Its totals could not be compared; the message says which setting."""
        bank.purges = False
        with pytest.raises(EndpointError, match=r"answered 404.*PURGE_ENABLED=1"):
            prepare(target_of(bank), processors_of(bank))


class TestCalm:
    """After the load."""

    def test_both_processors_answer_at_once_again(self, bank: Bank) -> None:
        """No delay, no failure."""
        calm(processors_of(bank))
        assert bank.changes == CALMED

    def test_one_out_of_reach_does_not_spare_the_other(self, bank: Bank) -> None:
        """The error comes after both were tried."""
        gone = Processor("default", f"http://127.0.0.1:{free_port()}")
        with pytest.raises(EndpointError, match="default"):
            calm((gone, processors_of(bank)[1]))
        assert bank.changes == CALMED[2:]

    def test_no_signal_cuts_it_off(self, bank: Bank, listening: None, monkeypatch: pytest.MonkeyPatch) -> None:
        """A second Ctrl-C would leave a processor failing."""
        del listening
        real = Processor.behave

        def behave_interrupted(self: Processor, condition: Condition) -> None:
            signal.raise_signal(signal.SIGINT)
            real(self, condition)

        monkeypatch.setattr(Processor, "behave", behave_interrupted)
        with pytest.raises(KeyboardInterrupt):
            calm(processors_of(bank))
        assert bank.changes == CALMED

    def test_or_fail_together(self, bank: Bank) -> None:
        """An outage of both."""
        behave(processors_of(bank), Condition(0, failing=True))
        assert [change for change in bank.changes if change[1] == "failure"] == [
            (0, "failure", {"failure": True}),
            (1, "failure", {"failure": True}),
        ]

"""Tests of tools/benchmark/card.py."""

import dataclasses
import json

import pytest

from tests.tools.benchmark.samples import RIGHT, a_card, summaries
from tools.benchmark.card import Card
from tools.benchmark.meters import Metered
from tools.benchmark.outcome import Used
from tools.benchmark.reconcile import Answered, Finding

ENDED = Used([Metered("app1", None, ended=True)], [], 1.5, 42.0, 1.0)


def with_settled(**changes: object) -> Card:
    """A good run whose settlement is otherwise."""
    settled = a_card().settled
    assert settled is not None
    return a_card(settled=dataclasses.replace(settled, **changes))  # type: ignore[arg-type]


class TestFaults:
    """What must not happen in any run."""

    def test_a_good_run_has_none(self) -> None:
        """Nothing wrong, nothing said."""
        assert a_card().faults() == []

    @pytest.mark.parametrize(
        ("card", "fault"),
        [
            (a_card(answered=Answered(9, 9, 1, 2, {503: 1, 0: 2})), "1 payments refused, 2 not answered."),
            (a_card(audits=[summaries((1, 1)), summaries((1, 2))]), "1 of 2 audits differ."),
            (a_card(audits=[]), "There was no audit."),
            (a_card(used=ENDED), "app1 ended during the load, and was started anew or is gone."),
            (with_settled(quiet_s=None), "Not everything accepted was settled in the time allowed."),
            (with_settled(findings=None), "The books could not be compared."),
            (
                with_settled(findings=dataclasses.replace(RIGHT, twice=Finding(3, ["a"]))),
                "3 payments charged more than once.",
            ),
        ],
        ids=["refused", "audits", "unaudited", "ended", "waiting", "books", "twice"],
    )
    def test_each_is_a_sentence(self, card: Card, fault: str) -> None:
        """Every kind of fault is said, with its number."""
        assert card.faults() == [fault]

    def test_the_floor_settles_nothing(self) -> None:
        """A target that pays nothing is not blamed for it."""
        assert a_card(settled=None, score=None, audits=[]).faults() == []

    def test_but_it_must_not_end_either(self) -> None:
        """What answers after its container was started anew is no floor."""
        assert len(a_card(settled=None, score=None, audits=[], used=ENDED).faults()) == 1


class TestCpu:
    """CPU per payment."""

    def test_is_all_containers_over_all_accepted(self) -> None:
        """Two containers of 2 ms each and ten payments are 400 µs each."""
        assert a_card().cpu_us_per_payment == 400

    def test_is_not_known_without_payments(self) -> None:
        """Nothing accepted, nothing to divide by."""
        assert a_card(answered=Answered(0, 0, 0, 0, {})).cpu_us_per_payment is None


class TestFigures:
    """Worth a median."""

    def test_holds_what_is_worth_comparing(self) -> None:
        """Latency, cost, faults, score and throttling by their names."""
        found = a_card().figures()
        assert (found["p99 ms"], found["CPU µs/payment"], found["refused"]) == (3.0, 400, 0)
        assert (found["app1 throttled periods"], found["haproxy throttled periods"]) == (2, 2)
        assert found["profit % of oracle"] == pytest.approx(98.95, abs=0.01)
        assert found["% of ceiling"] == pytest.approx(98.95, abs=0.01)

    def test_the_floor_has_no_score(self) -> None:
        """What does not exist is None."""
        found = a_card(score=None, settled=None, oracle=None).figures()
        assert (found["score"], found["waiting at end"], found["profit % of oracle"]) == (None, None, None)


class TestToDocument:
    """The card as JSON."""

    def test_is_json_with_its_verdict(self) -> None:
        """Everything survives JSON; what is made of other figures is in it."""
        document = json.loads(json.dumps(a_card(audits=[summaries((1, 2))]).to_document()))
        assert document["scenario"]["load"]["users_end"] == 4
        assert document["latencies"]["every"]["p99_ms"] == 3.0
        assert document["cpu_us_per_payment"] == 400
        assert document["faults"] == ["1 of 1 audits differ."]
        assert document["differences"][0]["gateway"][1] == {"count": 2, "cents": 2}

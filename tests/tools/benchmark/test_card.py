"""Tests of tools/benchmark/card.py."""

import dataclasses
import json
from decimal import Decimal

import pytest

from tests.tools.benchmark.samples import RIGHT, USAGE, a_card, summaries
from tools.benchmark.card import Card, Used, faults, plain, to_document
from tools.benchmark.events import Totals
from tools.benchmark.meters import Metered
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
        assert faults(a_card()) == []

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
            (
                with_settled(findings=dataclasses.replace(RIGHT, lost=Finding(3, []))),
                "3 payments accepted and never paid.",
            ),
            (
                with_settled(findings=dataclasses.replace(RIGHT, unasked=Finding(3, []))),
                "3 payments paid though not accepted.",
            ),
            (
                with_settled(findings=dataclasses.replace(RIGHT, altered=Finding(3, []))),
                "3 payments paid with another amount.",
            ),
            (with_settled(findings=dataclasses.replace(RIGHT, disagreements=["so and so"])), "Books: so and so."),
        ],
        ids=[
            "refused",
            "audits",
            "unaudited",
            "ended",
            "waiting",
            "books",
            "twice",
            "lost",
            "unasked",
            "altered",
            "disagreeing",
        ],
    )
    def test_each_is_a_sentence(self, card: Card, fault: str) -> None:
        """Every kind of fault is said, with its number."""
        assert faults(card) == [fault]

    def test_the_floor_settles_nothing(self) -> None:
        """A target that pays nothing is not blamed for it."""
        assert faults(a_card(settled=None, score=None, audits=[])) == []

    def test_but_it_must_not_end_either(self) -> None:
        """What answers after its container was started anew is no floor."""
        assert len(faults(a_card(settled=None, score=None, audits=[], used=ENDED))) == 1


class TestCpu:
    """CPU per payment."""

    def test_is_all_containers_over_all_accepted(self) -> None:
        """Two containers of 2 ms each and ten payments are 400 µs each."""
        assert a_card().cpu_us_per_payment == 400

    @pytest.mark.parametrize("containers", [[], [Metered("app1", USAGE), Metered("app2", None)]])
    def test_is_not_known_without_all_of_them(self, containers: list[Metered]) -> None:
        """No containers, or one started anew: half a sum would mislead."""
        assert a_card(used=Used(containers, [], 1.0, 50.0, 1.0)).cpu_us_per_payment is None

    def test_is_not_known_without_payments(self) -> None:
        """Nothing accepted, nothing to divide by."""
        assert a_card(answered=Answered(0, 0, 0, 0, {})).cpu_us_per_payment is None


class TestToDocument:
    """The card as JSON."""

    def test_is_json_with_its_verdict(self) -> None:
        """Everything survives JSON; what is made of other figures is in it."""
        document = json.loads(json.dumps(to_document(a_card(audits=[summaries((1, 2))]))))
        assert document["scenario"]["load"]["users_end"] == 4
        assert document["latencies"]["every"]["p99_ms"] == 3.0
        assert document["cpu_us_per_payment"] == 400
        assert document["faults"] == ["1 of 1 audits differ."]
        assert document["differences"][0]["gateway"][1] == {"count": 2, "cents": 2}

    def test_money_stays_exact(self) -> None:
        """Decimals are written as they are, not as floats."""
        assert plain({1: (Decimal("0.10"), Totals(1, 2))}) == {"1": ["0.10", {"count": 1, "cents": 2}]}

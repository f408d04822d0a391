"""Tests of tools/benchmark/outcome.py."""

import dataclasses
from decimal import Decimal

import pytest

from tests.tools.benchmark.samples import LATENCY, RIGHT, USAGE, a_card, a_sheet, summaries
from tools.benchmark.events import Totals
from tools.benchmark.meters import Metered
from tools.benchmark.outcome import (
    Outcome,
    Used,
    latency_figures,
    money_faults,
    per_payment_us,
    plain,
    settlement_faults,
)
from tools.benchmark.reconcile import Finding, Findings


class TestUsed:
    """CPU of all containers."""

    def test_is_their_sum(self) -> None:
        """Two containers of 2 ms each."""
        assert Used([Metered("app1", USAGE), Metered("app2", USAGE)], [], 1.0, 50.0, 1.0).cpu_ns == 4_000_000

    @pytest.mark.parametrize("containers", [[], [Metered("app1", USAGE), Metered("app2", None)]])
    def test_is_not_known_without_all_of_them(self, containers: list[Metered]) -> None:
        """No containers, or one started anew: half a sum would mislead."""
        assert Used(containers, [], 1.0, 50.0, 1.0).cpu_ns is None


@pytest.mark.parametrize("outcome", [a_card(), a_sheet()], ids=["card", "sheet"])
class TestOutcome:
    """What card and sheet have in common."""

    def test_knows_the_faults_of_any_load(self, outcome: Outcome) -> None:
        """Audits, and containers of either side, in the words of both reports."""
        used = Used([Metered("app1", None, ended=True)], [Metered("default", None, ended=True)], 1.5, 42.0, 1.0)
        bad = dataclasses.replace(outcome, audits=[summaries((1, 1)), summaries((1, 2))], used=used)
        assert outcome.load_faults() == []
        assert bad.faults() == bad.load_faults()
        assert bad.load_faults() == [
            "1 of 2 audits differ.",
            "app1 ended during the load, and was started anew or is gone.",
            "default ended during the load, and was started anew or is gone.",
        ]

    def test_knows_how_often_each_container_was_throttled(self, outcome: Outcome) -> None:
        """None for one that can't be read."""
        used = Used([Metered("app1", USAGE), Metered("app2", None)], [], 1.5, 42.0, 1.0)
        periods = dataclasses.replace(outcome, used=used).throttled_periods()
        assert periods == {"app1 throttled periods": 2, "app2 throttled periods": None}

    def test_document_holds_what_is_made_of_other_figures(self, outcome: Outcome) -> None:
        """And what both have."""
        document = outcome.to_document()
        assert document.keys() > {field.name for field in dataclasses.fields(Outcome)}
        assert (document["faults"], document["differences"]) == ([], [])
        assert document["cpu_us_per_payment"] == outcome.cpu_us_per_payment


class TestMoneyFaults:
    """What is wrong with the money."""

    def test_nothing(self) -> None:
        """Is said with nothing."""
        assert settlement_faults(0.5, RIGHT) == []

    @pytest.mark.parametrize(
        ("findings", "fault"),
        [
            (None, "The books could not be compared."),
            (dataclasses.replace(RIGHT, twice=Finding(3, ["a"])), "3 payments charged more than once."),
            (dataclasses.replace(RIGHT, lost=Finding(3, [])), "3 payments accepted and never paid."),
            (dataclasses.replace(RIGHT, unasked=Finding(3, [])), "3 payments paid though not accepted."),
            (dataclasses.replace(RIGHT, altered=Finding(3, [])), "3 payments paid with another amount."),
            (dataclasses.replace(RIGHT, disagreements=["so and so"]), "Books: so and so."),
        ],
        ids=["books", "twice", "lost", "unasked", "altered", "disagreeing"],
    )
    def test_each_is_a_sentence(self, findings: Findings | None, fault: str) -> None:
        """With its number; what was not settled in time comes before."""
        assert money_faults(findings) == settlement_faults(0.5, findings) == [fault]
        late = "Not everything accepted was settled in the time allowed."
        assert settlement_faults(None, findings) == [late, fault]


class TestFigures:
    """Names and units."""

    def test_of_a_latency(self) -> None:
        """All of its percentiles, in milliseconds."""
        assert list(latency_figures(LATENCY).values()) == [1.0, 2.0, 3.0, 4.0, 5.0]

    def test_of_a_cost(self) -> None:
        """Per payment, if there are both."""
        assert (per_payment_us(4_000_000, 10), per_payment_us(None, 10), per_payment_us(1, 0)) == (400, None, None)


class TestPlain:
    """Values as JSON has them."""

    def test_money_stays_exact(self) -> None:
        """Decimals are written as they are, not as floats."""
        assert plain({1: (Decimal("0.10"), Totals(1, 2))}) == {"1": ["0.10", {"count": 1, "cents": 2}]}

"""Tests of tools/benchmark/compare.py."""

import dataclasses
from math import inf

import pytest

from tests.tools.benchmark.samples import LATENCY, a_card
from tools.benchmark.card import Card, Used
from tools.benchmark.compare import figures, medians, ratios
from tools.benchmark.latencies import Latencies


def with_p99(p99_ms: float) -> Card:
    """A run with this p99."""
    every = dataclasses.replace(LATENCY, p99_ms=p99_ms)
    return a_card(latencies=Latencies(every, every, {"payment": every}, []))


class TestFigures:
    """One run."""

    def test_holds_what_is_worth_comparing(self) -> None:
        """Latency, cost, faults, score and throttling by their names."""
        found = figures(a_card())
        assert (found["p99 ms"], found["CPU µs/payment"], found["refused"]) == (3.0, 400, 0)
        assert (found["app1 throttled periods"], found["haproxy throttled periods"]) == (2, 2)
        assert found["profit % of oracle"] == pytest.approx(98.95, abs=0.01)
        assert found["% of ceiling"] == pytest.approx(98.95, abs=0.01)

    def test_the_floor_has_no_score(self) -> None:
        """What does not exist is None."""
        found = figures(a_card(score=None, settled=None, oracle=None))
        assert (found["score"], found["waiting at end"], found["profit % of oracle"]) == (None, None, None)


class TestMedians:
    """Several runs."""

    def test_is_the_middle_one(self) -> None:
        """One bad run does not move it."""
        assert medians([figures(with_p99(p99_ms)) for p99_ms in (2.0, 900.0, 3.0)])["p99 ms"] == 3.0

    def test_leaves_out_what_a_run_does_not_know(self) -> None:
        """A run without meters says nothing about CPU."""
        blind = figures(a_card(used=Used([], [], 1.0, 1.0, 1.0)))
        found = medians([blind, figures(a_card()), blind])
        assert (found["CPU µs/payment"], found["app1 throttled periods"]) == (400, 2)
        assert medians([blind])["CPU µs/payment"] is None

    @pytest.mark.parametrize(
        ("gone_s", "middle"), [([2.0, 3.0, inf], 3.0), ([2.0, inf, inf], None), ([2.0, inf], None), ([inf], None)]
    )
    def test_what_never_came_is_longer_than_anything(self, gone_s: list[float], middle: float | None) -> None:
        """It was left out: one quick run of three made two that never ended look well. JSON has no infinity."""
        assert medians([{"gone s": each} for each in gone_s]) == {"gone s": middle}


class TestRatios:
    """Two targets."""

    def test_is_ours_to_theirs(self) -> None:
        """6 ms against 4 ms is 1.5."""
        assert ratios({"p99 ms": 6.0}, {"p99 ms": 4.0}) == {"p99 ms": 1.5}

    def test_needs_both_and_no_zero(self) -> None:
        """What one side lacks, or has none of, has no ratio."""
        assert ratios({"a": 1.0, "b": None, "c": 1.0}, {"a": 0.0, "b": 1.0, "c": None}) == {}

"""Tests of tools/benchmark/compare.py."""

import dataclasses
from math import inf

import pytest

from tests.tools.benchmark.samples import LATENCY, a_card
from tools.benchmark.card import Card
from tools.benchmark.compare import medians, ratios
from tools.benchmark.latencies import Latencies
from tools.benchmark.outcome import Used


def with_p99(p99_ms: float) -> Card:
    """A run with this p99."""
    every = dataclasses.replace(LATENCY, p99_ms=p99_ms)
    return a_card(latencies=Latencies(every, every, {"payment": every}, []))


class TestMedians:
    """Several runs."""

    def test_is_the_middle_one(self) -> None:
        """One bad run does not move it."""
        assert medians([with_p99(p99_ms).figures() for p99_ms in (2.0, 900.0, 3.0)])["p99 ms"] == 3.0

    def test_leaves_out_what_a_run_does_not_know(self) -> None:
        """A run without meters says nothing about CPU."""
        blind = a_card(used=Used([], [], 1.0, 1.0, 1.0)).figures()
        found = medians([blind, a_card().figures(), blind])
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

"""Tests of tools/benchmark/oracle.py."""

import dataclasses
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tools.benchmark.samples import CALM, SCENARIO
from tools.benchmark.oracle import STEP_MS, Oracle, oracle_of, rates_per_step, stored_most
from tools.benchmark.scenario import Condition, Load, Scenario, Stage, read, with_random_stages

DOWN = Condition(0, failing=True)
CENTS = 1_990


def scenario(duration_s: int, *stages: tuple[int, Condition, Condition]) -> Scenario:
    """A constant number of users, and these stages."""
    return dataclasses.replace(SCENARIO, load=Load(duration_s, 5, 5, 1), stages=tuple(Stage(*each) for each in stages))


def best(made: Scenario, accepted: int = 1000) -> tuple[int, int, int]:
    """Where the oracle has so many payments: default, fallback, unpaid."""
    found = oracle_of(made, accepted, accepted * CENTS)
    return found.default, found.fallback, found.unpaid


class TestOracleOf:
    """The best possible."""

    def test_all_at_default_if_it_answers(self) -> None:
        """Whatever waits through an outage is paid there after it."""
        assert best(scenario(10, (1, DOWN, CALM), (9, CALM, CALM))) == (1000, 0, 0)

    def test_what_comes_too_late_for_default_goes_to_fallback(self) -> None:
        """Default is down for the last 3 of 10 s: the payments of these go to fallback."""
        assert best(scenario(10, (1, CALM, CALM), (7, DOWN, CALM))) == (700, 300, 0)

    def test_what_nobody_takes_is_unpaid(self) -> None:
        """Both are down at the end."""
        assert best(scenario(10, (1, CALM, CALM), (7, DOWN, DOWN))) == (700, 0, 300)

    def test_a_delay_must_be_over_before_the_end(self) -> None:
        """With 2 s of delay, what comes in the last 2 s is too late for default."""
        assert best(scenario(10, (1, Condition(2000, failing=False), CALM)), 100) == (80, 20, 0)

    def test_the_flag_is_read_after_the_delay(self) -> None:
        """A payment sent to a failing processor that sleeps 2 s is stored if it has recovered by then."""
        slow_down = Condition(2000, failing=True)
        assert best(scenario(10, (1, slow_down, DOWN), (9, DOWN, DOWN)), 100) == (0, 0, 100)
        assert best(scenario(10, (1, slow_down, DOWN), (8, CALM, DOWN), (9, DOWN, DOWN)), 100)[0] == 90

    def test_a_slow_processor_takes_only_so_many(self) -> None:
        """800 at a time with a delay of 2 s are 400 a second, for the 8 s in which they can still be stored."""
        assert best(scenario(10, (1, Condition(2000, failing=False), DOWN)), 100_000)[0] == pytest.approx(3200, abs=2)

    def test_profit_is_what_the_fees_leave(self) -> None:
        """95 % of default's and 85 % of fallback's payments."""
        found = oracle_of(scenario(10, (1, CALM, CALM), (7, DOWN, CALM)), 1000, 1000 * CENTS)
        assert found.profit_cents == Decimal(CENTS * (700 * 95 + 300 * 85)) / 100

    @pytest.mark.slow
    def test_of_the_contests_loads(self) -> None:
        """The preview ends with a calm default; the final with one of 2 s, which takes 400 of some 590 a second."""
        assert best(read("preview"), 16_000) == (16_000, 0, 0)
        default, fallback, unpaid = best(read("final"), 90_600)
        assert (unpaid, default + fallback) == (0, 90_600)
        assert 0.92 < default / 90_600 < 0.94

    @pytest.mark.slow
    @given(seed=st.integers(0, 10_000), accepted=st.integers(0, 5_000))
    @settings(max_examples=10, deadline=None)
    def test_nothing_is_paid_twice_and_none_is_forgotten(self, seed: int, accepted: int) -> None:
        """Every payment is at one of the two or unpaid, and the profit is never more than the cheaper fee leaves."""
        made = with_random_stages(dataclasses.replace(SCENARIO, load=Load(20, 1, 50, 1)), seed)
        found = oracle_of(made, accepted, accepted * CENTS)
        assert found.default + found.fallback + found.unpaid == accepted
        assert min(found.default, found.fallback, found.unpaid) >= 0
        assert found.profit_cents <= Decimal(accepted * CENTS * 95) / 100
        assert found.default == stored_most(made, accepted, [lambda stage: stage.default])


class TestRatesPerStep:
    """What a processor takes."""

    def test_is_without_bound_when_there_is_no_delay(self) -> None:
        """None stands for any number; a delay of 1 s is 800 a second."""
        made = scenario(3, (1, CALM, Condition(1000, failing=False)))
        assert set(rates_per_step(made, lambda stage: stage.default)) == {None}
        assert next(rates_per_step(made, lambda stage: stage.fallback)) == Fraction(800 * STEP_MS, 1000)


class TestShareOf:
    """Ours to the oracle's."""

    def test_is_a_fraction(self) -> None:
        """And unknown where there was nothing to be made."""
        assert Oracle(1, 0, 0, Decimal(200)).share_of(Decimal(150)) == Decimal("0.75")
        assert Oracle(0, 0, 5, Decimal(0)).share_of(Decimal(0)) is None

"""Tests of tools/benchmark/score.py."""

import dataclasses
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tools.benchmark.samples import RULES
from tools.benchmark.events import Totals
from tools.benchmark.score import bonus_of, score_of

FINAL = dataclasses.replace(RULES, fee_default_percent=7, fee_fallback_percent=10)
CENTS = st.integers(0, 10**12)


class TestBonusOf:
    """The bonus for a low p99."""

    @pytest.mark.parametrize(("p99_ms", "bonus"), [(11, "0"), (12.5, "0"), (1, "0.20"), (6, "0.10"), (0, "0.22")])
    def test_is_two_percent_per_millisecond_under_eleven(self, p99_ms: float, bonus: str) -> None:
        """And never below nothing."""
        assert bonus_of(p99_ms) == Decimal(bonus)

    @pytest.mark.parametrize(
        ("p99_ms", "bonus"),
        [(2.75, "0.17"), (2.751, "0.17"), (2.76, "0.16"), (2.25, "0.18"), (1.25, "0.20"), (0.75, "0.21"), (30, "0")],
    )
    def test_is_rounded_to_whole_percents(self, p99_ms: float, bonus: str) -> None:
        """Its steps: 17 % up to 2.75 ms, 18 % up to 2.25, 20 % up to 1.25, 21 % up to 0.75."""
        assert bonus_of(p99_ms) == Decimal(bonus)


class TestScoreOf:
    """The whole score."""

    def test_a_partial_result_of_the_preview(self) -> None:
        """One that the organisers published: p99 1.25 ms, bonus 20 %, 333,364.80 at default, 380,035.872 in all."""
        score = score_of(RULES, (Totals(16_752, 33_336_480), Totals(0, 0)), 33_336_480, 1.25, fined=False)
        assert (score.fees_cents, score.bonus) == (Decimal(1_666_824), Decimal("0.20"))
        assert score.score_cents == Decimal("38003587.2")

    def test_the_winner_of_the_final(self) -> None:
        """The winner's p99 of 2.55 ms, share of 42 % at fallback and some 90,600 payments make about 1.95 million."""
        default, fallback = 52_600, 38_000
        settled = (Totals(default, default * 2005), Totals(fallback, fallback * 2005))
        score = score_of(FINAL, settled, (default + fallback) * 2005, 2.55, fined=False)
        assert (score.bonus, score.fine) == (Decimal("0.17"), Decimal(0))
        assert Decimal(194_000_000) < score.score_cents < Decimal(197_000_000)

    def test_fees_are_taken_per_processor(self) -> None:
        """5 % of 200.00 and 15 % of 100.00 are 25.00."""
        score = score_of(RULES, (Totals(2, 20_000), Totals(1, 10_000)), 30_000, 11, fined=False)
        assert (score.amount_cents, score.fees_cents, score.profit_cents) == (30_000, Decimal(2_500), Decimal(27_500))
        assert score.score_cents == 27_500

    def test_a_difference_costs_35_percent_of_the_profit(self) -> None:
        """The fine is taken from the profit, beside the bonus."""
        score = score_of(RULES, (Totals(1, 10_000), Totals(0, 0)), 10_000, 1, fined=True)
        assert score.score_cents == 9_500 * (1 + Decimal("0.2") - Decimal("0.35"))

    @given(default=CENTS, fallback=CENTS, waiting=CENTS, p99_ms=st.floats(0, 1000), fined=st.booleans())
    def test_never_beats_its_ceiling(
        self, default: int, fallback: int, waiting: int, p99_ms: float, *, fined: bool
    ) -> None:
        """What the p99 allows is reached at most, and exactly if all is paid at default, in time, without a fine."""
        settled = (Totals(1, default), Totals(1, fallback))
        score = score_of(RULES, settled, default + fallback + waiting, p99_ms, fined=fined)
        assert score.score_cents <= score.ceiling_cents
        if not (fallback or waiting or fined):
            assert score.score_cents == score.ceiling_cents

    def test_nothing_accepted_has_no_share_of_a_ceiling(self) -> None:
        """0 of 0 is not a number."""
        assert score_of(RULES, (Totals(0, 0), Totals(0, 0)), 0, 1, fined=False).of_ceiling is None

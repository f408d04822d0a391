"""Tests of tools/benchmark/payments.py."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from tools.benchmark.payments import Sent, amount_cents, correlation_id, possible, spread_cents
from tools.benchmark.scenario import Amount


class TestCorrelationId:
    """Ids."""

    @given(run=st.text("0123456789abcdef", min_size=1), user=st.integers(1, 5000), turn=st.integers(0, 5000))
    def test_is_a_version_4_uuid(self, run: str, user: int, turn: int) -> None:
        """Every id has the shape and the fixed bits of a version 4 UUID, in lower case."""
        made = correlation_id(run, user, turn)
        assert str(UUID(made)) == made
        assert (UUID(made).version, UUID(made).variant) == (4, "specified in RFC 4122")

    def test_differs_by_run_user_and_turn(self) -> None:
        """No two payments share an id, and no run repeats another's."""
        made = [correlation_id(run, user, turn) for run in ("a", "b") for user in range(40) for turn in range(40)]
        assert len(set(made)) == len(made)


class TestAmountCents:
    """Amounts."""

    @given(seed=st.integers(0), least=st.integers(1, 10_000), spread=st.integers(0, 10_000), user=st.integers(1, 5000))
    def test_lies_between_its_ends(self, seed: int, least: int, spread: int, user: int) -> None:
        """An amount is never outside of the range asked for."""
        assert least <= amount_cents(seed, Amount(least, least + spread), user, 0) <= least + spread

    def test_follows_from_the_seed(self) -> None:
        """The same seed makes the same amounts again, another one others."""
        amount = Amount(1, 1_000_000)
        made = [[amount_cents(seed, amount, user, 0) for user in range(50)] for seed in (1, 1, 2)]
        assert made[0] == made[1] != made[2]
        assert len(set(made[0])) > 40


class TestSpreadCents:
    """Amounts of a load at a constant rate."""

    @given(seed=st.integers(0, 10**6), least=st.integers(1, 10_000), spread=st.integers(0, 300))
    def test_every_amount_comes_before_one_comes_again(self, seed: int, least: int, spread: int) -> None:
        """Within the range, its ends included."""
        amount = Amount(least, least + spread)
        made = {spread_cents(seed, amount, turn) for turn in range(spread + 1)}
        assert made == set(range(least, least + spread + 1))


class TestPossible:
    """Everything that a run could have sent."""

    def test_holds_every_turn_of_every_user(self) -> None:
        """Users count from 1, turns from 0, each payment once with its amount."""
        made = dict(possible("r", 3, Amount(5, 5), users=2, turns=2))
        assert made[correlation_id("r", 2, 1)] == Sent(2, 1, 5)
        assert sorted(made.values()) == [(1, 0, 5), (1, 1, 5), (2, 0, 5), (2, 1, 5)]

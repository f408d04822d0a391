"""Tests of tools/benchmark/openloop/plan.py."""

import dataclasses

import pytest

from tools.benchmark.errors import ScenarioError
from tools.benchmark.openloop.plan import LoadPlan, Phase, decode, encode
from tools.benchmark.scenario import Amount

PLAN = LoadPlan(
    host="127.0.0.1",
    port=9999,
    phases=(Phase("warm-up", 500, 10), Phase("load", 2_000, 30, 5)),
    connections=4,
    run="cafe",
    seed=7,
    first_turn=100,
    amount=Amount(1, 100),
    history_from_ms=5,
)


class TestPlan:
    """The plan through the pipe."""

    def test_arrives_as_it_was_sent(self) -> None:
        """Every member."""
        assert decode(encode(PLAN)) == PLAN

    def test_knows_its_length_and_its_payments(self) -> None:
        """The phases' together."""
        assert (PLAN.duration_s, [phase.payments for phase in PLAN.phases]) == (2.5, [5, 60])

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"connections": 0}, r"connections must be between 1 and"),
            ({"phases": ()}, r"phases must be between"),
            ({"phases": (Phase("x", 0, 1),)}, r"x\.duration_ms must be"),
            ({"phases": (Phase("x", 1, -1),)}, r"x\.payments_per_s must be"),
            ({"phases": (Phase("x", 1, 1, 10**9),)}, r"x\.summaries_per_s must be"),
        ],
    )
    def test_slips_of_the_keyboard_are_sentences(self, changes: dict[str, object], sentence: str) -> None:
        """Which number, and its bounds."""
        with pytest.raises(ScenarioError, match=sentence):
            decode(encode(dataclasses.replace(PLAN, **changes)))  # type: ignore[arg-type]

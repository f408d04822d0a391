"""server/routing.py through whole outages, on a model of time: nothing starves, and the dearer gets what it should."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.routing_model import Behaviour, RoutingModel, Stage

S = 1000

FINAL = [
    Stage(0, Behaviour(0), Behaviour(0)),
    Stage(30 * S, Behaviour(1000), Behaviour(0)),
    Stage(60 * S, Behaviour(500), Behaviour(0)),
    Stage(90 * S, Behaviour(2000, failing=True), Behaviour(1000)),
    Stage(120 * S, Behaviour(5000, failing=True), Behaviour(5)),
    Stage(150 * S, Behaviour(0), Behaviour(5, failing=True)),
    Stage(180 * S, Behaviour(100), Behaviour(5)),
    Stage(210 * S, Behaviour(50), Behaviour(0)),
    Stage(240 * S, Behaviour(103), Behaviour(10)),
    Stage(270 * S, Behaviour(2000), Behaviour(0)),
]
"""The final's stages."""

PREVIEW = [
    Stage(0, Behaviour(0), Behaviour(0)),
    Stage(10 * S, Behaviour(100), Behaviour(0)),
    Stage(20 * S, Behaviour(100, failing=True), Behaviour(0)),
    Stage(30 * S, Behaviour(2000, failing=True), Behaviour(1000, failing=True)),
    Stage(40 * S, Behaviour(20), Behaviour(20)),
    Stage(50 * S, Behaviour(0), Behaviour(5000)),
]


def ramp(until_ms: int, peak_per_s: int) -> list[int]:
    """Arrivals that grow evenly from none to a peak."""
    total = until_ms * peak_per_s // S // 2
    return [int(until_ms * (number / total) ** 0.5) for number in range(total)]


def steady(until_ms: int, per_s: int) -> list[int]:
    """Arrivals at even distances."""
    return list(range(0, until_ms, S // per_s))


class TestContest:
    """The stages that were published. No number of the policy was chosen for them."""

    @pytest.mark.slow
    @pytest.mark.parametrize("with_health", [True, False])
    def test_final(self, *, with_health: bool) -> None:
        """All is paid at the end; the fallback gets the ninety seconds in which default is down or slow, or so."""
        outcome = RoutingModel(FINAL, ramp(300 * S, 300), limit=384, with_health=with_health).run(302 * S)
        assert outcome.unpaid == 0
        assert 0.30 < outcome.fallback_share < 0.50
        assert outcome.waited_ms_max(until_ms=84 * S) < 1100
        assert outcome.waited_ms_max() < (6 if with_health else 12) * S

    @pytest.mark.parametrize(("fees_bp", "share_max"), [((700, 1000), 0.45), ((500, 1500), 0.01)])
    def test_preview(self, fees_bp: tuple[int, int], share_max: float) -> None:
        """All is paid at the end, and the more default saves, the less goes to the fallback."""
        outcome = RoutingModel(PREVIEW, ramp(60 * S, 275), fees_bp=fees_bp, limit=384).run(62 * S)
        assert outcome.unpaid == 0
        assert outcome.fallback_share < share_max
        assert outcome.waited_ms_max(from_ms=46 * S) < 1 * S


class TestOutage:
    """One thing at a time."""

    def test_a_failing_default_is_waited_for_as_long_as_it_saves(self) -> None:
        """Three points of fee are worth four and a half seconds, and not much more."""
        stages = [
            Stage(0, Behaviour(), Behaviour()),
            Stage(2 * S, Behaviour(failing=True), Behaviour()),
        ]
        outcome = RoutingModel(stages, steady(10 * S, 20)).run(20 * S)
        assert outcome.unpaid == 0
        assert 4400 < outcome.waited_ms_max(from_ms=3 * S) < 4800

    def test_a_slow_default_is_not_waited_for(self) -> None:
        """Once it is seen to be slow, the fallback gets everything at once."""
        stages = [
            Stage(0, Behaviour(), Behaviour()),
            Stage(2 * S, Behaviour(5000), Behaviour()),
        ]
        outcome = RoutingModel(stages, steady(10 * S, 20), with_health=False).run(20 * S)
        late = [one for one in outcome.settled if one.accepted_ms >= 2 * S + 1300 and one.processor == 0]
        assert len(late) <= 2  # a probe
        assert outcome.unpaid == 0

    @pytest.mark.parametrize("with_health", [True, False])
    def test_recovery_is_noticed_within_a_second(self, *, with_health: bool) -> None:
        """After a long outage of both, what waited is paid as soon as one is back."""
        down = Behaviour(failing=True)
        stages = [Stage(0, down, down), Stage(30 * S, Behaviour(), down)]
        outcome = RoutingModel(stages, steady(30 * S, 20), with_health=with_health).run(60 * S)
        assert outcome.unpaid == 0
        assert min(one.settled_ms for one in outcome.settled) <= 31 * S
        assert max(one.settled_ms for one in outcome.settled) <= 32 * S

    def test_a_slow_processor_is_better_than_none(self) -> None:
        """With one processor down for good and the other back from an outage but slow, payments go on."""
        down = Behaviour(failing=True)
        stages = [Stage(0, down, down), Stage(10 * S, Behaviour(3000), down)]
        outcome = RoutingModel(stages, steady(10 * S, 10)).run(120 * S)
        assert outcome.unpaid == 0

    @pytest.mark.parametrize("bad", [Behaviour(failing=True), Behaviour(busy=True)])
    def test_noes_are_few(self, bad: Behaviour) -> None:
        """A processor that refuses everything is asked a few times at first and about once a second later."""
        outcome = RoutingModel([Stage(0, bad, bad)], steady(20 * S, 50), with_health=False).run(20 * S)
        for processor in (0, 1):
            assert 10 <= outcome.noes(processor, from_ms=5 * S) <= 16
            assert outcome.noes(processor, until_ms=5 * S) < 64 + 20

    def test_a_busy_processor_gets_less(self) -> None:
        """429 for a while costs no payment, and the limit grows again."""
        stages = [
            Stage(0, Behaviour(100), Behaviour(100)),
            Stage(2 * S, Behaviour(100, busy=True), Behaviour(100, busy=True)),
            Stage(3 * S, Behaviour(100), Behaviour(100)),
        ]
        model = RoutingModel(stages, steady(8 * S, 100))
        assert model.run(9 * S).unpaid == 0
        assert model.circuits[0].limit > 10


class TestAnyStages:
    """Stages made up on the spot."""

    @pytest.mark.slow
    @settings(max_examples=80)
    @given(st.randoms(use_true_random=False), st.booleans())
    def test_everything_is_paid_once_faults_stop(self, dice: random.Random, with_health: bool) -> None:  # noqa: FBT001
        """Whatever failed before, and however slow both are in the end: nothing is left behind."""

        def behaviour(*, healed: bool) -> Behaviour:
            delay_ms = dice.choice([0, 5, 20, 100, 500, 1000, 2000, 5000])
            return Behaviour(delay_ms, not healed and dice.random() < 0.5, not healed and dice.random() < 0.1)

        stages, at_ms = list[Stage](), 0
        for _ in range(dice.randint(1, 5)):
            stages.append(Stage(at_ms, behaviour(healed=False), behaviour(healed=False)))
            at_ms += dice.randint(1, 10 * S)
        lasting = Behaviour(0, failing=True) if dice.random() < 0.3 else behaviour(healed=True)
        pair = [behaviour(healed=True), lasting]
        dice.shuffle(pair)
        stages.append(Stage(at_ms, *pair))
        model = RoutingModel(stages, steady(at_ms, 10), limit=32, with_health=with_health)
        assert model.run(at_ms + 600 * S).unpaid == 0

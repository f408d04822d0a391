"""server/routing.py: every row of the decision; then whole outages, on a model of time.

In an outage nothing starves, and the dearer gets what it should.
"""

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.circuit import PROBE_AGAIN_MS, PROBE_PAUSE_MIN_MS, Circuit
from server.pacing import GATHER_MS
from server.routing import HESITATE_MS, Policy, Router, make_policy
from tests.server.routing_model import (
    DEFAULTS,
    NETWORK_MS,
    NOW_MS,
    Behaviour,
    RoutingModel,
    Stage,
    answered,
    fresh,
    loaded,
    opened,
    probing,
    recovered,
    told,
)

S = 1000
WAIT_MS = 4500  # three points of fee, 1.5 s each
VARIANTS = range(10)


STATES: dict[str, Callable[[], Circuit]] = {
    "fast": fresh,
    "due": lambda: opened(ago_ms=PROBE_PAUSE_MIN_MS),  # open, and its next probe is due
    "rested": lambda: answered(1500),  # slow by its last answer, and nothing in flight
    "full": lambda: loaded(fresh(2), 2),
    "stuck": lambda: told(loaded(fresh(2), 2, age_ms=WAIT_MS), 5),  # full, and it takes long
    "aged": lambda: loaded(fresh(), 2, age_ms=1600),  # slow by the oldest in flight
    "jammed": lambda: loaded(fresh(2), 2, age_ms=1700),  # the same, and full
    "slow": lambda: told(fresh(), 1800),  # by its health
    "open": opened,
    "probed": probing,
    "slow-open": lambda: told(opened(), 1900, failing=True),
    "slow-due": lambda: told(opened(ago_ms=PROBE_PAUSE_MIN_MS), 1950),
}
"""States that a processor can be in for the router, each made afresh."""

DECISIONS = """
-           fast  due  rested  full  stuck  aged  jammed  slow  open  probed  slow-open  slow-due
fast         cc   cc     cc     cc     cc    cc     cc     cc    cc     cc        cc        cc
due          cc   cc     cc     cc     cc    cc     cc     cc    cc     cc        cc        cc
rested       cc   cc     cc     cc     cc    cc     cc     cc    cc     cc        cc        cc
full         ..   ..     ..     ..     ..    ..     ..     ..    ..     ..        ..        ..
stuck        dd   dd     dd     ..     ..    .d     ..     .d    ..     ..        ..        .d
aged         dd   dd     dd     .c     .c    .c     .c     .c    .c     .c        .c        .c
jammed       dd   dd     dd     ..     ..    .d     ..     .d    ..     ..        ..        .d
slow         dd   dd     dd     .c     .c    .d     .c     .c    .c     .c        .c        .c
open         .d   .d     .d     ..     ..    .d     ..     .d    ..     ..        ..        .d
probed       .d   .d     .d     ..     ..    .d     ..     .d    ..     ..        ..        .d
slow-open    .d   .d     .d     ..     ..    .d     ..     .d    ..     ..        ..        .d
slow-due     .d   .d     .d     .c     .c    .d     .c     .d    .c     .c        .c        .c
"""
"""Where a payment goes, by the state of the cheaper (row) and the dearer (column): to the (c)heaper, to the (d)earer or
nowhere yet; first while it has waited less than the fee is worth, then from there on.

The cheaper while it can. A full one is waited for at any age, as all that waits is through soon; a slow one, or one
that is full for too long, not at all while the dearer can; one that fails for what the fee is worth. When neither can,
a payment waits as long; then whichever is faster of those where one can go at all.
"""


def decisions() -> list[tuple[str, str, str]]:
    """The table's cells: cheaper's state, dearer's state, both decisions."""
    (_, *head), *rows = [line.split() for line in DECISIONS.strip().splitlines()]
    return [(cheap, dear, cell) for cheap, *cells in rows for dear, cell in zip(head, cells, strict=True)]


def route(cheap: Circuit, dear: Circuit, age_ms: int, backlog: int = 1) -> str | None:
    """Which of the two a payment goes to, the cheaper being the default processor."""
    router = Router((cheap, dear), make_policy((700, 1000), 1500))
    return {0: "cheap", 1: "dear", None: None}[router.choose(age_ms, backlog, NOW_MS)]


class TestMakePolicy:
    """make_policy."""

    @pytest.mark.parametrize(
        ("fees_bp", "cheap", "wait_ms"),
        [
            ((700, 1000), 0, 4500),
            ((500, 1500), 0, 15_000),
            ((1000, 700), 1, 4500),
            ((700, 700), 0, 0),
            ((0, 33), 0, 495),
        ],
    )
    def test_the_cheaper_is_waited_for(self, fees_bp: tuple[int, int], cheap: int, wait_ms: int) -> None:
        """A point of fee is worth 1.5 s here, whichever processor is the cheaper; a point is 100 hundredths."""
        assert make_policy(fees_bp, 1500) == Policy(cheap, 1 - cheap, wait_ms)


class TestChoose:
    """Router.choose, row by row."""

    def test_the_table_is_whole(self) -> None:
        """Every state meets every other."""
        assert [pair for *pair, _ in decisions()] == [[cheap, dear] for cheap in STATES for dear in STATES]

    @pytest.mark.parametrize(("cheap", "dear", "expected"), decisions())
    def test_as_the_table_says(self, cheap: str, dear: str, expected: str) -> None:
        """Before the wait is over and after it, however long."""
        words = {"c": "cheap", "d": "dear", ".": None}
        for ages_ms, decision in zip(((0, WAIT_MS - 1), (WAIT_MS, 10 * WAIT_MS)), expected, strict=True):
            for age_ms in ages_ms:
                assert route(STATES[cheap](), STATES[dear](), age_ms) == words[decision], age_ms

    def test_a_full_one_is_not_waited_for_by_too_many(self) -> None:
        """The dearer takes over, at any age, once what waits won't be through in the time that the fee is worth."""
        circuits = loaded(told(fresh(2), 900), 2), fresh()  # five rounds of 0.9 s are too many
        for age_ms in (0, WAIT_MS, 10 * WAIT_MS):
            goes_to = [route(*circuits, age_ms, backlog) for backlog in (1, 3, 4, 100)]
            assert goes_to == [None, None, "dear", "dear"]

    def test_a_probe_beside_others(self) -> None:
        """A payment that has time left; one that has none only if nothing else takes it."""

        def sleeping() -> Circuit:
            circuit = opened(ago_ms=PROBE_AGAIN_MS)
            circuit.begin(1, NOW_MS - PROBE_AGAIN_MS)
            return circuit

        assert route(sleeping(), fresh(), WAIT_MS - 1) == "cheap"
        assert route(sleeping(), fresh(), WAIT_MS) == "dear"
        assert route(sleeping(), told(fresh(), 2000), WAIT_MS) == "dear"
        assert route(sleeping(), opened(), WAIT_MS) == "cheap"
        assert route(opened(), sleeping(), WAIT_MS) == "dear"

    @pytest.mark.parametrize("age_ms", [0, WAIT_MS])
    def test_the_cheaper_is_asked_when_the_dearer_has_recovered(self, age_ms: int) -> None:
        """Though its pause isn't over and it was last known to be slow; but not for an outage that is newer."""
        assert route(told(opened(ago_ms=1), 2000, failing=True), recovered(), age_ms) == "cheap"
        assert route(opened(ago_ms=10), recovered(ago_ms=11), age_ms) == (None if age_ms < WAIT_MS else "dear")

    @pytest.mark.parametrize("age_ms", [WAIT_MS, 10 * WAIT_MS])
    def test_payments_hesitate_until_it_has_answered(self, age_ms: int) -> None:
        """A no is an answer, and so is silence for a while."""

        def asked(ago_ms: int) -> Circuit:
            circuit = opened(ago_ms=ago_ms + 1)
            circuit.begin(1, NOW_MS - ago_ms)
            return circuit

        assert route(asked(HESITATE_MS - 1), recovered(HESITATE_MS - 1), age_ms) is None
        assert route(asked(HESITATE_MS), recovered(HESITATE_MS), age_ms) == "dear"
        refused = asked(20)
        refused.fail(1, NOW_MS)
        assert route(refused, recovered(20), age_ms) == "dear"

    def test_they_hesitate_no_longer_than_the_fee_is_worth(self) -> None:
        """For a difference of nothing, not at all."""
        router = Router((probing(), recovered(ago_ms=1)), make_policy((700, 700), 1500))
        assert router.choose(0, 1, NOW_MS) == 1

    def test_both_slow(self) -> None:
        """The faster, and the cheaper if they are alike."""
        assert route(told(fresh(), 3000), told(fresh(), 2000), WAIT_MS) == "dear"
        assert route(told(fresh(), 2000), told(fresh(), 3000), WAIT_MS) == "cheap"
        assert route(told(fresh(), 2000), told(fresh(), 2000), WAIT_MS) == "cheap"

    def test_the_fallback_may_be_the_cheaper(self) -> None:
        """Which index is the cheaper is the policy's."""
        router = Router((fresh(), fresh()), make_policy((1000, 700), 1500))
        assert router.choose(0, 1, NOW_MS) == 1
        router = Router((fresh(), opened()), make_policy((1000, 700), 1500))
        assert router.choose(WAIT_MS - 1, 1, NOW_MS) is None
        assert router.choose(WAIT_MS, 1, NOW_MS) == 0

    def test_equal_fees_wait_for_nobody(self) -> None:
        """There is nothing to gain."""
        for cheap in (opened(), probing(), loaded(fresh(2), 2)):
            router = Router((cheap, fresh()), make_policy((700, 700), 1500))
            assert router.choose(0, 1, NOW_MS) == 1

    def test_a_wall_clock_set_back_makes_it_patient(self) -> None:
        """A payment accepted in the future waits like a new one."""
        assert route(opened(), fresh(), -5000) is None


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


def shifted(stages: list[Stage], dice: random.Random) -> list[Stage]:
    """The stages a little later each, so that no poll or probe is in step with them."""
    return [stages[0], *(stage._replace(from_ms=stage.from_ms + dice.randrange(S)) for stage in stages[1:])]


class TestMayGoTo:
    """A payment that one processor has rejected."""

    @pytest.mark.parametrize("state", STATES)
    def test_like_the_last_resort(self, state: str) -> None:
        """It goes to the other one, slow or not, if that has room or its probe is due; else it waits."""
        router = Router((fresh(), STATES[state]()), make_policy((700, 1000), 1500))
        assert router.may_go_to(1, NOW_MS) == (state in {"fast", "due", "rested", "aged", "slow", "slow-due"})


class TestContest:
    """The stages that were published. No number of the policy was chosen for them."""

    @pytest.mark.slow
    @pytest.mark.parametrize("variant", VARIANTS[:2])
    @pytest.mark.parametrize("with_health", [True, False])
    def test_final(self, *, with_health: bool, variant: int) -> None:
        """All is paid at the end; the fallback gets the ninety seconds in which default is down or slow, or so."""
        dice = random.Random(variant)
        stages, arrivals_ms = shifted(FINAL, dice), ramp(300 * S, 603)
        model = RoutingModel(stages, arrivals_ms, limit=384, with_health=with_health, dice=dice)
        outcome = model.run(303 * S)
        assert outcome.unpaid == 0
        assert 0.30 < outcome.fallback_share < 0.35
        assert outcome.waited_ms_max(until_ms=84 * S) <= 1000 + GATHER_MS + max(NETWORK_MS)
        assert outcome.waited_ms_max() < (8 if with_health else 12) * S

    @pytest.mark.slow
    @pytest.mark.parametrize("variant", VARIANTS)
    @pytest.mark.parametrize("with_health", [True, False])
    @pytest.mark.parametrize(("fees_bp", "share_max"), [((700, 1000), 0.1), ((500, 1500), 0.005)])
    def test_preview(self, fees_bp: tuple[int, int], share_max: float, *, with_health: bool, variant: int) -> None:
        """All is paid at the end, and the fallback gets only what default's failing outlasts its worth."""
        dice = random.Random(variant)
        stages, arrivals_ms = shifted(PREVIEW, dice), ramp(60 * S, 550)
        model = RoutingModel(stages, arrivals_ms, fees_bp=fees_bp, limit=384, with_health=with_health, dice=dice)
        outcome = model.run(62 * S)
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
        outcome = RoutingModel(stages, steady(10 * S, 20), dice=random.Random(0)).run(20 * S)
        assert outcome.unpaid == 0
        assert 4400 < outcome.waited_ms_max(from_ms=3 * S) < 4800

    def test_a_slow_default_is_not_waited_for(self) -> None:
        """Once it is seen to be slow, the fallback gets everything at once."""
        stages = [
            Stage(0, Behaviour(), Behaviour()),
            Stage(2 * S, Behaviour(5000), Behaviour()),
        ]
        outcome = RoutingModel(stages, steady(10 * S, 20), with_health=False, dice=random.Random(0)).run(20 * S)
        seen_ms = 2 * S + 2 * GATHER_MS + DEFAULTS.slow_ms  # nobody may have come before the second gathering
        late = [one for one in outcome.settled if one.accepted_ms >= seen_ms and one.processor == 0]
        assert len(late) <= 2  # a probe of each instance
        assert outcome.unpaid == 0

    @pytest.mark.parametrize("with_health", [True, False])
    def test_recovery_is_noticed_within_half_a_second(self, *, with_health: bool) -> None:
        """After a long outage of both, what waited is paid as soon as one is back."""
        down = Behaviour(failing=True)
        stages = [Stage(0, down, down), Stage(30 * S, Behaviour(), down)]
        model = RoutingModel(stages, steady(30 * S, 20), with_health=with_health, dice=random.Random(0))
        outcome = model.run(60 * S)
        assert outcome.unpaid == 0
        assert min(one.settled_ms for one in outcome.settled) <= 30 * S + 600
        assert max(one.settled_ms for one in outcome.settled) <= 31 * S

    @pytest.mark.slow
    @pytest.mark.parametrize("variant", VARIANTS)
    @pytest.mark.parametrize("asleep_ms", [0, 1000, 3000, 5000])
    @pytest.mark.parametrize("delay_ms", [0, 100])
    def test_a_recovery_of_both_is_the_cheaper_ones(self, asleep_ms: int, delay_ms: int, variant: int) -> None:
        """However they failed, and however old the backlog is, nearly all of it is paid where it costs less."""
        dice = random.Random(variant)
        down, well = Behaviour(asleep_ms, failing=True), Behaviour(delay_ms)
        stages = [Stage(0, well, well), Stage(5 * S, down, down), Stage(25 * S, well, well)]
        outcome = RoutingModel(shifted(stages, dice), steady(28 * S, 200), limit=384, dice=dice).run(60 * S)
        assert outcome.unpaid == 0
        assert outcome.fallback_share < 0.005

    def test_a_dearer_one_in_good_health_leaves_a_short_outage_to_the_cheaper(self) -> None:
        """What waited less than it is worth is still waited for while the cheaper reopens gently."""
        stages = [
            Stage(0, Behaviour(100), Behaviour()),
            Stage(2 * S, Behaviour(100, failing=True), Behaviour()),
            Stage(5 * S, Behaviour(100), Behaviour()),
        ]
        outcome = RoutingModel(stages, steady(8 * S, 200), limit=384, dice=random.Random(0)).run(20 * S)
        assert (outcome.unpaid, outcome.fallback_share) == (0, 0)

    def test_no_payment_is_a_probe_for_ever(self) -> None:
        """One that slept in a failing processor until its time was over goes to the other, not in there again."""
        stages = [Stage(0, Behaviour(3000, failing=True), Behaviour())]
        outcome = RoutingModel(stages, steady(30 * S, 20), with_health=False, dice=random.Random(0)).run(60 * S)
        assert outcome.unpaid == 0
        assert outcome.waited_ms_max() < WAIT_MS + 3 * S + 600

    @pytest.mark.parametrize("fees_bp", [(700, 1000), (700, 700), (1000, 700)])
    @pytest.mark.parametrize("down", [0, 1])
    def test_one_that_is_down_for_good(self, fees_bp: tuple[int, int], down: int) -> None:
        """The other gets everything, after the cheaper one's worth if it is that; for equal fees nobody waits."""
        pair = [Behaviour(), Behaviour()]
        pair[down] = Behaviour(failing=True)
        model = RoutingModel([Stage(0, *pair)], steady(20 * S, 50), fees_bp=fees_bp, dice=random.Random(0))
        outcome = model.run(40 * S)
        assert outcome.unpaid == 0
        assert outcome.fallback_share == 1 - down
        waits = fees_bp[down] < fees_bp[1 - down]
        assert outcome.waited_ms_max() < (WAIT_MS if waits else 0) + 500

    def test_a_slow_processor_is_better_than_none(self) -> None:
        """With one processor down for good and the other back from an outage but slow, payments go on."""
        down = Behaviour(failing=True)
        stages = [Stage(0, down, down), Stage(10 * S, Behaviour(3000), down)]
        outcome = RoutingModel(stages, steady(10 * S, 10), dice=random.Random(0)).run(120 * S)
        assert outcome.unpaid == 0

    @pytest.mark.parametrize("bad", [Behaviour(failing=True), Behaviour(1000, failing=True), Behaviour(busy=True)])
    def test_noes_are_few(self, bad: Behaviour) -> None:
        """A processor that refuses everything is asked a few times at first, then twice a second by each instance."""
        model = RoutingModel([Stage(0, bad, bad)], steady(20 * S, 50), with_health=False, dice=random.Random(0))
        outcome = model.run(20 * S)
        for processor in (0, 1):
            assert 26 <= outcome.noes(processor, from_ms=10 * S) <= 42
            assert outcome.noes(processor, until_ms=10 * S) < 2 * (64 + 30)

    def test_a_busy_processor_gets_less(self) -> None:
        """429 for a while costs no payment, and the limit grows again."""
        stages = [
            Stage(0, Behaviour(100), Behaviour(100)),
            Stage(2 * S, Behaviour(100, busy=True), Behaviour(100, busy=True)),
            Stage(3 * S, Behaviour(100), Behaviour(100)),
        ]
        model = RoutingModel(stages, steady(8 * S, 200), dice=random.Random(0))
        assert model.run(9 * S).unpaid == 0
        for instance in model.instances:
            assert instance.circuits[0].limit > 10


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
        model = RoutingModel(stages, steady(at_ms, 10), limit=32, with_health=with_health, dice=dice)
        assert model.run(at_ms + 600 * S).unpaid == 0

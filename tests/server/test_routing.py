"""server/routing.py: what a circuit knows and allows, and every row of the routing decision."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.routing import (
    HEALTH_FRESH_MS,
    LIMIT_AFTER_OUTAGE,
    LIMIT_MIN,
    PROBE_PAUSE_MAX_MS,
    PROBE_PAUSE_MIN_MS,
    Circuit,
    CircuitState,
    Policy,
    Router,
    make_policy,
)

NOW_MS = 1_000_000
SLOW_MS = 1000
WAIT_MS = 4500


def fresh(limit_max: int = 8) -> Circuit:
    """A circuit of which nothing is known."""
    return Circuit(limit_max, SLOW_MS)


def answered(latency_ms: int, limit_max: int = 8) -> Circuit:
    """Its last answer, which came just now, took so long."""
    circuit = fresh(limit_max)
    circuit.begin(0, NOW_MS - latency_ms)
    circuit.succeed(0, NOW_MS)
    return circuit


def opened(ago_ms: int = 0) -> Circuit:
    """A payment failed so long ago, and none before."""
    circuit = fresh()
    circuit.begin(0, NOW_MS - ago_ms)
    circuit.fail(0, NOW_MS - ago_ms)
    return circuit


def probing(limit_max: int = 8) -> Circuit:
    """Token 1 is its probe, begun just now."""
    circuit = fresh(limit_max)
    circuit.begin(0, NOW_MS - PROBE_PAUSE_MIN_MS)
    circuit.fail(0, NOW_MS - PROBE_PAUSE_MIN_MS)
    circuit.begin(1, NOW_MS)
    return circuit


def told(circuit: Circuit, response_ms_min: int, *, failing: bool = False) -> Circuit:
    """The same after a health poll just now."""
    circuit.hear_health(failing=failing, response_ms_min=response_ms_min, now_ms=NOW_MS)
    return circuit


def loaded(circuit: Circuit, requests: int, age_ms: int = 0) -> Circuit:
    """The same with requests in flight, begun so long ago."""
    for token in range(100, 100 + requests):
        circuit.begin(token, NOW_MS - age_ms)
    return circuit


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
        assert make_policy(fees_bp, 1500, SLOW_MS, 8) == Policy(cheap, 1 - cheap, wait_ms, SLOW_MS, 8)


class TestLatency:
    """Circuit.latency_ms: the newest thing known."""

    def test_nothing_known_is_fast(self) -> None:
        """A processor is trusted until something is heard."""
        assert fresh().latency_ms(NOW_MS) == 0
        assert not fresh().is_slow(NOW_MS)

    def test_the_last_answer(self) -> None:
        """What the last answer took is what the next is expected to take."""
        assert answered(250).latency_ms(NOW_MS + 60_000) == 250

    def test_exactly_slow_is_not_slow(self) -> None:
        """Slow is longer than `slow_ms`."""
        assert not answered(SLOW_MS).is_slow(NOW_MS)
        assert answered(SLOW_MS + 1).is_slow(NOW_MS)

    def test_the_age_of_the_oldest_in_flight(self) -> None:
        """A slow-down is seen long before its answer is there."""
        circuit = answered(5)
        circuit.begin(1, NOW_MS)
        circuit.begin(2, NOW_MS + 900)
        assert circuit.latency_ms(NOW_MS + 3) == 5
        assert not circuit.is_slow(NOW_MS + SLOW_MS)
        assert circuit.is_slow(NOW_MS + SLOW_MS + 1)

    def test_an_age_says_nothing_once_a_newer_request_was_answered(self) -> None:
        """One straggler does not make a processor slow that answers all others."""
        circuit = answered(5)
        circuit.begin(1, NOW_MS)
        circuit.begin(2, NOW_MS + 1)
        circuit.succeed(2, NOW_MS + 21)
        assert circuit.latency_ms(NOW_MS + 30_000) == 20
        circuit.succeed(1, NOW_MS + 30_000)
        assert circuit.latency_ms(NOW_MS + 30_000) == 20

    def test_an_age_says_nothing_once_a_poll_was_heard(self) -> None:
        """Requests of a slow stage that has ended do not hide that it has."""
        circuit = told(loaded(fresh(), 3, age_ms=4000), 10)
        assert circuit.latency_ms(NOW_MS + 500) == 10

    def test_a_request_begun_with_the_poll_counts(self) -> None:
        """What is begun at the moment of the poll is as new as the poll."""
        circuit = told(fresh(), 10)
        circuit.begin(1, NOW_MS)
        assert circuit.latency_ms(NOW_MS + 700) == 700

    def test_a_failure_says_nothing_of_it(self) -> None:
        """Failing fast is not being fast."""
        circuit = answered(2000)
        circuit.begin(1, NOW_MS)
        circuit.fail(1, NOW_MS + 1)
        assert circuit.latency_ms(NOW_MS + 1) == 2000


class TestLimit:
    """How many may be in flight."""

    def test_up_to_the_limit(self) -> None:
        """A closed circuit has room for `limit` requests, and one ended makes room for another."""
        circuit = loaded(fresh(3), 2)
        assert circuit.has_room()
        circuit.begin(1, NOW_MS)
        assert (circuit.in_flight, circuit.has_room()) == (3, False)
        circuit.succeed(1, NOW_MS)
        assert (circuit.in_flight, circuit.has_room()) == (2, True)

    def test_grows_by_one_per_success_to_its_maximum(self) -> None:
        """After an outage it begins with four at once and doubles per round trip."""
        circuit = probing(limit_max=6)
        circuit.succeed(1, NOW_MS)
        limits = [circuit.limit]
        for token in range(10, 14):
            circuit.begin(token, NOW_MS)
            circuit.succeed(token, NOW_MS)
            limits.append(circuit.limit)
        assert limits == [LIMIT_AFTER_OUTAGE, 5, 6, 6, 6]

    def test_a_small_maximum_stays_one(self) -> None:
        """The limit after an outage is not more than the maximum."""
        circuit = probing(limit_max=2)
        circuit.succeed(1, NOW_MS)
        assert circuit.limit == 2

    def test_a_429_halves_what_is_in_flight(self) -> None:
        """What was too much is the number in flight, not the limit that was never reached."""
        circuit = loaded(fresh(400), 20)
        circuit.refuse(100, NOW_MS)
        assert (circuit.state, circuit.limit, circuit.in_flight) == (CircuitState.CLOSED, 10, 19)

    def test_429_after_429_opens_it(self) -> None:
        """With nothing left to halve there is a pause, or one payment would be sent again and again."""
        circuit, limits = loaded(fresh(4), 4), []
        for token in (100, 101):
            circuit.refuse(token, NOW_MS)
            limits.append(circuit.limit)
        assert (limits, circuit.has_room()) == ([2, LIMIT_MIN], False)
        circuit.refuse(102, NOW_MS)
        assert circuit.state is CircuitState.OPEN
        assert circuit.retry_at_ms == NOW_MS + PROBE_PAUSE_MIN_MS

    def test_a_429_to_a_probe_is_a_failed_probe(self) -> None:
        """The pause doubles."""
        circuit = probing()
        circuit.refuse(1, NOW_MS)
        assert (circuit.state, circuit.retry_at_ms) == (CircuitState.OPEN, NOW_MS + 2 * PROBE_PAUSE_MIN_MS)


class TestOutage:
    """Closed, open, half-open and closed again."""

    def test_a_failure_opens_it(self) -> None:
        """Nothing flows, and a probe is due after a tenth of a second."""
        circuit = opened()
        assert circuit.state is CircuitState.OPEN
        assert not circuit.has_room()
        assert not circuit.may_probe(NOW_MS + PROBE_PAUSE_MIN_MS - 1)
        assert circuit.may_probe(NOW_MS + PROBE_PAUSE_MIN_MS)

    def test_one_probe_at_a_time(self) -> None:
        """While a probe is under way nothing else goes there, whatever happens and however long it takes."""
        circuit = probing()
        assert circuit.state is CircuitState.HALF_OPEN
        assert not circuit.has_room()
        assert not circuit.may_probe(NOW_MS + 30_000)
        assert not told(circuit, 0).may_probe(NOW_MS + 30_000, though_slow=True)

    def test_success_closes_it(self) -> None:
        """It reopens gently."""
        circuit = probing()
        circuit.succeed(1, NOW_MS + 5)
        assert (circuit.state, circuit.limit) == (CircuitState.CLOSED, LIMIT_AFTER_OUTAGE)
        assert circuit.has_room()

    def test_pauses_double_up_to_a_second(self) -> None:
        """Each probe that fails makes the next wait longer; a success in between makes it start afresh."""
        circuit, now_ms, pauses = opened(), NOW_MS, []
        for token in range(1, 7):
            now_ms = circuit.retry_at_ms
            circuit.begin(token, now_ms)
            circuit.fail(token, now_ms)
            pauses.append(circuit.retry_at_ms - now_ms)
        assert pauses == [200, 400, 800, 1000, 1000, 1000]
        circuit.begin(8, circuit.retry_at_ms)
        circuit.succeed(8, now_ms)
        circuit.begin(9, now_ms)
        circuit.fail(9, now_ms)
        assert circuit.retry_at_ms == now_ms + PROBE_PAUSE_MIN_MS

    def test_late_failures_of_others_change_nothing(self) -> None:
        """Requests begun before the outage fail with it: the pause counts from the first."""
        circuit = loaded(fresh(), 3)
        circuit.fail(100, NOW_MS)
        circuit.fail(101, NOW_MS + 50)
        assert (circuit.state, circuit.retry_at_ms) == (CircuitState.OPEN, NOW_MS + PROBE_PAUSE_MIN_MS)
        circuit.begin(1, NOW_MS + 100)
        circuit.fail(102, NOW_MS + 120)
        circuit.succeed(1, NOW_MS + 130)
        assert circuit.has_room()

    def test_a_late_success_closes_an_open_one(self) -> None:
        """A processor looks at its failing flag after the delay: the answer tells of now, whenever it was asked for."""
        circuit = loaded(fresh(), 2)
        circuit.fail(100, NOW_MS)
        circuit.succeed(101, NOW_MS + 10)
        assert (circuit.state, circuit.limit) == (CircuitState.CLOSED, LIMIT_AFTER_OUTAGE)

    def test_a_late_success_leaves_the_probe_alone(self) -> None:
        """Once a probe is under way it decides."""
        circuit = loaded(fresh(), 2)
        circuit.fail(100, NOW_MS)
        circuit.begin(1, NOW_MS + 100)
        circuit.succeed(101, NOW_MS + 110)
        assert circuit.state is CircuitState.HALF_OPEN
        circuit.fail(1, NOW_MS + 120)
        assert circuit.retry_at_ms == NOW_MS + 120 + 2 * PROBE_PAUSE_MIN_MS

    def test_an_answer_about_the_payment_leaves_it_as_it_was(self) -> None:
        """A 400 or a 422 is no outage; a probe that ends so is followed by another at once."""
        closed = loaded(fresh(), 1)
        closed.forget(100)
        assert (closed.state, closed.in_flight) == (CircuitState.CLOSED, 0)
        circuit = probing()
        circuit.forget(1)
        assert circuit.state is CircuitState.OPEN
        assert circuit.may_probe(NOW_MS)


class TestHealth:
    """Circuit.hear_health, and probes to the slow."""

    def test_failing_opens_it(self) -> None:
        """Before any payment has failed."""
        circuit = told(fresh(), 5, failing=True)
        assert (circuit.state, circuit.retry_at_ms) == (CircuitState.OPEN, NOW_MS + PROBE_PAUSE_MIN_MS)

    def test_failing_changes_nothing_for_an_open_one(self) -> None:
        """Its pause goes on."""
        assert told(opened(ago_ms=60), 5, failing=True).retry_at_ms == NOW_MS + 40
        assert told(probing(), 5, failing=True).state is CircuitState.HALF_OPEN

    def test_recovery_makes_a_probe_due(self) -> None:
        """A poll closes nothing; a payment must succeed."""
        circuit = told(opened(), 5)
        assert circuit.state is CircuitState.OPEN
        assert circuit.may_probe(NOW_MS)

    def test_no_probe_to_one_that_is_known_to_be_slow(self) -> None:
        """Unless there is no other way left, or the news are old."""
        circuit = told(opened(ago_ms=PROBE_PAUSE_MIN_MS), SLOW_MS + 1)
        assert not circuit.may_probe(NOW_MS)
        assert circuit.may_probe(NOW_MS, though_slow=True)
        assert not circuit.may_probe(NOW_MS + HEALTH_FRESH_MS)
        assert circuit.may_probe(NOW_MS + HEALTH_FRESH_MS + 1)

    def test_a_slow_one_is_tried_again_when_nothing_is_in_flight(self) -> None:
        """One payment at a time finds out whether it is still slow, when nobody else tells."""
        circuit = answered(2000)
        assert circuit.may_probe(NOW_MS)
        circuit.begin(1, NOW_MS)
        assert not circuit.may_probe(NOW_MS)

    def test_health_ends_a_slow_down(self) -> None:
        """When the least response time is short again, payments flow at once."""
        assert not told(answered(2000), 0).is_slow(NOW_MS)
        assert told(answered(5), 2000).is_slow(NOW_MS)


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["send", "send", "succeed", "fail", "refuse", "forget", "healthy", "failing", "slow"]),
        st.integers(0, 20),
        st.sampled_from([0, 1, 50, 100, 1001, 5000]),
    ),
    min_size=20,
    max_size=60,
)


class Driver:
    """Drives a circuit as the dispatcher does, and keeps books of its own."""

    def __init__(self, limit_max: int) -> None:
        self.circuit = fresh(limit_max)
        self.now_ms = NOW_MS
        self.in_flight: dict[int, bool] = {}  # token -> whether it was begun as a probe of an open circuit
        self.token = 0

    def move(self, what: str, which: int, later_ms: int) -> None:
        """One thing happens, a little later."""
        self.now_ms += later_ms
        circuit = self.circuit
        if what == "send":
            if circuit.has_room() or circuit.may_probe(self.now_ms):
                self.token += 1
                self.in_flight[self.token] = circuit.state is CircuitState.OPEN
                circuit.begin(self.token, self.now_ms)
        elif what in {"healthy", "failing", "slow"}:
            latency_ms = 2000 if what == "slow" else 5
            circuit.hear_health(failing=what == "failing", response_ms_min=latency_ms, now_ms=self.now_ms)
        elif self.in_flight:
            token = list(self.in_flight)[which % len(self.in_flight)]
            self.end(what, token)

    def end(self, how: str, token: int) -> None:
        """A request ends."""
        del self.in_flight[token]
        if how == "forget":
            self.circuit.forget(token)
        else:
            ends: dict[str, Callable[[int, int], None]] = {
                "succeed": self.circuit.succeed,
                "fail": self.circuit.fail,
                "refuse": self.circuit.refuse,
            }
            ends[how](token, self.now_ms)


class TestAnyCourse:
    """What holds whatever happens in whatever order."""

    @pytest.mark.slow
    @settings(max_examples=60)
    @given(st.integers(1, 8), MOVES)
    def test_bounds(self, limit_max: int, moves: list[tuple[str, int, int]]) -> None:
        """The limit stays within its bounds; half-open means exactly one probe; requests are all accounted for."""
        driver = Driver(limit_max)
        for move in moves:
            driver.move(*move)
            circuit, probes = driver.circuit, sum(driver.in_flight.values())
            assert LIMIT_MIN <= circuit.limit <= limit_max
            assert circuit.in_flight == len(driver.in_flight) <= limit_max + 1
            assert (circuit.state is CircuitState.HALF_OPEN) == (probes == 1)
            assert probes <= 1
            assert circuit.latency_ms(driver.now_ms) >= 0

    @pytest.mark.slow
    @settings(max_examples=40)
    @given(st.integers(1, 8), MOVES, st.sampled_from(["succeed", "fail", "refuse", "forget"]))
    def test_there_is_always_a_way_back(self, limit_max: int, moves: list[tuple[str, int, int]], how: str) -> None:
        """Once nothing is in flight and the longest pause is over, a payment may go, if need be though it is slow."""
        driver = Driver(limit_max)
        for move in moves:
            driver.move(*move)
        for token in list(driver.in_flight):
            driver.end(how, token)
        later_ms = driver.now_ms + PROBE_PAUSE_MAX_MS
        assert driver.circuit.has_room() or driver.circuit.may_probe(later_ms, though_slow=True)


class Kind:
    """A state that a processor can be in for the router, made afresh for each test.

    Args:
        make: makes a circuit in that state.
        ready: whether a payment may go there, in the ordinary way or as a probe.
        slow: whether its answers are expected to be slow.
        last_resort: whether a payment may go there when there is no other way.
    """

    def __init__(
        self, make: Callable[[], Circuit], *, ready: bool = False, slow: bool = False, last_resort: bool = False
    ) -> None:
        self.make = make
        self.ready = ready
        self.slow = slow
        self.last_resort = last_resort


KINDS = {
    "fast": Kind(fresh, ready=True, last_resort=True),
    "full": Kind(lambda: loaded(fresh(2), 2)),
    "open": Kind(opened),
    "open, probe due": Kind(lambda: opened(ago_ms=PROBE_PAUSE_MIN_MS), ready=True, last_resort=True),
    "probed": Kind(probing),
    "slow by its last answer": Kind(lambda: answered(1500), ready=True, slow=True, last_resort=True),
    "slow by the oldest in flight": Kind(lambda: loaded(fresh(), 2, age_ms=1600), slow=True, last_resort=True),
    "slow and full": Kind(lambda: loaded(fresh(2), 2, age_ms=1700), slow=True),
    "slow by health": Kind(lambda: told(fresh(), 1800), slow=True, last_resort=True),
    "slow by health, open": Kind(lambda: told(opened(), 1900, failing=True), slow=True),
    "slow by health, probe due": Kind(
        lambda: told(opened(ago_ms=PROBE_PAUSE_MIN_MS), 1950), slow=True, last_resort=True
    ),
}


def route(cheap: Circuit, dear: Circuit, waited_ms: int) -> str | None:
    """Which of the two a payment goes to, the cheaper being the default processor."""
    router = Router((cheap, dear), make_policy((700, 1000), 1500, SLOW_MS, 8))
    return {0: "cheap", 1: "dear", None: None}[router.choose(waited_ms, NOW_MS)]


class TestChoose:
    """Router.choose, row by row."""

    @pytest.mark.parametrize("dear", KINDS)
    @pytest.mark.parametrize("waited_ms", [0, WAIT_MS, 10 * WAIT_MS])
    @pytest.mark.parametrize("cheap", [name for name, kind in KINDS.items() if kind.ready])
    def test_the_cheaper_while_it_can(self, cheap: str, dear: str, waited_ms: int) -> None:
        """Closed, fast and with room, or its probe due: whatever is known of the other, however long it waited."""
        assert route(KINDS[cheap].make(), KINDS[dear].make(), waited_ms) == "cheap"

    @pytest.mark.parametrize("dear", [name for name, kind in KINDS.items() if kind.ready])
    @pytest.mark.parametrize("cheap", [name for name, kind in KINDS.items() if kind.slow and not kind.ready])
    def test_a_slow_one_yields_at_once(self, cheap: str, dear: str) -> None:
        """Nobody waits for a slow processor while the other can, be it as a probe."""
        assert route(KINDS[cheap].make(), KINDS[dear].make(), 0) == "dear"

    @pytest.mark.parametrize("dear", KINDS)
    @pytest.mark.parametrize("cheap", [name for name, kind in KINDS.items() if not kind.slow and not kind.ready])
    def test_anything_else_is_waited_for(self, cheap: str, dear: str) -> None:
        """A failing, full or reopening default is worth its fee's wait, whatever the other can."""
        assert route(KINDS[cheap].make(), KINDS[dear].make(), WAIT_MS - 1) is None

    @pytest.mark.parametrize("dear", [name for name, kind in KINDS.items() if kind.ready])
    @pytest.mark.parametrize("cheap", [name for name, kind in KINDS.items() if not kind.ready])
    def test_then_the_dearer_takes_over(self, cheap: str, dear: str) -> None:
        """After the wait."""
        assert route(KINDS[cheap].make(), KINDS[dear].make(), WAIT_MS) == "dear"

    @pytest.mark.parametrize("dear", [name for name, kind in KINDS.items() if not kind.ready])
    @pytest.mark.parametrize("cheap", [name for name, kind in KINDS.items() if not kind.ready])
    def test_when_neither_can(self, cheap: str, dear: str) -> None:
        """A payment waits its time; then whichever is faster of those where one can go at all, or nowhere yet."""
        circuits = KINDS[cheap].make(), KINDS[dear].make()
        assert route(*circuits, WAIT_MS - 1) is None
        able = [(KINDS[cheap], circuits[0], "cheap"), (KINDS[dear], circuits[1], "dear")]
        able = [one for one in able if one[0].last_resort]
        fastest = min(able, key=lambda one: one[1].latency_ms(NOW_MS), default=None)
        assert route(*circuits, WAIT_MS) == (None if fastest is None else fastest[2])

    def test_both_slow(self) -> None:
        """The faster, and the cheaper if they are alike."""
        assert route(told(fresh(), 3000), told(fresh(), 2000), WAIT_MS) == "dear"
        assert route(told(fresh(), 2000), told(fresh(), 3000), WAIT_MS) == "cheap"
        assert route(told(fresh(), 2000), told(fresh(), 2000), WAIT_MS) == "cheap"

    def test_the_fallback_may_be_the_cheaper(self) -> None:
        """Which index is the cheaper is the policy's."""
        router = Router((fresh(), fresh()), make_policy((1000, 700), 1500, SLOW_MS, 8))
        assert router.choose(0, NOW_MS) == 1
        router = Router((fresh(), opened()), make_policy((1000, 700), 1500, SLOW_MS, 8))
        assert router.choose(WAIT_MS - 1, NOW_MS) is None
        assert router.choose(WAIT_MS, NOW_MS) == 0

    def test_equal_fees_wait_for_nobody(self) -> None:
        """There is nothing to gain."""
        router = Router((opened(), fresh()), make_policy((700, 700), 1500, SLOW_MS, 8))
        assert router.choose(0, NOW_MS) == 1

    def test_a_wall_clock_set_back_makes_it_patient(self) -> None:
        """A payment accepted in the future waits like a new one."""
        assert route(opened(), fresh(), -5000) is None

"""server/circuit.py: what a circuit knows and allows."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.circuit import (
    LIMIT_AFTER_OUTAGE,
    LIMIT_MIN,
    PROBE_AGAIN_MS,
    PROBE_PAUSE_MAX_MS,
    PROBE_PAUSE_MIN_MS,
    PROBES_MAX,
    CircuitState,
)
from server.latency import HEALTH_FRESH_MS
from tests.server.routing_model import (
    NOW_MS,
    SLOW_MS,
    answered,
    asleep,
    fresh,
    loaded,
    opened,
    probing,
    told,
)


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
        for slot in range(10, 14):
            circuit.begin(slot, NOW_MS)
            circuit.succeed(slot, NOW_MS)
            limits.append(circuit.limit)
        assert limits == [LIMIT_AFTER_OUTAGE, 5, 6, 6, 6]

    def test_a_small_maximum_stays_one(self) -> None:
        """The limit after an outage is not more than the maximum."""
        circuit = probing(limit_max=2)
        circuit.succeed(1, NOW_MS)
        assert circuit.limit == 2

    def test_what_an_outage_left_behind_takes_no_room(self) -> None:
        """Requests asleep since before its end may stay so for seconds; the maximum holds for all together."""
        circuit = asleep(loaded(fresh(8), 2), 0)
        circuit.fail(100, NOW_MS)
        asleep(circuit, 3).succeed(50, NOW_MS)
        assert (circuit.in_flight, circuit.limit) == (3, LIMIT_AFTER_OUTAGE)
        for slot in range(60, 60 + LIMIT_AFTER_OUTAGE):
            assert circuit.has_room()
            circuit.begin(slot, NOW_MS)
        assert not circuit.has_room()
        circuit.succeed(60, NOW_MS)
        circuit.begin(60, NOW_MS)
        circuit.begin(70, NOW_MS)
        assert (circuit.limit, circuit.in_flight, circuit.has_room()) == (5, 8, False)

    def test_what_has_woken_up_since_leaves_no_room_behind(self) -> None:
        """Once those are answered, or have failed, the limit holds for all that is in flight."""
        circuit = asleep(probing(limit_max=32), 3)
        circuit.succeed(1, NOW_MS)
        circuit.succeed(50, NOW_MS)
        circuit.succeed(51, NOW_MS)
        circuit.forget(52)
        assert circuit.limit == LIMIT_AFTER_OUTAGE + 2
        assert loaded(circuit, circuit.limit - 1).has_room()
        circuit.begin(60, NOW_MS)
        assert not circuit.has_room()

    def test_a_429_halves_what_is_in_flight(self) -> None:
        """What was too much is the number in flight, not the limit that was never reached."""
        circuit = loaded(fresh(400), 20)
        circuit.back_off(100, NOW_MS)
        assert (circuit.state, circuit.limit, circuit.in_flight) == (CircuitState.CLOSED, 10, 19)

    def test_429_after_429_opens_it(self) -> None:
        """With nothing left to halve there is a pause, or one payment would be sent again and again."""
        circuit, limits = loaded(fresh(4), 4), []
        for slot in (100, 101):
            circuit.back_off(slot, NOW_MS)
            limits.append(circuit.limit)
        assert (limits, circuit.has_room()) == ([2, LIMIT_MIN], False)
        circuit.back_off(102, NOW_MS)
        assert circuit.state is CircuitState.OPEN
        assert circuit.probe_at_ms == NOW_MS + PROBE_PAUSE_MIN_MS

    def test_a_429_to_a_probe_is_a_failed_probe(self) -> None:
        """The pause doubles."""
        circuit = probing()
        circuit.back_off(1, NOW_MS)
        assert (circuit.state, circuit.probe_at_ms) == (CircuitState.OPEN, NOW_MS + 2 * PROBE_PAUSE_MIN_MS)


class TestOutage:
    """Closed, open, half-open and closed again."""

    def test_a_failure_opens_it(self) -> None:
        """Nothing flows, and a probe is due after a tenth of a second."""
        circuit = opened()
        assert circuit.state is CircuitState.OPEN
        assert not circuit.has_room()
        assert not circuit.may_probe(NOW_MS + PROBE_PAUSE_MIN_MS - 1, PROBES_MAX)
        assert circuit.may_probe(NOW_MS + PROBE_PAUSE_MIN_MS, 1)

    def test_a_probe_that_sleeps_is_followed_by_others(self) -> None:
        """After half a second each, up to a number; nothing else goes there, however long they take."""
        circuit, now_ms = opened(ago_ms=PROBE_PAUSE_MIN_MS), NOW_MS
        for slot in range(1, PROBES_MAX + 1):
            assert circuit.may_probe(now_ms, slot)
            assert not circuit.may_probe(now_ms, slot - 1)
            circuit.begin(slot, now_ms)
            assert circuit.state is CircuitState.HALF_OPEN
            assert not circuit.may_probe(now_ms + PROBE_AGAIN_MS - 1, PROBES_MAX)
            now_ms += PROBE_AGAIN_MS
        assert not circuit.has_room()
        assert not circuit.may_probe(now_ms + 30_000, PROBES_MAX, even_if_slow=True)
        circuit.fail(1, now_ms + 30_000)
        assert circuit.may_probe(now_ms + 30_000, PROBES_MAX)

    def test_a_failure_that_came_alone_is_no_outage(self) -> None:
        """A yes to what was begun before closes it at once, and there was nothing to recover from."""
        (circuit := loaded(fresh(), 2)).fail(100, NOW_MS + 1)
        circuit.succeed(101, NOW_MS + 2)
        assert (circuit.state, circuit.recovered_at_ms < 0) == (CircuitState.CLOSED, True)

    def test_a_late_answer_is_no_recovery(self) -> None:
        """A probe that slept on, after another had ended the outage, tells nothing of when it ended."""
        circuit = asleep(opened(ago_ms=PROBE_PAUSE_MIN_MS), 2)
        circuit.succeed(51, NOW_MS + 5)
        circuit.succeed(50, NOW_MS + 5_000)
        assert circuit.recovered_at_ms == NOW_MS + 5

    def test_any_probe_may_succeed(self) -> None:
        """An older one's yes is as good as the newest's; those still under way have nothing to decide then."""
        circuit = asleep(opened(ago_ms=PROBE_PAUSE_MIN_MS), 3)
        circuit.succeed(50, NOW_MS + 5)
        assert (circuit.state, circuit.recovered_at_ms) == (CircuitState.CLOSED, NOW_MS + 5)
        circuit.forget(52)
        assert circuit.state is CircuitState.CLOSED

    def test_the_newest_probe_fails_for_all(self) -> None:
        """While a newer one is under way a failure says nothing; and none after the newest's."""
        circuit = asleep(opened(ago_ms=PROBE_PAUSE_MIN_MS), 3)
        circuit.fail(50, NOW_MS + 5)
        assert circuit.state is CircuitState.HALF_OPEN
        circuit.fail(52, NOW_MS + 6)
        assert (circuit.state, circuit.probe_at_ms) == (CircuitState.OPEN, NOW_MS + 6 + 2 * PROBE_PAUSE_MIN_MS)
        circuit.fail(51, NOW_MS + 7)
        assert (circuit.state, circuit.probe_at_ms) == (CircuitState.OPEN, NOW_MS + 6 + 2 * PROBE_PAUSE_MIN_MS)

    def test_probes_of_the_last_outage_are_none_of_this(self) -> None:
        """Those asleep since then take no probe's place, and their failure is news no more."""
        circuit = asleep(opened(ago_ms=PROBE_PAUSE_MIN_MS), PROBES_MAX)
        circuit.succeed(50, NOW_MS)
        circuit.begin(60, NOW_MS)
        circuit.fail(60, NOW_MS)
        assert circuit.may_probe(circuit.probe_at_ms, 1)
        circuit.begin(61, circuit.probe_at_ms)
        circuit.fail(51, circuit.probe_at_ms)
        assert circuit.state is CircuitState.HALF_OPEN

    def test_probes_are_few_beyond_the_maximum(self) -> None:
        """Requests asleep up to the maximum do not keep a probe away, but no more than a few are added."""
        circuit = loaded(fresh(8), 9)
        circuit.fail(100, NOW_MS)
        assert circuit.may_probe(circuit.probe_at_ms, 1)
        circuit.begin(1, circuit.probe_at_ms)
        circuit.succeed(101, circuit.probe_at_ms)
        circuit.begin(2, circuit.probe_at_ms)
        circuit.note_health(failing=True, response_ms_min=0, now_ms=circuit.probe_at_ms)
        assert circuit.in_flight == 9
        assert not circuit.may_probe(circuit.probe_at_ms, 1)
        assert circuit.may_probe(circuit.probe_at_ms, 2)

    def test_it_may_be_asked_once_out_of_turn(self) -> None:
        """Though its pause isn't over and it is known to be slow, if nothing was heard of its outage since then."""
        circuit = told(opened(), 2000, failing=True)
        assert not circuit.may_probe_out_of_turn(NOW_MS)
        assert circuit.may_probe_out_of_turn(NOW_MS + 1)
        circuit.begin(1, NOW_MS + 1)
        assert not circuit.may_probe_out_of_turn(NOW_MS + 1)
        circuit.succeed(1, NOW_MS + 3)
        assert not circuit.may_probe_out_of_turn(NOW_MS + 5)

    def test_a_place_is_kept_for_such_a_question(self) -> None:
        """For one: all others may be asleep."""
        circuit = asleep(opened(ago_ms=PROBE_PAUSE_MIN_MS), PROBES_MAX)
        assert circuit.may_probe_out_of_turn(NOW_MS + 1)
        circuit.begin(60, NOW_MS + 1)
        assert not circuit.may_probe_out_of_turn(NOW_MS + 2)

    def test_success_closes_it(self) -> None:
        """It reopens gently."""
        circuit = probing()
        circuit.succeed(1, NOW_MS + 5)
        assert (circuit.state, circuit.limit) == (CircuitState.CLOSED, LIMIT_AFTER_OUTAGE)
        assert circuit.has_room()

    def test_pauses_double_up_to_half_a_second(self) -> None:
        """Each probe that fails makes the next wait longer; a success in between makes it start afresh."""
        circuit, now_ms, pauses = opened(), NOW_MS, []
        for slot in range(1, 7):
            now_ms = circuit.probe_at_ms
            circuit.begin(slot, now_ms)
            circuit.fail(slot, now_ms)
            pauses.append(circuit.probe_at_ms - now_ms)
        assert pauses == [200, 400, 500, 500, 500, 500]
        circuit.begin(8, circuit.probe_at_ms)
        circuit.succeed(8, now_ms)
        circuit.begin(9, now_ms)
        circuit.fail(9, now_ms)
        assert circuit.probe_at_ms == now_ms + PROBE_PAUSE_MIN_MS

    def test_late_failures_of_others_change_nothing(self) -> None:
        """Requests begun before the outage fail with it: the pause counts from the first."""
        circuit = loaded(fresh(), 3)
        circuit.fail(100, NOW_MS)
        circuit.fail(101, NOW_MS + 50)
        assert (circuit.state, circuit.probe_at_ms) == (CircuitState.OPEN, NOW_MS + PROBE_PAUSE_MIN_MS)
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

    def test_even_while_a_probe_is_under_way(self) -> None:
        """The probe may be asleep for long; should it fail, a new outage begins."""
        circuit = loaded(fresh(), 2)
        circuit.fail(100, NOW_MS)
        circuit.begin(1, NOW_MS + 100)
        circuit.succeed(101, NOW_MS + 110)
        assert circuit.state is CircuitState.CLOSED
        circuit.fail(1, NOW_MS + 120)
        assert (circuit.state, circuit.probe_at_ms) == (CircuitState.OPEN, NOW_MS + 120 + PROBE_PAUSE_MIN_MS)

    def test_an_answer_about_the_payment_leaves_it_as_it_was(self) -> None:
        """A 400 or a 422 is no outage; a probe that ends so is followed by another at once."""
        closed = loaded(fresh(), 1)
        closed.forget(100)
        assert (closed.state, closed.in_flight) == (CircuitState.CLOSED, 0)
        circuit = probing()
        circuit.forget(1)
        assert circuit.state is CircuitState.OPEN
        assert circuit.may_probe(NOW_MS, 1)
        others = asleep(probing(), 2)
        others.forget(50)
        assert others.state is CircuitState.HALF_OPEN


class TestHealth:
    """Circuit.note_health, and probes to the slow."""

    def test_failing_opens_it(self) -> None:
        """Before any payment has failed."""
        circuit = told(fresh(), 5, failing=True)
        assert (circuit.state, circuit.probe_at_ms) == (CircuitState.OPEN, NOW_MS + PROBE_PAUSE_MIN_MS)

    def test_failing_changes_nothing_for_an_open_one(self) -> None:
        """Its pause goes on."""
        assert told(opened(ago_ms=60), 5, failing=True).probe_at_ms == NOW_MS + 40
        assert told(probing(), 5, failing=True).state is CircuitState.HALF_OPEN

    def test_recovery_makes_a_probe_due(self) -> None:
        """A poll closes nothing; a payment must succeed."""
        circuit = told(opened(), 5)
        assert circuit.state is CircuitState.OPEN
        assert circuit.may_probe(NOW_MS, 1)
        assert told(probing(), 5).may_probe(NOW_MS, 2)

    def test_no_probe_to_one_that_is_known_to_be_slow(self) -> None:
        """Unless there is no other way left, or the news is old."""
        circuit = told(opened(ago_ms=PROBE_PAUSE_MIN_MS), SLOW_MS + 1)
        assert not circuit.may_probe(NOW_MS, 1)
        assert circuit.may_probe(NOW_MS, 1, even_if_slow=True)
        assert not circuit.may_probe(NOW_MS + HEALTH_FRESH_MS, 1)
        assert circuit.may_probe(NOW_MS + HEALTH_FRESH_MS + 1, 1)

    def test_a_slow_one_is_tried_again_when_nothing_is_in_flight(self) -> None:
        """One payment at a time finds out whether it is still slow, when nobody else tells."""
        circuit = answered(2000)
        assert circuit.may_probe(NOW_MS, 1)
        circuit.begin(1, NOW_MS)
        assert not circuit.may_probe(NOW_MS + 30_000, PROBES_MAX)


class TestDrainEstimate:
    """Circuit.drain_estimate_ms: how long a full one is worth waiting for."""

    def test_at_its_maximum(self) -> None:
        """A round for those in flight, one for each full limit that waits, and a few, as it might have to grow."""
        circuit = loaded(told(fresh(8), 100), 8)
        assert [circuit.drain_estimate_ms(waiting, NOW_MS) for waiting in (1, 8, 80)] == [100, 300, 1500]

    def test_a_limit_that_grows_soon_takes_many(self) -> None:
        """After an outage it doubles per round, so that thousands are a matter of a few rounds."""
        circuit = probing(400)
        circuit.succeed(1, NOW_MS)
        loaded(told(circuit, 100), LIMIT_AFTER_OUTAGE)
        assert [circuit.drain_estimate_ms(waiting, NOW_MS) for waiting in (4, 40, 4000)] == [200, 500, 2100]

    def test_one_that_has_too_much_to_do_will_not_grow(self) -> None:
        """After a 429 what it took is all that can be hoped for, until it has taken more."""
        circuit = loaded(told(fresh(400), 100), 20)
        circuit.back_off(100, NOW_MS)
        assert (circuit.limit, circuit.drain_estimate_ms(1000, NOW_MS)) == (10, 10_800)
        circuit.succeed(101, NOW_MS)
        assert circuit.drain_estimate_ms(1001, NOW_MS) == 1 + 7 + 91
        circuit.fail(102, NOW_MS)
        circuit.succeed(103, NOW_MS)
        assert circuit.drain_estimate_ms(1000, NOW_MS) == 1 + 8 + 2

    def test_a_round_takes_a_millisecond_at_least(self) -> None:
        """Nothing known is fast, but not infinitely so."""
        assert loaded(fresh(1), 1).drain_estimate_ms(1000, NOW_MS) == 1011

    def test_requests_that_hang_are_seen(self) -> None:
        """Though a health poll, which knows nothing of them, says that all is well."""
        circuit = told(loaded(fresh(4), 4, age_ms=6000), 5)
        assert circuit.latency.expected_ms(NOW_MS) == 5
        assert circuit.drain_estimate_ms(1, NOW_MS) == 6000


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["send", "send", "ask", "succeed", "fail", "back_off", "forget", "healthy", "failing", "slow"]),
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
        self.in_flight: dict[int, bool] = {}  # slot -> whether it is a probe of this outage
        self.slot = 0

    def move(self, what: str, which: int, later_ms: int) -> None:
        """One thing happens, a little later."""
        self.now_ms += later_ms
        circuit = self.circuit
        if what in {"send", "ask"}:
            asked = what == "ask" and circuit.may_probe_out_of_turn(self.now_ms)
            if asked or circuit.has_room() or circuit.may_probe(self.now_ms, PROBES_MAX):
                self.slot += 1
                self.in_flight[self.slot] = circuit.state is not CircuitState.CLOSED
                circuit.begin(self.slot, self.now_ms)
        elif what in {"healthy", "failing", "slow"}:
            latency_ms = 2000 if what == "slow" else 5
            circuit.note_health(failing=what == "failing", response_ms_min=latency_ms, now_ms=self.now_ms)
        elif self.in_flight:
            slot = list(self.in_flight)[which % len(self.in_flight)]
            self.end(what, slot)
        if circuit.state is CircuitState.CLOSED:
            self.in_flight = dict.fromkeys(self.in_flight, False)

    def end(self, how: str, slot: int) -> None:
        """A request ends."""
        del self.in_flight[slot]
        if how == "forget":
            self.circuit.forget(slot)
        else:
            ends: dict[str, Callable[[int, int], None]] = {
                "succeed": self.circuit.succeed,
                "fail": self.circuit.fail,
                "back_off": self.circuit.back_off,
            }
            ends[how](slot, self.now_ms)


class TestAnyCourse:
    """What holds whatever happens in whatever order."""

    @pytest.mark.slow
    @settings(max_examples=60)
    @given(st.integers(1, 8), MOVES)
    def test_bounds(self, limit_max: int, moves: list[tuple[str, int, int]]) -> None:
        """Limit and probes stay within bounds; half-open means a probe or more; requests are all accounted for."""
        driver = Driver(limit_max)
        for move in moves:
            driver.move(*move)
            circuit, probes = driver.circuit, sum(driver.in_flight.values())
            assert LIMIT_MIN <= circuit.limit <= limit_max
            assert circuit.in_flight == len(driver.in_flight) <= limit_max + PROBES_MAX + 1
            assert probes <= PROBES_MAX + 1
            assert circuit.state is not CircuitState.HALF_OPEN or probes > 0
            assert circuit.latency.expected_ms(driver.now_ms) >= 0

    @pytest.mark.slow
    @settings(max_examples=40)
    @given(st.integers(1, 8), MOVES, st.sampled_from(["succeed", "fail", "back_off", "forget"]))
    def test_there_is_always_a_way_back(self, limit_max: int, moves: list[tuple[str, int, int]], how: str) -> None:
        """Once nothing is in flight and the longest pause is over, a payment may go, if need be though it is slow."""
        driver = Driver(limit_max)
        for move in moves:
            driver.move(*move)
        for slot in list(driver.in_flight):
            driver.end(how, slot)
        later_ms = driver.now_ms + PROBE_PAUSE_MAX_MS
        assert driver.circuit.may_send(later_ms, 1, even_if_slow=True)

"""server/latency.py, as a circuit tells it of requests and polls."""

from server.circuit import PROBE_PAUSE_MIN_MS
from tests.server.routing_model import NOW_MS, SLOW_MS, answered, asleep, fresh, loaded, opened, told


class TestLatency:
    """Latency.expected_ms and is_slow: the newest thing known."""

    def test_nothing_known_is_fast(self) -> None:
        """A processor is trusted until something is heard."""
        assert fresh().latency.expected_ms(NOW_MS) == 0
        assert not fresh().latency.is_slow(NOW_MS)

    def test_the_last_answer(self) -> None:
        """What the last answer took is what the next is expected to take."""
        assert answered(250).latency.expected_ms(NOW_MS + 60_000) == 250

    def test_exactly_slow_is_not_slow(self) -> None:
        """Slow is longer than `slow_ms`."""
        assert not answered(SLOW_MS).latency.is_slow(NOW_MS)
        assert answered(SLOW_MS + 1).latency.is_slow(NOW_MS)
        assert not told(fresh(), SLOW_MS).latency.is_slow_by_poll(NOW_MS)
        assert told(fresh(), SLOW_MS + 1).latency.is_slow_by_poll(NOW_MS)

    def test_the_age_of_the_oldest_in_flight(self) -> None:
        """A slow-down is seen long before its answer is there."""
        circuit = answered(5)
        circuit.begin(1, NOW_MS)
        circuit.begin(2, NOW_MS + 900)
        assert circuit.latency.expected_ms(NOW_MS + 3) == 5
        assert not circuit.latency.is_slow(NOW_MS + SLOW_MS)
        assert circuit.latency.is_slow(NOW_MS + SLOW_MS + 1)

    def test_an_age_says_nothing_once_a_newer_request_was_answered(self) -> None:
        """One straggler does not make a processor slow that answers all others."""
        circuit = answered(5)
        circuit.begin(1, NOW_MS)
        circuit.begin(2, NOW_MS + 1)
        circuit.succeed(2, NOW_MS + 21)
        assert circuit.latency.expected_ms(NOW_MS + 30_000) == 20
        circuit.succeed(1, NOW_MS + 30_000)
        assert circuit.latency.expected_ms(NOW_MS + 30_000) == 20

    def test_an_age_says_nothing_once_a_poll_was_heard(self) -> None:
        """Requests of a slow stage that has ended do not hide that it has."""
        circuit = told(loaded(fresh(), 3, age_ms=4000), 10)
        assert circuit.latency.expected_ms(NOW_MS + 500) == 10

    def test_a_request_begun_with_the_poll_counts(self) -> None:
        """What is begun at the moment of the poll is as new as the poll."""
        circuit = told(fresh(), 10)
        circuit.begin(1, NOW_MS)
        assert circuit.latency.expected_ms(NOW_MS + 700) == 700
        circuit.succeed(1, NOW_MS + 800)
        assert circuit.latency.expected_ms(NOW_MS + 900) == 800

    def test_a_failure_says_nothing_of_it(self) -> None:
        """Failing fast is not being fast."""
        circuit = answered(2000)
        circuit.begin(1, NOW_MS)
        circuit.fail(1, NOW_MS + 1)
        assert circuit.latency.expected_ms(NOW_MS + 1) == 2000
        assert circuit.latency.expected_ms(NOW_MS + 9000) == 2000  # nor is it under way any more

    def test_an_outage_ends_with_nothing_known(self) -> None:
        """A probe may have slept through the end of the outage: that says nothing of those begun afterwards."""
        circuit = asleep(told(opened(ago_ms=PROBE_PAUSE_MIN_MS), 2000, failing=True), 2)
        circuit.succeed(50, NOW_MS + 2000)
        assert circuit.latency.expected_ms(NOW_MS + 2000) == 0
        circuit.succeed(51, NOW_MS + 2001)
        assert circuit.latency.expected_ms(NOW_MS + 2001) == 0
        circuit.begin(60, NOW_MS + 2010)
        assert circuit.latency.expected_ms(NOW_MS + 2030) == 20

    def test_health_ends_a_slow_down(self) -> None:
        """When the least response time is short again, payments flow at once."""
        assert not told(answered(2000), 0).latency.is_slow(NOW_MS)
        assert told(answered(5), 2000).latency.is_slow(NOW_MS)

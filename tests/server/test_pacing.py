"""The pace of a backlog."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.pacing import (
    ADAPT_EVERY_MS,
    BUCKET_MS,
    BURST,
    RATE_MAX_PER_S,
    RATE_MIN_PER_S,
    RATE_START_PER_S,
    RATE_STEP_PER_S,
    Pacer,
)


class Container:
    """A pacer in a container that is frozen whenever a test says so."""

    def __init__(self, frozen_before: int = 0) -> None:
        self.throttled_periods = frozen_before
        self.now_ms = 1000
        self.pacer = Pacer(self.now_ms, lambda: self.throttled_periods)
        self.pacer.adapt(self.now_ms)

    def adapt(self, *, freezes: int = 0, in_use_ms: int = ADAPT_EVERY_MS) -> int:
        """Adapts one period later, after `freezes`, the rate having been used for `in_use_ms`; returns the rate."""
        for ms in range(ADAPT_EVERY_MS):
            self.now_ms += 1
            if ms < in_use_ms:
                self.sent()
        self.throttled_periods += freezes
        self.pacer.adapt(self.now_ms)
        return self.pacer.rate_per_s

    def sent(self) -> int:
        """How many payments leave now."""
        return sum(self.pacer.take(self.now_ms) for _ in range(2 * BURST))

    def emptied(self) -> "Container":
        """The same, after as many payments as its bucket held."""
        while self.sent() == BURST:
            self.now_ms += 1
        return self


class TestTake:
    """Pacer.take."""

    def test_a_burst_passes_at_once(self) -> None:
        """And no more in the same millisecond; what usually gathers leaves in bursts that follow each other."""
        container = Container()
        sent = []
        for _ in range(4):
            sent += [container.sent(), container.sent()]
            container.now_ms += 1
        assert sent == [BURST, 0] * 4

    def test_tokens_come_at_the_rate(self) -> None:
        """An empty bucket gives one token per 1,000 / rate milliseconds."""
        container = Container().emptied()
        sent = []
        for _ in range(3):
            container.now_ms += 1
            sent.append(container.sent())
        assert sent == [RATE_START_PER_S // 1000] * 3

    def test_an_outage_gathers_no_more_than_a_bucket(self) -> None:
        """What piled up meanwhile leaves at the rate all the same, not as fast as can be."""
        container, sent = Container().emptied(), 0
        container.now_ms += 30_000
        for _ in range(BUCKET_MS):
            sent += container.sent()
            container.now_ms += 1
        assert sent <= 2 * BUCKET_MS * RATE_START_PER_S // 1000

    @given(st.lists(st.integers(0, 50), max_size=200), st.integers(0, 5))
    def test_never_more_than_rate_and_bucket(self, pauses_ms: list[int], adaptations: int) -> None:
        """Whatever the rhythm of asking, no more pass than bucket and rate gave, nor than a burst per millisecond."""
        container = Container()
        for _ in range(adaptations):
            container.adapt(freezes=1)
        began_ms, passed = container.now_ms, 0
        for pause_ms in pauses_ms:
            container.now_ms += pause_ms
            burst = container.sent()
            assert burst <= BURST
            passed += burst
        passed_ms, rate = container.now_ms - began_ms, container.pacer.rate_per_s
        assert passed <= (max(RATE_START_PER_S, rate) * BUCKET_MS + passed_ms * rate) // 1000
        assert passed <= BURST * (passed_ms + 1)

    @given(st.integers(0, 10), st.integers(0, 3), st.integers(0, 2 * ADAPT_EVERY_MS))
    def test_says_when_a_burst_is_there(self, adaptations: int, freezes: int, asks: int) -> None:
        """After the time it names, and not before, a whole burst may be sent."""
        container = Container()
        for _ in range(adaptations):
            container.adapt(freezes=freezes)
        for _ in range(asks):
            container.sent()
            container.now_ms += 1
        container.sent()
        wait_ms = container.pacer.wait_ms()
        container.now_ms += wait_ms - 1
        early = container.sent()
        assert early < BURST
        container.now_ms += 1 if not early else container.pacer.wait_ms()
        assert container.sent() == BURST


class TestAdapt:
    """Pacer.adapt."""

    def test_grows_steadily(self) -> None:
        """Without freezes the rate grows by the same step each time, up to its maximum."""
        container = Container(frozen_before=7)
        assert [container.adapt(), container.adapt()] == [
            RATE_START_PER_S + RATE_STEP_PER_S,
            RATE_START_PER_S + 2 * RATE_STEP_PER_S,
        ]
        for _ in range((RATE_MAX_PER_S - RATE_START_PER_S) // RATE_STEP_PER_S):
            container.adapt()
        assert container.pacer.rate_per_s == RATE_MAX_PER_S

    @pytest.mark.parametrize(("in_use_ms", "steps"), [(0, 0), (49, 0), (50, 1)])
    def test_grows_only_if_half_of_it_is_used(self, in_use_ms: int, steps: int) -> None:
        """An outage, or a pace that is quick enough as it is, says nothing of what the container can do."""
        container = Container().emptied()
        rate = container.adapt()
        assert container.adapt(in_use_ms=in_use_ms) == rate + steps * RATE_STEP_PER_S

    def test_what_was_long_ago_is_not_in_use(self) -> None:
        """A rate that was used before an outage, in which nothing was sent, is what it was."""
        container = Container()
        container.sent()
        container.now_ms += 30_000
        container.pacer.adapt(container.now_ms)
        assert container.pacer.rate_per_s == RATE_START_PER_S

    def test_halves_on_a_freeze(self) -> None:
        """Each adaptation that finds new freezes halves the rate, down to its minimum."""
        container = Container()
        container.adapt()
        assert container.adapt(freezes=1) == (RATE_START_PER_S + RATE_STEP_PER_S) // 2
        for _ in range(30):
            container.adapt(freezes=3)
        assert container.pacer.rate_per_s == RATE_MIN_PER_S

    def test_freezes_before_the_first_adaptation_do_not_count(self) -> None:
        """Start-up freezes say nothing about payments."""
        assert Container(frozen_before=100).adapt() == RATE_START_PER_S + RATE_STEP_PER_S

    def test_adapts_once_per_period(self) -> None:
        """Called more often, it does not ask for the number of freezes."""
        container = Container()
        container.adapt()
        container.throttled_periods += 1
        for _ in range(10):
            container.pacer.adapt(container.now_ms + ADAPT_EVERY_MS - 1)
        assert container.pacer.rate_per_s == RATE_START_PER_S + RATE_STEP_PER_S

"""The pace of a backlog."""

from hypothesis import given
from hypothesis import strategies as st

from server.pacing import BURST, RATE_MAX, RATE_MIN, RATE_START, RATE_STEP, Pacer


class TestTake:
    """Pacer.take."""

    def test_a_burst_passes_at_once(self) -> None:
        """A full bucket holds a burst and no more."""
        pacer = Pacer(1000)
        assert sum(pacer.take(1000) for _ in range(BURST + 10)) == BURST

    def test_tokens_come_at_the_rate(self) -> None:
        """An empty bucket gives one token per 1,000 / rate milliseconds."""
        pacer = Pacer(0)
        while pacer.take(0):
            pass
        assert [pacer.take(1), pacer.take(1), pacer.take(2)] == [True, False, True]

    @given(st.lists(st.integers(0, 50), max_size=200), st.integers(0, 5))
    def test_never_more_than_rate_and_burst(self, pauses_ms: list[int], freezes: int) -> None:
        """Whatever the rhythm of asking, no more pass than the bucket held and the rate gave."""
        pacer = Pacer(0)
        for count in range(freezes + 1):
            pacer.look(count)
        now_ms = passed = 0
        for pause_ms in pauses_ms:
            now_ms += pause_ms
            passed += sum(pacer.take(now_ms) for _ in range(100))
        assert passed <= BURST + now_ms * pacer.rate // 1000


class TestLook:
    """Pacer.look."""

    def test_grows_steadily(self) -> None:
        """Without freezes the rate grows by the same step up to its maximum."""
        pacer = Pacer(0)
        pacer.look(7)
        pacer.look(7)
        assert pacer.rate == RATE_START + 2 * RATE_STEP
        for _ in range(1000):
            pacer.look(7)
        assert pacer.rate == RATE_MAX

    def test_halves_on_a_freeze(self) -> None:
        """Each look that finds new freezes halves the rate, down to its minimum."""
        pacer = Pacer(0)
        pacer.look(1)
        pacer.look(2)
        assert pacer.rate == (RATE_START + RATE_STEP) // 2
        for count in range(3, 30):
            pacer.look(count)
        assert pacer.rate == RATE_MIN

    def test_freezes_before_the_first_look_do_not_count(self) -> None:
        """Start-up freezes say nothing about payments."""
        pacer = Pacer(0)
        pacer.look(100)
        assert pacer.rate == RATE_START + RATE_STEP

"""How fast payments are sent: at the usual pace they are hardly held up, a backlog leaves at a limited rate.

A token bucket: each payment uses up one token. The rate at which tokens come grows steadily while it is used and the
container is not frozen; it is halved when the container was frozen for using up its CPU quota. (That is additive
increase, multiplicative decrease: RFC 5681's answer to the same question, how much of an unknown capacity to use. A
rate that is not used says nothing of the capacity: RFC 7661.) So a backlog leaves at first at a rate that was good
before. The bucket holds the tokens of `BUCKET_MS`, enough for what gathers in that time: only a backlog is held up.

Payments are sent in bursts, one per millisecond, because a burst occupies two cores: the dispatcher's own and that of
the processor that answers. On a machine with two cores a client waits as long as a burst lasts. Web workers need no
smaller bursts: the dispatcher offers its core to others between any two payments (`server/yielding.py`).

Pure, but for the number of freezes, which a function tells.
"""

from collections.abc import Callable

RATE_START_PER_S = 1000  # payments per second; a backlog of the contest's longest outage is gone in seconds
RATE_MIN_PER_S = 100  # a frozen instance must still pay
RATE_MAX_PER_S = 8000  # more than one dispatcher can pay
RATE_STEP_PER_S = 100  # added at each adaptation, if at least half of the rate was used since the last one
ADAPT_EVERY_MS = 100  # the period of the kernel's bandwidth control
GATHER_MS = 200  # while payments keep coming the dispatcher takes them this often: one wake-up for several
BUCKET_MS = GATHER_MS  # the bucket holds what the rate gives in this time: what has gathered leaves at once
BURST = 8  # payments that may be sent within a millisecond: they take about half of it
_MS_PER_S = 1000


class Pacer:
    """The pace of one dispatcher.

    Args:
        now_ms: now.
        throttled_periods: tells how often the container has been frozen so far.
    """

    def __init__(self, now_ms: int, throttled_periods: Callable[[], int]) -> None:
        """Begins with a full bucket."""
        self.rate_per_s = RATE_START_PER_S
        self._milli_tokens = RATE_START_PER_S * BUCKET_MS  # thousandths of a token: no floats, no rounding
        self._filled_at_ms = now_ms
        self._burst_left = BURST  # in this millisecond
        self._throttled_periods = throttled_periods
        self._throttled: int | None = None
        self._adapted_at_ms = now_ms - ADAPT_EVERY_MS
        self._taken = 0  # tokens, since then

    def take(self, now_ms: int) -> bool:
        """Uses up one token; False if there is none yet, or the burst of this millisecond is over."""
        if now_ms != self._filled_at_ms:
            self._milli_tokens += (now_ms - self._filled_at_ms) * self.rate_per_s
            self._milli_tokens = min(self._milli_tokens, self.rate_per_s * BUCKET_MS)
            self._filled_at_ms = now_ms
            self._burst_left = BURST
        if self._milli_tokens < _MS_PER_S or not self._burst_left:
            return False
        self._milli_tokens -= _MS_PER_S
        self._burst_left -= 1
        self._taken += 1
        return True

    def wait_ms(self) -> int:
        """After `take` has said no: in how many milliseconds a whole burst may be sent."""
        return max(-(-(BURST * _MS_PER_S - self._milli_tokens) // self.rate_per_s), 1)

    def adapt(self, now_ms: int) -> None:
        """Adapts the rate, ten times a second at most; called while something waits."""
        passed_ms = now_ms - self._adapted_at_ms
        if passed_ms < ADAPT_EVERY_MS:
            return
        throttled = self._throttled_periods()
        if self._throttled is not None and throttled > self._throttled:
            self.rate_per_s = max(self.rate_per_s // 2, RATE_MIN_PER_S)
        elif 2 * self._taken * _MS_PER_S >= self.rate_per_s * passed_ms:
            self.rate_per_s = min(self.rate_per_s + RATE_STEP_PER_S, RATE_MAX_PER_S)
        self._throttled = throttled
        self._adapted_at_ms = now_ms
        self._taken = 0

"""How fast payments leave: what comes in at the usual pace is hardly held up, a backlog leaves at a set rate.

Pure but for the count of freezes, which is asked for. A token per payment; tokens come at a rate that grows steadily
while it is used and all is well, and is halved when the container was frozen for using up its CPU quota (additive
increase, multiplicative decrease: RFC 5681's answer to the same question of how much of an unknown capacity to use;
what was not used says nothing of the capacity: RFC 7661). So a backlog leaves at first at a rate that was good before.
The bucket holds what gathers at that rate: only a backlog is held up. What leaves does so in bursts, one per
millisecond, because a burst occupies two cores: the dispatcher's own and that of the processor that answers. On a
machine of two a client then waits as long as it lasts.

Web workers need no more than that: the core is given away between any two payments (`server/yielding.py`).
"""

from collections.abc import Callable

RATE_START_PER_S = 1000  # payments per second; a backlog of the contest's longest outage is gone in seconds
RATE_MIN_PER_S = 100  # a frozen instance must still pay
RATE_MAX_PER_S = 8000  # above what one dispatcher can do
RATE_STEP_PER_S = 100  # added each time, if at least half of the rate was used since the last
ADAPT_EVERY_MS = 100  # the period of the kernel's bandwidth control
GATHER_MS = 200  # while payments keep coming the dispatcher takes them this often: one wake-up for several
BUCKET_MS = GATHER_MS  # of the rate: what has gathered leaves at once
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
        self._taken = 0  # since then

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

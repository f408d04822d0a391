"""How fast a backlog is worked off: pure. What comes in at the usual pace is never held up.

A token per payment; tokens come at a rate that grows steadily while all is well and is halved when the container was
frozen for using up its CPU quota (additive increase, multiplicative decrease: RFC 5681's answer to the same question of
how much of an unknown capacity to use). A full bucket lets short bursts through at once.
"""

RATE_START = 1000  # payments per second; a backlog of the contest's longest outage is gone in seconds
RATE_MIN = 100  # a frozen instance must still pay
RATE_MAX = 8000  # above what one dispatcher can do
RATE_STEP = 100  # added per look, ten of them a second
BURST = 64  # payments that may be sent at once
_MS_PER_S = 1000


class Pacer:
    """The pace of one dispatcher."""

    def __init__(self, now_ms: int) -> None:
        """A full bucket."""
        self.rate = RATE_START
        self._milli_tokens = BURST * _MS_PER_S  # thousandths of a token: no floats, no rounding
        self._filled_at_ms = now_ms
        self._throttled: int | None = None

    def take(self, now_ms: int) -> bool:
        """Uses up one token; False if there is none yet."""
        self._milli_tokens += (now_ms - self._filled_at_ms) * self.rate
        self._milli_tokens = min(self._milli_tokens, BURST * _MS_PER_S)
        self._filled_at_ms = now_ms
        if self._milli_tokens < _MS_PER_S:
            return False
        self._milli_tokens -= _MS_PER_S
        return True

    def look(self, throttled_periods: int) -> None:
        """Called about ten times a second with the number of frozen periods so far: adapts the rate."""
        frozen = self._throttled is not None and throttled_periods > self._throttled
        self._throttled = throttled_periods
        if frozen:
            self.rate = max(self.rate // 2, RATE_MIN)
        else:
            self.rate = min(self.rate + RATE_STEP, RATE_MAX)

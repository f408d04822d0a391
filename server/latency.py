"""How long an answer of one processor is expected to take: pure. Time is an argument, in `Clock`'s ticks_ms.

The expected latency is the newest of what is known: the last answer, the last health poll, or the age of the oldest
request in flight, which tells of a slow-down long before its answer does.
"""

HEALTH_FRESH_MS = 11_000  # twice the 5.3 s between polls, and a little: an older poll says nothing


class Latency:
    """What is known of one processor's latency.

    Args:
        slow_ms: a processor whose answers take longer is slow.
    """

    def __init__(self, slow_ms: int) -> None:
        """Begins with nothing known: it is trusted to be fast."""
        self._slow_ms = slow_ms
        self._timed: dict[int, int] = {}  # requests in flight whose age may say more than `_known_ms`, oldest first
        self._known_ms = 0  # what the newest answer or poll has told
        self._known_since_ms = -1  # when the request or poll that `_known_ms` comes from was begun
        self._polled_at_ms: int | None = None

    def expected_ms(self, now_ms: int) -> int:
        """How long an answer is expected to take."""
        while self._timed:
            slot, begun_ms = next(iter(self._timed.items()))
            if begun_ms >= self._known_since_ms:
                return max(self._known_ms, now_ms - begun_ms)
            del self._timed[slot]  # a newer request or poll has told more than its age can
        return self._known_ms

    def is_slow(self, now_ms: int) -> bool:
        """Whether an answer is expected to take longer than `slow_ms`."""
        return self.expected_ms(now_ms) > self._slow_ms

    def is_slow_by_poll(self, now_ms: int) -> bool:
        """Whether the last answer or poll was slow, and polls are fresh: the next one will tell when that is over."""
        is_fresh = self._polled_at_ms is not None and now_ms - self._polled_at_ms <= HEALTH_FRESH_MS
        return is_fresh and self._known_ms > self._slow_ms

    def begin(self, slot: int, now_ms: int) -> None:
        """Notes that a request is about to be sent; its payment's table slot names it until it ends."""
        self._timed[slot] = now_ms

    def note_answer(self, slot: int, begun_ms: int, now_ms: int) -> None:
        """Notes that the request, begun at `begun_ms`, was answered as it should be."""
        self._timed.pop(slot, None)
        if begun_ms >= self._known_since_ms:
            self._known_ms, self._known_since_ms = now_ms - begun_ms, begun_ms

    def forget(self, slot: int) -> None:
        """Notes that the request ended in a way that tells nothing of the latency."""
        self._timed.pop(slot, None)

    def note_poll(self, response_ms_min: int, now_ms: int) -> None:
        """Takes in what a health poll says."""
        self._polled_at_ms = self._known_since_ms = now_ms
        self._known_ms = response_ms_min

    def unlearn(self, now_ms: int) -> None:
        """Forgets what has been known until now."""
        self._known_ms, self._known_since_ms = 0, now_ms

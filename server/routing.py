"""Which processor a payment goes to next: pure, from what is known of both. Time is an argument, in ms UTC-free ticks.

What is known of one processor is its `Circuit`:

* **closed**: payments flow, up to `limit` at once. A failure seen in passing opens it. `limit` starts small after
  an outage and grows by one per success, so it doubles per round trip (slow start, RFC 5681) up to its maximum.
* **open**: nothing flows but one probe at a time, a real payment, after a pause that doubles from 0.1 s to 1 s with
  each probe that fails. A probe goes to a processor known to be slow only when there is no other way left: its answer
  would come too late to be told exactly.
* **half-open**: the probe is under way. Success closes the circuit, failure opens it again.

A processor that says it has too much to do (429) gets half as many at once; with nothing left to halve its circuit
opens too, or the only payment there would be sent again and again without a pause.

Its expected latency is the newest thing known: the last answer, the last health poll, or the age of the oldest request
in flight, which tells of a slow-down long before its answer does.
"""

from enum import Enum, unique
from typing import NamedTuple

PROBE_PAUSE_MIN_MS = 100  # an outage costs ten failed calls a second at first
PROBE_PAUSE_MAX_MS = 1000  # and one later; a recovery is noticed within a second
LIMIT_AFTER_OUTAGE = 4
HEALTH_FRESH_MS = 11_000  # two polls of 5.1 s and a little: older news says nothing
LIMIT_MIN = 1


class Policy(NamedTuple):
    """The numbers of the routing decision.

    Args:
        cheap: index of the cheaper processor.
        dear: index of the other.
        wait_ms: how long a payment waits for the cheaper one before a healthy dearer one takes it.
        slow_ms: a processor expected to take longer than this is slow.
        in_flight_max: requests at once per processor.
    """

    cheap: int
    dear: int
    wait_ms: int
    slow_ms: int
    in_flight_max: int


def make_policy(fees_bp: tuple[int, int], wait_ms_per_fee_point: int, slow_ms: int, in_flight_max: int) -> Policy:
    """The policy for two processors with these fees, in hundredths of a percent."""
    cheap = 0 if fees_bp[0] <= fees_bp[1] else 1
    points_bp = abs(fees_bp[1] - fees_bp[0])
    return Policy(cheap, 1 - cheap, wait_ms_per_fee_point * points_bp // 100, slow_ms, in_flight_max)


@unique
class CircuitState(Enum):
    """Whether payments flow to a processor."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Circuit:
    """What is known of one processor, and how many payments may go there.

    Args:
        limit_max: requests at once.
        slow_ms: slower than this is slow.
    """

    def __init__(self, limit_max: int, slow_ms: int) -> None:
        """Closed, nothing known."""
        self.state = CircuitState.CLOSED
        self.limit = limit_max
        self.retry_at_ms = 0
        self._limit_max = limit_max
        self._slow_ms = slow_ms
        self._pause_ms = PROBE_PAUSE_MIN_MS
        self._probe: int | None = None
        self._begun: dict[int, int] = {}  # token of each request in flight -> when it began, oldest first
        self._timed: dict[int, int] = {}  # the same without those whose age says nothing any more
        self._expected_ms = 0
        self._known_since_ms = -1  # when the request or poll that `_expected_ms` comes from was begun
        self._health_at_ms: int | None = None

    @property
    def in_flight(self) -> int:
        """Requests begun and not ended."""
        return len(self._begun)

    def latency_ms(self, now_ms: int) -> int:
        """How long an answer is expected to take."""
        while self._timed:
            token, begun_ms = next(iter(self._timed.items()))
            if begun_ms >= self._known_since_ms:
                return max(self._expected_ms, now_ms - begun_ms)
            del self._timed[token]  # a newer request or poll has told more than its age can
        return self._expected_ms

    def is_slow(self, now_ms: int) -> bool:
        """Whether an answer is expected to take longer than `slow_ms`."""
        return self.latency_ms(now_ms) > self._slow_ms

    def has_room(self) -> bool:
        """Whether a payment may go there in the ordinary way."""
        return self.state is CircuitState.CLOSED and len(self._begun) < self.limit

    def may_probe(self, now_ms: int, *, though_slow: bool = False) -> bool:
        """Whether one payment may try it although the circuit is open, or although it was slow when last heard of.

        Args:
            now_ms: now.
            though_slow: even though a health poll says that it is slow now.
        """
        if self._probe is not None or (self._is_known_slow(now_ms) and not though_slow):
            return False
        if self.state is CircuitState.OPEN:
            return now_ms >= self.retry_at_ms
        return self.state is CircuitState.CLOSED and not self._begun

    def _is_known_slow(self, now_ms: int) -> bool:
        """Whether a fresh health poll says that it is slow, and nothing newer says otherwise."""
        fresh = self._health_at_ms is not None and now_ms - self._health_at_ms <= HEALTH_FRESH_MS
        return fresh and self._expected_ms > self._slow_ms

    def begin(self, token: int, now_ms: int) -> None:
        """A request is about to be sent; `token` names it until it ends."""
        self._begun[token] = self._timed[token] = now_ms
        if self.state is CircuitState.OPEN:
            self.state = CircuitState.HALF_OPEN
            self._probe = token

    def succeed(self, token: int, now_ms: int) -> None:
        """The request was answered as it should be."""
        begun_ms = self._end(token)
        if begun_ms >= self._known_since_ms:
            self._learn(now_ms - begun_ms, begun_ms)
        if self.state is CircuitState.CLOSED:
            self.limit = min(self.limit + 1, self._limit_max)
        elif token == self._probe or self.state is CircuitState.OPEN:
            self._close()

    def fail(self, token: int, now_ms: int) -> None:
        """The request failed: a sure no, or no clear answer."""
        self._end(token)
        self._trip(token, now_ms)

    def refuse(self, token: int, now_ms: int) -> None:
        """The processor has too much to do (429): fewer at once, and a pause when there were no more than one."""
        self._end(token)
        if self.state is CircuitState.CLOSED and self.limit > LIMIT_MIN:
            self.limit = max(min(self.limit, len(self._begun) + 1) // 2, LIMIT_MIN)
        else:
            self._trip(token, now_ms)

    def forget(self, token: int) -> None:
        """The request ended in a way that says nothing about the processor."""
        self._end(token)
        if token == self._probe:
            self._probe = None
            self.state = CircuitState.OPEN

    def hear_health(self, *, failing: bool, response_ms_min: int, now_ms: int) -> None:
        """A health poll's news, new to this dispatcher."""
        self._health_at_ms = now_ms
        self._learn(response_ms_min, now_ms)
        if failing and self.state is CircuitState.CLOSED:
            self._pause_ms = PROBE_PAUSE_MIN_MS
            self._open(now_ms)
        elif not failing and self.state is CircuitState.OPEN:
            self.retry_at_ms = now_ms

    def _learn(self, latency_ms: int, since_ms: int) -> None:
        self._expected_ms = latency_ms
        self._known_since_ms = since_ms

    def _end(self, token: int) -> int:
        self._timed.pop(token, None)
        return self._begun.pop(token)

    def _trip(self, token: int, now_ms: int) -> None:
        """Opens the circuit after a failure, for longer if it was the probe's; of others it is news no more."""
        if self.state is CircuitState.CLOSED:
            self._pause_ms = PROBE_PAUSE_MIN_MS
            self._open(now_ms)
        elif token == self._probe:
            self._pause_ms = min(self._pause_ms * 2, PROBE_PAUSE_MAX_MS)
            self._open(now_ms)

    def _open(self, now_ms: int) -> None:
        self.state = CircuitState.OPEN
        self._probe = None
        self.retry_at_ms = now_ms + self._pause_ms

    def _close(self) -> None:
        self.state = CircuitState.CLOSED
        self._probe = None
        self._pause_ms = PROBE_PAUSE_MIN_MS
        self.limit = min(LIMIT_AFTER_OUTAGE, self._limit_max)


class Router(NamedTuple):
    """The routing decision.

    Args:
        circuits: of the default and the fallback processor.
        policy: the numbers.
    """

    circuits: tuple[Circuit, Circuit]
    policy: Policy

    def choose(self, waited_ms: int, now_ms: int) -> int | None:
        """The index of the processor a waiting payment goes to now, or None: it waits on.

        Args:
            waited_ms: how long ago the payment was accepted.
            now_ms: now, on the circuits' clock.

        | cheaper processor | payment goes to |
        | --- | --- |
        | closed, fast, room | the cheaper |
        | open, its probe due | the cheaper, as the probe |
        | slow | the dearer at once, as below if it can't |
        | anything else (open, full, reopening gently) | waits `wait_ms` for the cheaper, then the dearer |
        | the same, and the dearer can't | whichever is faster, of those that have room or may be probed though slow |

        The dearer *can* if it is closed, fast and has room, or as the probe if that is due.
        """
        policy = self.policy
        cheap, dear = self.circuits[policy.cheap], self.circuits[policy.dear]
        cheap_slow = cheap.is_slow(now_ms)
        if (not cheap_slow and cheap.has_room()) or cheap.may_probe(now_ms):
            return policy.cheap
        patient = waited_ms < policy.wait_ms
        if patient and not cheap_slow:
            return None
        if (not dear.is_slow(now_ms) and dear.has_room()) or dear.may_probe(now_ms):
            return policy.dear
        if patient:
            return None
        able = [
            index
            for index in (policy.cheap, policy.dear)
            if self.circuits[index].has_room() or self.circuits[index].may_probe(now_ms, though_slow=True)
        ]
        return min(able, key=lambda index: self.circuits[index].latency_ms(now_ms), default=None)

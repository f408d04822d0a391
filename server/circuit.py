"""A circuit breaker and concurrency limit for one processor: pure. Time is an argument, in `Clock`'s ticks_ms.

A `Circuit` is

* **closed**: payments flow, up to `limit` at once. A failed request, or a health poll that says *failing*, opens it.
  `limit` starts small after an outage and grows by one per success, so it doubles per round trip (slow start, RFC
  5681) up to its maximum.
* **open**: nothing is sent but probes. A probe is a real payment, sent after a pause that doubles from 0.1 s to 0.5 s
  with each probe that fails. If a fresh health poll says *slow* there is no probe, as its answer would come too late
  for an exact summary, with two exceptions: it may make the dearer processor unnecessary (`may_probe_out_of_turn`), or
  no other processor can take the payment.
* **half-open**: the newest probe is under way; if it fails, the circuit is open again. If it has no answer after
  `PROBE_AGAIN_MS` another may follow, as the first may sleep until long after the outage.

A probe without a clear answer (a proxy's 502, a reset) leaves its payment unknown: it belongs to this processor from
then on, though the other one would pay it. Unknown payments are asked about all the time, and one that is paid ends the
outage as a probe would. So the more of them there are, the rarer are the probes, as long as these get no clear answer.
A sure no binds nothing: after it probes are as frequent as ever, whatever is still unknown from before.

Any success ends an outage, whenever its request was begun. How long that request took tells nothing, as it may have
slept through the outage: the latency has to be learned anew.

A processor that says it has too much to do (429) is sent half as many payments at once. If `limit` can't be halved any
more its circuit opens too, or the only payment there would be sent again and again without a pause.
"""

from enum import Enum, unique

from server.clock import LONG_AGO_MS
from server.latency import Latency

PROBE_PAUSE_MIN_MS = 100  # an outage costs ten failed calls a second at first
PROBE_PAUSE_MAX_MS = 500  # and two later; a recovery is noticed within half a second
PROBE_AGAIN_MS = 500  # a recovery is noticed as soon where calls sleep before they fail
PROBES_MAX = 4  # probes that may be asleep in the processor at once: each of them is paid late
UNKNOWN_FEW = 8  # for every so many unknown payments, the pause between probes is at least PROBE_PAUSE_MAX_MS longer
UNKNOWN_PAUSE_MAX_MS = 60_000  # a day of such an outage leaves 2,000 of a dispatcher's payments unknown, not 170,000
LIMIT_AFTER_OUTAGE = 4
LIMIT_MIN = 1


@unique
class CircuitState(Enum):
    """Whether payments flow to a processor."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Circuit:
    """A circuit breaker and concurrency limit for one processor.

    Args:
        limit_max: most requests at once, in the ordinary way.
        slow_ms: a processor whose answers take longer is slow.

    Attributes:
        state: as above.
        limit: payments that may be sent at once, in the ordinary way.
        latency: how long an answer is expected to take.
        unknown: how many unknown payments belong to this processor; counted by `Unknowns`.
        probe_at_ms: when another probe is due, in an outage.
        recovered_at_ms: when a probe, or an unknown payment that was paid, ended the last outage.
    """

    def __init__(self, limit_max: int, slow_ms: int) -> None:
        """Begins closed, with nothing known."""
        self.state = CircuitState.CLOSED
        self.limit = limit_max
        self.latency = Latency(slow_ms)
        self.unknown = 0
        self.probe_at_ms = 0
        self.recovered_at_ms = LONG_AGO_MS
        self._limit_max = limit_max
        self._limit_expected = limit_max  # what `limit` is expected to grow to: less since a 429
        self._pause_ms = PROBE_PAUSE_MIN_MS
        self._probed_at_ms = LONG_AGO_MS  # when this outage's newest probe was sent, or the outage noticed
        self._newest_probe: int | None = None
        self._is_unclear = False  # whether this outage's probe that ended last may have left its payment unknown
        self._begun: dict[int, int] = {}  # slot of each request in flight -> when it began, oldest first
        # `limit` is for ordinary payments. Not counted against it: in an outage its probes, `PROBES_MAX` and one out of
        # turn at most; afterwards what was in flight when it ended, which counts against `_limit_max` alone.
        self._uncounted = set[int]()

    @property
    def in_flight(self) -> int:
        """Requests begun and not ended."""
        return len(self._begun)

    def has_room(self) -> bool:
        """Whether a payment may go there in the ordinary way."""
        room = min(self.limit + len(self._uncounted), self._limit_max)
        return self.state is CircuitState.CLOSED and len(self._begun) < room

    def may_probe(self, now_ms: int, probes_max: int, *, even_if_slow: bool = False) -> bool:
        """Whether one payment may go there as a probe.

        In an outage: once a probe is due and fewer than `probes_max` are under way. It is due the later, the more
        payments are unknown there, if the last probe got no clear answer. When it is closed: only if nothing is in
        flight. Never while it is slow and fresh health polls tell when that is over, unless `even_if_slow`.
        """
        if self.latency.is_slow_by_poll(now_ms) and not even_if_slow:
            return False
        if self.state is CircuitState.CLOSED:
            return not self._begun
        is_due = now_ms >= max(self.probe_at_ms, self._probed_at_ms + self._pause_for_unknown_ms())
        return is_due and self._has_room_for_probe(probes_max)

    def may_probe_out_of_turn(self, since_ms: int) -> bool:
        """Whether it may be probed out of turn: its outage was noticed, and probed last, before `since_ms`, and unknown
        payments put no probe off.
        """
        is_overdue = self.state is not CircuitState.CLOSED and self._probed_at_ms < since_ms
        # One probe more than usual, as the others may all be asleep.
        return is_overdue and not self._pause_for_unknown_ms() and self._has_room_for_probe(PROBES_MAX + 1)

    def _pause_for_unknown_ms(self) -> int:
        if not self._is_unclear:
            return 0
        return min(self.unknown // UNKNOWN_FEW * PROBE_PAUSE_MAX_MS, UNKNOWN_PAUSE_MAX_MS)

    def _has_room_for_probe(self, probes_max: int) -> bool:
        return len(self._uncounted) < probes_max and len(self._begun) < self._limit_max + probes_max

    def may_send(self, now_ms: int, probes_max: int, *, even_if_slow: bool = False) -> bool:
        """Whether a payment may go there, as a probe (with the arguments of `may_probe`) or in the ordinary way."""
        in_ordinary_way = self.has_room() and (even_if_slow or not self.latency.is_slow(now_ms))
        return in_ordinary_way or self.may_probe(now_ms, probes_max, even_if_slow=even_if_slow)

    def drain_estimate_ms(self, backlog: int, now_ms: int) -> int:
        """How long it may take until `backlog` more payments are paid. Only for a closed circuit without room.

        They go in rounds of `limit`. While that doubles with each round, as many rounds are enough as the number
        `backlog // limit` has bits; once it has grown, `backlog // _limit_expected`. Both are added. A round takes as
        long as an answer, and at least as long as no request has begun: after a health poll, `latency` may not show
        that requests hang.
        """
        rounds = 1 + (backlog // self.limit).bit_length() + backlog // self._limit_expected
        stalled_ms = now_ms - next(reversed(self._begun.values()))
        return rounds * max(self.latency.expected_ms(now_ms), stalled_ms, 1)

    def begin(self, slot: int, now_ms: int) -> None:
        """Notes that a request is about to be sent; its payment's table slot names it until it ends."""
        self._begun[slot] = now_ms
        self.latency.begin(slot, now_ms)
        if self.state is not CircuitState.CLOSED:
            self.state = CircuitState.HALF_OPEN
            self._newest_probe = slot
            self._uncounted.add(slot)
            self._probed_at_ms = now_ms
            self.probe_at_ms = now_ms + PROBE_AGAIN_MS

    def succeed(self, slot: int, now_ms: int) -> None:
        """Notes that the request was answered as it should be."""
        was_probe = self.state is not CircuitState.CLOSED and slot in self._uncounted
        self._uncounted.discard(slot)
        self.latency.note_answer(slot, self._begun.pop(slot), now_ms)
        if self.state is CircuitState.CLOSED:
            self.limit = min(self.limit + 1, self._limit_max)
            self._limit_expected = max(self._limit_expected, self.limit)
        else:
            self._close(now_ms)
        if was_probe:  # else it was begun before the failure, which came alone: there was no outage to recover from
            self.recovered_at_ms = now_ms

    def fail(self, slot: int, now_ms: int, *, is_unclear: bool = False) -> None:
        """Notes that the request failed: a sure no, or (`is_unclear`) no clear answer."""
        self._note_probe(slot, is_unclear=is_unclear)
        self._end(slot)
        self._trip(slot, now_ms)

    def back_off(self, slot: int, now_ms: int) -> None:
        """Sends less to a processor that has too much to do (429): fewer at once; if it is one, none for a while."""
        self._note_probe(slot, is_unclear=False)
        self._end(slot)
        if self.state is CircuitState.CLOSED and self.limit > LIMIT_MIN:
            self.limit = max(min(self.limit, len(self._begun) + 1) // 2, LIMIT_MIN)
            self._limit_expected = self.limit
        else:
            self._trip(slot, now_ms)

    def forget(self, slot: int) -> None:
        """Notes that the request ended in a way that says nothing about the processor (422: or about the payment)."""
        self._note_probe(slot, is_unclear=True)
        self._end(slot)
        if slot == self._newest_probe:
            self.state = CircuitState.OPEN
            self.probe_at_ms = self._probed_at_ms  # in the past: only unknown payments put the next probe off

    def note_paid(self, now_ms: int) -> None:
        """Notes that an unknown payment, sent there again, was paid just now."""
        if self.state is not CircuitState.CLOSED:
            self._close(now_ms)
            self.recovered_at_ms = now_ms

    def note_health(self, *, failing: bool, response_ms_min: int, now_ms: int) -> None:
        """Takes in the result of a health poll that is new to this dispatcher."""
        self.latency.note_poll(response_ms_min, now_ms)
        if not failing:
            self.probe_at_ms = now_ms
        elif self.state is CircuitState.CLOSED:
            self._trip(None, now_ms)

    def _note_probe(self, slot: int, *, is_unclear: bool) -> None:
        if slot in self._uncounted:
            self._is_unclear = is_unclear

    def _end(self, slot: int) -> None:
        """Drops a request that tells nothing of the latency."""
        del self._begun[slot]
        self._uncounted.discard(slot)
        self.latency.forget(slot)

    def _trip(self, slot: int | None, now_ms: int) -> None:
        """Begins an outage, or makes its pause longer if its newest probe failed; any other failure changes nothing.

        Args:
            slot: of the request that failed; None for a health poll.
            now_ms: now.
        """
        if self.state is CircuitState.CLOSED:
            self._pause_ms = PROBE_PAUSE_MIN_MS
            self._probed_at_ms = now_ms
            self._is_unclear = False  # no probe has failed yet
            self._uncounted.clear()
        elif slot == self._newest_probe:
            self._pause_ms = min(self._pause_ms * 2, PROBE_PAUSE_MAX_MS)
        else:
            return
        self.state = CircuitState.OPEN
        self._newest_probe = None
        self.probe_at_ms = now_ms + self._pause_ms

    def _close(self, now_ms: int) -> None:
        """Ends an outage."""
        self.state = CircuitState.CLOSED
        self._newest_probe = None
        self._uncounted = set(self._begun)
        self.limit = min(LIMIT_AFTER_OUTAGE, self._limit_max)
        self._limit_expected = self._limit_max
        self.latency.unlearn(now_ms)

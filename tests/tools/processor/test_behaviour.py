"""Tests of tools/processor/behaviour.py, on a clock of their own."""

import heapq
from collections.abc import Callable
from itertools import count
from typing import Any
from uuid import UUID

import pytest

from tools.processor.api import Request, Settings
from tools.processor.behaviour import Exchange, Processor
from tools.processor.limits import RunningLimit

JSON = b"application/json"
AT = b"2025-07-15T12:34:56.789Z"


class FakeTime:
    """A clock that stands still until it is moved, and its timers."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self._timers: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._numbers = count()

    def clock(self) -> float:
        """The time in seconds."""
        return self.now_s

    def call_later(self, delay_s: float, callback: Callable[..., object], *arguments: object) -> None:
        """Call back once the clock has moved on by `delay_s`."""
        heapq.heappush(self._timers, (self.now_s + delay_s, next(self._numbers), callback, arguments))

    def advance(self, seconds: float) -> None:
        """Move the clock, calling what falls due on the way."""
        end_s = self.now_s + seconds
        while self._timers and self._timers[0][0] <= end_s:
            self.now_s, _, callback, arguments = heapq.heappop(self._timers)
            callback(*arguments)
        self.now_s = end_s


class FakeExchange:
    """A request that remembers its status."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.answers: list[int] = []

    def answer(self, answer: bytes) -> None:
        """Note the answer's status."""
        self.answers.append(int(answer.split(b" ", 2)[1]))


def payment(number: int = 0, at: bytes = AT) -> FakeExchange:
    """A payment with an id of its own."""
    body = b'{"correlationId":"%b","amount":19.90,"requestedAt":"%b"}' % (str(UUID(int=number)).encode(), at)
    return FakeExchange(Request(b"POST", b"/payments", body, JSON))


def look_up(number: int) -> FakeExchange:
    """A look-up of one payment."""
    return FakeExchange(Request(b"GET", b"/payments/" + str(UUID(int=number)).encode()))


def health() -> FakeExchange:
    """A question for the health."""
    return FakeExchange(Request(b"GET", b"/payments/service-health"))


@pytest.fixture
def time() -> FakeTime:
    """A clock."""
    return FakeTime()


@pytest.fixture
def processor(time: FakeTime) -> Processor:
    """A processor on that clock."""
    return Processor(Settings(), clock=time.clock, call_later=time.call_later)


def begin(processor: Processor, *exchanges: FakeExchange) -> list[FakeExchange]:
    """Hand requests in, one after the other."""
    for exchange in exchanges:
        processor.begin(exchange)
    return list(exchanges)


class TestPayments:
    """A payment's way."""

    def test_without_a_delay_it_is_answered_at_once(self, processor: Processor) -> None:
        """Stored and answered within `begin`; the same id again is a 422."""
        first, again = begin(processor, payment(), payment(at=b"2030-01-01T00:00:00Z"))
        assert (first.answers, again.answers) == ([200], [422])
        assert processor.payments_limit.running == 0

    def test_the_delay_comes_before_the_row(self, processor: Processor, time: FakeTime) -> None:
        """Until it is over nothing is stored, and two of one id race to the end of their sleep."""
        processor.settings.delay_ms = 100
        first, second = begin(processor, payment(), payment())
        time.advance(0.0999)
        assert (first.answers, second.answers, len(processor.store)) == ([], [], 0)
        time.advance(0.0002)
        assert (first.answers, second.answers, len(processor.store)) == ([200], [422], 1)

    def test_the_delay_is_that_of_the_start(self, processor: Processor, time: FakeTime) -> None:
        """A change while it sleeps neither wakes it nor keeps it longer."""
        processor.settings.delay_ms = 5_000
        slow = payment(1)
        processor.begin(slow)
        processor.settings.delay_ms = 0
        quick = payment(2)
        processor.begin(quick)
        assert (slow.answers, quick.answers) == ([], [200])
        processor.settings.delay_ms = 60_000
        time.advance(5.0)
        assert slow.answers == [200]

    def test_the_failing_flag_is_that_of_the_end(self, processor: Processor, time: FakeTime) -> None:
        """Sent to a failing processor, stored by a healthy one five seconds later; and the other way round."""
        processor.settings.delay_ms = 5_000
        processor.settings.failing = True
        early = payment(1)
        processor.begin(early)
        time.advance(3.0)
        late = payment(2)
        processor.begin(late)
        processor.settings.failing = False
        time.advance(2.0)
        assert early.answers == [200]
        processor.settings.failing = True
        time.advance(3.0)
        assert late.answers == [500]
        assert len(processor.store) == 1

    def test_a_hang_up_stops_nothing(self, processor: Processor, time: FakeTime) -> None:
        """A payment that runs is stored though its client has gone."""
        processor.settings.delay_ms = 2_000
        given_up = payment()
        processor.begin(given_up)
        processor.abandon(given_up)
        time.advance(2.0)
        assert len(processor.store) == 1

    def test_a_malformed_payment_does_not_sleep(self, processor: Processor) -> None:
        """The body is read before the delay: a 400 at once, its place given back."""
        processor.settings.delay_ms = 1_000
        bad = FakeExchange(Request(b"POST", b"/payments", b"{", JSON))
        processor.begin(bad)
        assert bad.answers == [400]
        assert processor.payments_limit.running == 0


class TestPaymentsLimit:
    """800 run, 500 wait, and what becomes of them."""

    def test_beyond_both_it_is_a_429_that_is_not_stored(self, processor: Processor, time: FakeTime) -> None:
        """1,300 are stored in the end, each once, the waiting ones after a second sleep; the rest never."""
        processor.settings.delay_ms = 1_000
        exchanges = begin(processor, *(payment(number) for number in range(1_310)))
        assert [exchange.answers for exchange in exchanges] == [[]] * 1_300 + [[429]] * 10
        time.advance(1.0)
        assert [exchange.answers for exchange in exchanges] == [[200]] * 800 + [[]] * 500 + [[429]] * 10
        time.advance(1.0)
        assert [exchange.answers for exchange in exchanges] == [[200]] * 1_300 + [[429]] * 10
        assert len(processor.store) == 1_300
        assert (processor.payments_limit.running, processor.payments_limit.waiting) == (0, 0)

    def test_all_waiting_are_done_at_once_when_the_delay_is_gone(self, processor: Processor, time: FakeTime) -> None:
        """The delay is read when a place is got: the first place freed serves the whole queue."""
        processor.settings.delay_ms = 1_000
        exchanges = begin(processor, *(payment(number) for number in range(1_300)))
        processor.settings.delay_ms = 0
        time.advance(1.0)
        assert all(exchange.answers == [200] for exchange in exchanges)
        assert processor.payments_limit.running == 0

    def test_who_leaves_the_queue_was_never_there(self, processor: Processor, time: FakeTime) -> None:
        """A payment that waits for a place and whose client hangs up is not stored."""
        processor.settings.delay_ms = 1_000
        exchanges = begin(processor, *(payment(number) for number in range(801)))
        processor.abandon(exchanges[-1])
        time.advance(10.0)
        assert exchanges[-1].answers == []
        assert len(processor.store) == 800

    def test_a_look_up_is_never_delayed_or_failing(self, processor: Processor) -> None:
        """It answers from the rows whatever the settings are."""
        processor.begin(payment(1))
        processor.settings.delay_ms = 5_000
        processor.settings.failing = True
        known, unknown = begin(processor, look_up(1), look_up(2))
        assert (known.answers, unknown.answers) == ([200], [404])

    def test_a_look_up_waits_where_payments_wait(self, time: FakeTime) -> None:
        """It takes one of the same places: in a processor full of sleeping payments it waits too, or is a 429."""
        limit = RunningLimit[Exchange](running_max=1, waiting_max=1)
        processor = Processor(
            Settings(delay_ms=1_000), clock=time.clock, call_later=time.call_later, payments_limit=limit
        )
        _, waiting, refused = begin(processor, payment(1), look_up(1), look_up(1))
        assert (waiting.answers, refused.answers) == ([], [429])
        time.advance(1.0)
        assert waiting.answers == [200]


class TestHealth:
    """One per five seconds, two wait."""

    def test_callers_are_served_window_by_window(self, processor: Processor, time: FakeTime) -> None:
        """The first at once, the second and third hang, the fourth is a 429 at once."""
        exchanges = begin(processor, health(), health(), health(), health())
        assert [exchange.answers for exchange in exchanges] == [[200], [], [], [429]]
        time.advance(4.9)
        assert exchanges[1].answers == []
        time.advance(0.2)
        assert [exchange.answers for exchange in exchanges] == [[200], [200], [], [429]]
        time.advance(5.0)
        assert exchanges[2].answers == [200]
        late = health()
        processor.begin(late)
        assert late.answers == []
        time.advance(5.0)
        assert late.answers == [200]

    def test_a_poll_per_window_never_hangs(self, processor: Processor, time: FakeTime) -> None:
        """Every 5.1 seconds is slow enough for ever."""
        for _ in range(200):
            poll = health()
            processor.begin(poll)
            assert poll.answers == [200]
            time.advance(5.1)

    def test_who_hangs_up_is_not_served(self, processor: Processor, time: FakeTime) -> None:
        """Its window goes to the next one."""
        _, gone, stays = begin(processor, health(), health(), health())
        processor.abandon(gone)
        time.advance(5.0)
        assert (gone.answers, stays.answers) == ([], [200])

    def test_nobody_waiting_leaves_the_window_free(self, processor: Processor, time: FakeTime) -> None:
        """A timer set for somebody who has gone does no harm."""
        _, waiting = begin(processor, health(), health())
        processor.abandon(waiting)
        time.advance(20.0)
        fresh = health()
        processor.begin(fresh)
        assert fresh.answers == [200]

    def test_admin_knows_no_limit(self, processor: Processor) -> None:
        """With every place taken the settings can still be changed."""
        processor.settings.delay_ms = 1_000
        begin(processor, *(payment(number) for number in range(1_301)))
        request = Request(b"PUT", b"/admin/configurations/delay", b'{"delay":0}', JSON, b"123")
        (change,) = begin(processor, FakeExchange(request))
        assert change.answers == [200]

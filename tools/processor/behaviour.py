"""The steps of a request and their timing: limits, delay, failure, storing. Clock and timers are arguments.

A payment goes through these steps (`Endpoints.cs`: limiter, then body, then the filters `MaybeSimulateDelay` and
`MaybeSimulateFailure`, then the insert):

1. It gets a place among the 800 running or the 500 waiting, else a 429: surely not stored.
2. The body is read: 400 or 415 at once.
3. It sleeps for the delay that is set *at this moment*, whether or not the client stays.
4. If the failing flag is set *now*, after the delay: 500, not stored.
5. It is stored: 200; if its id was here already: 422.
6. Its place goes to the oldest waiting payment.
"""

from collections.abc import Callable
from typing import Any, Protocol

from tools.processor.api import TOO_MANY, Api, Gate, Request, Settings, gate_of
from tools.processor.limits import Passage, RunningLimit, WindowLimit
from tools.processor.store import PaymentStore
from tools.processor.wire import Payment

MS_PER_S = 1_000


class Exchange(Protocol):
    """One request and the way back to its client; compared by identity."""

    request: Request

    def answer(self, answer: bytes) -> None:
        """Sends the answer; does nothing if the client has gone."""


class Processor:
    """One payment processor.

    Args:
        settings: at the start; the admin endpoints change them.
        clock: monotonic, in seconds.
        call_later: `call_later(seconds, callback, *arguments)` on the same clock.
        payments_limit: of payments and their look-ups; None: the contest's.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float],
        call_later: Callable[..., Any],
        payments_limit: RunningLimit[Exchange] | None = None,
    ) -> None:
        self.settings = settings
        self.store = PaymentStore()
        self.payments_limit = payments_limit if payments_limit is not None else RunningLimit()
        self.health_limit = WindowLimit[Exchange]()
        self._api = Api(settings, self.store)
        self._clock = clock
        self._call_later = call_later
        self._roll_is_due = False

    def begin(self, exchange: Exchange) -> None:
        """Takes a request; its answer comes now, later, or never (if its client leaves while it waits)."""
        gate = gate_of(exchange.request)
        if gate is Gate.PAYMENTS:
            passage = self.payments_limit.enter(exchange)
            if passage is Passage.NOW and self._run(exchange):
                self._leave()
        elif gate is Gate.HEALTH:
            passage = self._enter_health(exchange)
        else:
            passage = Passage.NOW
            exchange.answer(self._api.answer(exchange.request))
        if passage is Passage.REFUSED:
            exchange.answer(TOO_MANY)

    def abandon(self, exchange: Exchange) -> None:
        """Forgets a waiting request whose client has gone; a running one goes on."""
        if not self.payments_limit.abandon(exchange):
            self.health_limit.abandon(exchange)

    def _run(self, exchange: Exchange) -> bool:
        """Runs a request that has a place, and tells whether it has ended already."""
        request = exchange.request
        if request.method != b"POST":
            exchange.answer(self._api.answer(request))
            return True
        payment = self._api.read_payment(request)
        if isinstance(payment, bytes):
            exchange.answer(payment)
            return True
        delay_ms = self.settings.delay_ms
        if delay_ms > 0:
            self._call_later(delay_ms / MS_PER_S, self._wake, exchange, payment)
            return False
        exchange.answer(self._api.pay(payment))
        return True

    def _wake(self, exchange: Exchange, payment: Payment) -> None:
        """Continues a payment whose delay is over."""
        exchange.answer(self._api.pay(payment))
        self._leave()

    def _leave(self) -> None:
        """Gives a place back, and runs the request that gets it; a loop, as that one may end at once and free it."""
        while (waiter := self.payments_limit.leave()) is not None:
            if not self._run(waiter):
                return

    def _enter_health(self, exchange: Exchange) -> Passage:
        """Answers a health request if the window is free; else lets it wait or refuses it."""
        now_s = self._clock()
        self._answer_health(self.health_limit.roll(now_s))
        passage = self.health_limit.enter(exchange, now_s)
        if passage is Passage.NOW:
            exchange.answer(self._api.answer(exchange.request))
        elif passage is Passage.LATER:
            self._watch_window(now_s)
        return passage

    def _answer_health(self, exchanges: list[Exchange]) -> None:
        """Answers the health requests whose window has come."""
        for exchange in exchanges:
            exchange.answer(self._api.answer(exchange.request))

    def _watch_window(self, now_s: float) -> None:
        """Schedules `_roll` for the next window if a request waits for it."""
        next_s = self.health_limit.next_window_s
        if next_s is not None and not self._roll_is_due:
            self._roll_is_due = True
            self._call_later(max(0.0, next_s - now_s), self._roll)

    def _roll(self) -> None:
        """Answers the requests whose window has begun, and waits for the next one if needed."""
        self._roll_is_due = False
        now_s = self._clock()
        self._answer_health(self.health_limit.roll(now_s))
        self._watch_window(now_s)

"""The requests: payments by their number, and summaries of random windows; as complete HTTP/1.1 requests. Pure."""

import random
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, Protocol

from tools.benchmark import payments
from tools.benchmark.openloop.messages import Sample
from tools.benchmark.openloop.plan import LoadPlan
from tools.benchmark.openloop.windows import KINDS, Window, draw

USER = 1  # the open loop is one user that never waits
SAMPLES_PER_KIND = 40  # answers that are kept and checked afterwards
_NS_PER_MS = 1_000_000


class Request(NamedTuple):
    """One request: its bytes, the label of its latency, its cents, the window it asks for."""

    data: bytes
    label: str
    cents: int = 0
    window: Window | None = None
    asked_at_ms: int = 0


class Requests(Protocol):
    """A kind of request."""

    name: str

    def make(self, turn: int) -> Request:
        """The request of this number."""

    def answered(self, request: Request, body: bytes) -> None:
        """Handles the body of a successful answer."""


class PaymentRequests:
    """`POST /payments`; the payments are determined by the plan."""

    name = "payments"

    def __init__(self, plan: LoadPlan) -> None:
        self._run, self._seed, self._amount = plan.run, plan.seed, plan.amount
        self._before = (
            f"POST /payments HTTP/1.1\r\nHost: {plan.host}:{plan.port}\r\nContent-Type: application/json\r\n"
            "Content-Length: "
        )

    def make(self, turn: int) -> Request:
        """The payment of this number."""
        cents = payments.spread_cents(self._seed, self._amount, turn)
        correlation_id = payments.correlation_id(self._run, USER, turn)
        body = f'{{"correlationId":"{correlation_id}","amount":{cents // 100}.{cents % 100:02}}}'
        return Request(f"{self._before}{len(body)}\r\n\r\n{body}".encode(), "accepted", cents)

    def answered(self, request: Request, body: bytes) -> None:
        """Does nothing: the answer to a payment is empty."""


class SummaryRequests:
    """`GET /payments-summary` over windows of all kinds in turn; `samples` keeps some of the answers."""

    name = "summaries"

    def __init__(self, plan: LoadPlan, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._history_from_ms = plan.history_from_ms
        self._chance = random.Random(plan.seed)
        self._clock_ns = clock_ns
        self._after = f" HTTP/1.1\r\nHost: {plan.host}:{plan.port}\r\n\r\n"
        self._kept: Counter[str] = Counter()
        self.samples: list[Sample] = []

    def make(self, turn: int) -> Request:
        """The next request; its latency is counted by its window's kind."""
        now_ms = self._clock_ns() // _NS_PER_MS
        window = draw(self._chance, KINDS[turn % len(KINDS)], self._history_from_ms, now_ms)
        data = f"GET /payments-summary{window.query}{self._after}".encode()
        return Request(data, window.kind, window=window, asked_at_ms=now_ms)

    def answered(self, request: Request, body: bytes) -> None:
        """Keeps the answer if there are only few of its kind yet."""
        window = request.window
        if window is not None and self._kept[window.kind] < SAMPLES_PER_KIND:
            self._kept[window.kind] += 1
            self.samples.append(
                Sample(window.kind, window.from_ms, window.to_ms, request.asked_at_ms, body.decode(errors="replace"))
            )

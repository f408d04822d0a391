"""Tests of tools/benchmark/openloop/requests.py."""

import json
from decimal import Decimal

import httptools
from hypothesis import given
from hypothesis import strategies as st

from tests.tools.benchmark.openloop.test_plan import PLAN
from tools.benchmark.openloop.requests import SAMPLES_PER_KIND, USER, PaymentRequests, SummaryRequests
from tools.benchmark.openloop.windows import KINDS
from tools.benchmark.payments import correlation_id, spread_cents

NOW_NS = 1_753_000_000_123_000_000


class Parsed:
    """What a server would read of one request."""

    def __init__(self, data: bytes) -> None:
        self.url = self.body = b""
        self.headers: dict[bytes, bytes] = {}
        self.whole = False
        parser = httptools.HttpRequestParser(self)
        parser.feed_data(data)
        self.method = parser.get_method()

    def on_url(self, url: bytes) -> None:
        """Keep it."""
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep it."""
        self.headers[name] = value

    def on_body(self, body: bytes) -> None:
        """Keep it."""
        self.body += body

    def on_message_complete(self) -> None:
        """It is whole."""
        self.whole = True


class TestPayments:
    """`POST /payments`."""

    @given(st.integers(0, 10**6))
    def test_is_the_payment_that_its_number_says(self, turn: int) -> None:
        """A whole request with id and amount as `payments` names them, the amount exact."""
        request = PaymentRequests(PLAN).make(turn)
        parsed = Parsed(request.data)
        assert (parsed.whole, parsed.method, parsed.url) == (True, b"POST", b"/payments")
        assert parsed.headers[b"Host"] == b"127.0.0.1:9999"
        assert parsed.headers[b"Content-Type"] == b"application/json"
        body = json.loads(parsed.body, parse_float=Decimal)
        assert body["correlationId"] == correlation_id("cafe", USER, turn)
        assert body["amount"] * 100 == request.cents == spread_cents(7, PLAN.amount, turn)

    def test_answers_say_nothing_more(self) -> None:
        """A 202 is empty."""
        payments = PaymentRequests(PLAN)
        payments.answered(payments.make(0), b"")
        assert payments.make(0).label == "accepted"


class TestSummaries:
    """`GET /payments-summary`."""

    def test_all_kinds_in_turn(self) -> None:
        """Each is counted under its kind, and is a whole request."""
        summaries = SummaryRequests(PLAN, lambda: NOW_NS)
        requests = [summaries.make(turn) for turn in range(2 * len(KINDS))]
        assert [each.label for each in requests] == [*KINDS, *KINDS]
        for each in requests:
            parsed = Parsed(each.data)
            assert (parsed.whole, parsed.method) == (True, b"GET")
            assert each.window is not None
            assert parsed.url.decode() == f"/payments-summary{each.window.query}"

    def test_keeps_some_answers_of_each_kind(self) -> None:
        """With the window, and when it was asked for."""
        summaries = SummaryRequests(PLAN, lambda: NOW_NS)
        for _ in range(SAMPLES_PER_KIND + 5):
            summaries.answered(summaries.make(0), b"{}")
        assert len(summaries.samples) == SAMPLES_PER_KIND
        assert summaries.samples[0] == ("all", None, None, NOW_NS // 1_000_000, "{}")
        summaries.answered(PaymentRequests(PLAN).make(0), b"")
        assert len(summaries.samples) == SAMPLES_PER_KIND

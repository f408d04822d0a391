"""Ready ASGI messages and exact JSON: facts about `server/answers.py`."""

import json
from decimal import Decimal
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from server.answers import Answer, status_json, summary_json
from server.payments import PaymentStatus
from server.totals import Summary, Total

ID = "4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3"
NOON_MS = 1_752_582_896_000
"""2025-07-15T12:34:56Z."""


async def unused() -> Message:
    """A `receive` that an answer has no use for."""
    raise AssertionError


class TestAnswer:
    """An answer as two ASGI messages."""

    async def test_is_sent_in_two_messages(self) -> None:
        """A start with status and headers, then the whole body."""
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        await Answer(200, b"{}", headers=((b"x", b"y"),))({}, unused, send)
        headers = [(b"x", b"y"), (b"content-type", b"application/json"), (b"content-length", b"2")]
        assert sent == [
            {"type": "http.response.start", "status": 200, "headers": headers},
            {"type": "http.response.body", "body": b"{}", "more_body": False},
        ]

    def test_empty_has_a_length_and_no_type(self) -> None:
        """An empty body is said to be empty, so that the server does not chunk it."""
        assert Answer(202).start["headers"] == [(b"content-length", b"0")]

    def test_no_content_has_no_length(self) -> None:
        """A 204 may not say a length."""
        assert Answer(204).start["headers"] == []


class TestSummaryJson:
    """The body of a summary."""

    def test_is_short_and_exact(self) -> None:
        """Counts are integers, amounts decimals, and there is nothing else if there is nothing else to say."""
        assert summary_json(Summary(Total(43_236, 4_154_207_000_000_001), Total(1, 5))) == (
            b'{"default":{"totalRequests":43236,"totalAmount":41542070000000.01},'
            b'"fallback":{"totalRequests":1,"totalAmount":0.05}}'
        )

    @given(st.integers(0, 10**15), st.integers(0, 2**63), st.integers(0, 5), st.none() | st.text(max_size=20))
    def test_keeps_every_cent(self, payments: int, cents: int, unknown: int, resolution: str | None) -> None:
        """Read back as decimals, everything is as it went in."""
        summary = Summary(Total(payments, cents), Total(cents, payments), unknown, resolution)
        content = json.loads(summary_json(summary), parse_float=Decimal)
        assert content["default"] == {"totalRequests": payments, "totalAmount": Decimal(cents) / 100}
        assert content["fallback"] == {"totalRequests": cents, "totalAmount": Decimal(payments) / 100}
        assert content.get("unknown", 0) == unknown
        assert content.get("resolution") == resolution


class TestStatusJson:
    """The body that says where a payment stands."""

    def test_says_all_there_is(self) -> None:
        """An attempted payment has its processor and requestedAt, in three digits; acceptance is told in six."""
        status = PaymentStatus("settled", 1990, "default", NOON_MS + 7, NOON_MS * 1000 + 1, 2)
        assert (
            status_json(UUID(ID).bytes, status)
            == (
                b'{"correlationId":"%b","amount":19.90,"state":"settled","processor":"default",'
                b'"requestedAt":"2025-07-15T12:34:56.007Z","acceptedAt":"2025-07-15T12:34:56.000001Z","conflicts":2}'
            )
            % ID.encode()
        )

    def test_says_nothing_of_attempts_before_the_first(self) -> None:
        """A payment not attempted yet has no processor and no requestedAt."""
        assert json.loads(status_json(UUID(ID).bytes, PaymentStatus("waiting", 5, None, None, 0, 0))) == {
            "correlationId": ID,
            "amount": 0.05,
            "state": "waiting",
            "acceptedAt": "1970-01-01T00:00:00.000000Z",
            "conflicts": 0,
        }

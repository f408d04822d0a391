"""What the gateway says, as ready ASGI messages and exact JSON. Pure.

An `Answer` that depends on nothing in the request is built once and sent many times. Money goes out as it is kept, in
whole cents, written as a decimal with two digits: no float is made of it.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Final, Literal
from uuid import UUID

import orjson
from starlette.types import Message, Receive, Scope, Send

from server.payments import PaymentStatus
from server.totals import Summary, Total

JSON: Final = b"application/json"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC).replace(tzinfo=None)
_US_PER_MS: Final = 1000


class Answer:
    """A whole answer as the two ASGI messages that send it, and as the ASGI application that does.

    Args:
        status: HTTP status code.
        content: the body; empty for none.
        content_type: said only if there is a body.
        headers: further headers, names in lower case.
    """

    __slots__ = ("body", "start")

    def __init__(
        self,
        status: int,
        content: bytes = b"",
        *,
        content_type: bytes = JSON,
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        fields = list(headers)
        if content:
            fields.append((b"content-type", content_type))
        # RFC 9110 section 8.6: a 204 has no Content-Length.
        if status != HTTPStatus.NO_CONTENT:
            fields.append((b"content-length", b"%d" % len(content)))
        self.start: Message = {"type": "http.response.start", "status": int(status), "headers": fields}
        self.body: Message = {"type": "http.response.body", "body": content, "more_body": False}

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send the answer; the arguments are those of the ASGI interface."""
        await send(self.start)
        await send(self.body)


def summary_json(summary: Summary) -> bytes:
    """The body of a summary; `unknown` and `resolution` are there only if there is something to say."""
    extra = b""
    if summary.unknown:
        extra += b',"unknown":%d' % summary.unknown
    if summary.resolution is not None:
        extra += b',"resolution":' + orjson.dumps(summary.resolution)
    return b'{"default":%b,"fallback":%b%b}' % (_total_json(summary.default), _total_json(summary.fallback), extra)


def status_json(correlation_id: bytes, status: PaymentStatus) -> bytes:
    """The body that says where a payment stands; `processor` and `requestedAt` only from the first attempt on."""
    content: dict[str, object] = {
        "correlationId": str(UUID(bytes=correlation_id)),
        "amount": orjson.Fragment(_decimal(status.amount_cents)),
        "state": status.state,
    }
    if status.processor is not None:
        content["processor"] = status.processor
    if status.requested_at_ms is not None:
        content["requestedAt"] = _utc_text(status.requested_at_ms * _US_PER_MS, "milliseconds")
    content["acceptedAt"] = _utc_text(status.accepted_at_us, "microseconds")
    content["conflicts"] = status.conflicts
    return orjson.dumps(content)


def _total_json(total: Total) -> bytes:
    """One processor's totals as JSON."""
    return b'{"totalRequests":%d,"totalAmount":%b}' % (total.payments, _decimal(total.amount_cents))


def _decimal(cents: int) -> bytes:
    """Cents as a JSON number with two decimals."""
    return b"%d.%02d" % divmod(cents, 100)


def _utc_text(moment_us: int, finest: Literal["milliseconds", "microseconds"]) -> str:
    """A moment, in microseconds since 1970 UTC, as `2025-07-15T12:34:56.789Z` with three digits or six."""
    return (_EPOCH + timedelta(microseconds=moment_us)).isoformat(timespec=finest) + "Z"

"""The gateway's answers, as ready ASGI messages and exact JSON. Pure.

An `Answer` that depends on nothing in the request is built once and sent many times. Amounts are kept in whole cents
and written as decimals with two digits; they never become floats.
"""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

import orjson
from starlette.types import Message, Receive, Scope, Send

from server.notation import format_cents, format_id, format_instant_ms, format_instant_us
from server.payments import PaymentStatus
from server.totals import Summary, Total

JSON: Final = b"application/json"


class Answer:
    """A whole answer as the two ASGI messages that send it, and as the ASGI application that does.

    Args:
        status: HTTP status code.
        content: the body; empty for none.
        content_type: sent only if there is a body.
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
        """Sends the answer; the arguments are those of the ASGI interface."""
        await send(self.start)
        await send(self.body)


DONE: Final = Answer(HTTPStatus.NO_CONTENT)
"""What was asked for is done, or is so; there is no more to say."""


def summary_json(summary: Summary) -> bytes:
    """The body of a summary; `unknown` is left out if it is 0, `resolution` if it is None."""
    extra = b""
    if summary.unknown:
        extra += b',"unknown":%d' % summary.unknown
    if summary.resolution is not None:
        extra += b',"resolution":' + orjson.dumps(summary.resolution)
    return b'{"default":%b,"fallback":%b%b}' % (_total_json(summary.default), _total_json(summary.fallback), extra)


def status_json(correlation_id: bytes, status: PaymentStatus) -> bytes:
    """The body that says where a payment stands; `processor` and `requestedAt` are left out if they are None."""
    content: dict[str, object] = {
        "correlationId": format_id(correlation_id),
        "amount": orjson.Fragment(format_cents(status.amount_cents)),
        "state": status.state,
    }
    if status.processor is not None:
        content["processor"] = status.processor
    if status.requested_at_ms is not None:
        content["requestedAt"] = format_instant_ms(status.requested_at_ms)
    content["acceptedAt"] = format_instant_us(status.accepted_at_us)
    content["conflicts"] = status.conflicts
    return orjson.dumps(content)


def _total_json(total: Total) -> bytes:
    """One processor's totals as JSON."""
    return f'{{"totalRequests":{total.payments},"totalAmount":{format_cents(total.amount_cents)}}}'.encode("ascii")

"""The HTTP endpoints, in Starlette. Thin: what is right or wrong is decided in the files it imports.

`POST /payments` is a plain ASGI application (no request object, each header looked at once), and comes here only if
`server/shortcut.py` has not taken it; the others are ordinary endpoints that return an `Answer`. Raised errors become
answers in one place, `answer_to_error`.

Starlette's two error layers are replaced by one (`_ErrorLayer`): they would wrap `send` twice for every request, and
log an unexpected error that the server logs again. The router, routes and errors are Starlette's.
"""

import logging
import re
from http import HTTPStatus
from typing import Final, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.answers import DONE, Answer, status_json, summary_json
from server.errors import LookupUnavailable, RequestRefused, TotalsUnavailable
from server.payments import (
    BODY_BYTES_MAX,
    PaymentGate,
    body_too_long,
    parse_correlation_id,
    parse_payment,
)
from server.problems import (
    ANSWER_BY_ACCEPTANCE,
    LEAVING,
    LOOK_UPS_LIMITED,
    NOT_FOUND,
    NOT_JSON,
    PAYMENT_NOT_FOUND,
    PURGE_OFF,
    UNEXPECTED,
    UPGRADE,
    method_not_allowed,
    passing_problem,
    problem,
)
from server.totals import Summary, Window
from server.window import parse_window

_log = logging.getLogger(__name__)

# RFC 9110 section 8.3.1 and RFC 6838 section 4.2.8: application/json or a type with the suffix +json.
_JSON_TYPE: Final = re.compile(rb"[ \t]*application/(?:[^ \t;,/]+\+)?json[ \t]*(?:;.*)?", re.IGNORECASE | re.DOTALL)


class TotalsReader(Protocol):
    """The totals of all instances."""

    async def summary(self, window: Window) -> Summary:
        """Totals of a window, both ends included; raises TotalsUnavailable if they would not be exact."""

    async def purge(self) -> None:
        """Empties the totals of all instances; raises TotalsUnavailable if that can't be made sure."""


def build_app(gate: PaymentGate, totals: TotalsReader, *, amount_cents_max: int, purge_enabled: bool) -> Starlette:
    """The ASGI application of one web worker.

    Args:
        gate: takes payments and knows where they stand.
        totals: answers the summary.
        amount_cents_max: greatest amount taken, in cents.
        purge_enabled: whether `POST /purge-payments` does anything; 403 if not.
    """
    endpoints = _Endpoints(gate, totals)
    app = Starlette(
        routes=[
            Route("/payments", _TakePayment(gate, amount_cents_max), methods=["POST"]),
            Route("/health", endpoints.tell_health, methods=["GET"]),
            Route("/payments/{correlation_id}", endpoints.show_payment, methods=["GET"]),
            Route("/payments-summary", endpoints.summarise, methods=["GET"]),
            Route("/purge-payments", endpoints.purge if purge_enabled else PURGE_OFF, methods=["POST"]),
        ]
    )
    app.router.redirect_slashes = False  # each path has one spelling
    app.middleware_stack = _ErrorLayer(app.router)
    return app


def answer_to_error(error: Exception) -> Answer | None:
    """The answer to an error that was foreseen; None for any other. The only table from errors to answers."""
    match error:
        case RequestRefused(status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE):
            # The rest of the body is not read, so the connection can carry no further request.
            return problem(error.status, str(error), ((b"connection", b"close"),))
        case RequestRefused():
            return problem(error.status, str(error))
        case LookupUnavailable() | TotalsUnavailable():
            return passing_problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        case HTTPException(status_code=HTTPStatus.NOT_FOUND):
            return NOT_FOUND
        case HTTPException(status_code=HTTPStatus.METHOD_NOT_ALLOWED):
            return method_not_allowed((error.headers or {})["Allow"].split(", "))
        case _:
            return None


class _ErrorLayer:
    """Turns the errors that endpoints and the router raise into answers; logs unforeseen ones, once.

    They raise before they begin an answer, as all that can fail is done by then. Should sending itself fail, the server
    is given the start of a second answer, raises, and closes the connection.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if b"%" in scope.get("raw_path", b""):  # each path has one spelling, the one that HAProxy knows
            await NOT_FOUND(scope, receive, send)
            return
        if _is_upgrade_with_body(scope):  # the parser takes the body for data of the other protocol
            await UPGRADE(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            if scope["type"] != "http":
                raise
            answer = answer_to_error(error)
            if answer is None:
                _log.exception("unexpected error answering %s %r", scope["method"], scope["path"])
                answer = UNEXPECTED
            await answer(scope, receive, send)


def _is_upgrade_with_body(scope: Scope) -> bool:
    fields = scope.get("headers", ())
    if not any(name == b"connection" and b"upgrade" in value.lower() for name, value in fields):
        return False
    names = dict(fields)
    return b"upgrade" in names and (b"transfer-encoding" in names or names.get(b"content-length", b"0") != b"0")


class _TakePayment:
    """`POST /payments`: 202 once the payment is committed."""

    def __init__(self, gate: PaymentGate, amount_cents_max: int) -> None:
        self._gate = gate
        self._amount_cents_max = amount_cents_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        for name, value in scope["headers"]:
            if name == b"content-type" and value != b"application/json" and not is_json_type(value):
                await NOT_JSON(scope, receive, send)
                return
            if name == b"content-length" and int(value.lstrip(b"0")[:9] or b"0") > BODY_BYTES_MAX:  # may be very long
                raise body_too_long()
        message = await receive()
        if message["type"] != "http.request" or message.get("more_body", False):
            body = await _read_body(message, receive)
            if body is None:
                return
        else:
            body = message.get("body", b"")
        acceptance = self._gate.accept(parse_payment(body, self._amount_cents_max))
        await ANSWER_BY_ACCEPTANCE[acceptance](scope, receive, send)


class _Endpoints:
    """The other requests."""

    def __init__(self, gate: PaymentGate, totals: TotalsReader) -> None:
        self._gate = gate
        self._totals = totals

    async def show_payment(self, request: Request) -> Answer:
        """`GET /payments/{id}`: where a payment stands."""
        correlation_id = parse_correlation_id(request.path_params["correlation_id"])
        if not self._gate.may_look_up():
            return LOOK_UPS_LIMITED
        status = self._gate.find(correlation_id)
        return PAYMENT_NOT_FOUND if status is None else Answer(HTTPStatus.OK, status_json(correlation_id, status))

    async def summarise(self, request: Request) -> Answer:
        """`GET /payments-summary`: exact totals of a window, or 503."""
        window = parse_window(request.scope["query_string"])
        return Answer(HTTPStatus.OK, summary_json(await self._totals.summary(window)))

    async def purge(self, _request: Request) -> Answer:
        """`POST /purge-payments`: empties the totals of all instances."""
        await self._totals.purge()
        return DONE

    async def tell_health(self, _request: Request) -> Answer:
        """`GET /health`: 204 while this worker means to stay, 404 when it is leaving (`http-check disable-on-404`)."""
        return LEAVING if self._gate.leaving else DONE


def is_json_type(content_type: bytes) -> bool:
    """Whether the value of a Content-Type names JSON, with any parameters. An empty one passes: it names no type."""
    return not content_type.strip() or _JSON_TYPE.fullmatch(content_type) is not None


async def _read_body(message: Message, receive: Receive) -> bytes | None:
    """Reads a body that comes in pieces, until it ends or is too long; None if the client went away."""
    body: bytes = b""
    while message["type"] == "http.request":
        body += message.get("body", b"")
        if not message.get("more_body", False) or len(body) > BODY_BYTES_MAX:
            return body
        message = await receive()
    return None

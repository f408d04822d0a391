"""The endpoints: a request in, a complete HTTP answer out. `behaviour` adds time and limits, `server` the network."""

import logging
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, unique
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import parse_qsl

import orjson

from tools.processor.store import PaymentStore, Storing
from tools.processor.wire import (
    CENTS_DIGITS,
    US_PER_MS,
    Malformed,
    Payment,
    format_cents,
    format_time,
    http_answer,
    parse_id,
    parse_object,
    parse_payment,
    parse_time,
)

LOGGER = logging.getLogger(__name__)

DELAY_MS_MAX = 600_000
"""Ten minutes: longer than any client waits."""
RETRY_AFTER_S = 5
"""What the contest's processor sends with each 429: its health window."""
QUERY_FIELDS_MAX = 16

PAYMENTS = b"/payments"
HEALTH = b"/payments/service-health"
SUMMARY = b"/admin/payments-summary"
ROWS = b"/admin/payments"
PURGE = b"/admin/purge-payments"
TOKEN = b"/admin/configurations/token"
DELAY = b"/admin/configurations/delay"
FAILURE = b"/admin/configurations/failure"
HOME = b"/"

METHODS = {
    HOME: b"GET",
    PAYMENTS: b"POST",
    HEALTH: b"GET",
    SUMMARY: b"GET",
    ROWS: b"GET",
    PURGE: b"POST",
    TOKEN: b"PUT",
    DELAY: b"PUT",
    FAILURE: b"PUT",
}
"""Every path but `/payments/{id}`, and its method."""


class Request(NamedTuple):
    """The parts of a request that are used; `target` is the path with its query, as sent."""

    method: bytes
    target: bytes
    body: bytes = b""
    content_type: bytes | None = None
    token: bytes | None = None


@unique
class Gate(Enum):
    """The limit that a request must pass before it is handled."""

    NONE = 1
    PAYMENTS = 2
    HEALTH = 3


@dataclass(slots=True)
class Settings:
    """A processor's settings; the admin endpoints can change some of them.

    Attributes:
        name: shown by `GET /` only.
        fee: share of the amount, exact: 0.07 is 7 %.
        token: the value of X-Rinha-Token that opens the admin endpoints.
        delay_ms: how long a payment sleeps before anything else happens to it.
        failing: whether payments are answered with a 500.
    """

    name: str = "default"
    fee: Decimal = Decimal("0.07")
    token: str = "123"  # noqa: S105 - the contest's public one
    delay_ms: int = 0
    failing: bool = False


def message(status: HTTPStatus, text: str) -> bytes:
    """An answer with a message in it."""
    return http_answer(status, orjson.dumps({"message": text}))


PAID = message(HTTPStatus.OK, "payment processed successfully")
FAILED = http_answer(HTTPStatus.INTERNAL_SERVER_ERROR)
FULL = message(HTTPStatus.SERVICE_UNAVAILABLE, "no room for more payments; nothing was stored")
PURGED = message(HTTPStatus.OK, "All payments purged.")
NOT_FOUND = http_answer(HTTPStatus.NOT_FOUND)
UNAUTHORIZED = http_answer(HTTPStatus.UNAUTHORIZED)
NO_CONTENT = http_answer(HTTPStatus.NO_CONTENT)
UNSUPPORTED = message(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send Content-Type: application/json")
TOO_MANY = http_answer(
    HTTPStatus.TOO_MANY_REQUESTS,
    b"Too many requests. Try again later.",
    content_type=b"text/plain",
    headers=b"Retry-After: %d\r\n" % RETRY_AFTER_S,
)


def gate_of(request: Request) -> Gate:
    """The limit that counts this request: payments and their look-ups share one."""
    path = request.target.partition(b"?")[0]
    if request.method == b"POST":
        return Gate.PAYMENTS if path == PAYMENTS else Gate.NONE
    if request.method != b"GET" or not path.startswith(b"/payments/"):
        return Gate.NONE
    return Gate.HEALTH if path == HEALTH else Gate.PAYMENTS


class Api:
    """The endpoints over one processor's settings and rows."""

    def __init__(self, settings: Settings, store: PaymentStore) -> None:
        self.settings = settings
        self.store = store

    def read_payment(self, request: Request) -> Payment | bytes:
        """The payment that a `POST /payments` carries, or the answer that refuses it (nothing is stored)."""
        if not _is_json(request.content_type):
            return UNSUPPORTED
        try:
            return parse_payment(request.body)
        except Malformed as error:
            return message(HTTPStatus.BAD_REQUEST, str(error))

    def pay(self, payment: Payment) -> bytes:
        """Stores a payment, unless the failing flag is set now."""
        if self.settings.failing:
            return FAILED
        storing = self.store.add(payment)
        if storing is Storing.STORED:
            return PAID
        if storing is Storing.FULL:
            return FULL
        text = f"Payment could not be processed. CorrelationId already exists: {payment.correlation_id}."
        return message(HTTPStatus.UNPROCESSABLE_ENTITY, text)

    def answer(self, request: Request) -> bytes:
        """Answers anything but a `POST /payments`."""
        path, _, query = request.target.partition(b"?")
        method = METHODS.get(path)
        if method is None and path.startswith(b"/payments/"):
            method = b"GET"
        if method is None:
            return NOT_FOUND
        if request.method != method:
            return http_answer(HTTPStatus.METHOD_NOT_ALLOWED, headers=b"Allow: %b\r\n" % method)
        try:
            return self._answer_admin(path, query, request) if path.startswith(b"/admin/") else self._answer(path)
        except Malformed as error:
            return message(HTTPStatus.BAD_REQUEST, str(error))

    def _answer(self, path: bytes) -> bytes:
        """Answers a `GET` that needs no token."""
        if path == HOME:
            text = f"Simulated payment processor {self.settings.name}\n"
            return http_answer(HTTPStatus.OK, text.encode(), content_type=b"text/plain; charset=utf-8")
        if path == HEALTH:
            health = {"failing": self.settings.failing, "minResponseTime": self.settings.delay_ms}
            return http_answer(HTTPStatus.OK, orjson.dumps(health))
        return self._show(parse_id(path.rpartition(b"/")[2].decode("latin-1")))

    def _show(self, correlation_id: str) -> bytes:
        """Answers `GET /payments/{id}`."""
        row = self.store.get(correlation_id)
        if row is None:
            return NOT_FOUND
        requested_at_us, amount_cents = row
        text = (
            f'{{"correlationId":"{correlation_id}","amount":{format_cents(amount_cents)},'
            f'"requestedAt":"{format_time(requested_at_us)}"}}'
        )
        return http_answer(HTTPStatus.OK, text.encode())

    def _answer_admin(self, path: bytes, query: bytes, request: Request) -> bytes:
        """Answers an admin request of the right method, if it has the token."""
        if request.token is None or request.token.decode("latin-1") != self.settings.token:
            return UNAUTHORIZED
        if path == SUMMARY:
            return self._summarize(query)
        if path == ROWS:
            rows = [
                (row.correlation_id, row.amount_cents, row.requested_at_us // US_PER_MS) for row in self.store.rows()
            ]
            return http_answer(HTTPStatus.OK, orjson.dumps(rows))
        if path == PURGE:
            self.store.purge()
            return PURGED
        return self._configure(path, request)

    def _summarize(self, query: bytes) -> bytes:
        """Answers `GET /admin/payments-summary`."""
        try:
            fields = dict(parse_qsl(query.decode("ascii"), max_num_fields=QUERY_FIELDS_MAX))
        except ValueError as error:
            raise Malformed("the query can't be read") from error
        bounds = [parse_time(fields[name]) if name in fields else None for name in ("from", "to")]
        totals = self.store.totals(bounds[0], bounds[1])
        fee_total = (Decimal(totals.cents) * self.settings.fee).scaleb(-CENTS_DIGITS)
        text = (
            f'{{"totalAmount":{format_cents(totals.cents)},"totalRequests":{totals.payments},'
            f'"totalFee":{fee_total:f},"feePerTransaction":{self.settings.fee:f}}}'
        )
        return http_answer(HTTPStatus.OK, text.encode())

    def _configure(self, path: bytes, request: Request) -> bytes:
        """Answers `PUT /admin/configurations/...`: changes one setting and answers with its old value."""
        if not _is_json(request.content_type):
            return UNSUPPORTED
        members = parse_object(request.body)
        was: object
        if path == TOKEN:
            token = members.get("token")
            if not isinstance(token, str):
                raise Malformed("token is not a string")
            self.settings.token = token
            return NO_CONTENT
        if path == DELAY:
            name, was, now = "delay", self.settings.delay_ms, members.get("delay")
            if isinstance(now, bool) or not isinstance(now, int) or not 0 <= now <= DELAY_MS_MAX:
                raise Malformed(f"delay is not a whole number of milliseconds up to {DELAY_MS_MAX}")
            self.settings.delay_ms = now
        else:
            name, was, now = "failure", self.settings.failing, members.get("failure")
            if not isinstance(now, bool):
                raise Malformed("failure is not true or false")
            self.settings.failing = now
        LOGGER.info("%s: %s was %s, is %s", self.settings.name, name, was, now)
        return http_answer(HTTPStatus.OK, orjson.dumps({"config": name, "was": was, "is": now}))


def _is_json(content_type: bytes | None) -> bool:
    """Whether a Content-Type is JSON, with or without parameters."""
    if content_type == b"application/json":
        return True
    return content_type is not None and content_type.partition(b";")[0].strip().lower() == b"application/json"

"""Bytes on the wire <-> values: payments, times, money, and HTTP/1.1 answers. Pure.

Money is integer cents and time integer microseconds since 1970 in UTC (the resolution of the contest's database); a
float touches neither.
"""

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from functools import lru_cache
from http import HTTPStatus
from typing import Any, NamedTuple

US_PER_S = 1_000_000
US_PER_MS = 1_000
US_DIGITS = 6
CENTS_PER_UNIT = 100
CENTS_DIGITS = 2
CENT = Decimal("0.01")
AMOUNT_MAX = Decimal(10**13)
"""Largest amount taken, either sign: a bound for the totals' digits, far above anything paid here."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
JSON_TYPE = b"application/json; charset=utf-8"

_UUID = rb"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
_UUID_PATTERN = re.compile(_UUID.decode())
_TIME_PATTERN = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,16}))?)?(Z|[+-]\d\d:\d\d)?)?", re.ASCII
)
_USUAL_PAYMENT = re.compile(
    rb'\{"correlationId": ?"(' + _UUID + rb')", ?"amount": ?(0|[1-9]\d{0,9})(?:\.(\d\d?))?, ?'
    rb'"requestedAt": ?"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,16}))?Z"\}'
)
"""A payment as nearly every client writes it; four times as fast as the general parser, with the same result."""


class Malformed(ValueError):
    """The request can't be read; the message says why."""


class Payment(NamedTuple):
    """A payment as a client sent it; the id in lower case."""

    correlation_id: str
    amount_cents: int
    requested_at_us: int


def parse_payment(body: bytes) -> Payment:
    """The payment in a request's body; members other than its three are ignored.

    Raises:
        Malformed: it is not a JSON object with a UUID, a number and an ISO 8601 time.
    """
    usual = _USUAL_PAYMENT.fullmatch(body)
    if usual is None:
        return _parse_any_payment(body)
    correlation_id, units, decimals, second, fraction = usual.groups()
    cents = int(decimals.ljust(CENTS_DIGITS, b"0")) if decimals else 0
    us = int(fraction[:US_DIGITS].ljust(US_DIGITS, b"0")) if fraction else 0
    return Payment(
        correlation_id.decode().lower(), int(units) * CENTS_PER_UNIT + cents, us_of_second(second.decode()) + us
    )


def _parse_any_payment(body: bytes) -> Payment:
    """The payment in a body of any shape."""
    members = parse_object(body)
    correlation_id = members.get("correlationId")
    if not isinstance(correlation_id, str):
        raise Malformed("correlationId is not a string")
    requested_at = members.get("requestedAt")
    if not isinstance(requested_at, str):
        raise Malformed("requestedAt is not a string")
    return Payment(parse_id(correlation_id), _cents_of(members.get("amount")), parse_time(requested_at))


def parse_object(body: bytes) -> dict[str, Any]:
    """The members of a JSON object, its numbers as int or Decimal.

    Raises:
        Malformed: it is something else.
    """
    try:
        value = json.loads(body, parse_float=Decimal)
    except (ValueError, InvalidOperation, RecursionError) as error:
        raise Malformed("the body is not JSON") from error
    if not isinstance(value, dict):
        raise Malformed("the body is not a JSON object")
    return value


def parse_id(text: str) -> str:
    """A UUID of 36 characters in lower case.

    Raises:
        Malformed: it is not one.
    """
    if _UUID_PATTERN.fullmatch(text) is None:
        raise Malformed("the id is not a UUID")
    return text.lower()


def _cents_of(amount: object) -> int:
    """An amount in cents, a half rounded to even as the contest's processor does."""
    if isinstance(amount, bool) or not isinstance(amount, int | Decimal):
        raise Malformed("amount is not a number")
    value = Decimal(amount)
    if not -AMOUNT_MAX <= value <= AMOUNT_MAX:  # a comparison rounds nothing, whatever the exponent
        raise Malformed("amount is beyond all limits")
    return int(value.quantize(CENT, ROUND_HALF_EVEN).scaleb(CENTS_DIGITS))


def parse_time(text: str) -> int:
    """The µs since 1970 of an ISO 8601 time; without an offset it is UTC, finer fractions are cut off.

    Raises:
        Malformed: it is not a time between the years 1 and 9999.
    """
    match = _TIME_PATTERN.fullmatch(text)
    if match is None:
        raise Malformed("the time is not ISO 8601")
    day, minute, second, fraction, offset = match.groups()
    us = us_of_second(f"{day}T{minute or '00:00'}:{second or '00'}")
    if fraction:
        us += int(fraction[:US_DIGITS].ljust(US_DIGITS, "0"))
    if offset and offset != "Z":
        us -= _us_of_offset(offset)
    return us


@lru_cache(maxsize=64)  # most payments have a time of the last few seconds
def us_of_second(text: str) -> int:
    """The µs since 1970 of a whole second like `2025-07-15T12:34:56`, in UTC."""
    try:
        since = datetime.fromisoformat(f"{text}+00:00") - EPOCH
    except ValueError as error:
        raise Malformed("the time is not ISO 8601") from error
    return since // timedelta(microseconds=1)


def _us_of_offset(text: str) -> int:
    """The µs that an offset `+hh:mm` or `-hh:mm` is ahead of UTC."""
    ahead = timedelta(hours=int(text[1:3]), minutes=int(text[4:6])) // timedelta(microseconds=1)
    return -ahead if text[0] == "-" else ahead


def format_time(at_us: int) -> str:
    """A stored time as the contest's processor shows it: no offset, no last zeros in the fraction."""
    try:
        text = (EPOCH + timedelta(microseconds=at_us)).replace(tzinfo=None).isoformat()
    except OverflowError:  # the offset of a time near the first or last year
        text = "0001-01-01T00:00:00" if at_us < 0 else "9999-12-31T23:59:59.999999"
    return text.rstrip("0") if "." in text else text


def format_cents(cents: int) -> str:
    """Cents as a decimal number with two digits after the point."""
    sign = "-" if cents < 0 else ""
    units, rest = divmod(abs(cents), CENTS_PER_UNIT)
    return f"{sign}{units}.{rest:02}"


def http_answer(
    status: HTTPStatus, body: bytes = b"", *, content_type: bytes = JSON_TYPE, headers: bytes = b""
) -> bytes:
    """A complete HTTP/1.1 answer; `headers` are whole lines with their line ends."""
    typed = b"Content-Type: %b\r\n" % content_type if body else b""
    length = b"" if status == HTTPStatus.NO_CONTENT else b"Content-Length: %d\r\n" % len(body)
    return b"HTTP/1.1 %d %b\r\n%b%b%b\r\n%b" % (status, status.phrase.encode(), typed, length, headers, body)


def closing(answer: bytes) -> bytes:
    """An answer with `Connection: close`."""
    return answer.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)

"""Turns a request's body into a payment, or a refusal that says what is wrong. Pure: bytes in, values out.

Two parsers, one answer. Nearly every body has the one shape that JSON encoders give `{"correlationId", "amount"}`; a
compiled pattern checks and reads it in one pass. A body that the pattern does not match, or that it matches but is not
payable, goes to the full parser, which alone refuses. So the two could only differ in what the fast one accepts, and
for all of that a property test holds them to the same answer.

What is refused, and how (RFC 9110 for the codes):

* 400, the body is not a JSON text as RFC 8259 asks of interoperable ones: strict UTF-8, no NaN or Infinity, no member
  name twice in one object (at any depth: parsers differ in which of the two they take), not nested beyond reason;
* 413, longer than `BODY_BYTES_MAX`;
* 422, JSON, but no payment: not an object, a member missing or of another kind, an id that is no UUID, an amount that
  is not above zero, has more than two decimals or is beyond the limit. Unknown members are ignored.

The amount is judged as a decimal, by value: `19.900` and `1.99e1` are 19.90, `19.999999999999999999` is refused. It is
never a float.

Here, too, is what becomes of a payment at the web worker, and the interface of the gate that decides it.
"""

import json
import re
from binascii import unhexlify
from collections.abc import Sequence
from enum import Enum, auto, unique
from http import HTTPStatus
from typing import Any, Final, NamedTuple, Never, Protocol

from server.errors import RequestRefused
from server.notation import CENTS_DIGITS, JsonNumber, format_cents, parse_cents

BODY_BYTES_MAX: Final = 1024
"""Longest body of a payment, in bytes: fifteen times the usual 70, and small enough to hash and check at once."""


Payment = tuple[bytes, int]
"""A payment as a client asked for it: the 16 bytes of the UUID, so upper and lower case are one id, and the amount in
cents, above zero and at most the configured limit. A plain tuple, as one is made per request.
"""


@unique
class Acceptance(Enum):
    """What became of a payment at the web worker."""

    ACCEPTED = auto()  # committed to its lane: it will be paid
    REPEATED = auto()  # same id and amount as one remembered: charged once, so nothing to do
    CONFLICT = auto()  # same id as one remembered, another amount: refused
    FULL = auto()  # no room in its lane: refused, the client may try again


class PaymentStatus(NamedTuple):
    """Where a payment stands.

    Args:
        state: accepted, waiting, sending, unknown, settled, duplicate or refused.
        amount_cents: of the payment taken first.
        processor: name of the one it was last sent to, or is stored at; None before the first attempt, and while it
            waits for another.
        requested_at_ms: of that attempt, ms UTC; None without one, and of a duplicate (the time stored there is
            another payment's).
        accepted_at_us: when it was accepted, µs UTC.
        conflicts: how many payments with this id and another amount got a 202 since and were dropped.
    """

    state: str
    amount_cents: int
    processor: str | None
    requested_at_ms: int | None
    accepted_at_us: int
    conflicts: int


class PaymentGate(Protocol):
    """Where payments go in and are looked up (`gate.Gate`); nothing here waits."""

    @property
    def leaving(self) -> bool:
        """True once this worker is about to stop."""

    def accept(self, payment: Payment) -> Acceptance:
        """Commits a payment to its lane, or says why not."""

    def find(self, correlation_id: bytes) -> PaymentStatus | None:
        """Where the payment taken first under this id stands; None if it was never seen or is forgotten. Raises
        LookupUnavailable if that can't be told.
        """

    def may_look_up(self) -> bool:
        """Takes one of this second's look-ups; False if there is none left."""


_HEX: Final = "[0-9A-Fa-f]"
_UUID: Final = f"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}"
_UUID_TEXT: Final = re.compile(_UUID)

# At most 12 digits before the point: beyond any limit that makes sense, and int() of it is one machine word.
_FIXED_SHAPE: Final = re.compile(
    rf'\{{"correlationId": ?"({_UUID})", ?"amount": ?(0|[1-9][0-9]{{0,11}})(?:\.([0-9]{{1,2}}))?\}}'.encode()
)
_FRACTION_CENTS: Final[dict[bytes | None, int]] = (
    {None: 0} | {b"%d" % tenths: tenths * 10 for tenths in range(10)} | {b"%02d" % cents: cents for cents in range(100)}
)


def parse_payment(body: bytes, amount_cents_max: int) -> Payment:
    """The payment that a request's body asks for.

    Args:
        body: as it arrived.
        amount_cents_max: greatest amount taken, in cents.

    Raises:
        RequestRefused: it asks for none; the error has the status and the sentence to answer with.
    """
    return parse_fixed_shape(body, amount_cents_max) or parse_any_shape(body, amount_cents_max)


def parse_fixed_shape(body: bytes, amount_cents_max: int) -> Payment | None:
    """The payment, if the body has the usual shape and is payable; else None, which is not a refusal."""
    match = _FIXED_SHAPE.fullmatch(body)
    if match is None:
        return None
    correlation_id, whole, fraction = match.groups()
    amount_cents = int(whole) * 100 + _FRACTION_CENTS[fraction]
    if not 0 < amount_cents <= amount_cents_max:
        return None
    return unhexlify(correlation_id.replace(b"-", b"")), amount_cents


def parse_any_shape(body: bytes, amount_cents_max: int) -> Payment:
    """The payment in a body of any shape; arguments and errors are those of `parse_payment`."""
    if len(body) > BODY_BYTES_MAX:
        raise body_too_long()
    document = _json_of(body)
    if not isinstance(document, dict):
        _refuse('The body must be a JSON object like {"correlationId": "<UUID>", "amount": 19.90}.')
    for name in ("correlationId", "amount"):
        if name not in document:
            _refuse(f"The member {name} is missing.")
    correlation_id, amount = document["correlationId"], document["amount"]
    if not isinstance(correlation_id, str) or isinstance(correlation_id, JsonNumber):
        _refuse("correlationId must be a string that holds a UUID.")
    if not isinstance(amount, JsonNumber):
        _refuse("amount must be a JSON number, without quotes.")
    return parse_correlation_id(correlation_id), _cents_of(amount, amount_cents_max)


def parse_correlation_id(text: str) -> bytes:
    """The 16 bytes of a UUID in its canonical form: 8-4-4-4-12 hexadecimal digits in either case, of any version.

    Raises:
        RequestRefused: 422, it is something else (also braces, `urn:uuid:` and missing hyphens: one id, one spelling).
    """
    if _UUID_TEXT.fullmatch(text) is None:
        _refuse("correlationId must be a UUID: 36 characters, hexadecimal digits in groups of 8-4-4-4-12.")
    return unhexlify(text.replace("-", ""))


def body_too_long() -> RequestRefused:
    """The 413, to be raised by whoever sees that the body is too long, or is announced to be."""
    return RequestRefused(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is longer than {BODY_BYTES_MAX} bytes, the most that is read."
    )


def _json_of(body: bytes) -> object:
    """The JSON value in a body, its numbers as they were written; 400 for anything that is not JSON."""
    try:
        return json.loads(
            body.decode("utf-8"),
            parse_float=JsonNumber,
            parse_int=JsonNumber,
            parse_constant=_refuse_constant,
            object_pairs_hook=_object_of,
        )
    except UnicodeDecodeError as error:
        raise RequestRefused(
            HTTPStatus.BAD_REQUEST, f"The body is not valid UTF-8 from byte {error.start} on."
        ) from None
    except json.JSONDecodeError as error:
        raise RequestRefused(
            HTTPStatus.BAD_REQUEST,
            f"The body is not JSON from character {error.pos} on: {error.msg.removesuffix(' at')}.",
        ) from None
    except RecursionError:
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "The body is nested too deeply.") from None


def _object_of(members: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object's members as a dict; 400 if a name appears twice."""
    document = dict(members)
    if len(document) != len(members):
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "A member appears twice in one JSON object.")
    return document


def _refuse_constant(name: str) -> Never:
    """Refuses, with 400, one of the three numbers that Python's parser knows and JSON does not."""
    raise RequestRefused(HTTPStatus.BAD_REQUEST, f"The body is not JSON: {name} is no JSON number.")


def _refuse(detail: str) -> Never:
    """Refuses, with 422 and a sentence."""
    raise RequestRefused(HTTPStatus.UNPROCESSABLE_ENTITY, detail)


def _cents_of(number: str, cents_max: int) -> int:
    """The value of a JSON number in cents, exactly; 422 if it is no amount."""
    cents = parse_cents(number)  # no ValueError: in 1,024 bytes no exponent has thousands of digits
    if number.startswith("-") or cents == 0:
        _refuse("amount must be greater than 0.")
    if cents is None:
        _refuse(f"amount must have at most {CENTS_DIGITS} decimals.")
    if cents > cents_max:
        _refuse(f"amount must be at most {format_cents(cents_max)}.")
    return cents

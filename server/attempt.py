"""The pure half of an attempt at paying: what is sent, and which event of `shm/states.py` each answer means.

| answer to `POST /payments`                   | event                                                          |
| -------------------------------------------- | -------------------------------------------------------------- |
| 200                                          | `PAID`                                                         |
| 429, 500, 503                                | `SURE_NO`: not stored                                          |
| 400, 413                                     | `REJECTED`; `Sender` makes a `SURE_NO` of the first one        |
| any of these with a page of HTML             | `UNCLEAR`: not from the processor (`server/processors.py`)     |
| 422                                          | none yet: stored already, so `GET` it and `compare`            |
| any other                                    | `UNCLEAR`                                                      |
| `ProcessorUnreachable`                       | `SURE_NO`: not one byte left                                   |
| `OutcomeUnknown`                             | `UNCLEAR`                                                      |

What a sure no leads to depends on the payment's state, too: an unknown payment stays unknown.

Amounts are whole cents and times whole milliseconds since 1970 UTC. Both are read digit by digit, never as floats.
"""

import json
from typing import NamedTuple

from server.errors import ProcessorError, ProcessorUnreachable
from server.notation import JsonNumber, format_cents, format_id, format_instant_ms, parse_cents, parse_instant
from shm import Event

_EVENTS: dict[int, Event] = {
    200: Event.PAID,
    400: Event.REJECTED,
    413: Event.REJECTED,
    429: Event.SURE_NO,
    500: Event.SURE_NO,
    503: Event.SURE_NO,
}

DECIDES = frozenset(_EVENTS)
"""Statuses by which a processor says what became of a payment."""

STORED_ALREADY = 422
"""The status that says: this id is stored here, with the amount and requestedAt of its first request."""

_MISUSE = frozenset(range(300, 500)) - {STORED_ALREADY, *_EVENTS} - {408, 425}
"""Statuses that blame the caller or its URL whatever the payment. 408 and 425 blame the moment."""


class Shown(NamedTuple):
    """A payment as a processor shows it.

    Args:
        amount_cents: None when the amount shown is not a whole number of cents.
        requested_at_ms: None when the time shown is not a whole number of milliseconds.
    """

    amount_cents: int | None
    requested_at_ms: int | None


def event_of_status(status: int) -> Event | None:
    """The event that an answer to `POST /payments` means; None for 422, where only a `GET` can tell."""
    if status == STORED_ALREADY:
        return None
    return _EVENTS.get(status, Event.UNCLEAR)


def event_of_error(error: ProcessorError) -> Event:
    """The event that the lack of an answer to `POST /payments` means."""
    return Event.SURE_NO if isinstance(error, ProcessorUnreachable) else Event.UNCLEAR


def is_misuse(status: int) -> bool:
    """Whether a status says *you asked wrongly* (301, 401, 404, 405 …): asking again helps nobody, an alarm does."""
    return status in _MISUSE


def stamp_ms(now_ms: int, place: int, places: int) -> int:
    """The newest millisecond, not after now, that this instance may send as requestedAt: every `places`-th is its own.

    If two instances sent one id to one processor with the same time, both would take its row for their settlement.

    Args:
        now_ms: milliseconds since 1970 UTC.
        place: which of the instances this is, from 0.
        places: how many instances there are.
    """
    return now_ms - (now_ms - place) % places


def compare(shown: Shown, amount_cents: int, requested_at_ms: int) -> Event:
    """Whether the payment a processor shows is the one sent from here: `SHOWN_OURS` or `SHOWN_OTHER`."""
    return Event.SHOWN_OURS if shown == (amount_cents, requested_at_ms) else Event.SHOWN_OTHER


def encode_payment(correlation_id: bytes, amount_cents: int, requested_at_ms: int) -> bytes:
    """The body of `POST /payments`.

    Args:
        correlation_id: 16 bytes.
        amount_cents: at least 0.
        requested_at_ms: milliseconds since 1970 UTC.
    """
    return (
        f'{{"correlationId":"{format_id(correlation_id)}","amount":{format_cents(amount_cents)},'
        f'"requestedAt":"{format_instant_ms(requested_at_ms)}"}}'
    ).encode("ascii")


def decode_shown(body: bytes, correlation_id: bytes) -> Shown:
    """Reads the body of a 200 to `GET /payments/{id}`.

    Raises:
        ValueError: it does not look like such an answer, or shows another id; nothing follows from it.
    """
    members = decode_object(body)
    amount, instant = members.get("amount"), members.get("requestedAt")
    if not isinstance(amount, JsonNumber) or not isinstance(instant, str):
        raise ValueError("amount is not a number, or requestedAt not a string")  # noqa: TRY004  # the text is wrong
    shown_id = members.get("correlationId", format_id(correlation_id))
    if not isinstance(shown_id, str) or shown_id.lower() != format_id(correlation_id):
        raise ValueError(f"asked for {format_id(correlation_id)} and was shown {shown_id!r}")
    return Shown(parse_cents(amount), parse_shown_instant(instant))


def decode_object(body: bytes) -> dict[str, object]:
    """Reads a JSON object, keeping its numbers as text (`JsonNumber`), so that none becomes a float.

    Raises:
        ValueError: the body is not one JSON object.
    """
    try:
        members = json.loads(body, parse_float=JsonNumber, parse_int=JsonNumber)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(members, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004  # the text is wrong
    return members


def parse_shown_instant(text: str) -> int | None:
    """The milliseconds since 1970 UTC of a date and time; None when they are not whole.

    Raises:
        ValueError: the text is no date and time.
    """
    instant = parse_instant(text)
    if instant is None:
        raise ValueError(f"not a date and time: {text[:80]!r}")
    instant_ms, is_finer = instant
    return None if is_finer else instant_ms

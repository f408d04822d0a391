"""The window of a summary, from a query string to whole milliseconds. Pure.

A moment is ISO 8601 in its extended form, as RFC 3339 narrows it and a little wider, since clients differ:

* `2025-07-15T12:34:56.789Z`; `t`, `z` and a space for the `T` are taken too;
* any number of digits in the fraction, or none, after a point or a comma; the seconds may be left out (forms in
  browsers do so when they are zero);
* `Z`, `+02:00`, `+0200` or `+02`; none means UTC. A `+` that was not encoded arrives as a space and is read as `+`;
* a date without a time of day is refused: the last day of a window would silently be left out or let in.

`requestedAt` is whole milliseconds and both ends belong to the window, so an end given finer than that is moved inward:
`from` up, `to` down. A window that ends before it starts is empty, not wrong. All arithmetic is in integers.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

from server.notation import EPOCH

FIELDS_MAX: Final = 16
"""Parameters looked through in a query string; two are known, others are ignored, so more is a mistake."""

_MILLISECOND: Final = timedelta(milliseconds=1)
_MINUTE_MS: Final = 60_000
_HOUR_MINUTES: Final = 60
_FRACTION_DIGITS: Final = 3

_MOMENT: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]+))?)?"
    r"(?:[Zz]|([+\- ])([01][0-9]|2[0-3])(?::?([0-5][0-9]))?)?"
)


class Window(NamedTuple):
    """Both ends of a window in milliseconds since 1970 UTC, both included; None is no end.

    Moments before 1970 are negative. `from_ms` > `to_ms` is an empty window.
    """

    from_ms: int | None
    to_ms: int | None


class WindowRefused(Exception):
    """The query string says no window; a 400."""

    def __init__(self, detail: str) -> None:
        """Keep the sentence for the client."""
        super().__init__(detail)
        self.detail = detail


def parse_window(query_string: bytes) -> Window:
    """The window that a query string's `from` and `to` say; other parameters are ignored.

    Args:
        query_string: as it arrived, percent-encoded.

    Raises:
        WindowRefused: a value is no moment, or is given twice.
    """
    ends: dict[str, int] = {}
    for name, value in _parameters(query_string):
        if name not in {"from", "to"}:
            continue
        if name in ends:
            raise WindowRefused(f"The parameter {name} is given twice.")
        moment_ms = parse_moment(value, round_up=name == "from")
        if moment_ms is None:
            raise WindowRefused(
                f"The parameter {name} must be an ISO 8601 date and time like 2025-07-15T12:34:56.789Z."
            )
        ends[name] = moment_ms
    return Window(ends.get("from"), ends.get("to"))


def parse_moment(text: str, *, round_up: bool) -> int | None:
    """Milliseconds since 1970 UTC of an ISO 8601 date and time; None if it is none.

    Args:
        text: percent-decoded, a `+` perhaps turned into a space.
        round_up: where the moment goes if it lies between two milliseconds.
    """
    match = _MOMENT.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, offset_hours, offset_minutes = match.groups("0")
    try:
        whole = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=UTC)
    except ValueError:
        return None
    offset_ms = (int(offset_hours) * _HOUR_MINUTES + int(offset_minutes)) * _MINUTE_MS
    milliseconds = int(fraction[:_FRACTION_DIGITS].ljust(_FRACTION_DIGITS, "0"))
    if round_up and fraction[_FRACTION_DIGITS:].strip("0"):
        milliseconds += 1
    moment_ms = (whole - EPOCH) // _MILLISECOND + milliseconds
    return moment_ms + offset_ms if sign == "-" else moment_ms - offset_ms


def _parameters(query_string: bytes) -> list[tuple[str, str]]:
    """Names and values of a query string, decoded."""
    try:
        return parse_qsl(
            query_string.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX
        )
    except ValueError:
        raise WindowRefused(
            f"The query string is not percent-encoded UTF-8, or has more than {FIELDS_MAX} parameters."
        ) from None

"""The window of a summary, from a query string to whole milliseconds. Pure.

A moment is a date and time as `server/notation.py` reads them.

`requestedAt` is whole milliseconds and both ends belong to the window, so an end given finer than that is moved inward:
`from` up, `to` down. A window that ends before it starts is empty, not wrong. All arithmetic is in integers.
"""

from typing import Final, NamedTuple
from urllib.parse import parse_qsl

from server.notation import parse_instant

FIELDS_MAX: Final = 16
"""Parameters looked through in a query string; two are known, others are ignored, so more is a mistake."""


class Window(NamedTuple):
    """Both ends of a window in milliseconds since 1970 UTC, both included; None is no end.

    Moments before 1970 are negative. `from_ms` > `to_ms` is an empty window.
    """

    from_ms: int | None
    to_ms: int | None


class WindowRefused(Exception):
    """The query string says no window; a 400."""

    def __init__(self, detail: str) -> None:
        """Keeps the sentence for the client."""
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
    """Milliseconds since 1970 UTC of a date and time; None if it is none.

    Args:
        text: percent-decoded, a `+` perhaps turned into a space.
        round_up: where the moment goes if it lies between two milliseconds.
    """
    instant = parse_instant(text)
    if instant is None:
        return None
    moment_ms, is_finer = instant
    return moment_ms + (round_up and is_finer)


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

"""The window of a summary, from a query string to whole milliseconds. Pure.

`requestedAt` is whole milliseconds and both ends belong to the window, so an end given finer than that is moved inward:
`from` up, `to` down. A window that ends before it starts is empty, not wrong. All arithmetic is in integers.
"""

from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl

from server.errors import RequestRefused
from server.notation import parse_instant
from server.totals import Window

FIELDS_MAX: Final = 16
"""Most parameters in a query string: two are known and others ignored, so more than this is a mistake."""


def parse_window(query_string: bytes) -> Window:
    """The window that a query string's `from` and `to` give; other parameters are ignored.

    Args:
        query_string: as it arrived, percent-encoded.

    Raises:
        RequestRefused: 400, a value is no instant, or is given twice.
    """
    ends: dict[str, int] = {}
    for name, value in _parameters(query_string):
        if name not in {"from", "to"}:
            continue
        if name in ends:
            raise _refusal(f"The parameter {name} is given twice.")
        instant = parse_instant(value)
        if instant is None:
            raise _refusal(
                f"The parameter {name} must be an ISO 8601 date and time like 2025-07-15T12:34:56.789Z, or be left out."
            )
        instant_ms, is_finer = instant
        ends[name] = instant_ms + (name == "from" and is_finer)
    return Window(ends.get("from"), ends.get("to"))


def _parameters(query_string: bytes) -> list[tuple[str, str]]:
    """Names and values of a query string, decoded."""
    try:
        return parse_qsl(
            query_string.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX
        )
    except ValueError:
        raise _refusal(
            f"The query string is not percent-encoded UTF-8, or has more than {FIELDS_MAX} parameters."
        ) from None


def _refusal(detail: str) -> RequestRefused:
    return RequestRefused(HTTPStatus.BAD_REQUEST, detail)

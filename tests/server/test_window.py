"""A summary's window from a query string: facts about `server/window.py`."""

from datetime import UTC, datetime
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import RequestRefused
from server.totals import Window
from server.window import FIELDS_MAX, parse_window

NOON_MS = 1_752_582_896_000
"""2025-07-15T12:34:56Z."""


class TestParseWindow:
    """Query strings."""

    def test_ends_are_optional(self) -> None:
        """Neither end, one end, both ends; a parameter that is not known changes nothing."""
        noon = b"2025-07-15T12:34:56Z"
        assert parse_window(b"") == Window(None, None)
        assert parse_window(b"from=" + noon) == Window(NOON_MS, None)
        assert parse_window(b"to=" + noon) == Window(None, NOON_MS)
        assert parse_window(b"to=%b&_=1&_=2&from=%b" % (noon, noon)) == Window(NOON_MS, NOON_MS)

    @pytest.mark.parametrize(
        ("fraction", "down", "up"),
        [
            ("7", 700, 700),
            ("78", 780, 780),
            ("789", 789, 789),
            ("7890", 789, 789),
            ("7890000000001", 789, 790),
            ("0000001", 0, 1),
            ("999999999", 999, 1000),
        ],
    )
    def test_ends_are_moved_inward(self, fraction: str, down: int, up: int) -> None:
        """What is finer than a millisecond goes up for a start and down for an end."""
        end = f"2025-07-15T12:34:56.{fraction}Z"
        assert parse_window(f"from={end}&to={end}".encode()) == Window(NOON_MS + up, NOON_MS + down)

    def test_before_1970_is_negative(self) -> None:
        """Any year is in time, and rounding goes the same way on either side of 1970."""
        end = b"1969-12-31T23:59:59.9999Z"
        assert parse_window(b"from=%b&to=%b" % (end, end)) == Window(0, -1)

    @pytest.mark.parametrize("offset", ["+02:00", "%2B02:00", "%2b02%3A00", "%2002:00"])
    def test_plus_survives(self, offset: str) -> None:
        """An offset's plus is read as one, encoded or not."""
        assert parse_window(f"from=2025-07-15T14:34:56{offset}".encode()) == Window(NOON_MS, None)

    @given(st.datetimes(timezones=st.just(UTC)))
    def test_encodings_do_not_matter(self, end: datetime) -> None:
        """A value means the same however much of it is percent-encoded."""
        text = end.isoformat()
        plain = parse_window(f"to={text}".encode())
        encoded = "".join(f"%{ord(character):02x}" for character in text)
        assert plain == parse_window(urlencode({"to": text}).encode()) == parse_window(f"to={encoded}".encode())

    def test_empty_window_is_a_window(self) -> None:
        """A window that ends before it starts is passed on as it is."""
        assert parse_window(b"from=2025-07-15T12:34:57Z&to=2025-07-15T12:34:56Z") == Window(NOON_MS + 1000, NOON_MS)

    @pytest.mark.parametrize("name", ["from", "to"])
    @pytest.mark.parametrize("value", ["", "yesterday", "2025-07-15", quote("2025-07-15T12:34:56Zé")])
    def test_bad_value_is_refused(self, name: str, value: str) -> None:
        """A value that is no instant is named, with an example and that it may be left out: an empty one is not."""
        with pytest.raises(RequestRefused) as caught:
            parse_window(f"{name}={value}".encode())
        assert str(caught.value) == (
            f"The parameter {name} must be an ISO 8601 date and time like 2025-07-15T12:34:56.789Z, or be left out."
        )

    @pytest.mark.parametrize("name", ["from", "to"])
    def test_repeated_is_refused(self, name: str) -> None:
        """An end given twice is refused, even with the same value."""
        end = f"{name}=2025-07-15T12:34:56Z"
        with pytest.raises(RequestRefused) as caught:
            parse_window(f"{end}&{end}".encode())
        assert (caught.value.status, str(caught.value)) == (400, f"The parameter {name} is given twice.")

    @pytest.mark.parametrize("query", [b"from=%ff", b"\xff", b"from=\xc3\xa9", b"&".join([b"a=1"] * (FIELDS_MAX + 1))])
    def test_unreadable_query_is_refused(self, query: bytes) -> None:
        """Wrong encodings and endless lists are refused as a whole."""
        with pytest.raises(RequestRefused, match="query string"):
            parse_window(query)

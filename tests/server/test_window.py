"""A summary's window from a query string: facts about `server/window.py`."""

from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.window import FIELDS_MAX, Window, WindowRefused, parse_moment, parse_window

NOON_MS = 1_752_582_896_000
"""2025-07-15T12:34:56Z."""


class TestParseMoment:
    """ISO 8601 to milliseconds."""

    @pytest.mark.parametrize(
        "text",
        [
            "2025-07-15T12:34:56Z",
            "2025-07-15T12:34:56",
            "2025-07-15t12:34:56z",
            "2025-07-15 12:34:56",
            "2025-07-15T12:34:56.0Z",
            "2025-07-15T12:34:56.000000000000000000000000Z",
            "2025-07-15T12:34:56,000",
            "2025-07-15T12:34:56+00:00",
            "2025-07-15T12:34:56 00:00",
            "2025-07-15T12:34:56-00:00",
            "2025-07-15T14:34:56+02:00",
            "2025-07-15T14:34:56 02:00",
            "2025-07-15T14:34:56 02",
            "2025-07-15T14:34:56+0200",
            "2025-07-15T09:34:56-03",
            "2025-07-15T18:19:56+05:45",
            "2025-07-16T12:33:56+23:59",
        ],
    )
    def test_spellings(self, text: str) -> None:
        """Case, separator, zero fractions and offsets are spellings of one moment, whichever way it is rounded."""
        assert parse_moment(text, round_up=True) == parse_moment(text, round_up=False) == NOON_MS

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
    def test_fraction_is_moved_inward(self, fraction: str, down: int, up: int) -> None:
        """What is finer than a millisecond goes up for a start and down for an end."""
        text = f"2025-07-15T12:34:56.{fraction}Z"
        assert parse_moment(text, round_up=False) == NOON_MS + down
        assert parse_moment(text, round_up=True) == NOON_MS + up

    def test_seconds_may_be_left_out(self) -> None:
        """Hours and minutes alone mean the minute's beginning."""
        assert parse_moment("2025-07-15T12:34", round_up=False) == NOON_MS - 56_000

    def test_before_1970_is_negative(self) -> None:
        """Any year is a moment, and rounding goes the same way on either side of 1970."""
        assert parse_moment("1969-12-31T23:59:59.9999Z", round_up=False) == -1
        assert parse_moment("1969-12-31T23:59:59.9999Z", round_up=True) == 0
        assert parse_moment("0001-01-01T00:00:00+23:59", round_up=False) == -62_135_683_140_000

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "now",
            "1752582896000",
            "2025-07-15",
            "2025-07",
            "20250715T123456Z",
            "2025-07-15T12",
            "2025-07-15T12:34:56.Z",
            "2025-07-15T12:34.5Z",
            "2025-07-15T12:34:5Z",
            "2025-7-15T12:34:56Z",
            "2025-02-29T12:34:56Z",
            "2025-13-01T12:34:56Z",
            "0000-01-01T12:34:56Z",
            "2025-07-15T24:00:00Z",
            "2025-07-15T12:60:00Z",
            "2025-07-15T12:34:60Z",
            "2025-07-15T12:34:56+24:00",
            "2025-07-15T12:34:56+02:60",
            "2025-07-15T12:34:56+2",
            "2025-07-15T12:34:56 Z",
            "2025-07-15T12:34:56ZZ",
            " 2025-07-15T12:34:56Z",
            "2025-07-15T12:34:56Z\n",
            "-2025-07-15T12:34:56Z",
            "2025-07-15T12:34:5٦Z",
        ],
    )
    def test_anything_else_is_no_moment(self, text: str) -> None:
        """Dates alone, other forms and days that do not exist are no moments."""
        assert parse_moment(text, round_up=True) is None

    @given(
        st.datetimes(timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))),
        st.booleans(),
    )
    def test_agrees_with_datetime(self, moment: datetime, round_up: bool) -> None:  # noqa: FBT001
        """What Python writes is read as the moment Python means."""
        since = moment - datetime(1970, 1, 1, tzinfo=UTC)
        expected, rest = divmod(since, timedelta(milliseconds=1))
        assert parse_moment(moment.isoformat(), round_up=round_up) == expected + (round_up and bool(rest))

    @given(st.text(max_size=40))
    def test_any_text_has_an_answer(self, text: str) -> None:
        """No text does anything but be a moment or none."""
        assert isinstance(parse_moment(text, round_up=False), int | None)


class TestParseWindow:
    """Query strings."""

    def test_ends_are_optional(self) -> None:
        """Neither end, one end, both ends; a parameter that is not known changes nothing."""
        moment = b"2025-07-15T12:34:56Z"
        assert parse_window(b"") == Window(None, None)
        assert parse_window(b"from=" + moment) == Window(NOON_MS, None)
        assert parse_window(b"to=" + moment) == Window(None, NOON_MS)
        assert parse_window(b"to=%b&_=1&_=2&from=%b" % (moment, moment)) == Window(NOON_MS, NOON_MS)

    def test_ends_are_moved_inward(self) -> None:
        """A window given finer than milliseconds shrinks at both ends."""
        query = b"from=2025-07-15T12:34:56.0000001Z&to=2025-07-15T12:34:56.0019999Z"
        assert parse_window(query) == Window(NOON_MS + 1, NOON_MS + 1)

    @pytest.mark.parametrize("offset", ["+02:00", "%2B02:00", "%2b02%3A00", "%2002:00"])
    def test_plus_survives(self, offset: str) -> None:
        """An offset's plus is read as one, encoded or not."""
        assert parse_window(f"from=2025-07-15T14:34:56{offset}".encode()) == Window(NOON_MS, None)

    @given(st.datetimes(timezones=st.just(UTC)))
    def test_encodings_do_not_matter(self, moment: datetime) -> None:
        """A value means the same however much of it is percent-encoded."""
        text = moment.isoformat()
        plain = parse_window(f"to={text}".encode())
        encoded = "".join(f"%{ord(character):02x}" for character in text)
        assert plain == parse_window(urlencode({"to": text}).encode()) == parse_window(f"to={encoded}".encode())

    def test_empty_window_is_a_window(self) -> None:
        """A window that ends before it starts is passed on as it is."""
        assert parse_window(b"from=2025-07-15T12:34:57Z&to=2025-07-15T12:34:56Z") == Window(NOON_MS + 1000, NOON_MS)

    @pytest.mark.parametrize("name", ["from", "to"])
    @pytest.mark.parametrize("value", ["", "yesterday", "2025-07-15", quote("2025-07-15T12:34:56Zé")])
    def test_bad_value_is_refused(self, name: str, value: str) -> None:
        """A value that is no moment is named, with an example of one; an empty one is no missing one."""
        with pytest.raises(WindowRefused, match=f"parameter {name} must be an ISO 8601 date and time like 2025-"):
            parse_window(f"{name}={value}".encode())

    @pytest.mark.parametrize("name", ["from", "to"])
    def test_repeated_is_refused(self, name: str) -> None:
        """An end given twice is refused, even with the same value."""
        end = f"{name}=2025-07-15T12:34:56Z"
        with pytest.raises(WindowRefused) as caught:
            parse_window(f"{end}&{end}".encode())
        assert caught.value.detail == f"The parameter {name} is given twice."

    @pytest.mark.parametrize("query", [b"from=%ff", b"\xff", b"from=\xc3\xa9", b"&".join([b"a=1"] * (FIELDS_MAX + 1))])
    def test_unreadable_query_is_refused(self, query: bytes) -> None:
        """Wrong encodings and endless lists are refused as a whole."""
        with pytest.raises(WindowRefused, match="query string"):
            parse_window(query)

"""How money, times and ids are written and read."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.notation import (
    CENTS_END,
    START_OF_1970,
    JsonNumber,
    format_cents,
    format_id,
    format_instant_ms,
    format_instant_us,
    parse_cents,
    parse_instant,
)

NOON_MS = 1_752_582_896_000
"""2025-07-15T12:34:56Z."""
YEAR_9999_US = (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC) - START_OF_1970) // timedelta(microseconds=1)

cents = st.integers(min_value=0, max_value=10**17)
instants_us = st.integers(min_value=0, max_value=YEAR_9999_US)


class TestFormatCents:
    """Cents as a decimal."""

    @pytest.mark.parametrize(("amount_cents", "text"), [(0, "0.00"), (5, "0.05"), (1990, "19.90"), (100, "1.00")])
    def test_two_decimals(self, amount_cents: int, text: str) -> None:
        """Always two, and at least one digit before them."""
        assert format_cents(amount_cents) == text

    @given(st.integers(0, 2**70))
    def test_keeps_every_cent(self, amount_cents: int) -> None:
        """Read back as a decimal it is the same."""
        assert Decimal(format_cents(amount_cents)) * 100 == amount_cents


class TestParseCents:
    """A JSON number as whole cents."""

    @pytest.mark.parametrize(
        ("text", "amount_cents"),
        [
            ("19.90", 1990),
            ("19.9", 1990),
            ("19", 1900),
            ("19.900000000000", 1990),
            ("1.99e1", 1990),
            ("1990E-2", 1990),
            ("0.1e+3", 10000),
            ("0", 0),
            ("0e99", 0),
            ("-0", 0),
            ("-19.90", -1990),
            ("0.01", 1),
            ("90071992547409.93", 9007199254740993),  # above 2**53: a float would say …992
        ],
    )
    def test_whole(self, text: str, amount_cents: int) -> None:
        """However it is written, the value counts."""
        assert parse_cents(text) == amount_cents

    @pytest.mark.parametrize(
        "text", ["19.999", "19.999999999999999999", "0.001", "1e-3", "-0.005", "1e-99", "1e-999999999"]
    )
    def test_not_whole(self, text: str) -> None:
        """A fraction of a cent is seen, however small."""
        assert parse_cents(text) is None

    @pytest.mark.parametrize(
        "text", ["1e16", "1" * 17, "1e999999999", "1e" + "9" * 900, "9" * 900 + ".1", "1" + "0" * 60_000, "1e00016"]
    )
    def test_too_much_for_any_amount(self, text: str) -> None:
        """However long or great it is, it is one that no amount has, at once."""
        assert parse_cents(text) == CENTS_END
        assert parse_cents(f"-{text}") == -CENTS_END

    @given(amount_cents=cents, zeros=st.integers(min_value=0, max_value=20))
    def test_any_notation(self, amount_cents: int, zeros: int) -> None:
        """Trailing zeros and exponents change nothing."""
        text = f"{amount_cents // 100}.{amount_cents % 100:02d}{'0' * zeros}"
        assert parse_cents(text) == amount_cents
        assert parse_cents(f"{amount_cents}e-2") == amount_cents
        assert parse_cents(f"0.{amount_cents:020d}e+18") == amount_cents

    @given(st.from_regex(r"-?(0|[1-9][0-9]{0,19})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,2})?", fullmatch=True))
    def test_is_exact(self, number: str) -> None:
        """Any number has the value that fractions find."""
        amount_cents = Fraction(number) * 100
        is_whole = amount_cents.denominator == 1
        assert parse_cents(number) == (max(-CENTS_END, min(int(amount_cents), CENTS_END)) if is_whole else None)


class TestFormatId:
    """16 bytes as a UUID."""

    @given(st.binary(min_size=16, max_size=16))
    def test_as_the_uuid_module_writes_it(self, correlation_id: bytes) -> None:
        """Whatever its version and variant bits."""
        assert format_id(correlation_id) == str(UUID(bytes=correlation_id))


class TestFormatInstant:
    """Milliseconds and microseconds since 1970 as ISO 8601."""

    @example(instant_us=0)
    @example(instant_us=999_999)
    @example(instant_us=YEAR_9999_US)
    @given(instant_us=instants_us)
    def test_the_calendar_is_that_of_the_datetime_module(self, instant_us: int) -> None:
        """Three digits or six, whatever they are, and a Z."""
        instant = START_OF_1970 + timedelta(microseconds=instant_us)
        assert datetime.fromisoformat(format_instant_us(instant_us)) == instant
        shown_ms = format_instant_ms(instant_us // 1000)
        assert datetime.fromisoformat(shown_ms) == instant.replace(microsecond=instant.microsecond // 1000 * 1000)
        assert (len(shown_ms), len(format_instant_us(instant_us))) == (24, 27)


class TestParseInstant:
    """ISO 8601 as milliseconds."""

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
        """Case, separator, zero fractions and offsets are spellings of one instant."""
        assert parse_instant(text) == (NOON_MS, False)

    @pytest.mark.parametrize(
        ("fraction", "ms", "is_finer"),
        [
            ("7", 700, False),
            ("78", 780, False),
            ("7890", 789, False),
            ("7890000000001", 789, True),
            ("0000001", 0, True),
        ],
    )
    def test_any_fraction(self, fraction: str, ms: int, is_finer: bool) -> None:  # noqa: FBT001
        """Cut off to whole milliseconds, and said so, however small the rest."""
        assert parse_instant(f"2025-07-15T12:34:56.{fraction}Z") == (NOON_MS + ms, is_finer)

    def test_seconds_may_be_left_out(self) -> None:
        """Hours and minutes alone mean the minute's beginning."""
        assert parse_instant("2025-07-15T12:34") == (NOON_MS - 56_000, False)

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
    def test_anything_else_is_none(self, text: str) -> None:
        """Dates alone, other forms and days that do not exist are no instants."""
        assert parse_instant(text) is None

    @given(st.datetimes(timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))))
    def test_agrees_with_datetime(self, instant: datetime) -> None:
        """What Python writes is read as the instant Python means."""
        expected_ms, rest = divmod(instant - START_OF_1970, timedelta(milliseconds=1))
        assert parse_instant(instant.isoformat()) == (expected_ms, bool(rest))

    @given(st.text(max_size=40))
    def test_any_text_has_an_answer(self, text: str) -> None:
        """No text does anything but be an instant or none."""
        assert isinstance(parse_instant(text), tuple | None)

    @example(instant_us=0)
    @example(instant_us=YEAR_9999_US)
    @given(instant_us=instants_us)
    def test_reads_what_is_written(self, instant_us: int) -> None:
        """To the millisecond below, and whether it was finer."""
        whole_ms, rest_us = divmod(instant_us, 1000)
        assert parse_instant(format_instant_us(instant_us)) == (whole_ms, rest_us > 0)
        assert parse_instant(format_instant_ms(whole_ms)) == (whole_ms, False)

    def test_before_1970(self) -> None:
        """Negative, and cut off downward there, too."""
        assert parse_instant("1969-12-31T23:59:59.9999Z") == (-1, True)
        assert parse_instant("0001-01-01T00:00:00+23:59") == (-62_135_683_140_000, False)


class TestJsonNumber:
    """A number that is still text."""

    def test_is_told_from_a_string(self) -> None:
        """By its class alone: it reads the same."""
        assert JsonNumber("1.50") == "1.50"
        assert not isinstance("1.50", JsonNumber)

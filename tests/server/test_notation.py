"""How money, times and ids are written and read."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.notation import (
    EPOCH,
    JsonNumber,
    format_cents,
    format_id,
    format_instant_ms,
    format_instant_us,
    parse_instant,
)

YEAR_9999_US = (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)

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
        moment = EPOCH + timedelta(microseconds=instant_us)
        assert datetime.fromisoformat(format_instant_us(instant_us)) == moment
        shown_ms = format_instant_ms(instant_us // 1000)
        assert datetime.fromisoformat(shown_ms) == moment.replace(microsecond=moment.microsecond // 1000 * 1000)
        assert (len(shown_ms), len(format_instant_us(instant_us))) == (24, 27)


class TestParseInstant:
    """A date and time as milliseconds; `test_window.py` and `test_attempt.py` have the shapes."""

    @example(instant_us=0)
    @example(instant_us=YEAR_9999_US)
    @given(instant_us=instants_us)
    def test_reads_what_is_written(self, instant_us: int) -> None:
        """To the millisecond below, and whether it was finer."""
        whole_ms, rest_us = divmod(instant_us, 1000)
        assert parse_instant(format_instant_us(instant_us)) == (whole_ms, rest_us > 0)
        assert parse_instant(format_instant_ms(whole_ms)) == (whole_ms, False)

    def test_before_1970(self) -> None:
        """Cut off downward there, too."""
        assert parse_instant("1969-12-31T23:59:59.9999Z") == (-1, True)


class TestJsonNumber:
    """A number that is still text."""

    def test_is_told_from_a_string(self) -> None:
        """By its class alone: it reads the same."""
        assert JsonNumber("1.50") == "1.50"
        assert not isinstance("1.50", JsonNumber)

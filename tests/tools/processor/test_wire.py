"""Tests of tools/processor/wire.py."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http import HTTPStatus
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.processor.wire import (
    EPOCH,
    Malformed,
    Payment,
    closing,
    format_cents,
    format_time,
    http_answer,
    parse_id,
    parse_object,
    parse_payment,
    parse_time,
)

ID = "4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3"
AT = "2025-07-15T12:34:56.789Z"
AT_US = 1_752_582_896_789_000


def body_of(amount: str = "19.90", correlation_id: str = ID, requested_at: str = AT, gap: str = "") -> bytes:
    """A payment's body with its number written as given."""
    return (
        f'{{"correlationId":{gap}"{correlation_id}",{gap}"amount":{gap}{amount},{gap}"requestedAt":{gap}"{requested_at}"}}'
    ).encode()


def dict_without(name: str) -> bytes:
    """A payment's body without one of its members."""
    members: dict[str, object] = {"correlationId": ID, "amount": 19.9, "requestedAt": AT}
    del members[name]
    return json.dumps(members).encode()


MALFORMED_BODIES = [
    b"",
    b"[]",
    b"1",
    b"[" * 50_000,
    b"\xff\xfe",
    body_of("true"),
    body_of("null"),
    body_of('"19.90"'),
    body_of("NaN"),
    body_of("Infinity"),
    body_of("1e999999999999"),
    body_of("1e9999999999999999999999"),
    body_of("100000000000000"),
    body_of("1" * 5000),
    body_of("19.90}"),
    body_of("019.90"),
    body_of(correlation_id="1"),
    body_of(correlation_id=ID.replace("-", "")),
    body_of(requested_at="yesterday"),
    body_of(requested_at="2025-02-30T12:34:56Z"),
    body_of(requested_at="2025-07-15T12:34:60.000Z"),
    body_of(requested_at="0000-07-15T12:34:56.000Z"),
    dict_without("correlationId"),
    dict_without("amount"),
    dict_without("requestedAt"),
]


class TestParsePayment:
    """parse_payment."""

    def test_usual_body_is_read_exactly(self) -> None:
        """Id in lower case, amount in cents, time in microseconds."""
        assert parse_payment(body_of(correlation_id=ID.upper())) == Payment(ID, 1990, AT_US)

    @given(
        correlation_id=st.uuids(),
        cents=st.integers(0, 10**10),
        at_us=st.integers(0, 4 * 10**15),
        gap=st.sampled_from(["", " "]),
        upper=st.booleans(),
    )
    def test_every_shape_reads_the_same(
        self, correlation_id: UUID, cents: int, at_us: int, gap: str, *, upper: bool
    ) -> None:
        """The quick way, the general way and the values they were written from agree."""
        written = str(correlation_id).upper() if upper else str(correlation_id)
        body = body_of(format_cents(cents), written, f"{format_time(at_us)}Z", gap)
        general = b"  " + body
        assert parse_payment(body) == parse_payment(general) == Payment(str(correlation_id), cents, at_us)

    @pytest.mark.parametrize(
        ("amount", "cents"),
        [
            ("20", 2000),
            ("19.9", 1990),
            ("0.01", 1),
            ("-5.00", -500),
            ("1.99e1", 1990),
            ("19.900", 1990),
            ("0.005", 0),  # a half goes to the even neighbour
            ("0.015", 2),
            ("19.904999999999999999999", 1990),
            ("19.905000000000000000001", 1991),
            ("1e-1000000", 0),
        ],
    )
    def test_amount_is_rounded_by_value(self, amount: str, cents: int) -> None:
        """Whatever the number's form, its cents are exact, and what is finer is rounded, never through a float."""
        assert parse_payment(body_of(amount)).amount_cents == cents

    @pytest.mark.parametrize("body", MALFORMED_BODIES, ids=lambda body: f"{len(body)}:{body[-66:]!r}")
    def test_anything_else_is_malformed(self, body: bytes) -> None:
        """What isn't a payment is refused with a reason, never with another error."""
        with pytest.raises(Malformed, match=r"\w"):
            parse_payment(body)

    def test_other_members_are_ignored(self) -> None:
        """A member it doesn't know changes nothing."""
        assert parse_payment(b'{"x":[1],' + body_of()[1:]) == Payment(ID, 1990, AT_US)


class TestParseObject:
    """parse_object."""

    def test_numbers_stay_exact(self) -> None:
        """A number with a point is a Decimal."""
        assert parse_object(b'{"a":0.1,"b":1}') == {"a": Decimal("0.1"), "b": 1}


class TestParseId:
    """parse_id."""

    def test_case_does_not_matter(self) -> None:
        """Upper and lower case are one id."""
        assert parse_id(ID.upper()) == ID

    @pytest.mark.parametrize("text", ["", "service-healths", f"{{{ID}}}", ID + "\n", "٤" * 36])
    def test_other_forms_are_malformed(self, text: str) -> None:
        """Only 36 characters of hexadecimal digits and hyphens are an id."""
        with pytest.raises(Malformed, match="not a UUID"):
            parse_id(text)


class TestTimes:
    """parse_time and format_time."""

    @pytest.mark.parametrize(
        ("text", "at_us"),
        [
            ("1970-01-01", 0),
            ("1970-01-01T00:01", 60_000_000),
            ("1970-01-01T00:00:01", 1_000_000),
            ("1970-01-01T00:00:01Z", 1_000_000),
            ("1970-01-01T00:00:01.5", 1_500_000),
            ("1970-01-01T00:00:00.1234569Z", 123_456),  # cut off, as .NET and Npgsql do
            ("1970-01-01T02:00:00+02:00", 0),
            ("1970-01-01T00:00:00.001-00:30", 1_800_001_000),
            ("1969-12-31T23:59:59.999Z", -1_000),
            (AT, AT_US),
        ],
    )
    def test_each_form_is_read(self, text: str, at_us: int) -> None:
        """ISO 8601 with or without seconds, fraction and offset is a number of microseconds; no offset is UTC."""
        assert parse_time(text) == at_us

    @given(st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2100, 1, 1)))  # noqa: DTZ001 - made UTC below
    def test_what_is_shown_reads_as_what_was_stored(self, at: datetime) -> None:
        """A time shown has no offset and no needless zeros, and means the same microsecond."""
        at_us = (at.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
        shown = format_time(at_us)
        assert parse_time(shown) == at_us
        assert shown == at.isoformat().rstrip("0" if at.microsecond else "")

    @pytest.mark.parametrize(("at_us", "shown"), [(-(10**18), "0001"), (10**18, "9999")])
    def test_a_time_beyond_the_calendar_is_shown_at_its_edge(self, at_us: int, shown: str) -> None:
        """An offset may push a time out of the years 1 to 9999; showing it is no error."""
        assert format_time(at_us).startswith(shown)


class TestFormatCents:
    """format_cents."""

    @given(st.integers(-(10**20), 10**20))
    def test_value_is_exact(self, cents: int) -> None:
        """The text is the cents divided by a hundred, with two decimals."""
        text = format_cents(cents)
        assert Decimal(text).scaleb(2) == cents
        assert text[-3] == "."


class TestAnswers:
    """http_answer and closing."""

    def test_answer_is_whole(self) -> None:
        """Status line, type, length, further headers, body."""
        answer = http_answer(HTTPStatus.OK, b"{}", headers=b"X: y\r\n")
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 2\r\nX: y\r\n"
        assert answer == head + b"\r\n{}"

    def test_no_content_has_no_length(self) -> None:
        """A 204 says nothing of a body."""
        assert http_answer(HTTPStatus.NO_CONTENT) == b"HTTP/1.1 204 No Content\r\n\r\n"

    def test_closing_says_so_once(self) -> None:
        """The last answer of a connection has one more header."""
        answer = closing(http_answer(HTTPStatus.NOT_FOUND))
        assert answer == b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

"""What is sent to a processor, and what each answer means."""

import json
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.attempt import (
    Shown,
    compare,
    decode_object,
    decode_shown,
    encode_payment,
    event_of_error,
    event_of_status,
    is_misuse,
    parse_shown_instant,
    stamp_ms,
)
from server.errors import OutcomeUnknown, ProcessorUnreachable
from server.notation import CENTS_END, JsonNumber, format_instant_ms
from shm import Event

ID = bytes.fromhex("4a7901b8b26346c1b9f0a0d1c2e3f405")
ID_TEXT = "4a7901b8-b263-46c1-b9f0-a0d1c2e3f405"
NOON_MS = 1_752_582_896_789  # 2025-07-15T12:34:56.789Z
YEAR_9999_MS = 253_402_300_799_999

cents = st.integers(min_value=0, max_value=10**17)
instants_ms = st.integers(min_value=0, max_value=YEAR_9999_MS)


class TestEventOfStatus:
    """Answers to `POST /payments`."""

    @pytest.mark.parametrize(
        ("status", "event"),
        [
            (200, Event.PAID),
            (429, Event.SURE_NO),
            (500, Event.SURE_NO),
            (503, Event.SURE_NO),
            (400, Event.REJECTED),
            (413, Event.REJECTED),
            (422, None),
        ],
    )
    def test_known(self, status: int, event: Event | None) -> None:
        """Each status of the contract is one event, and 422 is a question."""
        assert event_of_status(status) is event

    @given(status=st.integers(min_value=100, max_value=999))
    def test_others(self, status: int) -> None:
        """Any other status proves nothing."""
        if status not in {200, 400, 413, 422, 429, 500, 503}:
            assert event_of_status(status) is Event.UNCLEAR

    @pytest.mark.parametrize("status", [300, 301, 302, 401, 403, 404, 405, 411, 415, 431, 499])
    def test_misuse(self, status: int) -> None:
        """Statuses that say *you asked wrongly* are told apart."""
        assert is_misuse(status)

    @pytest.mark.parametrize("status", [200, 201, 299, 400, 408, 413, 422, 425, 429, 500, 502, 503, 504, 599])
    def test_no_misuse(self, status: int) -> None:
        """Statuses of the contract, of overload and of bad moments are none of these."""
        assert not is_misuse(status)


class TestEventOfError:
    """No answer to `POST /payments`."""

    def test_unreachable(self) -> None:
        """What was surely not sent is a sure no."""
        assert event_of_error(ProcessorUnreachable("refused")) is Event.SURE_NO

    def test_unknown(self) -> None:
        """What may have been sent is unclear."""
        assert event_of_error(OutcomeUnknown("reset")) is Event.UNCLEAR


class TestStamp:
    """stamp_ms."""

    @given(st.integers(0, 2**47), st.integers(0, 2**47), st.integers(1, 64), st.data())
    def test_no_two_instances_share_one(self, one_ms: int, other_ms: int, places: int, data: st.DataObject) -> None:
        """Whatever their clocks say; and it is the latest that may be."""
        place = data.draw(st.integers(0, places - 1))
        stamp = stamp_ms(one_ms, place, places)
        assert one_ms - places < stamp <= one_ms
        for other in range(places):
            assert (stamp == stamp_ms(other_ms, other, places)) <= (other == place)


class TestCompare:
    """Whether what a processor shows is the payment sent from here."""

    def test_ours(self) -> None:
        """The same amount and requestedAt: it is ours."""
        assert compare(Shown(1990, NOON_MS), 1990, NOON_MS) is Event.SHOWN_OURS

    @pytest.mark.parametrize(
        "shown", [Shown(1991, NOON_MS), Shown(1990, NOON_MS + 1), Shown(None, NOON_MS), Shown(1990, None)]
    )
    def test_other(self, shown: Shown) -> None:
        """A difference in either: another acceptance was paid."""
        assert compare(shown, 1990, NOON_MS) is Event.SHOWN_OTHER


class TestEncodePayment:
    """The body of `POST /payments`."""

    def test_example(self) -> None:
        """Id in lower case, amount with two decimals, time with milliseconds."""
        assert encode_payment(ID, 1990, NOON_MS) == (
            b'{"correlationId":"4a7901b8-b263-46c1-b9f0-a0d1c2e3f405","amount":19.90,'
            b'"requestedAt":"2025-07-15T12:34:56.789Z"}'
        )

    @given(correlation_id=st.binary(min_size=16, max_size=16), amount_cents=cents, requested_at_ms=instants_ms)
    def test_round_trip(self, correlation_id: bytes, amount_cents: int, requested_at_ms: int) -> None:
        """What is sent and echoed reads as what was sent, to the cent and the millisecond."""
        body = encode_payment(correlation_id, amount_cents, requested_at_ms)
        assert decode_shown(body, correlation_id) == Shown(amount_cents, requested_at_ms)
        members = json.loads(body, parse_float=Decimal)
        assert members["amount"] * 100 == amount_cents
        assert UUID(members["correlationId"]).bytes == correlation_id


class TestInstant:
    """requestedAt, written and read."""

    @pytest.mark.parametrize(
        "text",
        [
            "2025-07-15T12:34:56.789Z",
            "2025-07-15T12:34:56.789000Z",
            "2025-07-15T12:34:56.7890000000+00:00",
            "2025-07-15T12:34:56.789",
            "2025-07-15 12:34:56.789z",
            "2025-07-15t09:34:56.789-03:00",
            "2025-07-15T18:04:56.789+0530",
        ],
    )
    def test_read(self, text: str) -> None:
        """With more digits, with an offset or without, it is the same instant."""
        assert parse_shown_instant(text) == NOON_MS

    @pytest.mark.parametrize(
        ("text", "ms"),
        [("2025-07-15T12:34:56Z", 0), ("2025-07-15T12:34:56.7Z", 700), ("2025-07-15T12:34:56.08Z", 80)],
    )
    def test_fewer_digits(self, text: str, ms: int) -> None:
        """Trailing zeros may be left out."""
        assert parse_shown_instant(text) == NOON_MS - 789 + ms

    @pytest.mark.parametrize("text", ["2025-07-15T12:34:56.7891Z", "2025-07-15T12:34:56.7890000001Z"])
    def test_not_whole(self, text: str) -> None:
        """A fraction of a millisecond is seen, however small."""
        assert parse_shown_instant(text) is None

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "yesterday",
            "2025-07-15",
            "2025-02-30T12:00:00Z",
            "2025-07-15T12:34:60Z",
            "2025-07-15T25:00:00Z",
            "2025-07-15T12:34:56.Z",
            "2025-07-15T12:34:56+24:00",
            "2025-07-15T12:34:56.789Zz",
            "0000-01-01T00:00:00Z",
            "1752582896789",
        ],
    )
    def test_malformed(self, text: str) -> None:
        """What is no instant is an error."""
        with pytest.raises(ValueError, match=r"."):
            parse_shown_instant(text)

    @example(instant_ms=0)
    @example(instant_ms=999)
    @example(instant_ms=YEAR_9999_MS)
    @given(instant_ms=instants_ms)
    def test_round_trip(self, instant_ms: int) -> None:
        """Written and read again it is the same."""
        assert parse_shown_instant(format_instant_ms(instant_ms)) == instant_ms

    @given(instant_ms=instants_ms, offset_min=st.integers(min_value=-1439, max_value=1439))
    def test_any_offset(self, instant_ms: int, offset_min: int) -> None:
        """Told with an offset it is the same instant."""
        local = format_instant_ms(instant_ms)[:-1]
        offset = f"{'-' if offset_min < 0 else '+'}{abs(offset_min) // 60:02d}:{abs(offset_min) % 60:02d}"
        assert parse_shown_instant(local + offset) == instant_ms - offset_min * 60_000


class TestDecodeShown:
    """The body of a 200 to `GET /payments/{id}`."""

    @pytest.mark.parametrize(
        ("body", "shown"),
        [
            (b'{"correlationId":"%b","amount":19.9,"requestedAt":"2025-07-15T12:34:56.789Z"}', Shown(1990, NOON_MS)),
            (b'{"amount":19.9,"requestedAt":"2025-07-15T12:34:56.789","more":[1]}', Shown(1990, NOON_MS)),
            (b'{"amount":1e999,"requestedAt":"2025-07-15T12:34:56.789Z"}', Shown(CENTS_END, NOON_MS)),
            (b'{"amount":19.999,"requestedAt":"2025-07-15T12:34:56.789Z"}', Shown(None, NOON_MS)),
            (b'{"amount":19.9,"requestedAt":"2025-07-15T12:34:56.789123Z"}', Shown(1990, None)),
        ],
    )
    def test_well_formed(self, body: bytes, shown: Shown) -> None:
        """Amount and time are read exactly; the id may be left out, in any case."""
        assert decode_shown(body.replace(b"%b", ID_TEXT.upper().encode()), ID) == shown

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"null",
            b"[]",
            b"[" * 60_000,
            b"\xff",
            b"{}",
            b'{"amount":19.9}',
            b'{"amount":1e%b,"requestedAt":"2025-07-15T12:34:56.789Z"}' % (b"9" * 5000),
            b'{"amount":"19.9","requestedAt":"2025-07-15T12:34:56.789Z"}',
            b'{"amount":NaN,"requestedAt":"2025-07-15T12:34:56.789Z"}',
            b'{"amount":true,"requestedAt":"2025-07-15T12:34:56.789Z"}',
            b'{"amount":19.9,"requestedAt":1752582896789}',
            b'{"amount":19.9,"requestedAt":null}',
            b'{"amount":19.9,"requestedAt":"2025-07-15T12:34:56.789Z"} {}',
            b'{"amount":19.9,"requestedAt":"2025-07-15T12:34:56.789Z","correlationId":7}',
            b'{"amount":19.9,"requestedAt":"2025-07-15T12:34:56.789Z","correlationId":null}',
            b'{"amount":19.9,"requestedAt":"2025-07-15T12:34:56.789Z","correlationId":"00000000-0000-0000-0000-000000000000"}',
        ],
    )
    def test_malformed(self, body: bytes) -> None:
        """From anything else, or from the payment of another id, nothing follows."""
        with pytest.raises(ValueError, match=r"."):
            decode_shown(body, ID)

    def test_numbers_stay_text(self) -> None:
        """Numbers of an object are not turned into floats."""
        assert decode_object(b'{"a":1,"b":2.50}') == {"a": JsonNumber("1"), "b": JsonNumber("2.50")}

"""A request's body becomes a payment or a typed refusal: facts about `server/payments.py`."""

import json
import string
from fractions import Fraction
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.errors import RequestRefused
from server.payments import (
    BODY_BYTES_MAX,
    parse_any_shape,
    parse_correlation_id,
    parse_fixed_shape,
    parse_payment,
)

MAX_CENTS = 100_000_000
ID = "4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3"
ID_BYTES = UUID(ID).bytes
MEMBERS = st.sampled_from([ID, 19.90, None, True, -1, 0.001, "19.90", [ID], {"amount": 1}, float("nan"), float("inf")])


def body_of(amount: str, correlation_id: str = ID) -> bytes:
    """The usual body, with the amount as it is to be written."""
    return f'{{"correlationId":"{correlation_id}","amount":{amount}}}'.encode()


def refusal_of(body: bytes, amount_cents_max: int = MAX_CENTS) -> RequestRefused:
    """The refusal of a body that has to be refused."""
    with pytest.raises(RequestRefused) as caught:
        parse_payment(body, amount_cents_max)
    return caught.value


@st.composite
def usual_bodies(draw: st.DrawFn) -> bytes:
    """Bodies that are of the fixed shape, or one character away from it."""
    digits = st.text(alphabet=string.digits, max_size=14)
    whole = draw(st.integers(0, 2 * MAX_CENTS // 100).map(str) | digits)
    amount = whole + draw(st.sampled_from(["", ".5", ".05", ".50", ".00"]) | digits.map(".{}".format))
    space = st.sampled_from(["", "", "", " ", " ", "\n"])
    letters = draw(st.sampled_from([str.lower, str.upper, str.title]))
    name = letters(str(draw(st.uuids())))
    text = f'{{"correlationId":{draw(space)}"{name}",{draw(space)}"amount":{draw(space)}{amount}}}'
    if draw(st.integers(0, 2)) == 0:
        place = draw(st.integers(0, len(text) - 1))
        text = text[:place] + draw(st.sampled_from(["", "0", "-", '"', "e", "é", "}", "g"])) + text[place + 1 :]
    return text.encode()


@st.composite
def numbers(draw: st.DrawFn) -> str:
    """JSON numbers around the size of amounts, in every form."""
    sign = draw(st.sampled_from(["", "", "", "-"]))
    fraction = draw(st.just("") | st.text(alphabet="019", min_size=1, max_size=6).map(".{}".format))
    exponent = draw(st.just("") | st.integers(-4, 9).map(draw(st.sampled_from(["e{}", "E{:+}", "e{:03}"])).format))
    return f"{sign}{draw(st.integers(0, 10**9))}{fraction}{exponent}"


class TestParseFixedShape:
    """The one-pass check of the usual body."""

    @given(usual_bodies())
    @example(body_of("19.90"))
    @example(body_of("19"))
    @example(body_of("1000000.00"))
    def test_agrees_with_the_full_parser(self, body: bytes) -> None:
        """Whatever the fast parser takes, the full parser takes as the same payment."""
        payment = parse_fixed_shape(body, MAX_CENTS)
        if payment is not None:
            assert parse_any_shape(body, MAX_CENTS) == payment

    @given(st.uuids(), st.integers(1, MAX_CENTS))
    def test_takes_what_encoders_write(self, correlation_id: UUID, cents: int) -> None:
        """Bodies as JSON encoders write them, with and without spaces, take the fast way."""
        document = {"correlationId": str(correlation_id), "amount": cents / 100}
        for separators in ((",", ":"), (", ", ": ")):
            body = json.dumps(document, separators=separators).encode()
            assert parse_fixed_shape(body, MAX_CENTS) == (correlation_id.bytes, cents)

    @pytest.mark.parametrize("amount", ["0", "0.00", "1000000.01", "-1", "1.999", "01", "1e1", '"1"', "1."])
    def test_refuses_nothing_itself(self, amount: str) -> None:
        """What is not payable is left to the full parser, which has the sentences."""
        assert parse_fixed_shape(body_of(amount), MAX_CENTS) is None


class TestParsePayment:
    """The whole way from a body to a payment."""

    @pytest.mark.parametrize(
        "body",
        [
            body_of("19.90"),
            body_of("19.9"),
            body_of("19.900"),
            body_of("1.99e1"),
            body_of("1.99E+1"),
            body_of("1990e-2"),
            body_of("0.0199e3"),
            body_of("19.9" + "0" * 800),
            body_of("19.9", ID.upper()),
            b' {\t"amount" : 19.9 ,\r\n "correlationId" : "%b" } ' % ID.encode(),
            b'{"correlationId":"\\u0034%b","amount":19.9}' % ID[1:].encode(),
            b'{"correlationId":"%b","amount":19.9,"note":{"NaN":[1e400,-0,true]}}' % ID.encode(),
        ],
    )
    def test_judges_by_value(self, body: bytes) -> None:
        """Spelling, order, spaces, case and unknown members do not change the payment."""
        assert parse_payment(body, MAX_CENTS) == (ID_BYTES, 1990)

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"   ",
            b"{",
            b"[1,]",
            b'{"correlationId"}',
            b"{'amount': 1}",
            body_of("19.90") + b"x",
            body_of("01.00"),
            body_of(".5"),
            body_of("5."),
            body_of("+5"),
            body_of("0x10"),
            body_of("NaN"),
            body_of("Infinity"),
            body_of("-Infinity"),
            body_of("1_000"),
            b"\xff\xfe" + body_of("1"),
            b"\xef\xbb\xbf" + body_of("1"),
            body_of("1").decode().encode("utf-16"),
            b'{"note":"\xe9","correlationId":"%b","amount":1}' % ID.encode(),
            b'{"note":"\xed\xa0\x80","correlationId":"%b","amount":1}' % ID.encode(),
            b'{"note":"\x00","correlationId":"%b","amount":1}' % ID.encode(),
        ],
    )
    def test_malformed_is_400(self, body: bytes) -> None:
        """What is not JSON in strict UTF-8 is malformed."""
        assert refusal_of(body).status == 400

    @pytest.mark.parametrize(
        "body",
        [
            b'{"correlationId":"%b","amount":1,"amount":1}' % ID.encode(),
            b'{"correlationId":"%b","amount":1,"\\u0061mount":2}' % ID.encode(),
            b'{"correlationId":"%b","amount":1,"note":1,"note":2}' % ID.encode(),
            b'{"correlationId":"%b","amount":1,"note":[{"a":1,"a":2}]}' % ID.encode(),
        ],
    )
    def test_repeated_member_is_400(self, body: bytes) -> None:
        """A member given twice is malformed, escaped or nested, known or not: parsers differ in which one counts."""
        refusal = refusal_of(body)
        assert (refusal.status, str(refusal)) == (400, "A member appears twice in one JSON object.")

    @pytest.mark.parametrize("opening", ["[", '{"a":'])
    def test_endless_nesting_is_400(self, opening: str) -> None:
        """Nesting as deep as a body can be does not exhaust the stack."""
        assert refusal_of((opening * BODY_BYTES_MAX)[:BODY_BYTES_MAX].encode()).status == 400

    def test_exhausted_stack_is_400(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A parser that runs out of stack, as one called from deep down may, refuses the body."""

        def exhausted(*_: object, **__: object) -> None:
            raise RecursionError

        monkeypatch.setattr(json, "loads", exhausted)
        assert refusal_of(b"[]").status == 400

    @pytest.mark.parametrize(
        "body",
        [
            b"null",
            b"[]",
            b'"text"',
            b"12",
            b"{}",
            b'{"amount":1}',
            b'{"correlationId":"%b"}' % ID.encode(),
            b'{"correlationid":"%b","amount":1}' % ID.encode(),
            b'{"correlationId":null,"amount":1}',
            b'{"correlationId":12,"amount":1}',
            b'{"correlationId":["%b"],"amount":1}' % ID.encode(),
            body_of("1", ID[:-1]),
            body_of("1", ID + "0"),
            body_of("1", ID.replace("-", "")),
            body_of("1", "{" + ID + "}"),
            body_of("1", "urn:uuid:" + ID),
            body_of("1", ID[:-1] + "g"),
            body_of("1", ID[:-1] + "٣"),
            body_of("1", ID + "\\n"),
            body_of("1", "\\ud800"),
            body_of("null"),
            body_of("true"),
            body_of('"19.90"'),
            body_of('"1"'),
            body_of("[1]"),
            body_of("0"),
            body_of("-0"),
            body_of("0.000e5"),
            body_of("0e999999999"),
            body_of("-19.90"),
            body_of("19.905"),
            body_of("0.001"),
            body_of("1e-3"),
            body_of("19.999999999999999999"),
            body_of("1e-999999999"),
            body_of("1000000.01"),
            body_of("10000000"),
            body_of("1e7"),
            body_of("1e999999999"),
            body_of("1e" + "9" * 900),
            body_of("-1e" + "9" * 900),
            body_of("9" * 900),
        ],
    )
    def test_well_formed_but_wrong_is_422(self, body: bytes) -> None:
        """JSON that is no payment is refused as such, whatever the size of its numbers."""
        assert refusal_of(body).status == 422

    @pytest.mark.parametrize(
        ("body", "detail"),
        [
            (body_of('"19.90"'), "amount must be a JSON number, without quotes."),
            (body_of("-1"), "amount must be greater than 0."),
            (body_of("1.001"), "amount must have at most 2 decimals."),
            (body_of("1000000.01"), "amount must be at most 1000000.00."),
            (b"{}", "The member correlationId is missing."),
            (b'{"correlationId":12,"amount":1}', "correlationId must be a string that holds a UUID."),
            (body_of("NaN"), "The body is not JSON: NaN is no JSON number."),
            (b"\xff", "The body is not valid UTF-8 from byte 0 on."),
        ],
    )
    def test_says_what_is_wrong(self, body: bytes, detail: str) -> None:
        """The sentence names the member and what would be right."""
        assert str(refusal_of(body)) == detail

    def test_limit_is_taken(self) -> None:
        """The greatest amount allowed is allowed, however it is written."""
        assert parse_payment(body_of("1000000.00"), MAX_CENTS)[1] == MAX_CENTS
        assert parse_payment(body_of("1e6"), MAX_CENTS)[1] == MAX_CENTS

    def test_longest_body_is_taken(self) -> None:
        """A body of exactly the cap is read, one byte more is a 413."""
        body = body_of("19.90")
        padded = body + b" " * (BODY_BYTES_MAX - len(body))
        assert parse_payment(padded, MAX_CENTS)[1] == 1990
        assert refusal_of(padded + b" ").status == 413

    @given(numbers(), st.sampled_from([1, 99, 1990, MAX_CENTS]))
    @example("1000000", MAX_CENTS)
    @example("0.01", 1)
    def test_amount_is_exact(self, number: str, cents_max: int) -> None:
        """An amount is taken if and only if its exact value is a whole number of cents within the limits."""
        cents = Fraction(number) * 100
        if cents.denominator == 1 and 0 < cents <= cents_max:
            assert parse_payment(body_of(number), cents_max)[1] == cents
        else:
            assert refusal_of(body_of(number), cents_max).status == 422

    @given(st.binary(max_size=BODY_BYTES_MAX))
    def test_any_bytes_have_an_answer(self, body: bytes) -> None:
        """No body does anything but make a payment or be refused."""
        assert refusal_of(body).status in {400, 422}

    @given(MEMBERS, MEMBERS)
    def test_any_members_have_an_answer(self, correlation_id: object, amount: object) -> None:
        """No values of the two members do anything but make a payment or be refused."""
        body = json.dumps({"correlationId": correlation_id, "amount": amount}).encode()
        if correlation_id == ID and amount == 19.90:
            assert parse_payment(body, MAX_CENTS) == (ID_BYTES, 1990)
        else:
            assert refusal_of(body).status in {400, 422}


class TestParseCorrelationId:
    """A UUID's one spelling."""

    @given(st.uuids(allow_nil=True))
    def test_either_case(self, correlation_id: UUID) -> None:
        """Upper and lower case are the same 16 bytes."""
        text = str(correlation_id)
        assert parse_correlation_id(text) == parse_correlation_id(text.upper()) == correlation_id.bytes

    @given(st.text(max_size=40))
    def test_anything_else_is_422(self, text: str) -> None:
        """Text that is no UUID is refused."""
        with pytest.raises(RequestRefused) as caught:
            parse_correlation_id(text)
        assert caught.value.status == 422

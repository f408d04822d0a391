"""Tests of tools/processor/api.py."""

import json
from decimal import Decimal
from typing import Any

import pytest

from tools.processor.api import Api, Gate, Request, Settings, gate_of
from tools.processor.store import PaymentStore
from tools.processor.wire import Payment

ID = "4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3"
PAYMENT = Payment(ID, 1990, 1_752_582_896_700_000)
JSON = b"application/json"
TOKEN = b"123"


def status_of(answer: bytes) -> int:
    """The status of a whole HTTP answer."""
    return int(answer.split(b" ", 2)[1])


def json_of(answer: bytes) -> Any:
    """The body of a whole HTTP answer, its numbers exact."""
    return json.loads(answer.partition(b"\r\n\r\n")[2], parse_float=Decimal)


def put(name: str, members: object, token: bytes | None = TOKEN) -> Request:
    """A change of one setting."""
    target = f"/admin/configurations/{name}".encode()
    return Request(b"PUT", target, json.dumps(members).encode(), JSON, token)


@pytest.fixture
def api() -> Api:
    """A processor's endpoints with one payment stored."""
    api = Api(Settings(), PaymentStore())
    api.pay(PAYMENT)
    return api


class TestGateOf:
    """gate_of."""

    @pytest.mark.parametrize(
        ("method", "target", "gate"),
        [
            (b"POST", b"/payments", Gate.PAYMENTS),
            (b"POST", b"/payments?x=1", Gate.PAYMENTS),
            (b"GET", b"/payments/" + ID.encode(), Gate.PAYMENTS),
            (b"GET", b"/payments/service-health", Gate.HEALTH),
            (b"GET", b"/payments/service-health?x=1", Gate.HEALTH),
            (b"GET", b"/payments", Gate.NONE),
            (b"PUT", b"/payments/" + ID.encode(), Gate.NONE),
            (b"GET", b"/admin/payments", Gate.NONE),
            (b"POST", b"/admin/purge-payments", Gate.NONE),
        ],
    )
    def test_each_endpoint_has_its_limit(self, method: bytes, target: bytes, gate: Gate) -> None:
        """Payments and their look-ups share one limit, the health has its own, the rest none."""
        assert gate_of(Request(method, target)) is gate


class TestReadPayment:
    """Api.read_payment."""

    BODY = b'{"correlationId":"%b","amount":19.90,"requestedAt":"2025-07-15T12:34:56.7Z"}' % ID.encode()

    @pytest.mark.parametrize("content_type", [JSON, b"Application/JSON; charset=utf-8"])
    def test_a_payment_is_read(self, api: Api, content_type: bytes) -> None:
        """A JSON body becomes a payment."""
        assert api.read_payment(Request(b"POST", b"/payments", self.BODY, content_type)) == PAYMENT

    @pytest.mark.parametrize("content_type", [None, b"text/plain"])
    def test_another_type_is_a_415(self, api: Api, content_type: bytes | None) -> None:
        """As in the contest's, a body that isn't said to be JSON is not read."""
        answer = api.read_payment(Request(b"POST", b"/payments", self.BODY, content_type))
        assert isinstance(answer, bytes)
        assert status_of(answer) == 415

    def test_a_malformed_body_is_a_400(self, api: Api) -> None:
        """The answer says what is wrong."""
        answer = api.read_payment(Request(b"POST", b"/payments", b"{}", JSON))
        assert isinstance(answer, bytes)
        assert status_of(answer) == 400
        assert json_of(answer) == {"message": "correlationId is not a string"}


class TestPay:
    """Api.pay."""

    def test_a_new_payment_is_a_200(self) -> None:
        """It is stored, with the contest's words."""
        api = Api(Settings(), PaymentStore())
        answer = api.pay(PAYMENT)
        assert status_of(answer) == 200
        assert json_of(answer) == {"message": "payment processed successfully"}

    def test_a_known_id_is_a_422_and_changes_nothing(self, api: Api) -> None:
        """The first amount and requestedAt stay."""
        answer = api.pay(Payment(ID, 1, 1))
        assert status_of(answer) == 422
        assert api.store.get(ID) == (PAYMENT.requested_at_us, PAYMENT.amount_cents)

    def test_a_failing_processor_stores_nothing(self) -> None:
        """Failing is a 500 without a body, for known ids too."""
        api = Api(Settings(failing=True), PaymentStore())
        assert status_of(api.pay(PAYMENT)) == 500
        assert len(api.store) == 0

    def test_a_full_store_is_a_503(self) -> None:
        """Never a 200 for what isn't stored."""
        api = Api(Settings(), PaymentStore(rows_max=0))
        assert status_of(api.pay(PAYMENT)) == 503


class TestPublicEndpoints:
    """Api.answer without a token."""

    def test_a_stored_payment_is_shown(self, api: Api) -> None:
        """With its id, exact amount, and requestedAt without an offset or last zeros."""
        answer = api.answer(Request(b"GET", b"/payments/" + ID.upper().encode()))
        assert status_of(answer) == 200
        expected = {"correlationId": ID, "amount": Decimal("19.90"), "requestedAt": "2025-07-15T12:34:56.7"}
        assert json_of(answer) == expected

    @pytest.mark.parametrize(
        ("target", "status"),
        [
            (b"/payments/00000000-0000-0000-0000-000000000000", 404),
            (b"/payments/1", 400),
            (b"/payments/\xff", 400),
            (b"/payments/", 400),
            (b"/nothing", 404),
            (b"*", 404),
            (b"/admin/nothing", 404),
            (b"/", 200),
        ],
    )
    def test_other_targets(self, api: Api, target: bytes, status: int) -> None:
        """An unknown id is a 404, what isn't an id a 400, an unknown path a 404; `/` says who answers."""
        assert status_of(api.answer(Request(b"GET", target))) == status

    def test_a_wrong_method_is_a_405(self, api: Api) -> None:
        """It names the right one."""
        answer = api.answer(Request(b"GET", b"/payments"))
        assert status_of(answer) == 405
        assert b"\r\nAllow: POST\r\n" in answer
        assert status_of(api.answer(Request(b"DELETE", b"/payments/" + ID.encode()))) == 405

    @pytest.mark.parametrize(("failing", "delay_ms"), [(False, 0), (True, 2000)])
    def test_health_tells_the_settings(self, *, failing: bool, delay_ms: int) -> None:
        """Always a 200, failing or not."""
        api = Api(Settings(failing=failing, delay_ms=delay_ms), PaymentStore())
        answer = api.answer(Request(b"GET", b"/payments/service-health"))
        assert status_of(answer) == 200
        assert json_of(answer) == {"failing": failing, "minResponseTime": delay_ms}


class TestAdmin:
    """Api.answer for `/admin/...`."""

    @pytest.mark.parametrize("token", [None, b"", b"124", b"\xff"])
    @pytest.mark.parametrize(
        ("method", "target"),
        [
            (b"GET", b"/admin/payments-summary"),
            (b"GET", b"/admin/payments"),
            (b"POST", b"/admin/purge-payments"),
            (b"PUT", b"/admin/configurations/delay"),
            (b"PUT", b"/admin/configurations/failure"),
            (b"PUT", b"/admin/configurations/token"),
        ],
    )
    def test_without_the_token_it_is_a_401(self, api: Api, method: bytes, target: bytes, token: bytes | None) -> None:
        """Nothing is shown or changed."""
        body = b'{"delay":1,"failure":true,"token":"x"}'
        assert status_of(api.answer(Request(method, target, body, JSON, token))) == 401
        assert api.settings == Settings()
        assert len(api.store) == 1

    @pytest.mark.parametrize(
        ("query", "payments"),
        [
            ("", 1),
            ("?from=2025-07-15T12:34:56.700Z&to=2025-07-15T12:34:56.700Z", 1),
            ("?from=2025-07-15T12%3A34%3A56.701Z&to=2026-01-01", 0),
            ("?from=2026-01-01", 1),
            ("?other=1", 1),
        ],
    )
    def test_summary_counts_the_window(self, api: Api, query: str, payments: int) -> None:
        """Number, sum and fee of the rows in it, exact; of all rows unless both ends are given."""
        answer = api.answer(Request(b"GET", f"/admin/payments-summary{query}".encode(), token=TOKEN))
        assert status_of(answer) == 200
        assert json_of(answer) == {
            "totalAmount": payments * Decimal("19.90"),
            "totalRequests": payments,
            "totalFee": payments * Decimal("1.393"),
            "feePerTransaction": Decimal("0.07"),
        }

    @pytest.mark.parametrize("query", ["?from=today&to=2025-07-15", "?from=\xff&to=x", "?" + "&".join(["a=1"] * 20)])
    def test_an_unreadable_window_is_a_400(self, api: Api, query: str) -> None:
        """Never the totals of another window."""
        request = Request(b"GET", f"/admin/payments-summary{query}".encode(), token=TOKEN)
        assert status_of(api.answer(request)) == 400

    def test_rows_are_listed(self, api: Api) -> None:
        """Each with id, cents and milliseconds, in the order of storing."""
        api.pay(Payment("b", -1, 1_999))
        answer = api.answer(Request(b"GET", b"/admin/payments", token=TOKEN))
        assert json_of(answer) == [[ID, 1990, 1_752_582_896_700], ["b", -1, 1]]

    def test_a_purge_forgets_all(self, api: Api) -> None:
        """With the contest's words."""
        answer = api.answer(Request(b"POST", b"/admin/purge-payments", token=TOKEN))
        assert json_of(answer) == {"message": "All payments purged."}
        assert len(api.store) == 0

    def test_delay_and_failure_are_changed(self, api: Api) -> None:
        """The answer says what was and what is."""
        assert json_of(api.answer(put("delay", {"delay": 100}))) == {"config": "delay", "was": 0, "is": 100}
        answer = api.answer(put("failure", {"failure": True}))
        assert json_of(answer) == {"config": "failure", "was": False, "is": True}
        assert (api.settings.delay_ms, api.settings.failing) == (100, True)

    def test_a_new_token_replaces_the_old(self, api: Api) -> None:
        """A 204; from then on only the new one opens."""
        answer = api.answer(put("token", {"token": "secret"}))
        assert answer == b"HTTP/1.1 204 No Content\r\n\r\n"
        assert status_of(api.answer(put("delay", {"delay": 1}))) == 401
        assert status_of(api.answer(put("delay", {"delay": 1}, b"secret"))) == 200

    @pytest.mark.parametrize(
        ("name", "members"),
        [
            ("delay", {}),
            ("delay", {"delay": "1"}),
            ("delay", {"delay": 1.5}),
            ("delay", {"delay": True}),
            ("delay", {"delay": -1}),
            ("delay", {"delay": 10**9}),
            ("failure", {"failure": 1}),
            ("token", {"token": 1}),
            ("token", []),
        ],
    )
    def test_a_senseless_setting_is_a_400(self, api: Api, name: str, members: object) -> None:
        """Nothing changes."""
        assert status_of(api.answer(put(name, members))) == 400
        assert api.settings == Settings()

    def test_a_setting_of_another_type_is_a_415(self, api: Api) -> None:
        """Bodies are JSON and say so."""
        request = Request(b"PUT", b"/admin/configurations/delay", b'{"delay":1}', None, TOKEN)
        assert status_of(api.answer(request)) == 415

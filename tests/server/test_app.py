"""The web worker over HTTP: facts about `server/app.py`; `test_app_raw.py` has those that HTTP clients hide."""

import logging
from collections.abc import AsyncIterator
from uuid import UUID

import httpx
import pytest
from starlette.applications import Starlette

from server.app import answer_to_error, build_app, is_json_type
from server.errors import LookupUnavailable, TotalsUnavailable
from server.payments import Acceptance, PaymentStatus
from server.totals import Summary, Total
from tests.server.fake_gate import FakeGate, FakeTotals

ID = "4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3"
PAYMENT = (UUID(ID).bytes, 1990)
BODY = b'{"correlationId":"%b","amount":19.90}' % ID.encode()
NOON_MS = 1_752_582_896_000
"""2025-07-15T12:34:56Z."""


@pytest.fixture
def gate() -> FakeGate:
    """A gate that accepts."""
    return FakeGate()


@pytest.fixture
def totals() -> FakeTotals:
    """Totals of nothing."""
    return FakeTotals()


@pytest.fixture
def app(gate: FakeGate, totals: FakeTotals) -> Starlette:
    """The application with purging on."""
    return build_app(gate, totals, amount_cents_max=100_000_000, purge_enabled=True)


@pytest.fixture
async def client(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of the application."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        yield client


def detail_of(response: httpx.Response, status: int) -> str:
    """The sentence of a problem, which has to have this status."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    content = response.json()
    assert content["status"] == status
    assert isinstance(content["detail"], str)
    return content["detail"]


class TestTakePayment:
    """POST /payments."""

    @pytest.mark.parametrize("acceptance", [Acceptance.ACCEPTED, Acceptance.REPEATED])
    async def test_taken_is_an_empty_202(
        self, client: httpx.AsyncClient, gate: FakeGate, acceptance: Acceptance
    ) -> None:
        """A payment that is committed, now or before, is a 202 without a body."""
        gate.acceptance = acceptance
        response = await client.post("/payments", content=BODY, headers={"content-type": "application/json"})
        assert (response.status_code, response.content) == (202, b"")
        assert response.headers == {"content-length": "0"}
        assert gate.offered == [PAYMENT]

    async def test_conflict_is_409(self, client: httpx.AsyncClient, gate: FakeGate) -> None:
        """The same id with another amount is turned away, without inviting another try."""
        gate.acceptance = Acceptance.CONFLICT
        response = await client.post("/payments", content=BODY)
        assert "another amount" in detail_of(response, 409)
        assert "retry-after" not in response.headers

    async def test_full_is_503(self, client: httpx.AsyncClient, gate: FakeGate) -> None:
        """A full ring says when to try again."""
        gate.acceptance = Acceptance.FULL
        response = await client.post("/payments", content=BODY)
        assert "not taken" in detail_of(response, 503)
        assert response.headers["retry-after"] == "1"

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            (b"", 400),
            (b"{", 400),
            (BODY.replace(b"}", b',"amount":19.90}'), 400),
            (b"{}", 422),
            (BODY.replace(b"19.90", b'"19.90"'), 422),
            (BODY.replace(b"19.90", b"19.999999999999999999"), 422),
            (BODY.replace(b"19.90", b"1e999999999"), 422),
            (BODY.replace(b"19.90", b"1000000.01"), 422),
            (BODY + b" " * 1024, 413),
        ],
    )
    async def test_bad_body_is_refused(
        self, client: httpx.AsyncClient, gate: FakeGate, body: bytes, status: int
    ) -> None:
        """A body that is no payment is refused with a sentence and never reaches the gate."""
        assert detail_of(await client.post("/payments", content=body), status).endswith(".")
        assert gate.offered == []

    async def test_other_type_is_415(self, client: httpx.AsyncClient, gate: FakeGate) -> None:
        """A type that is not JSON is refused with the header to send instead."""
        response = await client.post("/payments", content=BODY, headers={"content-type": "text/plain"})
        assert "'Content-Type: application/json'" in detail_of(response, 415)
        assert response.headers["accept"] == "application/json"
        assert gate.offered == []

    @pytest.mark.parametrize(
        "content_type", ["Application/JSON; charset=utf-8", "application/vnd.shop.payment+json", ""]
    )
    async def test_any_json_type_is_taken(self, client: httpx.AsyncClient, content_type: str) -> None:
        """Every name of JSON is taken, and no type at all."""
        response = await client.post("/payments", content=BODY, headers={"content-type": content_type})
        assert response.status_code == 202


class TestIsJsonType:
    """Content types."""

    @pytest.mark.parametrize(
        "content_type",
        [
            b"application/json",
            b" APPLICATION/Json\t;charset=UTF-8; x=y",
            b"application/problem+json",
            b"application/json;",
            b"",
            b" ",
        ],
    )
    def test_json(self, content_type: bytes) -> None:
        """JSON in any case, with any parameters, under its own name or as a suffix; nothing is nothing wrong."""
        assert is_json_type(content_type)

    @pytest.mark.parametrize(
        "content_type",
        (
            b"text/plain|text/json|application/x-www-form-urlencoded|application/jsonp|application/json+xml|json|"
            b"application/+json|application/json, text/plain|xapplication/json|text/plain; application/json"
        ).split(b"|"),
    )
    def test_not_json(self, content_type: bytes) -> None:
        """Everything else is not."""
        assert not is_json_type(content_type)


class TestShowPayment:
    """GET /payments/{id}."""

    async def test_shows_where_it_stands(self, client: httpx.AsyncClient, gate: FakeGate) -> None:
        """An id in either case shows the payment, its id in lower case."""
        gate.statuses[PAYMENT[0]] = PaymentStatus("settled", 1990, "default", NOON_MS + 789, NOON_MS * 1000 + 1, 2)
        response = await client.get(f"/payments/{ID.upper()}")
        assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
        assert response.text == (
            f'{{"correlationId":"{ID}","amount":19.90,"state":"settled","processor":"default",'
            '"requestedAt":"2025-07-15T12:34:56.789Z","acceptedAt":"2025-07-15T12:34:56.000001Z","conflicts":2}'
        )

    async def test_unknown_is_404(self, client: httpx.AsyncClient) -> None:
        """An id never seen, or forgotten, is a 404 that says so."""
        assert "no longer remembered" in detail_of(await client.get(f"/payments/{ID}"), 404)

    async def test_too_many_are_429(self, client: httpx.AsyncClient, gate: FakeGate) -> None:
        """Beyond the look-ups allowed the client is told when to try again."""
        gate.look_ups_left = 0
        response = await client.get(f"/payments/{ID}")
        assert "per second" in detail_of(response, 429)
        assert response.headers["retry-after"] == "1"

    async def test_unavailable_is_503(self, client: httpx.AsyncClient, gate: FakeGate) -> None:
        """A payment that may be at a sibling that can't be looked at now is no 404."""
        gate.failure = LookupUnavailable("Not every instance can be looked at now.")
        response = await client.get(f"/payments/{ID}")
        assert detail_of(response, 503) == "Not every instance can be looked at now."
        assert response.headers["retry-after"] == "1"

    async def test_no_uuid_is_422(self, client: httpx.AsyncClient, gate: FakeGate) -> None:
        """What is no UUID is refused as in a body, and costs no look-up."""
        assert "UUID" in detail_of(await client.get("/payments/12"), 422)
        assert gate.look_ups_left == 1


class TestSummarise:
    """GET /payments-summary."""

    async def test_is_json(self, client: httpx.AsyncClient, totals: FakeTotals) -> None:
        """Without parameters it is the totals of all time; what is not exact is said in extra members."""
        totals.answer = Summary(Total(2, 3980), Total(0, 0), 3, "widened to whole minutes")
        response = await client.get("/payments-summary")
        assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
        assert response.headers["content-length"] == str(len(response.content))
        assert response.text == (
            '{"default":{"totalRequests":2,"totalAmount":39.80},"fallback":{"totalRequests":0,"totalAmount":0.00},'
            '"unknown":3,"resolution":"widened to whole minutes"}'
        )
        assert totals.windows == [(None, None)]

    async def test_window_is_passed_on(self, client: httpx.AsyncClient, totals: FakeTotals) -> None:
        """Both ends arrive in milliseconds, also a plus that arrived as a space, also a window that is empty."""
        await client.get("/payments-summary?from=2025-07-15T14:34:56.0001+02:00&to=2025-07-15T12:34:55Z")
        assert totals.windows == [(NOON_MS + 1, NOON_MS - 1000)]

    @pytest.mark.parametrize("query", ["from=noon", "to=", "to=2025-07-15T12:34:55Z&to=2025-07-15T12:34:55Z"])
    async def test_bad_window_is_400(self, client: httpx.AsyncClient, totals: FakeTotals, query: str) -> None:
        """A window that can't be read is refused with a sentence, and nobody is asked."""
        assert "parameter" in detail_of(await client.get(f"/payments-summary?{query}"), 400)
        assert totals.windows == []

    async def test_unavailable_is_503(self, client: httpx.AsyncClient, totals: FakeTotals) -> None:
        """Totals that would not be exact are a 503 with the reason."""
        totals.answer = TotalsUnavailable("app2 has not been seen for 1.5 s.")
        response = await client.get("/payments-summary")
        assert detail_of(response, 503) == "app2 has not been seen for 1.5 s."
        assert response.headers["retry-after"] == "1"


class TestPurge:
    """POST /purge-payments."""

    async def test_purges(self, client: httpx.AsyncClient, totals: FakeTotals) -> None:
        """Where it is switched on it answers once the totals are empty."""
        response = await client.post("/purge-payments", headers={"content-type": "application/json"})
        assert (response.status_code, response.content, totals.purges) == (204, b"", 1)

    async def test_unavailable_is_503(self, client: httpx.AsyncClient, totals: FakeTotals) -> None:
        """A purge that did not reach all instances is no success."""
        totals.answer = TotalsUnavailable("Redis can't be reached.")
        assert detail_of(await client.post("/purge-payments"), 503) == "Redis can't be reached."

    async def test_switched_off_is_403(self, gate: FakeGate, totals: FakeTotals) -> None:
        """Where it is switched off it says how it is switched on, and does nothing."""
        app = build_app(gate, totals, amount_cents_max=1, purge_enabled=False)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
            assert "PURGE_ENABLED=1" in detail_of(await client.post("/purge-payments"), 403)
            assert detail_of(await client.get("/purge-payments"), 405)
        assert totals.purges == 0


class TestTellHealth:
    """GET /health."""

    async def test_staying_is_204(self, client: httpx.AsyncClient, gate: FakeGate) -> None:
        """A worker that means to stay says so with an empty answer, to HEAD as well."""
        for method in ("GET", "HEAD"):
            response = await client.request(method, "/health")
            assert (response.status_code, response.content, dict(response.headers)) == (204, b"", {})

    async def test_leaving_is_404(self, client: httpx.AsyncClient, gate: FakeGate) -> None:
        """A worker that is leaving is not found any more."""
        gate.leaving = True
        assert "leaving" in detail_of(await client.get("/health"), 404)


class TestErrorLayer:
    """From errors to answers."""

    @pytest.mark.parametrize(
        "path",
        ["/", "/payment", "/payments/", f"/payments/{ID}/", "/PAYMENTS", "/docs", "/payments%2d", f"/%70ayments/{ID}"],
    )
    async def test_nothing_there_is_404(self, client: httpx.AsyncClient, path: str) -> None:
        """Other paths are problems too, and no path has two spellings."""
        assert "/payments-summary" in detail_of(await client.get(path), 404)

    @pytest.mark.parametrize(
        ("method", "path", "allow"),
        [
            ("GET", "/payments", "POST"),
            ("PUT", "/payments", "POST"),
            ("OPTIONS", "/payments", "POST"),
            ("POST", f"/payments/{ID}", "GET, HEAD"),
            ("DELETE", "/payments-summary", "GET, HEAD"),
            ("GET", "/purge-payments", "POST"),
            ("POST", "/health", "GET, HEAD"),
        ],
    )
    async def test_other_method_is_405(
        self, client: httpx.AsyncClient, gate: FakeGate, method: str, path: str, allow: str
    ) -> None:
        """Other methods are told which ones are allowed."""
        response = await client.request(method, path, content=BODY)
        assert allow in detail_of(response, 405)
        assert response.headers["allow"] == allow
        assert gate.offered == []

    async def test_unexpected_is_500_and_logged_once(
        self, client: httpx.AsyncClient, gate: FakeGate, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Of an unforeseen error the client is told nothing, and the log everything, once."""
        gate.failure = LookupError("a secret")
        response = await client.post("/payments", content=BODY)
        assert "secret" not in detail_of(response, 500)
        (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert record.getMessage() == "unexpected error answering POST '/payments'"
        assert record.exc_info is not None
        assert record.exc_info[1] is gate.failure

    def test_only_foreseen_errors_have_answers(self) -> None:
        """An error that is not in the table has no answer."""
        assert answer_to_error(ValueError("anything")) is None

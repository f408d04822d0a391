"""The client of a payment processor, over a transport that answers from a function."""

import asyncio
from collections.abc import Callable
from contextlib import nullcontext

import httpx
import pytest

from server.attempt import Shown
from server.errors import OutcomeUnknown, ProcessorError, ProcessorUnreachable
from server.processors import CONNECT_TIMEOUT_S, QUESTION_TIMEOUT_S, Health, Processor
from tests.fakes import FakeTransport, FunctionTransport
from tests.server.fake_peer import OK, Talk

ID = bytes.fromhex("4a7901b8b26346c1b9f0a0d1c2e3f405")
ID_TEXT = "4a7901b8-b263-46c1-b9f0-a0d1c2e3f405"
NOON_MS = 1_752_582_896_789  # 2025-07-15T12:34:56.789Z
SHOWN = b'{"correlationId":"%b","amount":19.90,"requestedAt":"2025-07-15T12:34:56.789Z"}' % ID_TEXT.encode()

SURELY_NOT_SENT = [httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.LocalProtocolError]
PERHAPS_SENT = [
    httpx.ReadTimeout,
    httpx.ReadError,
    httpx.WriteError,
    httpx.WriteTimeout,
    httpx.CloseError,
    httpx.RemoteProtocolError,
    httpx.ProxyError,
    httpx.DecodingError,
    httpx.TooManyRedirects,
]
ERRORS = [
    *((error, ProcessorUnreachable) for error in SURELY_NOT_SENT),
    *((error, OutcomeUnknown) for error in PERHAPS_SENT),
]


class Scene:
    """A processor whose every answer comes from one function; requests are kept."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response], url: str = "http://default:8080") -> None:
        """Answer every request with `answer`."""
        self.requests: list[httpx.Request] = []

        def handle(request: httpx.Request) -> httpx.Response:
            self.requests.append(request)
            return answer(request)

        self.processor = Processor(0, url, transport=FunctionTransport(handle), timeout_s=30.0)


def answering(status: int, body: bytes = b"{}") -> Processor:
    """A processor that answers everything alike."""
    return Scene(lambda _: httpx.Response(status, content=body)).processor


def failing(error: type[Exception]) -> Processor:
    """A processor over a transport that raises."""

    def fail(request: httpx.Request) -> httpx.Response:
        raise error("broken")

    return Scene(fail).processor


class TestPay:
    """`POST /payments`."""

    async def test_request(self) -> None:
        """The request is a whole one: URL, host, type, length, body, time-outs."""
        scene = Scene(lambda _: httpx.Response(200))
        assert await scene.processor.pay(ID, 1990, NOON_MS) == 200
        (request,) = scene.requests
        assert (request.method, str(request.url)) == ("POST", "http://default:8080/payments")
        assert request.content == SHOWN
        assert request.headers.multi_items() == [
            ("host", "default:8080"),
            ("content-type", "application/json"),
            ("content-length", str(len(SHOWN))),
        ]
        assert (request.extensions["timeout"]["read"], request.extensions["timeout"]["connect"]) == (
            30.0,
            CONNECT_TIMEOUT_S,
        )

    @pytest.mark.parametrize("status", [200, 201, 302, 400, 404, 422, 429, 500, 503, 599])
    async def test_status(self, status: int) -> None:
        """Every status is handed on as it is."""
        assert await answering(status).pay(ID, 1990, NOON_MS) == status

    @pytest.mark.parametrize("status", [200, 400, 413, 429, 500, 503])
    @pytest.mark.parametrize(
        "fields",
        [
            [("Content-Type", "text/html")],
            [("content-type", "Text/HTML ; charset=utf-8")],
            [("Content-Type", "text/plain"), ("Content-Type", "text/html")],
        ],
    )
    async def test_somebody_else_answers(self, status: int, fields: list[tuple[str, str]]) -> None:
        """A proxy's page decides nothing, whatever its status: whether the processor was asked is not known."""
        scene = Scene(lambda _: httpx.Response(status, headers=fields, content=b"<html>"))
        with pytest.raises(OutcomeUnknown, match=f"default answered {status} to POST /payments with a page of HTML"):
            await scene.processor.pay(ID, 1990, NOON_MS)

    async def test_somebody_else_is_told_of_once(self, caplog: pytest.LogCaptureFixture) -> None:
        """Not with every payment, though the processor itself has answered one meanwhile."""
        kinds = ["text/html", "application/json", "text/html"]
        answers = iter(kinds)
        scene = Scene(lambda _: httpx.Response(200, headers={"Content-Type": next(answers)}))
        for kind in kinds:
            with pytest.raises(OutcomeUnknown) if kind == "text/html" else nullcontext():
                await scene.processor.pay(ID, 1990, NOON_MS)
        told = "something else answers in the place of default, with a page of HTML: 200 to POST /payments"
        assert [record.getMessage() for record in caplog.records] == [told]

    @pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "application/problem+json", "text/plain"])
    async def test_kinds(self, kind: str) -> None:
        """Anything else is the processor's, however it puts it."""
        headers = {"Content-Type": kind}
        assert await Scene(lambda _: httpx.Response(400, headers=headers)).processor.pay(ID, 1, 1) == 400
        assert await Scene(lambda _: httpx.Response(404, headers=headers)).processor.show(ID) is None

    async def test_somebody_else_says_that_it_is_not_there(self) -> None:
        """Neither does a proxy's 404 say that a payment is not stored."""
        scene = Scene(lambda _: httpx.Response(404, headers={"Content-Type": "text/html"}))
        with pytest.raises(OutcomeUnknown):
            await scene.processor.show(ID)

    async def test_redirect_is_not_followed(self) -> None:
        """A processor can't send a payment elsewhere."""
        scene = Scene(lambda _: httpx.Response(307, headers={"Location": "http://elsewhere/payments"}))
        assert await scene.processor.pay(ID, 1990, NOON_MS) == 307
        assert len(scene.requests) == 1

    @pytest.mark.parametrize(("error", "meaning"), ERRORS)
    async def test_error(self, error: type[Exception], meaning: type[ProcessorError]) -> None:
        """Only what promises that no byte left is unreachable; all else is unknown, with the cause kept."""
        with pytest.raises(meaning, match="default: .*broken") as caught:
            await failing(error).pay(ID, 1990, NOON_MS)
        assert type(caught.value) is meaning
        assert type(caught.value.__cause__) is error

    async def test_cancelled(self) -> None:
        """A cancelled call stays a cancelled call."""

        class Hanging(FakeTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                return await asyncio.Future()

        processor = Processor(0, "http://default", transport=Hanging(), timeout_s=30.0)
        call = asyncio.ensure_future(processor.pay(ID, 1990, NOON_MS))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    async def test_questions_ask_for_nothing_compressed(self) -> None:
        """Answers are read as they come, so nothing is said that would have them packed."""
        scene = Scene(lambda _: httpx.Response(404, headers={"Set-Cookie": "a=b"}))
        for _ in range(2):
            assert await scene.processor.show(ID) is None
        assert [list(request.headers) for request in scene.requests] == [["host"], ["host"]]

    async def test_nothing_is_remembered(self) -> None:
        """A cookie set by a processor is not sent back, and the environment has no say."""
        scene = Scene(lambda _: httpx.Response(200, headers={"Set-Cookie": "a=b"}))
        await scene.processor.pay(ID, 1990, NOON_MS)
        await scene.processor.pay(ID, 1990, NOON_MS)
        assert "cookie" not in scene.requests[1].headers

    @pytest.mark.parametrize(
        ("url", "payments_url"),
        [
            ("http://default", "http://default/payments"),
            ("http://default:8080/", "http://default:8080/payments"),
            ("http://default/a%20b", "http://default/a%20b/payments"),
            ("http://[::1]:8080/v1/", "http://[::1]:8080/v1/payments"),
        ],
    )
    async def test_prefix(self, url: str, payments_url: str) -> None:
        """The URL may have a path, with or without a slash at its end."""
        scene = Scene(lambda _: httpx.Response(200), url)
        await scene.processor.pay(ID, 1990, NOON_MS)
        (request,) = scene.requests
        assert str(request.url) == payments_url

    async def test_over_the_wire(self) -> None:
        """Over the real transport it is one message on a kept connection."""
        async with Talk() as talk:
            processor = Processor(1, talk.url, transport=talk.transport, timeout_s=30.0)
            peer, _ = await talk.exchange()
            call = asyncio.ensure_future(processor.pay(ID, 1990, NOON_MS))
            request = await peer.receive()
            peer.send(OK)
            assert await call == 200
            assert request == (
                b"POST /payments HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (talk.port, len(SHOWN), SHOWN)
            )
            await processor.aclose()
            assert talk.transport.connections_open == 0
            with pytest.raises(ProcessorUnreachable, match="closed"):
                await processor.pay(ID, 1990, NOON_MS)


class TestShow:
    """`GET /payments/{id}`."""

    async def test_request(self) -> None:
        """The id is asked for in lower case, with a shorter time-out."""
        scene = Scene(lambda _: httpx.Response(200, content=SHOWN))
        assert await scene.processor.show(ID) == Shown(1990, NOON_MS)
        (request,) = scene.requests
        assert (request.method, str(request.url)) == ("GET", f"http://default:8080/payments/{ID_TEXT}")
        assert request.extensions["timeout"]["read"] == QUESTION_TIMEOUT_S

    async def test_not_there(self) -> None:
        """404: nothing is stored, so far."""
        assert await answering(404).show(ID) is None

    @pytest.mark.parametrize("status", [201, 301, 400, 401, 422, 429, 500, 503])
    async def test_other_status(self, status: int) -> None:
        """Any other status tells nothing."""
        with pytest.raises(OutcomeUnknown, match=f"default answered {status}"):
            await answering(status, SHOWN).show(ID)

    @pytest.mark.parametrize("body", [b"", b"[]", b"{}", SHOWN[:-1], SHOWN.replace(b"4a79", b"4a78"), b"[" * 60_000])
    async def test_malformed(self, body: bytes) -> None:
        """Neither does a 200 that can't be understood, or shows another payment."""
        with pytest.raises(OutcomeUnknown, match="not understood"):
            await answering(200, body).show(ID)

    @pytest.mark.parametrize(("error", "meaning"), ERRORS)
    async def test_error(self, error: type[Exception], meaning: type[ProcessorError]) -> None:
        """The same two errors as for a payment."""
        with pytest.raises(meaning):
            await failing(error).show(ID)


class TestHealth:
    """`GET /payments/service-health`."""

    @pytest.mark.parametrize(
        ("body", "health"),
        [
            (b'{"failing":false,"minResponseTime":0}', Health(failing=False, response_ms_min=0)),
            (b'{"minResponseTime":5000,"failing":true,"more":1}', Health(failing=True, response_ms_min=5000)),
        ],
    )
    async def test_told(self, body: bytes, health: Health) -> None:
        """Flag and least time are read."""
        scene = Scene(lambda _: httpx.Response(200, content=body))
        assert await scene.processor.health() == health
        assert str(scene.requests[0].url) == "http://default:8080/payments/service-health"

    async def test_told_by_one_that_fails(self) -> None:
        """Its status says so as well."""
        scene = Scene(lambda _: httpx.Response(503, content=b'{"failing":true,"minResponseTime":7}'))
        assert await scene.processor.health() == Health(failing=True, response_ms_min=7)

    async def test_too_often(self) -> None:
        """429: nothing is told, this time."""
        assert await answering(429).health() is None

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"null",
            b'{"failing":false}',
            b'{"failing":0,"minResponseTime":0}',
            b'{"failing":"no","minResponseTime":0}',
            b'{"failing":false,"minResponseTime":-1}',
            b'{"failing":false,"minResponseTime":1.5}',
            b'{"failing":false,"minResponseTime":"1"}',
            b'{"failing":false,"minResponseTime":%b}' % (b"1" * 5000),
        ],
    )
    async def test_malformed(self, body: bytes) -> None:
        """A 200 that can't be understood tells nothing."""
        with pytest.raises(OutcomeUnknown, match="not understood"):
            await answering(200, body).health()

    @pytest.mark.parametrize("status", [404, 500, 502])
    async def test_other_status(self, status: int) -> None:
        """Neither does any other status."""
        with pytest.raises(OutcomeUnknown, match=f"default answered {status}"):
            await answering(status).health()


class TestProcessor:
    """The object itself."""

    def test_names(self) -> None:
        """It knows its index in shared memory and what people call it."""
        processor = answering(200)
        assert (processor.index, processor.name) == (0, "default")

    async def test_short_time_out(self) -> None:
        """A time-out below that of questions holds for questions, too."""
        requests: list[httpx.Request] = []

        def handle(request: httpx.Request) -> httpx.Response:
            requests.append(request)
            return httpx.Response(404)

        processor = Processor(0, "http://default", transport=FunctionTransport(handle), timeout_s=2.0)
        await processor.show(ID)
        assert requests[0].extensions["timeout"]["read"] == 2.0

"""The shortcut for the usual payment, held against uvicorn and Starlette."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server import shortcut as module
from server.http_connection import HardenedProtocol
from server.payments import Acceptance
from server.shortcut import (
    HEAD_BYTES_MAX,
    HEADS_REMEMBERED,
    HEALTH_CHECK,
    usual_body,
)
from tests.fakes import idle
from tests.server.fake_gate import FakeGate
from tests.server.serving import BODY, ID, USUAL, SlowTotals, request_of, serving, talk


class TestUsualBody:
    """usual_body."""

    @pytest.mark.parametrize(
        "data",
        [
            request_of(*USUAL),
            request_of("host: x", f"content-length:{len(BODY)}"),
            request_of(*USUAL, "User-Agent: k6/1.1.0 (https://k6.io/)", "Accept: */*", "X-Empty:"),
        ],
    )
    def test_usual(self, data: bytes) -> None:
        """A whole request with what matters in its place has a body."""
        assert usual_body(data) == BODY

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            request_of(*USUAL)[:-1],
            request_of(*USUAL) + b"x",
            request_of(*USUAL) * 2,
            request_of(*USUAL, line="POST /payments HTTP/1.0"),
            request_of(*USUAL, line="POST /payments?x=1 HTTP/1.1"),
            request_of(*USUAL, line="GET /payments HTTP/1.1"),
            request_of("Host: x"),
            request_of(*USUAL, f"Content-Length: {len(BODY)}"),
            request_of("Host: x", f"Content-Length: +{len(BODY)}"),
            request_of("Host: x", f"Content-Length: 0{len(BODY)}"),
            request_of("Host: x", "Content-Length: +1023", body=b" " * 1023),
            request_of("Host: x", f"Content-Length : {len(BODY)}"),
            request_of(*USUAL, "Transfer-Encoding: chunked"),
            request_of(*USUAL, "Transfer-Encoding: application/json"),
            request_of(*USUAL, "Connection: close"),
            request_of(*USUAL, "Proxy-Connection: close"),
            request_of(*USUAL, "Expect: 100-continue"),
            request_of(*USUAL, f"X-Filling: {'x' * HEAD_BYTES_MAX}"),
            request_of(*USUAL, "Upgrade: h2c"),
            request_of("Host: x", "Content-Type: text/plain", f"Content-Length: {len(BODY)}"),
            request_of("Host: x", "X: a", " folded: b", f"Content-Length: {len(BODY)}"),
            request_of("Host: x", "X: a\rContent-Length: 3", f"Content-Length: {len(BODY)}"),
            request_of("Host: x", "X: a\nContent-Length: 3", f"Content-Length: {len(BODY)}"),
            request_of("Host: \xe9", f"Content-Length: {len(BODY)}"),
            request_of("Host: x", "Content-Length: 2000", body=b" " * 2000),
        ],
    )
    def test_unusual(self, data: bytes) -> None:
        """Everything else is left to the full parser."""
        assert usual_body(data) is None

    @given(st.integers(0, len(request_of(*USUAL)) - 1), st.integers(0, 255))
    def test_any_other_byte(self, place: int, byte: int) -> None:
        """A request with any one byte changed is either left alone or has a body of the length it announces."""
        data = bytearray(request_of(*USUAL))
        data[place] = byte
        body = usual_body(bytes(data))
        assert body is None or bytes(data).endswith(b"\r\n\r\n" + body)

    def test_so_many_heads_are_remembered(self) -> None:
        """A client that never sends the same head twice does not fill the memory."""
        for number in range(HEADS_REMEMBERED + 1):
            assert usual_body(request_of(*USUAL, f"X-N: {number}")) == BODY
        assert module._body_length.cache_info().currsize == HEADS_REMEMBERED  # noqa: SLF001  it can't be seen otherwise


CONVERSATIONS = {
    "usual": [request_of(*USUAL)],
    "two in a row": [request_of(*USUAL), request_of(*USUAL)],
    "pipelined": [request_of(*USUAL) * 2],
    "in pieces": [request_of(*USUAL)[:40], request_of(*USUAL)[40:]],
    "ordinary then usual": [request_of(*USUAL, "Accept: \xe9"), request_of(*USUAL)],
    "usual then check": [request_of(*USUAL), HEALTH_CHECK],
    "ordinary then check": [request_of(*USUAL, "Accept: \xe9"), HEALTH_CHECK],
    "check in pieces": [HEALTH_CHECK[:9], HEALTH_CHECK[9:]],
    "check, then more": [HEALTH_CHECK + request_of(*USUAL), request_of(*USUAL)],
    "check with a field": [request_of("Connection: keep-alive", line="GET /health HTTP/1.0", body=b"")],
    "usual then health": [request_of(*USUAL), request_of("Host: x", line="GET /health HTTP/1.1", body=b"")],
    "bad amount": [request_of(f"Content-Length: {len(BODY)}", body=BODY.replace(b"19.90", b"-9.90"))],
    "not json": [request_of("Content-Length: 3", body=b"abc")],
    "not allowed": [request_of("Host: x", line="GET /payments HTTP/1.1", body=b"")],
    "wrong type": [request_of("Content-Type: text/plain", f"Content-Length: {len(BODY)}")],
    "closing": [request_of(*USUAL, "Connection: close")],
}


@pytest.mark.slow
class TestSameAnswers:
    """ShortcutProtocol against the reference, over real sockets."""

    @pytest.mark.parametrize("acceptance", list(Acceptance), ids=lambda one: one.name)
    async def test_each_acceptance(self, acceptance: Acceptance) -> None:
        """Whatever the gate says, both answer the same bytes, and the gate is asked once."""
        answers, asked = [], []
        for shortcut in (False, True):
            gate = FakeGate()
            gate.acceptance = acceptance
            async with serving(gate, shortcut=shortcut) as port:
                answers.append(await talk(port, request_of(*USUAL)))
            asked.append(gate.offered)
        assert answers[0] == answers[1] != b""
        assert asked[0] == asked[1] == [(bytes.fromhex(ID.replace("-", "")), 1990)]

    @pytest.mark.parametrize("name", CONVERSATIONS)
    async def test_each_conversation(self, name: str) -> None:
        """Usual or not, whole or in pieces: both answer the same bytes and accept the same payments."""
        answers, asked = [], []
        for shortcut in (False, True):
            gate = FakeGate()
            async with serving(gate, shortcut=shortcut) as port:
                answers.append(await talk(port, *CONVERSATIONS[name]))
            asked.append(gate.offered)
        assert answers[0] == answers[1] != b""
        assert asked[0] == asked[1]

    @pytest.mark.parametrize("is_leaving", [False, True])
    async def test_haproxys_check(self, protocols: list[HardenedProtocol], *, is_leaving: bool) -> None:
        """Both answer the same bytes and close the connection behind them; the shortcut does so by itself."""
        answers = []
        for shortcut in (False, True):
            gate = FakeGate()
            gate.leaving = is_leaving
            async with serving(gate, shortcut=shortcut) as port, asyncio.timeout(5):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(HEALTH_CHECK)
                answers.append(await reader.read())
                writer.close()
        assert answers[0] == answers[1]
        assert answers[0].startswith(b"HTTP/1.1 404 " if is_leaving else b"HTTP/1.1 204 ")
        assert [protocol.cycle for protocol in protocols] == [None]

    @pytest.mark.parametrize(("second", "status"), [(request_of(*USUAL), b"202"), (HEALTH_CHECK, b"204")])
    async def test_answers_keep_their_order(self, second: bytes, status: bytes) -> None:
        """What comes behind a request that takes long does not take the shortcut past it."""
        totals = SlowTotals()
        async with serving(FakeGate(), shortcut=True, totals=totals) as port, asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request_of("Host: x", line="GET /payments-summary HTTP/1.1", body=b""))
            await totals.asked.wait()
            writer.write(second)
            await asyncio.sleep(0.02)
            totals.told.set()
            assert (await reader.readuntil(b"}}")).startswith(b"HTTP/1.1 200 ")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 " + status)
            writer.close()

    async def test_idle_connections_end(self) -> None:
        """A connection that took the shortcut is closed once nothing came for a while, and not before."""
        async with serving(FakeGate(), shortcut=True, idle_s=1) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for _ in range(4):
                writer.write(request_of(*USUAL))
                await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(0.4)
            async with asyncio.timeout(5):
                assert await reader.read() == b""
            writer.close()


@pytest.mark.slow
class TestConnection:
    """What becomes of a connection beside the answers."""

    async def test_the_ordinary_ways_timer_is_off(self, protocols: list[HardenedProtocol]) -> None:
        """It would close the connection however many payments take the shortcut after an ordinary request."""
        async with serving(FakeGate(), shortcut=True) as port, asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            armed = []
            for fields in ((*USUAL, "X: \xe9"), USUAL):
                writer.write(request_of(*fields))
                await reader.readuntil(b"\r\n\r\n")
                armed.append(protocols[0].timeout_keep_alive_task is not None)
            assert armed == [True, False]
            writer.close()

    async def test_a_client_that_reads_no_answers_gets_no_shortcut(self, protocols: list[HardenedProtocol]) -> None:
        """While answers can't be written, none are added: the payment waits for its turn in the ordinary way."""
        gate = FakeGate()
        async with serving(gate, shortcut=True) as port, asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request_of(*USUAL))
            await reader.readuntil(b"\r\n\r\n")
            protocols[0].flow.pause_writing()
            writer.write(request_of(*USUAL))
            answer = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
            while len(gate.offered) < 2:
                await asyncio.sleep(0)
            await idle()
            assert not answer.done()
            protocols[0].flow.resume_writing()
            assert (await answer).startswith(b"HTTP/1.1 202 ")
            writer.close()

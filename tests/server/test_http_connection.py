"""A connection's protocol, with the shortcut before it as in a worker, over real sockets."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest

from server.http_connection import BESIDE_BODY_BYTES_MAX, HardenedProtocol
from server.shortcut import shortcut_protocol
from tests.fakes import idle
from tests.server.fake_gate import FakeGate
from tests.server.serving import BODY, MAX, USUAL, SlowTotals, request_of, serving, talk


def _watch(gathered: list[int]) -> Callable[[HardenedProtocol], None]:
    """Notes how many requests wait, each time one is answered."""
    answered = HardenedProtocol.on_response_complete

    def note(protocol: HardenedProtocol) -> None:
        gathered.append(len(protocol.pipeline))
        answered(protocol)

    return note


async def _write_for_ever(writer: asyncio.StreamWriter, data: bytes) -> None:
    while True:
        writer.write(data)
        await writer.drain()


@pytest.mark.slow
class TestHardenedProtocol:
    """HardenedProtocol."""

    @pytest.mark.parametrize(
        ("pieces", "accepted"),
        [
            ([b"hello\r\n\r\n"], 0),
            ([request_of(*USUAL)[:9], request_of(*USUAL), request_of(*USUAL)], 0),
            ([request_of(*USUAL) + b"x"], 1),
            ([request_of(*USUAL, "X: \xe9"), b"hello\r\n\r\n"], 1),
            ([request_of(*USUAL) + request_of(*USUAL) + b"GET\r\n\r\n"], 2),
            ([request_of(*USUAL) + request_of("Host: x", "Transfer-Encoding: chunked", body=b"z\r\n")], 1),
            ([request_of("Host: x", "Transfer-Encoding: chunked", body=b"z\r\n")], 0),
        ],
    )
    async def test_what_is_not_http(self, pieces: list[bytes], accepted: int) -> None:
        """It is refused as a problem, after the answers to what was accepted before it."""
        gate = FakeGate()
        async with serving(gate, shortcut=True) as port:
            answer = await talk(port, *pieces)
        assert len(gate.offered) == accepted
        assert answer.startswith(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n" * accepted + b"HTTP/1.1 400 ")
        assert answer.count(b"HTTP/1.1") == accepted + 1
        assert b"application/problem+json" in answer

    async def test_pipelined_requests_do_not_gather(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """However many a client sends without waiting, no more are read than were in one piece."""
        gathered: list[int] = []
        monkeypatch.setattr(HardenedProtocol, "on_response_complete", _watch(gathered))
        request = request_of("Host: x", "X: " + "x" * 150, line="GET /health HTTP/1.1", body=b"")
        async with serving(FakeGate(), shortcut=True) as port, asyncio.timeout(30):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request * 6000)
            for _ in range(6000):
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
            writer.close()
        assert 0 < max(gathered) < 3000

    async def test_upgrade_with_a_body(self) -> None:
        """The body is not read as a request of its own: the connection ends."""
        inner = request_of(*USUAL)
        gate = FakeGate()
        for pieces in ([inner], [b"", inner]):
            async with serving(gate, shortcut=True) as port:
                head = request_of(
                    f"Content-Length: {len(inner)}", "Connection: Upgrade", "Upgrade: h2c", body=pieces[0]
                )
                answer = await talk(port, head, *pieces[1:])
            assert (answer[:13], b"Upgrade" in answer, answer.count(b"HTTP/1.1")) == (b"HTTP/1.1 400 ", True, 1)
        assert gate.offered == []

    @pytest.mark.parametrize(
        "line", ["GET /health HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c", "CONNECT /payments HTTP/1.1"]
    )
    async def test_nothing_follows_another_protocol(self, line: str) -> None:
        """What came with it in one piece is lost, so nothing that comes later may be answered in its place."""
        gate = FakeGate()
        async with serving(gate, shortcut=True) as port:
            first = request_of("Host: x", line=line, body=b"")
            answer = await talk(port, first + request_of(*USUAL), request_of(*USUAL))
        assert (answer.count(b"HTTP/1.1"), gate.offered) == (1, [])

    @pytest.mark.parametrize("trailer", [b"Connection: close", b"Proxy-Connection: close"])
    @pytest.mark.parametrize("is_late", [True, False])
    async def test_a_trailer_that_closes(self, trailer: bytes, *, is_late: bool) -> None:
        """It ends with the answer: the parser reads nothing more, and HAProxy would share it with other clients."""
        end = b"0\r\n%b\r\n\r\n" % trailer
        chunks = b"%x\r\n%b\r\n" % (len(BODY), BODY)
        head = request_of("Host: x", "Transfer-Encoding: chunked", body=chunks if is_late else chunks + end)
        for line in ("POST /payments HTTP/1.1", "POST /nowhere HTTP/1.1"):  # one waits for the body, one does not
            async with serving(FakeGate(), shortcut=True) as port, asyncio.timeout(5):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                for piece in (head.replace(b"POST /payments HTTP/1.1", line.encode()), end if is_late else b""):
                    writer.write(piece)
                    await asyncio.sleep(0.02)
                assert (await reader.read()).count(b"HTTP/1.1") == 1
                writer.close()

    @pytest.mark.parametrize("trailer", [b"Content-Type: text/plain", b"Connection: upgrade\r\nUpgrade: h2c"])
    async def test_trailers_are_no_header_fields(self, trailer: bytes) -> None:
        """They are left out: whether they come before the answer is chance."""
        body = b"%x\r\n%b\r\n0\r\n%b\r\n\r\n" % (len(BODY), BODY, trailer)
        async with serving(FakeGate(), shortcut=True) as port:
            answer = await talk(port, request_of("Host: x", "Transfer-Encoding: chunked", body=body))
        assert answer.startswith(b"HTTP/1.1 202 ")

    async def test_refused_once_and_in_turn(self) -> None:
        """More that comes behind what is not HTTP does not hasten the refusal past an answer that is due before it."""
        gate = FakeGate()
        protocol = shortcut_protocol(gate, MAX)
        refused: list[str] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(HardenedProtocol, "_refuse", lambda _: refused.append("now"))
            patch.setattr(HardenedProtocol, "_refusal_is_due", True)
            patch.setattr(HardenedProtocol, "cycle", None, raising=False)
            instance = protocol.__new__(protocol)
            for more in (b"more", request_of(*USUAL)):
                instance.data_received(more)
        assert (refused, gate.offered) == ([], [])

    async def test_a_client_that_reads_no_answers_is_closed(self) -> None:
        """A client that never reads does not keep its connection for ever."""
        request = request_of("Host: x", line="GET /nowhere HTTP/1.1", body=b"")
        async with serving(FakeGate(), shortcut=True, idle_s=1) as port, asyncio.timeout(20):
            _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # it can
            with pytest.raises(ConnectionError):
                await _write_for_ever(writer, request * 1000)
            writer.close()

    async def test_upgrade_that_is_none(self) -> None:
        """Without its token in Connection, the header says nothing."""
        gate = FakeGate()
        async with serving(gate, shortcut=True) as port:
            assert (await talk(port, request_of(*USUAL, "Connection: keep-alive", "Upgrade: h2c"))).startswith(
                b"HTTP/1.1 202 "
            )
        assert len(gate.offered) == 1

    @pytest.mark.parametrize("beginning", [b"", b"POST /payments HTTP/1.1\r\nHost:", request_of(*USUAL)[:-1]])
    async def test_silence_ends_a_connection(self, beginning: bytes) -> None:
        """Before the first request, and in the middle of one."""
        async with serving(FakeGate(), shortcut=True, idle_s=1) as port, asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(beginning)
            assert await reader.read() == b""
            writer.close()

    async def test_ordinary_requests_keep_a_connection(self) -> None:
        """A request that goes the ordinary way keeps its connection from being idle, too."""
        async with serving(FakeGate(), shortcut=True, idle_s=1) as port, asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for _ in range(4):
                writer.write(request_of(*USUAL, "X: \xe9"))
                assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"
                await asyncio.sleep(0.6)
            writer.close()

    async def test_trailers_without_end(self) -> None:
        """Their connection is closed, too."""
        async with serving(FakeGate(), shortcut=True) as port, asyncio.timeout(5):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request_of("Host: x", "Transfer-Encoding: chunked", body=b"1\r\n{\r\n0\r\n"))

            async def go_on() -> None:
                while True:
                    writer.write(b"X: " + b"x" * 995 + b"\r\n")
                    await writer.drain()
                    await asyncio.sleep(0)

            with pytest.raises(ConnectionError):
                await go_on()

    async def test_pipelining_is_no_head_without_end(self) -> None:
        """A client may send the end of one request with the beginning of the next, again and again."""
        async with serving(FakeGate(), shortcut=True) as port, asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            request = request_of(*USUAL, "X: " + "x" * 1000)
            writer.write(request[:500])
            for _ in range(100):
                writer.write(request[500:] + request[:500])
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 202")
            writer.close()

    async def test_a_head_without_end(self) -> None:
        """Its connection is closed; that of a head that is merely long is not."""
        async with serving(FakeGate(), shortcut=True) as port, asyncio.timeout(5):
            for filling in (60_000, 10_000_000):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                answer = asyncio.ensure_future(reader.read(12))
                with suppress(ConnectionError):
                    for piece in range(0, filling, 1000):
                        if answer.done():
                            break
                        writer.write((b"" if piece else b"POST /payments HTTP/1.1") + b"\r\nX: " + b"x" * 995)
                        await writer.drain()
                    writer.write(b"\r\n" + request_of(*USUAL, line="X: x"))
                (answered,) = await asyncio.gather(answer, return_exceptions=True)
                assert (answered == b"HTTP/1.1 202") is (filling < BESIDE_BODY_BYTES_MAX)
                writer.close()

    async def test_a_long_body_is_no_head_without_end(self) -> None:
        """What comes in a body's pieces does not count as head, though nobody waits for it."""
        length = BESIDE_BODY_BYTES_MAX + 10_000
        head = request_of("Host: x", f"Content-Length: {length}", body=b"", line="POST /nowhere HTTP/1.1")
        pieces = [b" " * (length // 20)] * 20 + [b" " * (length % 20)]
        async with serving(FakeGate(), shortcut=True) as port:
            answer = await talk(port, head, *pieces, request_of(*USUAL))
        assert answer.count(b"HTTP/1.1") == 2

    async def test_the_idle_timer_ends_with_it(self, protocols: list[HardenedProtocol]) -> None:
        """Connections that are gone are not kept in memory by a timer."""
        async with serving(FakeGate(), shortcut=True) as port, asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request_of(*USUAL))
            await reader.readuntil(b"\r\n\r\n")
            timer = protocols[0]._idle_timer  # noqa: SLF001  what it would do comes after seconds
            assert not timer.cancelled()
            writer.close()
            while not protocols[0].transport.is_closing():
                await asyncio.sleep(0)
            await idle()
            assert timer.cancelled()

    async def test_a_client_that_has_said_nothing_is_idle(self, protocols: list[HardenedProtocol]) -> None:
        """From the beginning: its silence may last no longer than one between two requests."""
        async with serving(FakeGate(), shortcut=True) as port, asyncio.timeout(5):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            while not protocols:
                await asyncio.sleep(0)
            protocols[0]._close_if_idle()  # noqa: SLF001  the idle timer's call
            assert protocols[0].transport.is_closing()
            writer.close()

    async def test_a_client_that_has_all_answers_is_idle(self, protocols: list[HardenedProtocol]) -> None:
        """Though the last but one took the ordinary way, whose timer is off by then."""
        async with serving(FakeGate(), shortcut=True) as port, asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for fields in ((*USUAL, "X: \xe9"), USUAL):
                writer.write(request_of(*fields))
                await reader.readuntil(b"\r\n\r\n")
            for _ in range(2):
                assert not protocols[0].transport.is_closing()
                protocols[0]._close_if_idle()  # noqa: SLF001  the idle timer's call
            assert protocols[0].transport.is_closing()
            writer.close()

    async def test_a_client_that_reads_slowly(self, protocols: list[HardenedProtocol]) -> None:
        """It is not cut off while it still sends requests: it is read from only as its answers go out."""
        async with serving(FakeGate(), shortcut=True) as port, asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request_of(*USUAL))
            await reader.readuntil(b"\r\n\r\n")
            protocols[0].flow.pause_writing()
            for _ in range(2):
                assert not protocols[0].transport.is_closing()
                protocols[0]._close_if_idle()  # noqa: SLF001  the idle timer's call
            assert protocols[0].transport.is_closing()
            writer.close()

    async def test_a_client_that_waits_for_an_answer_is_not_idle(self, protocols: list[HardenedProtocol]) -> None:
        """However long the answer takes: its client sends nothing meanwhile."""
        totals = SlowTotals()
        async with serving(FakeGate(), shortcut=True, totals=totals) as port, asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request_of("Host: x", line="GET /payments-summary HTTP/1.1", body=b""))
            await totals.asked.wait()
            for _ in range(3):
                protocols[0]._close_if_idle()  # noqa: SLF001  the idle timer's call
            totals.told.set()
            assert (await reader.readuntil(b"}}")).startswith(b"HTTP/1.1 200 ")
            writer.close()

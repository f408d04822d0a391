"""How the transport connects, keeps connections, writes, reads and closes: over real sockets, on both event loops."""

import asyncio
import gc
import gzip
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from server.connection import Connection
from server.transport import ASK_AGAIN_S, SILENT_S, UNACKNOWLEDGED_MS, KeepAliveTransport
from tests.fakes import idle
from tests.server.fake_peer import (
    LOOPS,
    OK,
    PATIENCE_S,
    PATIENT,
    FakeLookUp,
    NewLoop,
    Talk,
    failure,
    on_each_loop,
    run_on,
    until,
)


class TestKeepAlive:
    """Which connections are used again."""

    @on_each_loop
    async def test_reused(self) -> None:
        """A connection whose answer was whole serves the next call."""
        async with Talk() as talk:
            peer, _ = await talk.exchange()
            for _ in range(3):
                assert (await talk.reuse(peer)).content == b"ok"
            idle = talk.transport._idle  # noqa: SLF001  which of its connections are free
            assert (talk.transport.connections_open, len(idle)) == (1, 1)

    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nConnection: close\r\n\r\n",
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nConnection: keep-alive\r\n\r\n",
        ],
        ids=["close", "http-1.0", "trailer", "trailer-too-late"],
    )
    @on_each_loop
    async def test_not_kept_alive(self, answer: bytes) -> None:
        """A connection the peer means to close is not used again, though its answer counts."""
        async with Talk() as talk:
            peer, response = await talk.exchange(answer)
            assert (response.status_code, response.content) == (200, b"ok")
            assert await peer.ended()
            assert talk.transport.connections_open == 0

    @on_each_loop
    async def test_http_1_0_may_be_kept_alive(self) -> None:
        """An HTTP/1.0 peer that says keep-alive gets the next call."""
        async with Talk() as talk:
            peer, _ = await talk.exchange(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n")
            assert (await talk.reuse(peer)).status_code == 200

    @on_each_loop
    async def test_body_until_close(self) -> None:
        """Where nothing else marks the end of the body, the end of the connection does."""
        async with Talk() as talk:
            call, peer = await talk.begin()
            peer.send(b"HTTP/1.0 200 OK\r\n\r\nto the end")
            peer.close()
            assert (await call).content == b"to the end"
            await until(lambda: talk.transport.connections_open == 0)

    @on_each_loop
    async def test_idle_closed_and_seen(self) -> None:
        """An idle connection closed by the peer leaves as soon as the loop sees it."""
        async with Talk() as talk:
            peer, _ = await talk.exchange()
            peer.close()
            await until(lambda: talk.transport.connections_open == 0)
            assert len(talk.transport._idle) == 0  # noqa: SLF001  the same
            assert (await talk.exchange())[1].status_code == 200

    @on_each_loop
    async def test_idle_closed_and_not_yet_seen(self) -> None:
        """An idle connection closed before the loop could see it is not written to: the call takes a new one."""
        async with Talk(connections_max=2) as talk:
            peer, _ = await talk.exchange()
            peer.close()
            call = asyncio.ensure_future(talk.exchange())
            assert (await call)[1].status_code == 200

    @pytest.mark.parametrize("seen", [True, False])
    @on_each_loop
    async def test_unasked_bytes(self, *, seen: bool) -> None:
        """A late second answer is never taken for the answer to the next call."""
        async with Talk(connections_max=2) as talk:
            peer, _ = await talk.exchange()
            peer.send(b"HTTP/1.1 500 Late\r\nContent-Length: 0\r\n\r\n")
            if seen:
                await until(lambda: talk.transport.connections_open == 0)
            assert (await talk.exchange())[1].status_code == 200
            assert await peer.ended()

    @on_each_loop
    async def test_written_to_and_then_closed(self) -> None:
        """A kept connection that dies after being written to leaves the outcome unknown: nothing is sent twice."""
        async with Talk() as talk:
            peer, _ = await talk.exchange()
            call = talk.call()
            await peer.receive()
            peer.close()
            assert type(await failure(call)) is httpx.RemoteProtocolError
            assert talk.transport.connections_open == 0

    @on_each_loop
    async def test_shorter_deadline(self) -> None:
        """A kept connection, whose timer waits for a later time, keeps a shorter deadline too."""
        async with Talk() as talk:
            peer, _ = await talk.exchange()
            call = talk.call(read=0.02)
            await peer.receive()
            assert type(await failure(call)) is httpx.ReadTimeout
            assert talk.transport.connections_open == 0


class TestConnecting:
    """How connections are made."""

    @pytest.mark.parametrize("url", ["https://peer", "ftp://peer", "http://", "peer:8080", "unix:/run/peer"])
    def test_wrong_url(self, url: str) -> None:
        """Anything but http with a host is refused with a sentence."""
        with pytest.raises(ValueError, match="only http://host"):
            KeepAliveTransport(url, connections_max=1)

    @pytest.mark.parametrize("host", ["a" * 64, "peer..test"], ids=["long-label", "empty-label"])
    def test_impossible_host(self, host: str) -> None:
        """A host that no look-up can take is refused at once: later it would be an error that nobody expects."""
        with pytest.raises(ValueError, match="label"):
            KeepAliveTransport(f"http://{host}", connections_max=1)

    def test_wrong_limit(self) -> None:
        """A transport that may not connect at all is refused."""
        with pytest.raises(ValueError, match="at least 1"):
            KeepAliveTransport("http://peer", connections_max=0)

    @pytest.mark.parametrize(("end", "port"), [("", 80), (":80", 80), (":8080", 8080)])
    async def test_port(self, end: str, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """A URL without a port means the usual one."""
        asked: list[tuple[str, int]] = []

        async def note(host: str, port: int, **_: object) -> None:
            asked.append((host, port))
            raise socket.gaierror("no such name")

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", note)
        transport = KeepAliveTransport(f"http://peer.test{end}", connections_max=1)
        call = transport.exchange(b"GET / HTTP/1.1\r\n\r\n", answer_s=PATIENCE_S, connect_s=PATIENCE_S)
        assert type(await failure(call)) is httpx.ConnectError
        assert asked == [("peer.test", port)]

    @on_each_loop
    async def test_options_of_the_socket(self) -> None:
        """Small requests are not held back to be joined with others, and a network that is cut shows before long."""
        async with Talk() as talk:
            await talk.exchange()
            connection = next(iter(talk.transport._connections))  # noqa: SLF001  # the option is on its socket
            near = connection._transport.get_extra_info("socket")  # noqa: SLF001
            assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
            assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == UNACKNOWLEDGED_MS
            assert near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0
            assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == SILENT_S
            assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == ASK_AGAIN_S


class TestRequest:
    """What goes over the wire."""

    @staticmethod
    async def _sent(method: str, path: str = "/", **parts: Any) -> bytes:
        request = httpx.Request(method, f"http://peer{path}", extensions=PATIENT, **parts)
        async with Talk() as talk:
            call = asyncio.ensure_future(talk.transport.handle_async_request(request))
            peer = await talk.accept()
            sent = await peer.receive()
            peer.send(OK)
            await call
            return sent

    async def test_post(self) -> None:
        """Head and body are one message, with the length of the body said once."""
        sent = await self._sent("POST", "/a?b=c", content=b"body", headers={"Content-Length": "4"})
        assert sent == b"POST /a?b=c HTTP/1.1\r\nHost: peer\r\nContent-Length: 4\r\n\r\nbody"

    async def test_get(self) -> None:
        """A GET has no body and says nothing of one."""
        assert await self._sent("GET") == b"GET / HTTP/1.1\r\nHost: peer\r\n\r\n"

    async def test_get_with_a_body(self) -> None:
        """One that has a body all the same says how long it is, or its bytes would be the next request."""
        sent = await self._sent("GET", content=b"body")
        assert sent == b"GET / HTTP/1.1\r\nHost: peer\r\nContent-Length: 4\r\n\r\nbody"

    async def test_empty_post(self) -> None:
        """A POST without a body says so."""
        assert await self._sent("POST") == b"POST / HTTP/1.1\r\nHost: peer\r\nContent-Length: 0\r\n\r\n"

    async def test_streamed_body(self) -> None:
        """A body given in parts is sent whole, under its length."""

        async def parts() -> AsyncIterator[bytes]:
            yield b"bo"
            yield b"dy"

        sent = await self._sent("POST", content=parts())
        assert sent == b"POST / HTTP/1.1\r\nHost: peer\r\nContent-Length: 4\r\n\r\nbody"


class TestExchange:
    """A message written as it is, without httpx's objects."""

    @on_each_loop
    async def test_as_it_is(self) -> None:
        """What is given is what is sent, and the answer is handed on as it came, over a kept connection."""
        async with Talk() as talk:
            peer, _ = await talk.exchange()
            message = b"POST /any HTTP/1.1\r\nHost: peer\r\nContent-Length: 2\r\n\r\n{}"
            call = asyncio.ensure_future(talk.transport.exchange(message, answer_s=5.0, connect_s=1.0))
            assert await peer.receive() == message
            peer.send(b"HTTP/1.1 422 No\r\nX-A: 1\r\nContent-Length: 3\r\n\r\nwhy")
            assert await call == (422, [(b"X-A", b"1"), (b"Content-Length", b"3")], b"why")

    @on_each_loop
    async def test_deadline(self) -> None:
        """Its time-outs are those given."""
        async with Talk() as talk:
            peer, _ = await talk.exchange()
            call = talk.transport.exchange(b"GET / HTTP/1.1\r\n\r\n", answer_s=0.02, connect_s=60.0)
            assert type(await failure(call)) is httpx.ReadTimeout
            assert await peer.receive()

    async def test_connecting_counts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The deadline is that of the whole exchange, the time that the connection took included."""
        async with Talk() as talk:
            loop, connect = asyncio.get_running_loop(), talk.transport._connect  # noqa: SLF001  it takes long
            now = loop.time

            async def connect_late(timeout_s: float) -> Connection:
                made = await connect(timeout_s)
                monkeypatch.setattr(loop, "time", lambda: now() + 60.0)
                return made

            monkeypatch.setattr(talk.transport, "_connect", connect_late)
            call, _ = await talk.begin(read=60.0)
            async with asyncio.timeout(1):
                assert type(await failure(call)) is httpx.ReadTimeout


class TestAnswer:
    """The response handed to httpx."""

    ANSWER = b"HTTP/1.1 201 Made\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"

    async def test_parts(self) -> None:
        """Status, header fields and body are all there, without a further read."""
        async with Talk() as talk:
            _, answer = await talk.exchange(self.ANSWER)
        assert (answer.status_code, answer.headers["x-a"], answer.content) == (201, "1", b"{}")
        assert (answer.read(), await answer.aread(), answer.json()) == (b"{}", b"{}", {})

    async def test_through_a_client(self) -> None:
        """A client of httpx works over it, from the first request to closing."""
        async with Talk() as talk, httpx.AsyncClient(transport=talk.transport) as client:
            call = asyncio.ensure_future(client.post(f"{talk.url}/payments", json={}))
            peer = await talk.accept()
            assert (await peer.receive()).endswith(b"\r\n\r\n{}")
            peer.send(self.ANSWER)
            answer = await call
            assert (answer.status_code, answer.text) == (201, "{}")
        assert talk.transport.connections_open == 0

    async def test_nothing_is_decompressed(self) -> None:
        """A body nobody asked to compress comes as it is: a small one can't grow into a large one."""
        packed = gzip.compress(b"0" * 1000)
        async with Talk() as talk:
            head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
            _, answer = await talk.exchange(head + packed)
        assert answer.content == packed


class TestClosing:
    """What `aclose` leaves behind: nothing."""

    @on_each_loop
    async def test_all_are_closed(self) -> None:
        """Idle and busy connections are closed, and those being made never get used."""
        async with Talk(connections_max=3) as talk:
            idle, _ = await talk.exchange()
            both = [talk.call(), talk.call()]
            await idle.receive()
            busy = await talk.accept()
            await busy.receive()
            idle.send(OK)
            await both[0]
            being_made = [talk.call() for _ in range(2)]
            await asyncio.sleep(0)
            await talk.transport.aclose()
            assert talk.transport.connections_open == 0
            assert await idle.ended()
            assert await busy.ended()
            for call in [both[1], *being_made]:
                assert isinstance(await failure(call), httpx.TransportError)
            assert await (await talk.accept()).ended()

    async def test_closed_by_the_peer_during_the_look_up_after_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Surely nothing was sent: it is looked at once more before it is used."""
        async with asyncio.timeout(PATIENCE_S), Talk(host="peer.test") as talk:
            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", FakeLookUp(["127.0.0.1"]))

            async def leads_there(_address: str) -> bool:
                (await talk.accept()).close()
                await asyncio.sleep(0.01)
                return True

            monkeypatch.setattr(talk.transport._resolver, "leads_to", leads_there)  # noqa: SLF001  the moment in it
            assert type(await failure(talk.call(connect=5.0, read=5.0))) is httpx.ConnectError
            assert talk.transport._resolver._doubts == 1  # noqa: SLF001  it may have been another one's by then
            assert talk.transport.connections_open == 0

    async def test_waits_for_those_being_made(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is closed once they have failed, and no later; nor earlier, though there was none for a while before."""
        async with Talk() as talk:
            loop = asyncio.get_running_loop()
            await talk.exchange(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            await until(lambda: talk.transport.connections_open == 0)
            monkeypatch.setattr(loop, "getaddrinfo", FakeLookUp(["127.0.0.1"]))
            refused = loop.create_future()

            async def refuse_late(_address: str) -> Connection:
                await refused
                raise ConnectionRefusedError

            monkeypatch.setattr(talk.transport, "_connect_to", refuse_late)
            call = talk.call()
            await idle()
            closing = asyncio.create_task(talk.transport.aclose())
            await idle()
            assert not closing.done()
            refused.set_result(None)
            assert type(await failure(call)) is httpx.ConnectError
            async with asyncio.timeout(PATIENCE_S):
                await closing

    @on_each_loop
    async def test_twice(self) -> None:
        """Closing a closed transport, or one never used, does nothing."""
        async with Talk() as talk:
            await talk.transport.aclose()
            await talk.transport.aclose()

    @LOOPS
    def test_nothing_is_left_to_the_collector(self, new_loop: NewLoop, monkeypatch: pytest.MonkeyPatch) -> None:
        """Connections that ended badly leave no cycles: the memory of an outage is given back without a collection."""

        async def misbehave(talk: Talk, answer: bytes) -> None:
            peer = await talk.accept()
            await peer.receive()
            peer.send(answer)
            peer.close()

        async def find_nothing(*_: object, **__: object) -> None:
            await asyncio.sleep(0)
            raise socket.gaierror("no such name")

        async def act() -> None:
            async with Talk() as talk:
                request = httpx.Request("GET", talk.url, extensions=PATIENT)
                for answer in (b"garbage\r\n\r\n", b""):
                    peer = asyncio.create_task(misbehave(talk, answer))
                    with pytest.raises(httpx.RemoteProtocolError):
                        await talk.transport.handle_async_request(request)
                    await peer
                talk.stop_listening()
                with pytest.raises(httpx.ConnectError):
                    await talk.transport.handle_async_request(request)
                await asyncio.sleep(0.01)
            async with Talk(host="peer.test") as talk:
                monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", find_nothing)
                with pytest.raises(httpx.ConnectError, match="gaierror"):
                    await talk.transport.handle_async_request(httpx.Request("GET", talk.url, extensions=PATIENT))
                await asyncio.sleep(0.01)
                kinds = Connection | httpx.HTTPError | socket.gaierror
                assert not [thing for thing in gc.get_objects() if isinstance(thing, kinds)]

        gc.collect()
        gc.disable()
        try:
            run_on(new_loop, act)
        finally:
            gc.enable()

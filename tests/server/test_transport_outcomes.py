"""What the transport promises of each way an exchange can end: the table at the top of `server/transport.py`.

Over real sockets, on asyncio's loop and on uvloop.
"""

import asyncio
import re
import socket
from collections import deque
from typing import Any, ClassVar

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.transport import KeepAliveTransport
from tests.server.fake_peer import (
    NEW_LOOPS,
    OK,
    PATIENT,
    FakeLookUp,
    NewLoop,
    Peer,
    Talk,
    failure,
    on_each_loop,
    run_on,
    until,
)

SHORT_S = 0.02
"""A deadline that passes within a test."""


class TestSurelyNotSent:
    """Errors that promise that not one byte was handed to the kernel."""

    @on_each_loop
    async def test_refused(self) -> None:
        """A refused connection is a ConnectError that says so, and its slot comes back."""
        async with Talk(connections_max=1) as talk:
            talk.stop_listening()
            for _ in range(3):
                error = await failure(talk.call())
                assert type(error) is httpx.ConnectError
                assert "ConnectionRefusedError" in str(error)
                assert talk.transport.connections_open == 0

    async def test_name_not_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A name that can't be looked up is a ConnectError."""
        async with Talk(host="nowhere.invalid") as talk:
            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", FakeLookUp(socket.gaierror("no such name")))
            error = await failure(talk.call())
            assert type(error) is httpx.ConnectError
            assert re.fullmatch(r"no connection to nowhere\.invalid:\d+: gaierror\('no such name'\)", str(error))
            assert talk.transport.connections_open == 0

    @on_each_loop
    async def test_closed_as_soon_as_made(self) -> None:
        """A peer that closes before anything was written to it has not been sent anything."""
        async with Talk() as talk:
            # The address is known from here on, as this is no loss.
            await talk.exchange(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            call = talk.call()
            await asyncio.sleep(0)  # the kernel has made the connection by now
            talk.accept_at_once().close()
            assert type(await failure(call)) is httpx.ConnectError
            assert talk.transport.connections_open == 0

    @on_each_loop
    async def test_lost_as_soon_as_made(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A connection that is gone before its socket is looked at is a ConnectError, though it has no socket then."""
        async with Talk() as talk:
            loop = asyncio.get_running_loop()
            connect = loop.create_connection

            async def connect_and_lose(*where: Any) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
                transport, protocol = await connect(*where)
                transport.abort()
                await asyncio.sleep(0.001)
                return transport, protocol

            monkeypatch.setattr(loop, "create_connection", connect_and_lose)
            assert type(await failure(talk.call())) is httpx.ConnectError
            assert talk.transport.connections_open == 0

    @on_each_loop
    async def test_connect_timeout(self) -> None:
        """A peer whose backlog is full takes no connection: ConnectTimeout, and the slot comes back."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            with socket.create_connection(listener.getsockname()):  # fills the backlog of one
                transport = KeepAliveTransport(f"http://127.0.0.1:{listener.getsockname()[1]}", connections_max=1)
                request = httpx.Request("GET", "http://peer/", extensions={"timeout": {"read": 60, "connect": SHORT_S}})
                error = await failure(transport.handle_async_request(request))
                assert type(error) is httpx.ConnectTimeout
                assert str(error).endswith(f" within {SHORT_S} s")
                assert transport.connections_open == 0
                await transport.aclose()

    @on_each_loop
    async def test_connect_timeout_is_never_above_the_deadline(self) -> None:
        """A deadline shorter than the connect time-out ends the attempt to connect, too."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            with socket.create_connection(listener.getsockname()):
                transport = KeepAliveTransport(f"http://127.0.0.1:{listener.getsockname()[1]}", connections_max=1)
                request = httpx.Request("GET", "http://peer/", extensions={"timeout": {"read": SHORT_S, "connect": 60}})
                assert type(await failure(transport.handle_async_request(request))) is httpx.ConnectTimeout
                await transport.aclose()

    @on_each_loop
    async def test_all_busy(self) -> None:
        """With all connections busy a further call fails at once, and reaches nobody."""
        async with Talk(connections_max=2) as talk:
            calls = [talk.call(), talk.call()]
            peers = [await talk.accept(), await talk.accept()]
            assert type(await failure(talk.call())) is httpx.PoolTimeout
            for peer in peers:
                await peer.receive()
                peer.send(OK)
            assert [(await call).status_code for call in calls] == [200, 200]

    @on_each_loop
    async def test_connections_being_made_count(self) -> None:
        """Connections that are still being made are as busy as others."""
        async with Talk(connections_max=2) as talk:
            calls = [talk.call() for _ in range(5)]
            for _ in range(2):
                peer = await talk.accept()
                await peer.receive()
                peer.send(OK)
            ends = await asyncio.gather(*calls, return_exceptions=True)
            assert sorted(type(end).__name__ for end in ends) == ["PoolTimeout"] * 3 + ["Response"] * 2

    @on_each_loop
    async def test_closed_here(self) -> None:
        """A closed transport connects no more, though it knows where to."""
        async with Talk() as talk:
            await talk.exchange(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            await talk.transport.aclose()
            assert type(await failure(talk.call())) is httpx.ConnectError
            with pytest.raises(BlockingIOError):
                talk._listener.accept()  # noqa: SLF001  nobody is there

    @pytest.mark.parametrize("method", ["HEAD", "CONNECT"])
    @on_each_loop
    async def test_methods_not_done(self, method: str) -> None:
        """HEAD and CONNECT, whose answers end elsewhere, are turned away before a connection is made."""
        async with Talk() as talk:
            assert type(await failure(talk.call(method))) is httpx.LocalProtocolError
            assert talk.transport.connections_open == 0

    @pytest.mark.parametrize("value", [b"a\r\nX: b", b"a\nb", b"a\rb"])
    @on_each_loop
    async def test_line_break_in_head(self, value: bytes) -> None:
        """A header value can't smuggle in another header."""
        async with Talk() as talk:
            request = httpx.Request("GET", talk.url, headers=[(b"X-Name", value)], extensions=PATIENT)
            error = await failure(talk.transport.handle_async_request(request))
            assert type(error) is httpx.LocalProtocolError
            assert talk.transport.connections_open == 0


class TestUnknown:
    """Errors after the request was written: the peer may have acted on it."""

    @pytest.mark.parametrize(
        "part",
        [
            b"",
            b"HTTP/1.1 200 OK\r\nContent-Le",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
        ],
        ids=["nothing", "head", "no-body", "body", "chunk", "interim"],
    )
    @on_each_loop
    async def test_closed_early(self, part: bytes) -> None:
        """A peer that closes before its answer is whole leaves the outcome unknown."""
        async with Talk() as talk:
            call, peer = await talk.begin()
            peer.send(part)
            peer.close()
            assert type(await failure(call)) is httpx.RemoteProtocolError
            assert talk.transport.connections_open == 0

    @pytest.mark.parametrize("part", [b"", b"HTTP/1.1 200 OK\r\n"], ids=["nothing", "head"])
    @on_each_loop
    async def test_reset(self, part: bytes) -> None:
        """A reset leaves the outcome unknown."""
        async with Talk() as talk:
            call, peer = await talk.begin()
            peer.send(part)
            peer.reset()
            assert type(await failure(call)) is httpx.ReadError
            assert talk.transport.connections_open == 0

    @pytest.mark.parametrize(
        "answer",
        [
            b"hello\r\n\r\n",
            b'{"message":"ok"}',
            b"HTTP/1.1 999999 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxy\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
            OK + OK,
            OK + b"HTTP/1.1 5",
            OK + b"x",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + b"x" * 99999,
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20000,
            b"HTTP/1.1 100 Continue\r\n\r\n" * 4000,
        ],
        ids=[
            "text", "no-head", "status", "length", "two-framings", "chunk", "upgrade",
            "two-answers", "one-and-a-half", "one-and-a-byte", "huge-body", "huge-head", "many-interim",
        ],
    )  # fmt: skip
    @on_each_loop
    async def test_malformed(self, answer: bytes) -> None:
        """What is not one whole answer of bounded size leaves the outcome unknown, and the connection is dropped."""
        async with Talk() as talk:
            call, peer = await talk.begin()
            peer.send(answer)
            assert type(await failure(call)) is httpx.RemoteProtocolError
            assert talk.transport.connections_open == 0
            assert await peer.ended()

    @pytest.mark.parametrize("part", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no"], ids=["nothing", "part"])
    @on_each_loop
    async def test_deadline(self, part: bytes) -> None:
        """No whole answer before the deadline leaves the outcome unknown; a trickle of bytes does not move it."""
        async with Talk() as talk:
            call, peer = await talk.begin(read=SHORT_S)
            peer.send(part)
            assert type(await failure(call)) is httpx.ReadTimeout
            assert talk.transport.connections_open == 0
            assert await peer.ended()

    @on_each_loop
    async def test_cancelled(self) -> None:
        """A cancelled call costs its connection, which nobody gets afterwards, and the slot comes back."""
        async with Talk(connections_max=1) as talk:
            peer, _ = await talk.exchange()
            call = talk.call()
            await peer.receive()
            call.cancel()
            assert type(await failure(call)) is asyncio.CancelledError
            assert await peer.ended()
            another, answer = await talk.exchange()
            assert answer.status_code == 200
            assert another is not peer

    @on_each_loop
    async def test_cancelled_when_answered(self) -> None:
        """A call cancelled in the very turn in which its answer came in costs its connection all the same."""
        async with Talk(connections_max=1) as talk:
            peer, _ = await talk.exchange()
            call = talk.call()
            await peer.receive()
            peer.send(OK)
            connection = next(iter(talk.transport._connections))  # noqa: SLF001  # to catch the turn
            while not connection.answered:
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
            assert call.cancelled()
            await until(lambda: talk.transport.connections_open == 0)

    @on_each_loop
    async def test_cancelled_while_connecting(self) -> None:
        """A call cancelled before its connection is made gives the slot back."""
        async with Talk(connections_max=2) as talk:
            first = talk.call()
            peer = await talk.accept()  # the address is known from here on
            await peer.receive()
            call = talk.call()
            await asyncio.sleep(0)
            assert talk.transport.connections_open == 2
            call.cancel()
            assert type(await failure(call)) is asyncio.CancelledError
            assert talk.transport.connections_open == 1
            assert await (await talk.accept()).ended()
            peer.send(OK)
            assert (await first).status_code == 200

    @on_each_loop
    async def test_transport_closed(self) -> None:
        """Closing the transport ends a call that was written with ReadError."""
        async with Talk() as talk:
            call, peer = await talk.begin()
            await talk.transport.aclose()
            assert type(await failure(call)) is httpx.ReadError
            assert await peer.ended()


class TestNothingLeaks:
    """After any mix of outcomes all slots are back."""

    OUTCOMES = (
        "answers",
        "answers twice",
        "answers and closes",
        "says it will close",
        "closes",
        "closes half-way",
        "resets",
        "sends garbage",
        "never answers",
        "is cancelled",
        "is cancelled at once",
    )
    SENT: ClassVar = {
        "answers": OK,
        "answers twice": OK + OK,
        "answers and closes": OK,
        "says it will close": b"HTTP/1.1 500 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        "closes half-way": OK[:30],
        "sends garbage": b"garbage\r\n\r\n",
    }
    CLOSING = ("answers and closes", "closes", "closes half-way")
    CONNECTIONS_MAX = 3

    async def _serve(self, peer: Peer, outcomes: deque[str]) -> None:
        """Do to each request what comes next."""
        try:
            while await peer.receive():
                outcome = outcomes.popleft() if outcomes else "answers"
                peer.send(self.SENT.get(outcome, b""))
                if outcome in self.CLOSING:
                    peer.close()
                    return
                if outcome == "resets":
                    peer.reset()
                    return
        except (EOFError, OSError):
            peer.close()

    async def _accept(self, talk: Talk, outcomes: deque[str]) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._serve(await talk.accept(), outcomes))

    async def _call(self, talk: Talk, outcome: str) -> None:
        """One call, after which the bound must hold."""
        call = talk.call(read=SHORT_S)
        if outcome.startswith("is cancelled"):
            if outcome == "is cancelled":
                await asyncio.sleep(SHORT_S / 10)
            call.cancel()
        await asyncio.wait([call])
        if not call.cancelled():
            assert isinstance(call.exception(), httpx.TransportError | None)
        assert talk.transport.connections_open <= self.CONNECTIONS_MAX

    async def _mix(self, outcomes: list[str]) -> None:
        async with Talk(connections_max=self.CONNECTIONS_MAX) as talk:
            yet_to_come = deque(outcomes)
            accepting = asyncio.create_task(self._accept(talk, yet_to_come))
            for start in range(0, len(outcomes), self.CONNECTIONS_MAX + 1):  # one more than there are connections
                calls = [self._call(talk, outcome) for outcome in outcomes[start : start + self.CONNECTIONS_MAX + 1]]
                await asyncio.gather(*calls)
            idle = talk.transport._idle  # noqa: SLF001  which of its connections are free
            await until(lambda: talk.transport.connections_open == len(idle))
            yet_to_come.clear()  # those of calls cancelled too early to be sent
            last = [talk.call() for _ in range(self.CONNECTIONS_MAX)]
            assert [(await call).status_code for call in last] == [200] * self.CONNECTIONS_MAX
            await talk.transport.aclose()
            assert talk.transport.connections_open == 0
            accepting.cancel()
            await asyncio.wait([accepting])

    @pytest.mark.slow
    @settings(max_examples=40)
    @given(outcomes=st.lists(st.sampled_from(OUTCOMES), min_size=4, max_size=32), new_loop=st.sampled_from(NEW_LOOPS))
    def test_any_mix(self, outcomes: list[str], new_loop: NewLoop) -> None:
        """Open connections never exceed the limit, all of them can be used at the end, and all are closed."""
        run_on(new_loop, lambda: self._mix(outcomes))

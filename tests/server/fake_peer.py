"""A peer made of bare sockets, driven by the test step by step, and the transport that talks to it.

The test decides when the peer accepts, reads, answers, closes or resets. Its sends and closes are plain system calls,
so that they have happened before the event loop of the transport can notice.
"""

import asyncio
import functools
import inspect
import re
import socket
import struct
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Self

import httpx
import pytest
import uvloop

from server.transport import KeepAliveTransport

PATIENCE_S = 10.0
"""After this long a test that waits for something has failed."""

PATIENT = {"timeout": {"read": 30.0, "connect": 5.0}}
"""Extensions of a request that waits for long."""

NewLoop = Callable[[], asyncio.AbstractEventLoop]

NEW_LOOPS: tuple[NewLoop, ...] = (asyncio.new_event_loop, uvloop.new_event_loop)

LOOPS: pytest.MarkDecorator = pytest.mark.parametrize("new_loop", NEW_LOOPS, ids=["asyncio", "uvloop"])
"""For tests that are not async themselves: the loop to make."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
"""The usual answer."""


def on_each_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test method twice: on asyncio's loop and on uvloop."""

    @functools.wraps(test)
    def run(self: object, new_loop: NewLoop, **arguments: object) -> None:
        run_on(new_loop, lambda: test(self, **arguments))

    signature = inspect.signature(test)  # what pytest is to pass: the test's own arguments, and the loop
    new_loop = inspect.Parameter("new_loop", inspect.Parameter.KEYWORD_ONLY)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), new_loop])  # type: ignore[attr-defined]
    decorated: Callable[..., None] = LOOPS(run)
    return decorated


def run_on(new_loop: NewLoop, act: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run one coroutine on a new loop, within patience."""

    async def patiently() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await act()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(patiently())


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until something is true, within the test's patience."""
    while not condition():
        await asyncio.sleep(0.001)


class Peer:
    """The far end of one connection."""

    def __init__(self, connected: socket.socket) -> None:
        """Take over an accepted socket."""
        connected.setblocking(False)
        self._socket = connected

    async def receive(self) -> bytes:
        """One whole request, head and body."""
        request = b""
        while True:
            head, mark, body = request.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)^content-length: (\d+)", head, re.MULTILINE)
            if mark and len(body) >= (int(length[1]) if length else 0):
                return request
            part = await asyncio.get_running_loop().sock_recv(self._socket, 65536)
            if not part:
                raise EOFError(request)
            request += part

    def send(self, data: bytes) -> None:
        """Send some bytes at once; they fit into the kernel's buffer."""
        self._socket.setblocking(True)
        self._socket.sendall(data)
        self._socket.setblocking(False)

    def close(self) -> None:
        """Close in order."""
        self._socket.close()

    def reset(self) -> None:
        """Close with a reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    async def ended(self) -> bool:
        """Wait until the other side has closed; bytes that still come are passed over."""
        try:
            while await asyncio.get_running_loop().sock_recv(self._socket, 65536):
                pass
        except ConnectionError:
            pass
        self._socket.close()
        return True


class Talk:
    """A transport and the listening socket it connects to."""

    def __init__(self, *, connections_max: int = 4, host: str = "127.0.0.1") -> None:
        """Listen on a free port of the loopback, which the transport knows as `host`."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self._peers: list[Peer] = []
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://{host}:{self.port}"
        self.transport = KeepAliveTransport(self.url, connections_max=connections_max)

    async def __aenter__(self) -> Self:
        """Nothing to wait for."""
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close both sides."""
        await self.transport.aclose()
        self._listener.close()
        for peer in self._peers:
            peer.close()

    def stop_listening(self) -> None:
        """From now on connections are refused."""
        self._listener.close()

    async def accept(self) -> Peer:
        """The far end of the next connection."""
        connected, _ = await asyncio.get_running_loop().sock_accept(self._listener)
        return self._keep(connected)

    def accept_at_once(self) -> Peer:
        """The far end of a connection that the kernel has made already."""
        self._listener.setblocking(True)
        connected, _ = self._listener.accept()
        self._listener.setblocking(False)
        return self._keep(connected)

    def _keep(self, connected: socket.socket) -> Peer:
        peer = Peer(connected)
        self._peers.append(peer)
        return peer

    def call(self, method: str = "POST", body: bytes = b"{}", **timeouts: float) -> asyncio.Task[httpx.Response]:
        """Begin a request; time-outs as in `extensions["timeout"]`, instead of long ones."""
        extensions = {"timeout": PATIENT["timeout"] | timeouts}
        request = httpx.Request(method, f"{self.url}/payments", content=body, extensions=extensions)
        return asyncio.ensure_future(self.transport.handle_async_request(request))

    async def begin(self, **options: Any) -> tuple[asyncio.Task[httpx.Response], Peer]:
        """A request as by `call` that has arrived over a new connection, and its far end."""
        call = self.call(**options)
        peer = await self.accept()
        await peer.receive()
        return call, peer

    async def exchange(self, answer: bytes = OK) -> tuple[Peer, httpx.Response]:
        """One whole exchange over a new connection."""
        call, peer = await self.begin()
        peer.send(answer)
        return peer, await call

    async def reuse(self, peer: Peer) -> httpx.Response:
        """One whole exchange over the connection to `peer`."""
        call = self.call()
        await peer.receive()
        peer.send(OK)
        return await call


class FakeLookUp:
    """Stands for a loop's `getaddrinfo`."""

    def __init__(self, found: list[str] | OSError) -> None:
        """Say what is found: addresses, or an error."""
        self._found = found
        self.count = 0

    async def __call__(self, host: str, port: int, **more: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        """Find what was said, a turn later."""
        self.count += 1
        await asyncio.sleep(0)
        if isinstance(self._found, OSError):
            raise self._found
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port)) for address in self._found]


async def failure(call: Awaitable[object]) -> BaseException:
    """The error a call ends with; one that succeeds fails the test."""
    try:
        answer = await call
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # the test looks at what it is
        return error
    raise AssertionError(f"it went well: {answer}")

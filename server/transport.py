"""Keep-alive HTTP/1.1 connections to one origin: the hot path to a payment processor, and a transport for httpx.

httpx's own pool takes 1,400 µs of CPU time per request with 16 in flight, where this one takes 20: it scans all
connections for each request (encode/httpx#3215). It can also lose a slot when a call is cancelled
(encode/httpcore#1093). This one does less: one origin, plain `http`, bodies read whole, no `HEAD`, and nobody waits for
a free connection.

**Was it sent?** What becomes of a payment depends on the answer, so this is a promise (held by
`tests/server/test_transport_outcomes.py`):

| what happened                                                     | raised                | was it sent? |
| ----------------------------------------------------------------- | --------------------- | ------------ |
| all connections busy                                              | `PoolTimeout`         | surely not   |
| name not found, connection refused, host unreachable, closed here | `ConnectError`        | surely not   |
| connection made, but closed by the peer before it was written to  | `ConnectError`        | surely not   |
| connection made, but the name leads elsewhere (`resolver.py`)     | `ConnectError`        | surely not   |
| no connection within the connect time-out                         | `ConnectTimeout`      | surely not   |
| `HEAD`, `CONNECT`, or a line break within the head                | `LocalProtocolError`  | surely not   |
| an idle connection was closed, or has bytes nobody asked for      | no error: another one is taken or made |
| written, then no whole answer before the deadline                 | `ReadTimeout`         | unknown      |
| written, then reset, or dropped by `aclose()`                     | `ReadError`           | unknown      |
| written, and the peer's kernel is silent for 5 s: a cut network   | `ReadError`           | unknown      |
| written, then closed before the answer, in its head or its body   | `RemoteProtocolError` | unknown      |
| written, then garbage, or a switch of protocols                   | `RemoteProtocolError` | unknown      |
| written, then bytes beyond the answer, or an answer above 64 kB   | `RemoteProtocolError` | unknown      |
| the caller was cancelled                                          | `CancelledError`      | unknown      |

"Surely not" means that not one byte was handed to the kernel. "Unknown" holds even if the peer closed before the bytes
reached it: this side cannot tell. Whatever was raised, that connection is dropped and its slot given back. Why bytes
that nobody asked for are taken so seriously is told in `server/connection.py`.
"""

import asyncio
import socket
from typing import NamedTuple

import httpx

from server.connection import FRAMING_FIELDS, Connection, MalformedAnswer
from server.resolver import Resolver

UNACKNOWLEDGED_MS = 5_000
"""How long the peer's kernel may leave bytes unacknowledged (TCP_USER_TIMEOUT, RFC 5482): it acknowledges them at once,
however long the peer takes to answer. In between TCP sends them again after 0.2, 0.6, 1.4 and 3 s."""

SILENT_S, ASK_AGAIN_S = 5, 1
"""After SILENT_S without a byte the peer's kernel is asked whether it is there, and then every ASK_AGAIN_S (tcp(7))."""


class ProcessorAnswer(NamedTuple):
    """A whole answer as it came.

    Args:
        status: the final status.
        headers: names and values.
        body: chunks joined.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class KeepAliveTransport(httpx.AsyncBaseTransport):
    """Sends requests to one origin over at most `connections_max` connections; see the module for what it raises.

    Of a request's URL only path and query count. The deadline of the whole exchange is `extensions["timeout"]["read"]`,
    the connect time-out `["connect"]`; both in seconds, and both must be there: every wait has a bound.

    Args:
        url: the origin, `http://host[:port]`; a path in it is ignored.
        connections_max: limit of open connections, busy, idle and being made.

    Raises:
        ValueError: `url` is not an http URL with a possible host, or `connections_max` is below 1.
    """

    def __init__(self, url: str | httpx.URL, *, connections_max: int) -> None:
        origin = httpx.URL(url)
        if origin.scheme != "http" or not origin.host:
            raise ValueError(f"only http://host[:port] is supported, not {str(url)!r}")
        if connections_max < 1:
            raise ValueError(f"connections_max must be at least 1, not {connections_max}")
        self._host = origin.raw_host.decode("ascii")
        self._host.encode("idna")  # a label too long, or an empty one, is a ValueError here and not at each look-up
        self._port = origin.port or 80
        self._resolver = Resolver(self._host, self._port)
        self._connections_max = connections_max
        self._connections: set[Connection] = set()
        self._making = 0  # how many connections are being made, and not in that set yet
        self._idle: dict[Connection, None] = {}  # the one used last is taken first, so that the others may time out
        self._closed = False
        self._all_lost = asyncio.Event()

    @property
    def connections_open(self) -> int:
        """How many connections are open or being made."""
        return len(self._connections) + self._making

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Sends `request` and reads its answer whole.

        Raises:
            httpx.TransportError: one of those listed at the top of the module.
        """
        timeouts = request.extensions["timeout"]
        message = _encode(request, await request.aread())
        answer = await self.exchange(message, answer_s=timeouts["read"], connect_s=timeouts["connect"])
        # A body is kept as it came: nothing is decompressed, as nothing compressed is asked for.
        headers = [field for field in answer.headers if field[0].lower() != b"content-encoding"]
        return httpx.Response(answer.status, headers=headers, content=answer.body)

    async def exchange(self, message: bytes, *, answer_s: float, connect_s: float) -> ProcessorAnswer:
        """Sends a message as it is and reads its answer whole, without httpx's objects, which take longer to make.

        Args:
            message: a whole request, head and body, as it is to be written; not looked at.
            answer_s: deadline of the whole exchange.
            connect_s: time-out of a connection that must be made first.

        Raises:
            httpx.TransportError: one of those listed at the top of the module.
        """
        deadline_s = asyncio.get_running_loop().time() + answer_s
        connection = self._take_idle()
        if connection is None:
            connection = await self._connect(min(answer_s, connect_s))
        try:
            await connection.exchange(message, deadline_s)
        except TimeoutError as error:
            raise httpx.ReadTimeout(str(error)) from error
        except OSError as error:
            raise httpx.ReadError(str(error)) from error
        except MalformedAnswer as error:
            raise httpx.RemoteProtocolError(str(error)) from error
        except BaseException:
            connection.drop()
            raise
        if connection.keep_alive:
            self._idle[connection] = None  # whether it stayed silent is checked when it is taken
        else:
            connection.drop()
        return ProcessorAnswer(connection.status, connection.headers, connection.body)

    async def aclose(self) -> None:
        """Closes every connection and waits until all are closed; calls under way end as the module's table says."""
        self._closed = True
        for connection in tuple(self._connections):
            connection.fail(ConnectionAbortedError("the transport was closed"))
        await self._resolver.aclose()
        if self.connections_open:
            await self._all_lost.wait()

    def _take_idle(self) -> Connection | None:
        while self._idle:
            connection, _ = self._idle.popitem()
            if connection.is_usable():
                return connection
            self._resolver.doubt()  # now: the loop reports the loss only after the next one is made
            connection.drop()
        return None

    async def _connect(self, timeout_s: float) -> Connection:
        if self._closed:
            raise httpx.ConnectError("the transport is closed")
        if self.connections_open >= self._connections_max:
            raise httpx.PoolTimeout(f"all {self._connections_max} connections to {self._host}:{self._port} are busy")
        self._making += 1
        try:
            async with asyncio.timeout(timeout_s):
                connection = await self._connect_to_any(timeout_s)
            self._connections.add(connection)
            return connection
        except TimeoutError as error:
            raise httpx.ConnectTimeout(f"no connection to {self._host}:{self._port} within {timeout_s} s") from error
        except OSError as error:
            raise httpx.ConnectError(f"no connection to {self._host}:{self._port}: {error!r}") from error
        finally:
            self._making -= 1
            self._tell_all_lost()

    async def _connect_to_any(self, timeout_s: float) -> Connection:
        """Connects to the first address that takes a connection; each is given an equal share of the time."""
        addresses = await self._resolver.find()
        failure = OSError("the name has no address")
        try:
            for address in addresses:
                try:
                    async with asyncio.timeout(timeout_s / len(addresses)):
                        return await self._connect_to(address)
                except OSError as error:
                    failure = error
            raise failure
        except BaseException:  # none took a connection, or the caller has given up
            self._resolver.expire()
            raise
        finally:
            del failure  # breaks the cycle error -> traceback -> this frame -> error

    async def _connect_to(self, address: str) -> Connection:
        loop = asyncio.get_running_loop()
        connection = Connection(loop, self._on_lost)
        try:
            transport, _ = await loop.create_connection(lambda: connection, address, self._port)
            _detect_a_cut_network(transport.get_extra_info("socket"))
            self._require_usable(connection)
            if not await self._resolver.leads_to(address):
                raise ConnectionAbortedError("the name leads elsewhere by now")
            self._require_usable(connection)  # still, after a look-up
        except BaseException:
            connection.drop()
            raise
        return connection

    def _require_usable(self, connection: Connection) -> None:
        if not connection.is_usable():
            self._resolver.doubt()
            raise ConnectionResetError("closed by the peer before anything was sent")

    def _on_lost(self, connection: Connection) -> None:
        was_ready = connection in self._connections  # else it was given up here while being made
        if was_ready and (not connection.answered or connection.keep_alive):  # else closed, as its last answer said
            self._resolver.doubt()
        self._connections.discard(connection)
        self._idle.pop(connection, None)
        self._tell_all_lost()

    def _tell_all_lost(self) -> None:
        if self._closed and not self.connections_open:
            self._all_lost.set()


def _detect_a_cut_network(sock: socket.socket) -> None:
    """Has the kernel end a connection over a cut network after some six seconds, not only at an answer's deadline.

    Raises:
        OSError: the connection is gone already.
    """
    if sock.fileno() < 0:
        raise ConnectionResetError("closed by the peer as it was made")  # uvloop's sockets would raise a ValueError
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, SILENT_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, ASK_AGAIN_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)


def _encode(request: httpx.Request, body: bytes) -> bytes:
    """The bytes of a request, with the one header field that says how long its body is.

    Raises:
        httpx.LocalProtocolError: a method whose answer has no body to read, or a line break within the head.
    """
    method = request.method
    if method in {"HEAD", "CONNECT"}:
        raise httpx.LocalProtocolError(f"this transport does not do {method}")
    lines = [b"%b %b HTTP/1.1" % (method.encode("ascii"), request.url.raw_path)]
    lines += [b"%b: %b" % field for field in request.headers.raw if field[0].lower() not in FRAMING_FIELDS]
    if body or method != "GET":
        lines.append(b"Content-Length: %d" % len(body))
    head = b"\r\n".join(lines)
    if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1:
        raise httpx.LocalProtocolError("line break within the request's head")
    return b"%b\r\n\r\n%b" % (head, body)

"""HTTP/1.1 over TCP for one processor: an asyncio Protocol around httptools' parser.

Requests of one connection are handled one after the other, as Kestrel does it for the contest's processor; those sent
ahead wait in the connection. To use little CPU it makes one object per request and one write per answer.
"""

import asyncio
import gc
import logging
import signal
from collections import deque
from http import HTTPStatus
from typing import Self, cast

import httptools

from tools.processor.api import Request, Settings, message
from tools.processor.behaviour import Processor
from tools.processor.wire import closing

LOGGER = logging.getLogger(__name__)

CONNECTIONS_MAX = 4_096
"""Three times what the payments limit lets run and wait; one more is closed at once."""
BACKLOG = 4_096
ACCEPTED_WITHIN_TURNS = 4
"""Turns of the loop until an accepted socket has a connection that can be closed: its task, and the task's callback."""
AHEAD_MAX = 16
"""Requests that may be sent ahead on one connection; with more, reading pauses."""
REQUEST_BYTES_MAX = 65_536
"""Head and body together; a payment has under 400."""
GC_THRESHOLD = 50_000
"""Objects made between two garbage collections; the default of 700 means several per hundred payments, for nothing."""

CONTENT_TYPE = b"content-type"
RINHA_TOKEN = b"x-rinha-token"

MALFORMED = message(HTTPStatus.BAD_REQUEST, "the request is not HTTP/1.1")
TOO_LARGE = message(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request has at most {REQUEST_BYTES_MAX} bytes")


class HttpExchange:
    """One request of a connection, and the way back.

    Attributes:
        request: what was asked.
        keep_alive: whether the connection stays open after the answer.
        refusal: the answer, if the request does not reach the processor.
    """

    __slots__ = ("_connection", "keep_alive", "refusal", "request")

    def __init__(
        self, connection: "HttpConnection", request: Request, *, keep_alive: bool, refusal: bytes | None = None
    ) -> None:
        self._connection = connection
        self.request = request
        self.keep_alive = keep_alive
        self.refusal = refusal

    def answer(self, answer: bytes) -> None:
        """Sends the answer; the client may have gone."""
        self._connection.finish(self, answer)


class HttpConnection(asyncio.Protocol):
    """One client's connection."""

    __slots__ = (
        "_ahead",
        "_body",
        "_connections",
        "_content_type",
        "_current",
        "_deaf",
        "_parser",
        "_processor",
        "_pumping",
        "_reading",
        "_target",
        "_token",
        "_transport",
        "_unfinished_bytes",
        "_writable",
    )

    def __init__(self, processor: Processor, connections: "set[HttpConnection]") -> None:
        self._processor = processor
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._ahead: deque[HttpExchange] = deque()
        self._current: HttpExchange | None = None
        self._pumping = False
        self._reading = True
        self._writable = True
        self._deaf = False
        self._unfinished_bytes = 0
        self._target = b""
        self._body = b""
        self._content_type: bytes | None = None
        self._token: bytes | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the connection, unless there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self)
        if len(self._connections) > CONNECTIONS_MAX:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the reason does not matter
        """Forgets the requests that have not begun; running ones go on without a client."""
        self._connections.discard(self)
        self._transport = None
        del self._parser  # it refers to this object's methods: this breaks the cycle
        self._ahead.clear()
        if self._current is not None:
            self._processor.abandon(self._current)

    def data_received(self, data: bytes) -> None:
        """Parses requests; the parser calls the callbacks below."""
        if self._deaf:
            return
        self._unfinished_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse(MALFORMED)
        if self._unfinished_bytes > REQUEST_BYTES_MAX:
            self._refuse(TOO_LARGE)
        if not self._pumping:
            self._pump()

    def on_message_begin(self) -> None:
        """Begins a request (called by the parser, as the next four are)."""
        self._target = self._body = b""
        self._content_type = self._token = None

    def on_url(self, url: bytes) -> None:
        """Takes in the target or a piece of it."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Takes in a header; only two matter, and their length tells them from most."""
        if len(name) == len(CONTENT_TYPE):
            if name.lower() == CONTENT_TYPE:
                self._content_type = value
        elif len(name) == len(RINHA_TOKEN) and name.lower() == RINHA_TOKEN:
            self._token = value

    def on_body(self, body: bytes) -> None:
        """Takes in the body or a piece of it."""
        self._body = self._body + body if self._body else body

    def on_message_complete(self) -> None:
        """Queues the complete request behind those before it."""
        self._unfinished_bytes = 0
        parser = self._parser
        request = Request(parser.get_method(), self._target, self._body, self._content_type, self._token)
        self._ahead.append(HttpExchange(self, request, keep_alive=parser.should_keep_alive()))

    def _refuse(self, answer: bytes) -> None:
        """Answers a malformed request, in its turn, and reads no more."""
        if not self._deaf:
            self._deaf = True
            self._ahead.append(HttpExchange(self, Request(b"", b""), keep_alive=False, refusal=answer))

    def _pump(self) -> None:
        """Begins requests, in order, until one isn't answered at once."""
        self._pumping = True
        while self._ahead and self._current is None and self._writable and self._transport is not None:
            exchange = self._current = self._ahead.popleft()
            if exchange.refusal is not None:
                self.finish(exchange, exchange.refusal)
            else:
                self._processor.begin(exchange)
        self._pumping = False
        self._read_or_not()

    def _read_or_not(self) -> None:
        """Stops reading while the client has sent too many requests ahead."""
        reading = len(self._ahead) < AHEAD_MAX
        if reading is not self._reading and self._transport is not None and not self._transport.is_closing():
            self._reading = reading
            if reading:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def finish(self, exchange: HttpExchange, answer: bytes) -> None:
        """Writes the answer to the present request and begins the next one."""
        transport = self._transport
        self._current = None
        if transport is None or transport.is_closing():
            return
        if exchange.keep_alive:
            transport.write(answer)
        else:
            transport.write(closing(answer))
            self._ahead.clear()
            transport.close()
        if self._ahead and not self._pumping:
            self._pump()

    def pause_writing(self) -> None:
        """Begins nothing more: the client doesn't read its answers."""
        self._writable = False

    def resume_writing(self) -> None:
        """Goes on: the client reads again."""
        self._writable = True
        if not self._pumping:
            self._pump()

    def close(self) -> None:
        """Ends the connection after what is written."""
        if self._transport is not None:
            self._transport.close()


class ProcessorServer:
    """A processor on a TCP port, in the running event loop; an async context manager.

    Args:
        settings: the processor's, at the start.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
    """

    def __init__(self, settings: Settings, *, host: str = "127.0.0.1", port: int = 0) -> None:
        loop = asyncio.get_running_loop()
        self.processor = Processor(settings, clock=loop.time, call_later=loop.call_later)
        self.host = host
        self.port = port
        self._connections: set[HttpConnection] = set()
        self._server: asyncio.Server

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{self.host}:{self.port}"

    async def __aenter__(self) -> Self:
        """Starts listening.

        Raises:
            OSError: the address can't be had.
        """
        self._server = await asyncio.get_running_loop().create_server(
            lambda: HttpConnection(self.processor, self._connections), self.host, self.port, backlog=BACKLOG
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stops listening and closes every connection; payments that still sleep are lost with the process."""
        self._server.close()
        for _turn in range(ACCEPTED_WITHIN_TURNS):
            await asyncio.sleep(0)
        for connection in list(self._connections):
            connection.close()
        await asyncio.sleep(0)  # the loop's next turn calls `connection_lost` of the closed ones


async def serve(settings: Settings, host: str, port: int) -> None:
    """Runs one processor until SIGTERM or SIGINT.

    Raises:
        OSError: the address can't be had.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # held back by `reexec`, if that started this Python
    async with ProcessorServer(settings, host=host, port=port) as server:
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        LOGGER.info("processor %s at %s, fee %s", settings.name, server.url, settings.fee)
        await stop.wait()
    LOGGER.info("processor %s ends with %d payments stored", settings.name, len(server.processor.store))

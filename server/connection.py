"""One keep-alive connection to a server and the exchange going on over it: asyncio Protocol and httptools.

Bodies are read whole and their sizes bounded. An exchange ends in exactly one way: its future is done with the answer
at hand, or fails with `TimeoutError`, an `OSError` or `MalformedAnswer`, and then the connection is dropped. What each
of them means for a request is told by `server/transport.py`, the only user.

Bytes beyond an answer fail the exchange, and don't only end the connection: when one read holds two answers, the first
may be a late one to an earlier request. For the same reason a connection that has become readable while idle is not
usable, even before the event loop has noticed.
"""

import asyncio
import select
from collections.abc import Callable

import httptools

ANSWER_BYTES_MAX = 64 * 1024
"""Size limit of one answer, head and interim (1xx) answers included; a processor's answers have a few hundred bytes."""

FRAMING_FIELDS = (b"content-length", b"transfer-encoding")
"""Header fields that say where a body ends (RFC 9112 § 6), in lower case."""

_FINAL_STATUS_MIN = 200
"""Answers below it are interim: the real one follows on the same connection (RFC 9110 § 15.2)."""


class MalformedAnswer(Exception):
    """What came back is not one whole HTTP answer."""


class Connection(asyncio.Protocol):
    """One connection, and the exchange going on over it. Between exchanges it is idle and expects no byte.

    Args:
        loop: the running one, which then opens the connection with this as its protocol.
        on_lost: called once when the connection is gone, if it was ever made.
    """

    _transport: asyncio.Transport
    _poll: select.poll
    _parser: httptools.HttpResponseParser

    def __init__(self, loop: asyncio.AbstractEventLoop, on_lost: Callable[["Connection"], None]) -> None:
        self._loop = loop
        self._on_lost = on_lost
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline_s = 0.0
        self._made = False
        self._dropped = False
        self._received_bytes = 0
        self._surplus = False
        self.answered = False
        self.keep_alive = True
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""

    # Called by the owner

    def exchange(self, request: bytes, deadline_s: float) -> asyncio.Future[None]:
        """Writes a whole request in one go; the future is done once the whole answer is in `status`, `headers`, `body`.

        Args:
            request: head and body.
            deadline_s: when to give up, on the loop's clock.
        """
        self._received_bytes = 0
        self._surplus = self.answered = self.keep_alive = False
        self.status = 0
        self._waiter = waiter = self._loop.create_future()
        self._watch(deadline_s)
        self._transport.write(request)
        return waiter

    def is_usable(self) -> bool:
        """Whether a next exchange may begin: alive, kept alive, and not a byte (or end) waiting in the socket."""
        return self.keep_alive and not self._transport.is_closing() and not self._poll.poll(0)

    def drop(self) -> None:
        """Closes the connection at once, for good; harmless when done twice."""
        self._waiter = None  # breaks the cycle error -> traceback -> connection -> future -> error
        if not self._dropped:
            self._dropped = True
            if self._made:
                self._transport.abort()

    def fail(self, error: Exception) -> None:
        """Drops the connection and ends its exchange, if one is going on, with `error`."""
        waiter = self._waiter
        self.drop()  # first, so that the connection's slot is free before the caller goes on
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)

    # The deadline. A timer per exchange would be armed and cancelled each time; this one is left running, and compares
    # the time with the deadline that holds by then.

    def _watch(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        timer = self._timer
        if timer is None or deadline_s < timer.when():
            if timer is not None:
                timer.cancel()
            self._timer = self._loop.call_at(deadline_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return  # idle: the next exchange sets it again
        if self._loop.time() < self._deadline_s:
            self._watch(self._deadline_s)
        else:
            self.fail(TimeoutError("no whole answer before the deadline"))

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport, or closes it if the connection was dropped meanwhile."""
        self._transport = transport  # type: ignore[assignment]  # the loop's promise for a TCP connection
        self._parser = httptools.HttpResponseParser(self)
        self._made = True
        self._poll = select.poll()
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        if self._dropped:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parses some bytes of the answer; bytes that come while none is awaited end the connection."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            self.drop()
            return
        self._received_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.fail(MalformedAnswer(f"malformed answer: {error!r}"))
            return
        if self._surplus:
            self.fail(MalformedAnswer("bytes beyond the answer"))
        elif self._received_bytes > ANSWER_BYTES_MAX:
            self.fail(MalformedAnswer(f"answer above {ANSWER_BYTES_MAX} bytes"))
        elif self.answered:
            waiter.set_result(None)

    def eof_received(self) -> None:
        """Takes the end of the connection for the end of the body if nothing else marks it (RFC 9112 § 6.3, 8)."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            self.drop()
        elif self.status >= _FINAL_STATUS_MIN and not any(n.lower() in FRAMING_FIELDS for n, _ in self.headers):
            waiter.set_result(None)
        else:
            self.fail(MalformedAnswer("closed before the answer was whole"))

    def connection_lost(self, error: Exception | None) -> None:
        """Gives the slot back, and ends the exchange if one is going on."""
        self._on_lost(self)
        if self._timer is not None:
            self._timer.cancel()
        del self._parser  # it refers to this object: a cycle
        self.fail(ConnectionResetError(f"connection lost: {error!r}"))

    # Called by the parser

    def on_message_begin(self) -> None:
        """Begins an answer: the awaited one, or one that follows an interim one."""
        self._surplus = self.answered
        self.headers = []
        self.body = b""

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keeps one header field."""
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Keeps what the head says, while the parser still knows it."""
        self.status = self._parser.get_status_code()
        self.keep_alive = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        """Keeps a part of the body, nearly always all of it."""
        self.body += body

    def on_message_complete(self) -> None:
        """Ends an answer; an interim one is forgotten."""
        self.answered = self.status >= _FINAL_STATUS_MIN
        self.keep_alive = self.keep_alive and self._parser.should_keep_alive()  # a trailer may say otherwise

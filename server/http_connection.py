"""One HTTP/1 connection: uvicorn's protocol, hardened against clients that err or mean harm.

* Pipelined requests (sent without waiting for answers) do not pile up in memory.
* A connection ends once nothing comes for a while: before its first request, within a request, and while its client
  reads no answers, too.
* A head or trailers without end are not read on; trailers change nothing that was decided by the head.
* Nothing is read on a connection that is to close, or to speak another protocol.
* What is not HTTP is refused with our own answer, once the requests before it are answered: they may be accepted
  payments. uvicorn by itself would refuse it at once, with its own answer.
"""

import asyncio
from http import HTTPStatus
from typing import Final

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from server.answers import Answer
from server.problems import NOT_HTTP

BESIDE_BODY_BYTES_MAX: Final = 65_536
"""At most so many bytes of head and trailers, after the first piece of a request; then its connection is closed. Needed
only without HAProxy, which has a limit of its own."""


def on_the_wire(answer: Answer, *, closes: bool = False) -> bytes:
    """An answer as uvicorn writes it; with `closes` it says that the connection ends."""
    status = HTTPStatus(answer.start["status"])
    fields = b"".join(b"%b: %b\r\n" % field for field in answer.start["headers"])
    if closes:
        fields += b"connection: close\r\n"
    return b"HTTP/1.1 %d %b\r\n%b\r\n%b" % (status, status.phrase.encode("ascii"), fields, answer.body["body"])


_NOT_HTTP: Final = on_the_wire(NOT_HTTP)


class _PipelineFlowControl(FlowControl):
    """Resumes reading only when all requests read so far are answered or being answered. uvicorn's own flow control
    resumes after each answer; as one piece may hold thousands of short requests, they would pile up without bound.
    """

    def __init__(self, protocol: HttpToolsProtocol) -> None:
        super().__init__(protocol.transport)
        self._pipeline = protocol.pipeline

    def resume_reading(self) -> None:
        """Resumes reading, unless requests wait in the pipeline."""
        if not self._pipeline:
            super().resume_reading()


class HardenedProtocol(HttpToolsProtocol):
    """One connection of uvicorn's, hardened."""

    _in_message = False  # the parser has a part of a request
    _in_head = False  # the parser has a part of a request's head
    _beside_body_bytes = 0  # of that request's head and trailers, after its first piece
    _received = False  # something came since the idle timer last fired
    _idle_timer: asyncio.TimerHandle
    _refusal_is_due = False  # what came is not HTTP; refused once the whole requests before it are answered

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Starts the idle timer: a client may be silent before its first request as long as between two requests."""
        super().connection_made(transport)
        self.flow = _PipelineFlowControl(self)
        self._set_idle_timer()

    def data_received(self, data: bytes) -> None:
        """Has uvicorn read what came, unless the connection is about to end."""
        self._received = True
        if self._refusal_is_due:
            return  # the refusal waits for its turn; nothing that follows what is not HTTP can be read
        self._beside_body_bytes += len(data)
        super().data_received(data)
        if self._in_message and self._beside_body_bytes > BESIDE_BODY_BYTES_MAX:
            self.transport.close()

    def on_message_begin(self) -> None:
        """Notes that the parser was given the first byte of a request."""
        self._in_message = self._in_head = True
        self._beside_body_bytes = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Passes a header field on, unless it is a trailer: it would be chance whether it came before the answer."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Notes that the parser was given a whole head."""
        self._in_head = False
        super().on_headers_complete()
        if self.parser.should_upgrade():  # nothing that follows is read: the connection ends with the answer
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Passes a part of the body on, uncounted here: the application bounds the body's length."""
        self._beside_body_bytes -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Notes that the parser was given a whole request."""
        self._in_message = False
        if not self.parser.should_keep_alive():  # a trailer may say so, too; the parser ignores all that follows
            self.cycle.keep_alive = False
            if self.cycle.response_complete:
                self.transport.close()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  the answer is in our own words
        """Refuses what is not HTTP, once the whole requests before it are answered: they may be accepted payments."""
        if self.pipeline and self.cycle.more_body:
            self.pipeline.popleft()  # the newest request, which is the malformed one; an older one is being answered
            self._refusal_is_due = True
        elif self._is_answering() and not self.cycle.more_body:
            self._refusal_is_due = True
        else:
            self._refuse()

    def on_response_complete(self) -> None:
        """After an answer, begins the next request in the pipeline, or sends the refusal that is due."""
        is_last = not self.pipeline
        super().on_response_complete()
        if is_last and self._refusal_is_due and not self.transport.is_closing():
            self._refuse()

    def _refuse(self) -> None:
        self.transport.write(_NOT_HTTP)
        self.transport.close()

    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _set_idle_timer(self) -> None:
        """One timer that looks now and then whether anything came, instead of one armed and cancelled per request."""
        self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self.flow.write_paused and not self._received:
            self.transport.abort()  # its client reads none of the answers
        elif self._received or (self._is_answering() and not self._in_message):
            self._received = False
            self._set_idle_timer()
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancels the idle timer."""
        self._idle_timer.cancel()
        super().connection_lost(exc)

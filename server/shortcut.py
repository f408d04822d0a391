"""The usual payment in one step: uvicorn's own protocol, preceded by a shortcut for `POST /payments` in the form that
HAProxy and most clients send.

A request takes the shortcut if

* it came whole, in one piece, on a connection with nothing else under way, whose client reads its answers;
* it has one Content-Length, and its Content-Type is exactly application/json or missing;
* no header field changes how it is to be read; and
* the fixed-shape parser finds a payment in its body.

It is then handed to the gate and answered in one write. Every other request, also each that is malformed, goes the
ordinary way through uvicorn and Starlette, which remain the reference: a test holds both to the same answers, byte for
byte. (One exception: input that is not HTTP is refused with our own answer, once the requests before it are answered;
uvicorn by itself would refuse it at once, with its own answer.)

Why: on the ordinary way most of the cost of an accepted payment is spent on objects that nobody looks at. And on a
machine that is not busy, the CPU's caches have lost the code by the next payment: less code is less to fetch again.
"""

import asyncio
import re
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from server.answers import Answer
from server.payments import BODY_BYTES_MAX, Acceptance, PaymentGate, parse_fixed_shape
from server.problems import ANSWER_BY_ACCEPTANCE, NOT_HTTP

_END_OF_HEAD: Final = b"\r\n\r\n"
_HEAD: Final = re.compile(rb"POST /payments HTTP/1\.1(?:\r\n[!#-'*+.0-9A-Z^-z|~-]+:[\t -~]*)*")
"""Request line and header fields as RFC 9112 wants them. Folded fields, bare CR or LF, and bytes beyond ASCII are left
to the full parser."""

_DECISIVE_FIELDS: Final = re.compile(
    rb"\r\n(content-length|content-type|connection|expect|proxy-connection|transfer-encoding|upgrade):[ \t]*([^\r]*)",
    re.IGNORECASE,
)
"""The header fields that decide how a request is read or answered."""

_LENGTH: Final = re.compile(rb"[1-9][0-9]{0,3}")

HEAD_BYTES_MAX: Final = 2500
"""Over HAProxy's limit of 2,200; what is remembered of heads stays below a megabyte."""

BESIDE_BODY_BYTES_MAX: Final = 65_536
"""At most so many bytes of head and trailers, after the first piece of a request; then its connection is closed. Needed
only without HAProxy, which has a limit of its own."""

HEADS_REMEMBERED: Final = 256
"""How many heads are cached. They differ by client and by the number of digits in the body: most were seen before, and
are not read again."""


def usual_body(data: bytes) -> bytes | None:
    """The body of a whole, usual `POST /payments` request; None for anything else."""
    end = data.find(_END_OF_HEAD)
    if not 0 <= end <= HEAD_BYTES_MAX:
        return None
    body = data[end + len(_END_OF_HEAD) :]
    return body if _body_length(data[:end]) == len(body) else None


@lru_cache(maxsize=HEADS_REMEMBERED)
def _body_length(head: bytes) -> int | None:
    """The body's length according to a usual head; None if the head is not usual, or the body too long."""
    if _HEAD.fullmatch(head) is None:
        return None
    length: int | None = None
    for name, value in _DECISIVE_FIELDS.findall(head):
        if length is None and name.lower() == b"content-length":
            length = int(value) if _LENGTH.fullmatch(value) else BODY_BYTES_MAX + 1
        elif value != b"application/json" or name.lower() != b"content-type":
            return None
    return length if length is not None and length <= BODY_BYTES_MAX else None


def on_the_wire(answer: Answer) -> bytes:
    """An answer as uvicorn writes it."""
    status = HTTPStatus(answer.start["status"])
    fields = b"".join(b"%b: %b\r\n" % field for field in answer.start["headers"])
    return b"HTTP/1.1 %d %b\r\n%b\r\n%b" % (status, status.phrase.encode("ascii"), fields, answer.body["body"])


_ANSWERS: Final = {acceptance: on_the_wire(answer) for acceptance, answer in ANSWER_BY_ACCEPTANCE.items()}
_ACCEPTED: Final = _ANSWERS[Acceptance.ACCEPTED]
"""The usual answer, chosen by a comparison: to look it up, the enum member must be hashed, a call into Python."""
_NOT_HTTP: Final = on_the_wire(NOT_HTTP)


class _PipelineFlowControl(FlowControl):
    """Resumes reading only when all requests read so far are answered or being answered. uvicorn's own flow control
    resumes after each answer; as one piece may hold thousands of short requests, they would gather without bound.
    """

    def __init__(self, protocol: HttpToolsProtocol) -> None:
        super().__init__(protocol.transport)
        self._pipeline = protocol.pipeline

    def resume_reading(self) -> None:
        """Resumes reading, unless requests wait in the pipeline."""
        if not self._pipeline:
            super().resume_reading()


class ShortcutProtocol(HttpToolsProtocol):
    """One connection of uvicorn's, with the shortcut. `shortcut_protocol` binds it to a gate.

    Attributes:
        gate: takes payments.
        amount_cents_max: greatest amount taken, in cents.
    """

    gate: PaymentGate
    amount_cents_max: int
    _in_message = False  # the parser has a part of a request
    _in_head = False  # the parser has a part of a request's head
    _beside_body_bytes = 0  # of that request's head and trailers, after its first piece
    _received = False  # something came since the idle timer last fired
    _idle_timer: asyncio.TimerHandle | None = None
    _refusal_is_due = False  # what came is not HTTP; refused once the whole requests before it are answered

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Starts the idle timer: a client may be silent before its first request as long as between two requests."""
        super().connection_made(transport)
        self.flow = _PipelineFlowControl(self)
        self._set_idle_timer()

    def data_received(self, data: bytes) -> None:
        """Takes the shortcut if the request and the connection allow it."""
        self._received = True
        if self._refusal_is_due:
            return  # the refusal waits for its turn; nothing that follows what is not HTTP can be read
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn's type leaves out that there is none at first
        is_free = (cycle is None or cycle.response_complete) and not self._in_message
        if is_free and not self.flow.write_paused:
            body = usual_body(data)
            payment = None if body is None else parse_fixed_shape(body, self.amount_cents_max)
            if payment is not None:
                acceptance = self.gate.accept(payment)
                self.transport.write(_ACCEPTED if acceptance is Acceptance.ACCEPTED else _ANSWERS[acceptance])
                if self.timeout_keep_alive_task is not None:
                    self._unset_keepalive_if_required()
                return
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
        self._idle_timer = None
        if self.flow.write_paused and not self._received:
            self.transport.abort()  # its client reads none of the answers
        elif self._received or (self._is_answering() and not self._in_message):
            self._received = False
            self._set_idle_timer()
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancels the idle timer."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        super().connection_lost(exc)


def shortcut_protocol(gate: PaymentGate, amount_cents_max: int) -> type[ShortcutProtocol]:
    """What to give to uvicorn as `http`: the protocol bound to a gate and the greatest amount it takes, in cents."""
    return type("BoundShortcut", (ShortcutProtocol,), {"gate": gate, "amount_cents_max": amount_cents_max})

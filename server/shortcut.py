"""The usual payment in one step: a connection's protocol, preceded by a shortcut for `POST /payments` in the form that
HAProxy and most clients send; and for HAProxy's health check, of which two come in a second.

A payment takes the shortcut if

* it came whole, in one piece, on a connection with nothing else under way, whose client reads its answers;
* it has one Content-Length, and its Content-Type is exactly application/json or missing;
* no header field changes how it is to be read; and
* the fixed-shape parser finds a payment in its body.

It is then handed to the gate and answered in one write. A health check takes it if it is, byte for byte, what HAProxy
sends. Every other request, also each that is malformed, goes the ordinary way through uvicorn and Starlette, which
remain the reference: a test holds both to the same answers, byte for byte.

Why: on the ordinary way most of the cost of an accepted payment is spent on objects that nobody looks at. And on a
machine that is not busy, the CPU's caches have lost the code by the next payment: less code is less to fetch again.
"""

import re
from functools import lru_cache
from typing import Final

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from server.answers import DONE
from server.http_connection import HardenedProtocol, on_the_wire
from server.payments import BODY_BYTES_MAX, Acceptance, PaymentGate, parse_fixed_shape
from server.problems import ANSWER_BY_ACCEPTANCE, LEAVING

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


_ANSWERS: Final = {acceptance: on_the_wire(answer) for acceptance, answer in ANSWER_BY_ACCEPTANCE.items()}
HEALTH_CHECK: Final = b"GET /health HTTP/1.0\r\n\r\n"
"""All that HAProxy (2.6 and 3.0) sends for `option httpchk GET /health`, on a new connection each time."""

_STAYING: Final = on_the_wire(DONE, closes=True)
_LEAVING: Final = on_the_wire(LEAVING, closes=True)
_ACCEPTED: Final = _ANSWERS[Acceptance.ACCEPTED]
"""The usual answer, chosen by a comparison: to look it up, the enum member must be hashed, a call into Python."""


class ShortcutProtocol(HardenedProtocol):
    """One connection, with the shortcut. `shortcut_protocol` binds it to a gate.

    Attributes:
        gate: takes payments.
        amount_cents_max: greatest amount taken, in cents.
    """

    gate: PaymentGate
    amount_cents_max: int

    def data_received(self, data: bytes) -> None:
        """Takes the shortcut if the request and the connection allow it."""
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn's type leaves out that there is none at first
        is_free = (cycle is None or cycle.response_complete) and not self._in_message and not self._refusal_is_due
        if is_free and not self.flow.write_paused:
            body = usual_body(data)
            payment = None if body is None else parse_fixed_shape(body, self.amount_cents_max)
            if payment is not None:
                self._received = True
                acceptance = self.gate.accept(payment)
                self.transport.write(_ACCEPTED if acceptance is Acceptance.ACCEPTED else _ANSWERS[acceptance])
                if self.timeout_keep_alive_task is not None:  # uvicorn's, set by its last answer
                    self._unset_keepalive_if_required()
                return
            if data == HEALTH_CHECK:
                self.transport.write(_LEAVING if self.gate.leaving else _STAYING)
                self.transport.close()  # HTTP/1.0: one request
                return
        super().data_received(data)


def shortcut_protocol(gate: PaymentGate, amount_cents_max: int) -> type[ShortcutProtocol]:
    """What to give to uvicorn as `http`: the protocol bound to a gate and the greatest amount it takes, in cents."""
    return type("BoundShortcut", (ShortcutProtocol,), {"gate": gate, "amount_cents_max": amount_cents_max})

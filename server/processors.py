"""The client of a payment processor: three calls, over `server/transport.py`.

Whatever goes wrong on the way becomes one of two errors: `ProcessorUnreachable` when the request was surely not sent,
`OutcomeUnknown` when it may have been (the table is in `server/transport.py`). If the caller is cancelled the
`CancelledError` passes through, and the outcome is unknown as well.

Questions and errors are httpx's, but its client is not used: what it adds (cookies, redirects, compressed answers,
authentication, hooks) is not wanted here. A payment is written as plain bytes: httpx's request and response took an
eighth of a dispatcher's CPU time.
"""

import logging
from collections.abc import Collection, Iterable
from typing import NamedTuple, Protocol

import httpx

from server.attempt import DECIDES, Shown, decode_object, decode_shown, encode_payment
from server.errors import OutcomeUnknown, ProcessorError, ProcessorUnreachable
from server.notation import JsonNumber, format_id
from server.transport import ProcessorAnswer
from shm import PROCESSOR_NAMES

CONNECT_TIMEOUT_S = 1.0
"""How long making a connection may take. A lost SYN is sent again after 1 s, and a payment stamped longer ago than that
would settle too late for a window that ends 1.5 s ago; giving up is a sure no and costs nothing."""

QUESTION_TIMEOUT_S = 10.0
"""How long `show` and `health` may take: twice the 5 s that a second caller of the health check hangs by contract."""

HEALTH_EVERY_MS = 5300
"""How long between two calls of `health`: a processor allows one in 5 s to all instances together, and one may be late.
"""

_log = logging.getLogger(__name__)

_SURELY_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.LocalProtocolError)


class Health(NamedTuple):
    """What a processor says of itself.

    Args:
        failing: it answers payments with errors.
        response_ms_min: the least time it takes for a payment, in milliseconds.
    """

    failing: bool
    response_ms_min: int


class Transport(Protocol):
    """What carries the calls: `KeepAliveTransport`. The errors raised here rest on its promise of what was sent."""

    async def exchange(self, message: bytes, *, answer_s: float, connect_s: float) -> ProcessorAnswer:
        """Writes a whole request and reads its answer."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Sends a request of httpx and reads its answer."""

    async def aclose(self) -> None:
        """Ends all calls."""


class Processor:
    """One external processor.

    Args:
        index: its number in shared memory: 0 is default, 1 is fallback.
        url: where it is, `http://host[:port][/prefix]`.
        transport: what carries the calls; closed with this object.
        timeout_s: how long a payment may take from start to answer, in seconds.
    """

    def __init__(self, index: int, url: str, *, transport: Transport, timeout_s: float) -> None:
        self.index = index
        self.name = PROCESSOR_NAMES[index]
        base = httpx.URL(url)
        self._payments_url = base.copy_with(path=base.path.rstrip("/") + "/payments")
        self._pay_head = b"POST %b HTTP/1.1\r\nHost: %b\r\nContent-Type: application/json\r\nContent-Length: " % (
            self._payments_url.raw_path,
            self._payments_url.netloc,
        )
        self._timeout_s = timeout_s
        self._is_html_logged = False
        self._question_extensions = {
            "timeout": httpx.Timeout(min(timeout_s, QUESTION_TIMEOUT_S), connect=CONNECT_TIMEOUT_S).as_dict()
        }
        self._transport = transport

    async def pay(self, correlation_id: bytes, amount_cents: int, requested_at_ms: int) -> int:
        """Asks for a payment to be stored, and returns the HTTP status (`server/attempt.py` says what it means).

        Args:
            correlation_id: 16 bytes.
            amount_cents: at least 0.
            requested_at_ms: milliseconds since 1970 UTC; the processor keeps the first it is told.

        Raises:
            ProcessorUnreachable: surely not sent.
            OutcomeUnknown: the processor may have stored it, or may do so later. Also if something other than the
                processor has answered (a proxy's page): HTML decides nothing, whatever its status.
        """
        body = encode_payment(correlation_id, amount_cents, requested_at_ms)
        message = b"%b%d\r\n\r\n%b" % (self._pay_head, len(body), body)
        try:
            answer = await self._transport.exchange(message, answer_s=self._timeout_s, connect_s=CONNECT_TIMEOUT_S)
        except httpx.HTTPError as error:
            raise self._as_processor_error(error) from error
        if answer.status in DECIDES and _is_html(answer.headers):
            raise self._html_error(f"{answer.status} to POST /payments")
        return answer.status

    async def show(self, correlation_id: bytes) -> Shown | None:
        """What the processor has stored under an id, or None when it has nothing (404).

        Raises:
            ProcessorUnreachable: surely not asked.
            OutcomeUnknown: no answer, or none that can be used.
        """
        response = await self._ask(format_id(correlation_id), {httpx.codes.OK}, none_status=httpx.codes.NOT_FOUND)
        if response is None:
            return None
        try:
            return decode_shown(response.content, correlation_id)
        except ValueError as error:
            raise OutcomeUnknown(f"{self.name} showed a payment in a way not understood: {error}") from error

    async def health(self) -> Health | None:
        """What the processor says of itself, or None when it was asked too often (429).

        Raises:
            ProcessorUnreachable: surely not asked.
            OutcomeUnknown: no answer, or none that can be used.
        """
        # A processor that says with a 503 that it fails sends the same body.
        statuses = {httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE}
        response = await self._ask("service-health", statuses, none_status=httpx.codes.TOO_MANY_REQUESTS)
        if response is None:
            return None
        try:
            return _decode_health(response.content)
        except ValueError as error:
            raise OutcomeUnknown(f"{self.name} told its health in a way not understood: {error}") from error

    async def aclose(self) -> None:
        """Closes the transport; calls under way end with an error."""
        await self._transport.aclose()

    async def _ask(self, question: str, statuses: Collection[int], *, none_status: int) -> httpx.Response | None:
        """The answer to `GET /payments/{question}`, whose status is one of `statuses`; None if it is `none_status`."""
        request = httpx.Request("GET", f"{self._payments_url}/{question}", extensions=self._question_extensions)
        try:
            response = await self._transport.handle_async_request(request)
        except httpx.HTTPError as error:
            raise self._as_processor_error(error) from error
        await response.aread()
        if _is_html(response.headers.raw):
            raise self._html_error(f"{response.status_code} to GET /payments/{question}")
        if response.status_code == none_status:
            return None
        if response.status_code not in statuses:
            raise OutcomeUnknown(f"{self.name} answered {response.status_code} to GET /payments/{question}")
        return response

    def _html_error(self, answered: str) -> OutcomeUnknown:
        if not self._is_html_logged:  # once in a process's life: every second answer may be HTML
            _log.warning("something else answers in the place of %s, with a page of HTML: %s", self.name, answered)
        self._is_html_logged = True
        return OutcomeUnknown(f"{self.name} answered {answered} with a page of HTML")

    def _as_processor_error(self, error: httpx.HTTPError) -> ProcessorError:
        if isinstance(error, _SURELY_NOT_SENT):
            return ProcessorUnreachable(f"{self.name}: {error}")
        return OutcomeUnknown(f"{self.name}: {type(error).__name__}: {error}")


def _is_html(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether an answer is a page for people to read: a proxy's, not the processor's."""
    for name, value in headers:
        if name.lower() == b"content-type" and value.partition(b";")[0].strip().lower() == b"text/html":
            return True
    return False


def _decode_health(body: bytes) -> Health:
    members = decode_object(body)
    failing, response_ms_min = members.get("failing"), members.get("minResponseTime")
    if not isinstance(failing, bool) or not isinstance(response_ms_min, JsonNumber) or not response_ms_min.isdecimal():
        raise ValueError("failing is not a boolean, or minResponseTime not a whole number")
    return Health(failing, int(response_ms_min))

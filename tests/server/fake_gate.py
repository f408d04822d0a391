"""What stands on either side of a web worker in its tests: a gate, totals, and a client that speaks raw ASGI."""

from collections.abc import Iterable
from typing import Any

from starlette.types import ASGIApp, Message

from server.payments import Acceptance, Payment, PaymentStatus
from server.totals import Summary, Total, Window

NOTHING = Summary(Total(0, 0), Total(0, 0))
"""A summary of no payments."""


class FakeGate:
    """A gate that answers what it is told to, and remembers what it was given."""

    def __init__(self) -> None:
        self.leaving = False
        self.acceptance = Acceptance.ACCEPTED
        self.look_ups_left = 1
        self.statuses: dict[bytes, PaymentStatus] = {}
        self.offered: list[Payment] = []
        self.failure: Exception | None = None

    def accept(self, payment: Payment) -> Acceptance:
        """Remember the payment."""
        if self.failure is not None:
            raise self.failure
        self.offered.append(payment)
        return self.acceptance

    def find(self, correlation_id: bytes) -> PaymentStatus | None:
        """Look in what the test put there."""
        if self.failure is not None:
            raise self.failure
        return self.statuses.get(correlation_id)

    def may_look_up(self) -> bool:
        """Count down."""
        self.look_ups_left -= 1
        return self.look_ups_left >= 0


class FakeTotals:
    """Totals that answer what they are told to, and remember what they were asked."""

    def __init__(self) -> None:
        self.answer: Summary | Exception = NOTHING
        self.windows: list[Window] = []
        self.purges = 0

    async def summary(self, window: Window) -> Summary:
        """Remember the window."""
        self.windows.append(window)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def purge(self) -> None:
        """Count."""
        if isinstance(self.answer, Exception):
            raise self.answer
        self.purges += 1


async def exchange(
    app: ASGIApp,
    pieces: Iterable[Message],
    *,
    headers: Iterable[tuple[bytes, bytes]] = (),
    **overrides: Any,
) -> tuple[list[Message], list[Message]]:
    """What the application sends for a POST /payments in these pieces, and the pieces it did not ask for."""
    left, sent = list(pieces), []
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/payments",
        "raw_path": b"/payments",
        "root_path": "",
        "query_string": b"",
        "headers": list(headers),
        **overrides,
    }

    async def receive() -> Message:
        return left.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent, left


def piece(body: bytes, *, more_body: bool = False) -> Message:
    """One piece of a body."""
    return {"type": "http.request", "body": body, "more_body": more_body}

"""The real `server.processors.Processor` over a simulated line: what is said is HTTP and JSON, and may be malformed.

Four times as dear as calling the line directly, so only some of the seeds do it.
"""

import json
from datetime import UTC, datetime
from typing import Any

import httpx

from server.attempt import Shown, parse_shown_instant
from server.errors import OutcomeUnknown, ProcessorUnreachable
from server.notation import parse_cents
from tests.fakes import FakeTransport
from tests.simulation.network import Line
from tests.simulation.world import World

_MALFORMED = (b"", b"{}", b"null", b"\xff", b'{"amount":1', b'{"amount":"1","requestedAt":1}', b"[" * 5000)
_FORMATS = ("%Y-%m-%dT%H:%M:%S.%fZ", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d %H:%M:%S.%f+00:00")


class WireTransport(FakeTransport):
    """Carries the requests of `Processor` over a line.

    Args:
        world: of this run.
        line: the other half of the way.
    """

    def __init__(self, world: World, line: Line) -> None:
        self._world = world
        self._line = line

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One request and its answer."""
        try:
            if request.method == "POST":
                return httpx.Response(await self._pay(request))
            return await self._ask(request.url.path.rsplit("/", 1)[1])
        except ProcessorUnreachable as error:
            raise httpx.ConnectError(str(error)) from error
        except OutcomeUnknown as error:
            kinds = (httpx.ReadError, httpx.ReadTimeout, httpx.RemoteProtocolError, httpx.WriteError)
            raise self._world.rng.choice(kinds)(str(error)) from error

    async def _pay(self, request: httpx.Request) -> int:
        members: dict[str, Any] = json.loads(await request.aread(), parse_float=str, parse_int=str)
        amount_cents, requested_at_ms = parse_cents(members["amount"]), parse_shown_instant(members["requestedAt"])
        assert amount_cents is not None
        assert requested_at_ms is not None
        correlation_id = bytes.fromhex(members["correlationId"].replace("-", ""))
        return await self._line.pay(correlation_id, amount_cents, requested_at_ms)

    async def _ask(self, question: str) -> httpx.Response:
        rng = self._world.rng
        if question == "service-health":
            health = await self._line.health()
            if health is None:
                return httpx.Response(429)
            return self._told({"failing": health.failing, "minResponseTime": health.response_ms_min})
        shown = await self._line.show(bytes.fromhex(question.replace("-", "")))
        if shown is None:
            return httpx.Response(404)
        amount = f"{shown.amount_cents or 0:03d}"
        text = f"{amount[:-2]}.{amount[-2:]}"
        stamp = rng.choice(_FORMATS)
        return self._told({"correlationId": question, "amount": text, "requestedAt": _instant(shown, stamp)})

    def _told(self, members: dict[str, Any]) -> httpx.Response:
        if self._world.faulty and self._world.rng.random() < 0.1:
            return httpx.Response(200, content=self._world.rng.choice(_MALFORMED))
        amount = members.pop("amount", None)
        body = json.dumps(members)
        if amount is not None:
            body = f'{body[:-1]},"amount":{amount}}}'  # as it is written, and not by way of a float
        return httpx.Response(200, content=body.encode())


def _instant(shown: Shown, stamp: str) -> str:
    assert shown.requested_at_ms is not None
    second, millisecond = divmod(shown.requested_at_ms, 1000)
    return datetime.fromtimestamp(second, UTC).replace(microsecond=millisecond * 1000).strftime(stamp)

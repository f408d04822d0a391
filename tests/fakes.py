"""Fakes of the outside world: clocks that tests advance, the two processors, the Redis hash.

A fake processor takes the place of the network, at the transport's interface. Other fakes have files of their own: of
the gate and the totals (`tests/server/fake_gate.py`), of a connection's peer (`fake_peer.py`), of shared memory
(`fake_area.py`).
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import httpx

from server import transport
from server.errors import TotalsUnavailable
from server.processors import Health, Processor
from server.redis_totals import FlushAnswer, SharedHealth
from server.totals import Levels
from server.totals_header import Header, Version

NOON_MS = 1_752_582_896_000
"""2025-07-15T12:34:56Z."""


class FakeClock:
    """Two clocks that stand still until a test advances them.

    Args:
        ticks: what the ticking clock shows, ms; the wall clock shows noon.
    """

    def __init__(self, ticks: int = 1_000_000) -> None:
        self.now_us = NOON_MS * 1000
        self.now_ticks_ms = ticks

    def wall_us(self) -> int:
        """Microseconds UTC."""
        return self.now_us

    def ticks_ms(self) -> int:
        """Monotonic milliseconds."""
        return self.now_ticks_ms

    def advance(self, milliseconds: int) -> None:
        """Advances both clocks."""
        self.now_us += milliseconds * 1000
        self.now_ticks_ms += milliseconds


async def idle(turns: int = 40) -> None:
    """Lets the event loop do everything that is ready, without advancing time."""
    for _ in range(turns):
        await asyncio.sleep(0)


# ------------------------------------------------------------------------------------------------- processors and Redis


class Paid(NamedTuple):
    """A `POST /payments` as it arrived, or a row as it is stored."""

    correlation_id: str
    amount: str
    requested_at: str


Answer = int | bytes | type[Exception] | asyncio.Future[int]
"""How a fake processor answers: a status, a body (of a 200), an error of the transport, or a status some time later."""


class FakeTransport(httpx.AsyncBaseTransport):
    """A transport without a network: it parses a message back into a request, for one method to answer."""

    async def exchange(self, message: bytes, *, answer_s: float, connect_s: float) -> transport.ProcessorAnswer:
        """Answers a message as `handle_async_request` answers the same request."""
        head, _, body = message.partition(b"\r\n\r\n")
        line, *lines = head.decode("ascii").split("\r\n")
        method, target, version = line.split(" ")
        assert version == "HTTP/1.1"
        headers = httpx.Headers(dict(field.split(": ", 1) for field in lines))
        request = httpx.Request(
            method,
            f"http://{headers['host']}{target}",
            headers=headers,
            content=body,
            extensions={"timeout": {"read": answer_s, "connect": connect_s}},
        )
        assert request.url.raw_path == target.encode("ascii")
        assert len(body) == int(headers.get("content-length", "0"))
        response = await self.handle_async_request(request)
        return transport.ProcessorAnswer(response.status_code, response.headers.raw, await response.aread())


class FunctionTransport(FakeTransport):
    """A transport that has every request answered by a function.

    Args:
        answer: returns the answer to a request.
    """

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response]) -> None:
        self._answer = answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Calls the function."""
        return self._answer(request)


class FakeProcessor(FakeTransport):
    """A processor that answers as the test says, and stores what it answers with 200.

    Attributes:
        answers: to the next payments, one each; after these it is `answer`.
        answers_to: to certain payments, by id, whenever they come.
        answer: to any other payment.
        shows: to the next look-ups of a payment; after these it shows what is stored.
        health: its answer to a health request; None for a 429.
        posts: payments as they arrived.
        questions: ids looked up.
        stored: rows by id.
    """

    def __init__(self) -> None:
        self.answers: deque[Answer] = deque()
        self.answers_to: dict[str, Answer] = {}
        self.answer: Answer = 200
        self.shows: deque[Answer] = deque()
        self.health: Health | None = Health(failing=False, response_ms_min=0)
        self.health_polls = 0
        self.posts: list[Paid] = []
        self.questions: list[str] = []
        self.stored: dict[str, Paid] = {}

    def processor(self, index: int) -> Processor:
        """A client of it."""
        return Processor(index, "http://processor:8080", transport=self, timeout_s=30)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answers a request."""
        if request.method == "POST":
            return await self._pay(json.loads(await request.aread(), parse_float=str))
        question = request.url.path.rsplit("/", 1)[1]
        if question == "service-health":
            self.health_polls += 1
            if self.health is None:
                return httpx.Response(429)
            failing, response_ms_min = self.health
            return httpx.Response(200, json={"failing": failing, "minResponseTime": response_ms_min})
        return await self._show(question)

    async def _pay(self, body: dict[str, str]) -> httpx.Response:
        paid = Paid(body["correlationId"], body["amount"], body["requestedAt"])
        self.posts.append(paid)
        response = await _respond(self._answer_to(paid.correlation_id))
        if response.status_code == httpx.codes.OK:
            self.stored[paid.correlation_id] = paid
        return response

    def _answer_to(self, correlation_id: str) -> Answer:
        if correlation_id in self.answers_to:
            return self.answers_to[correlation_id]
        return self.answers.popleft() if self.answers else self.answer

    async def _show(self, correlation_id: str) -> httpx.Response:
        self.questions.append(correlation_id)
        if self.shows:
            return await _respond(self.shows.popleft())
        row = self.stored.get(correlation_id)
        if row is None:
            return httpx.Response(404)
        text = f'{{"correlationId":"{row.correlation_id}","amount":{row.amount},"requestedAt":"{row.requested_at}"}}'
        return httpx.Response(200, content=text.encode())


async def _respond(answer: Answer) -> httpx.Response:
    if isinstance(answer, asyncio.Future):
        answer = await answer
    if isinstance(answer, int):
        return httpx.Response(answer)
    if isinstance(answer, bytes):
        return httpx.Response(200, content=answer)
    raise answer("as the test has it")


class FakeTotalsHash:
    """The Redis hash as one publisher sees it, with the rules of `redis_scripts.FLUSH`, in memory.

    Attributes:
        away: whether it does not take or answer calls.
        loses_answers: whether it takes calls but does not answer.
        hangs: whether calls wait for ever, before they are taken.
        takes_twice: whether each call is repeated after its answer was lost.
    """

    def __init__(self) -> None:
        self.away = self.loses_answers = self.hangs = self.takes_twice = False
        self.header: Header | None = None
        self.fields: dict[str, bytes] = {}
        self.epoch = self.purged = 0
        self.roster: list[str] = []
        self.health: tuple[SharedHealth | None, SharedHealth | None] = (None, None)
        self.flushes: list[tuple[Header, set[str], Version | None]] = []

    def purge(self, epoch: int) -> None:
        """Requests a purge; `epoch` alone is what another member reports of a purge that it had not."""
        self.epoch = self.purged = epoch

    def empty(self) -> None:
        """Empties it, as a restart without persistence does."""
        self.header, self.fields, self.epoch, self.purged, self.roster = None, {}, 0, 0, []

    async def flush(
        self,
        member: str,
        header: Header,
        fields: dict[str, bytes],
        dropped: set[str],
        *,
        builds_on: Version | None,
        roster: tuple[str, ...],
    ) -> FlushAnswer:
        """Takes values if they are newer and the state that they build on is there."""
        if self.hangs:
            await asyncio.Future()
        self._answer_or_not(lost=self.away)
        found = self._take(header, fields, dropped, builds_on, roster)
        if self.takes_twice:
            found = self._take(header, fields, dropped, builds_on, roster)
        self._answer_or_not(lost=self.loses_answers)
        return found

    def _take(
        self,
        header: Header,
        fields: dict[str, bytes],
        dropped: set[str],
        builds_on: Version | None,
        roster: tuple[str, ...],
    ) -> FlushAnswer:
        self.flushes.append((header, set(fields), builds_on))
        found, version = self.header, (-1, -1, -1) if self.header is None else self.header.version
        self.epoch = max(self.epoch, header.version.epoch)
        self.roster += [member for member in roster if member not in self.roster]
        has_base = (
            builds_on is None or version == builds_on or (version > builds_on and version[1] == header.version.life)
        )
        applied = header.version.epoch == self.epoch and version < header.version and has_base
        if applied:
            kept = {} if builds_on is None else self.fields
            self.fields = {name: value for name, value in (kept | fields).items() if name not in dropped}
            self.header = header
        return FlushAnswer(applied, found, self.epoch, self.purged == self.epoch, tuple(self.roster), self.health)

    async def read_member(self, member: str) -> tuple[Header, Levels] | None:
        """Returns what it has of the member."""
        self._answer_or_not(lost=self.away)
        return None if self.header is None else (self.header, self.levels())

    def levels(self) -> Levels:
        """Returns what it has, as a reader of totals sees it."""
        header = self.header
        assert header is not None
        return header.levels({name.encode(): value for name, value in self.fields.items()})

    @staticmethod
    def _answer_or_not(*, lost: bool) -> None:
        if lost:
            raise TotalsUnavailable("Redis can't be asked: the test has it so")

"""Clients that pay: unique ids at a steady rate, deliberate copies, and another try where no answer came.

Every id is written down with what was answered for which amount. A 202 is a promise; a 409 is a certain no for that
amount; anything else (no answer, or a balancer's 503, which may have tried before) leaves open whether it was accepted.
"""

import asyncio
import contextlib
import uuid
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random

from tests.integration.http_client import Client, NotSent, Unanswered

ANSWER_WITHIN_S = 15.0  # HAProxy gives a worker 10 s, and tries again
AT_ONCE_MAX = 1000  # HAProxy takes 1,200
AMOUNT_CENTS_MAX = 9_999
REPEATED_SHARE = 0.05  # copies of an id sent before, same amount
CHANGED_SHARE = 0.02  # copies with another amount
RETRIED_SHARE = 0.6  # of what was not answered with 202 or 409
REPEATED_WITHIN_S = 20.0
RETRY_PAUSE_S = (0.02, 4.0)


@dataclass
class Sent:
    """What became of the requests with one id.

    Attributes:
        amount_cents: of the first request.
        accepted: amounts answered with 202.
        open: amounts of which nobody knows.
        refused: amounts answered with 409.
        story: for people, a line per request: when it was sent and answered, its amount, what came of it.
    """

    amount_cents: int
    accepted: set[int] = field(default_factory=set)
    open: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    story: list[str] = field(default_factory=list)


class Traffic:
    """A load on the gateway.

    Args:
        port: where payments come in.
        rate: requests per second.
        rng: decides amounts and copies.
        copies: whether to send any.

    Attributes:
        sent: by id.
        answers: how many of each kind: statuses, `unanswered`, `not sent`.
    """

    def __init__(self, port: int, rate: int, rng: Random, *, copies: bool = True) -> None:
        self._client = Client(port, ANSWER_WITHIN_S)
        self._rate = rate
        self._rng = rng
        self._copies = copies
        self._tasks: set[asyncio.Task[None]] = set()
        self._recent: deque[tuple[float, str]] = deque()
        self.sent: dict[str, Sent] = {}
        self.answers: Counter[str] = Counter()

    def story_of(self, correlation_id: str) -> str:
        """Every request with an id, for people."""
        sent = self.sent.get(correlation_id)
        return "; ".join(sent.story) if sent else "never sent"

    async def run(self, seconds: float) -> None:
        """Sends for so long, then waits for the last answers."""
        try:
            await self._send_all(seconds)
        finally:
            for task in self._tasks:
                task.cancel()
            self._client.close()

    async def _send_all(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        count = 0
        while (now_s := loop.time()) < begun_s + seconds:
            while count < (now_s - begun_s) * self._rate:
                count += 1
                if len(self._tasks) < AT_ONCE_MAX:
                    self._start(self._next(now_s))
            await asyncio.sleep(1 / self._rate)
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _next(self, now_s: float) -> tuple[str, int]:
        """Id and amount of the next request."""
        while self._recent and self._recent[0][0] < now_s - REPEATED_WITHIN_S:
            self._recent.popleft()
        chance = self._rng.random() if self._copies and self._recent else 1.0
        if chance < REPEATED_SHARE + CHANGED_SHARE:
            correlation_id = self._recent[int(self._rng.random() ** 3 * len(self._recent)) * -1 - 1][1]
            amount_cents = self.sent[correlation_id].amount_cents
            return correlation_id, amount_cents + (1 if chance < CHANGED_SHARE else 0)
        correlation_id = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        amount_cents = self._rng.randint(1, AMOUNT_CENTS_MAX)
        self.sent[correlation_id] = Sent(amount_cents)
        self._recent.append((now_s, correlation_id))
        return correlation_id, amount_cents

    def _start(self, request: tuple[str, int], pause_s: float = 0.0) -> None:
        task = asyncio.get_running_loop().create_task(self._pay(*request, pause_s))
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.result()

    async def _pay(self, correlation_id: str, amount_cents: int, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        body = f'{{"correlationId":"{correlation_id}","amount":{amount_cents // 100}.{amount_cents % 100:02d}}}'
        sent = self.sent[correlation_id]
        sent_at = datetime.now(UTC)
        outcome = "unanswered"
        with contextlib.suppress(Unanswered):
            try:
                outcome = str((await self._client.ask("POST", "/payments", body.encode())).status)
            except NotSent:
                outcome = "not sent"
        self.answers[outcome] += 1
        sent.story.append(f"{sent_at:%H:%M:%S.%f} to {datetime.now(UTC):%H:%M:%S.%f}: {amount_cents} cents, {outcome}")
        if outcome == "202":
            sent.accepted.add(amount_cents)
            return
        if outcome == "409":
            sent.refused.add(amount_cents)
            return
        if outcome != "not sent":
            sent.open.add(amount_cents)
        if self._copies and self._rng.random() < RETRIED_SHARE:
            self._start((correlation_id, amount_cents), self._rng.uniform(*RETRY_PAUSE_S))

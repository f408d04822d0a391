"""Auditors: do the gateway's totals equal the processors' at this moment, and in the end does every payment?

Totals of a window only grow: nothing is ever taken back. So with the processors asked first (`before`), the gateway,
then the processors again (`after`), two rules hold at any moment, whatever happens in between:

1. *Never too much*: per processor, what the gateway tells is at most `after`. What it counts was stored before.
2. *Never too little for long*: per processor, what the gateway tells is at least `before`. It may lag by what was
   stored a moment ago: an answer on its way and a flush (20 ms) and, if a dispatcher dies with the answer in its hands,
   until it is missed (at once, a frozen one after a second: then the summary is a 503) or its successor tells of it as
   `unknown`. So what is missing must be there, be named in `unknown`, or turn the summary into a 503, when asked again
   a little later; the patience depends on whether anything was killed or stopped just before. What still differs then
   differs for good, and is a failure.

A 503 is a truthful answer too, but only near a disturbance.
"""

import asyncio
import json
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

from tests.integration.http_client import Client, NotSent, Unanswered
from tests.integration.traffic import Sent

NAMES = ("default", "fallback")
ASK_WITHIN_S = 5.0
TOKEN = "X-Rinha-Token: 123\r\n"
WINDOW_MS = (15_000, 1_500)  # before now: from, to; as the contest's preview audits
CALM_PATIENCE_S = 1.0  # 20 ms, and what a starved machine adds
FAULTY_PATIENCE_S = 4.0  # a second until a frozen dispatcher is missed, four times that on a starved machine
DISTURBED_S = 10.0  # how long after a disturbance a 503 is no surprise: a start, and Redis found again
ASK_AGAIN_S = 0.05


class Totals(NamedTuple):
    """Payments and cents at default, then at fallback."""

    default_payments: int
    default_cents: int
    fallback_payments: int
    fallback_cents: int

    def covers(self, other: "Totals") -> bool:
        """Whether nothing of the other is missing here."""
        return all(mine >= its for mine, its in zip(self, other, strict=True))


class Told(NamedTuple):
    """A summary as the gateway told it.

    Args:
        totals: of the window.
        unknown: payments in it whose outcome is unknown.
    """

    totals: Totals
    unknown: int


class Row(NamedTuple):
    """A payment as a processor has it."""

    correlation_id: str
    amount_cents: int
    requested_at_ms: int


class Processors:
    """Both processors, as their operator and auditor sees them."""

    def __init__(self, ports: tuple[int, int]) -> None:
        self._clients = [Client(port, ASK_WITHIN_S) for port in ports]

    async def totals(self, from_ms: int, to_ms: int) -> Totals:
        """What is stored with a requestedAt in this window, both ends included."""
        target = f"/admin/payments-summary?from={instant(from_ms)}&to={instant(to_ms)}"
        found = [json.loads(await self._get(client, target), parse_float=Decimal) for client in self._clients]
        numbers = [(one["totalRequests"], cents_of(one["totalAmount"])) for one in found]
        return Totals(*numbers[0], *numbers[1])

    async def rows(self) -> list[list[Row]]:
        """Everything stored, per processor."""
        return [[Row(*row) for row in json.loads(await self._get(one, "/admin/payments"))] for one in self._clients]

    async def set(self, processor: int, what: str, value: int | bool) -> None:  # noqa: FBT001  a setting's value
        """Sets `delay` (in ms) or `failure`."""
        body = json.dumps({what: value}).encode()
        client = self._clients[processor]
        answer = await client.ask("PUT", f"/admin/configurations/{what}", body, headers=TOKEN)
        assert answer.status == 200, answer

    @staticmethod
    async def _get(client: Client, target: str) -> bytes:
        answer = await client.ask("GET", target, headers=TOKEN)
        assert answer.status == 200, answer
        return answer.body

    def close(self) -> None:
        """Closes the connections."""
        for client in self._clients:
            client.close()


class Auditor:
    """Compares the gateway's summaries with what the processors have.

    Attributes:
        failures: what was found wrong, a sentence each.
        equal: audits in which all was equal at once.
        later: audits in which it was equal when asked again.
        named: audits in which what was missing was named as unknown.
        unavailable: audits answered with a 503, or not at all.
        lag_s_max: how long the gateway took to tell what the processors had, at most, with nothing disturbed.
    """

    def __init__(self, port: int, processors: Processors) -> None:
        self._client = Client(port, ASK_WITHIN_S)
        self._processors = processors
        self._disturbed_until_s = 0.0
        self.failures: list[str] = []
        self.equal = self.later = self.named = self.unavailable = 0
        self.lag_s_max = 0.0

    def disturb(self, lasts_s: float = 0.0) -> None:
        """Something is killed or stopped now, for so long."""
        self._disturbed_until_s = max(self._disturbed_until_s, time.monotonic() + lasts_s + DISTURBED_S)

    @property
    def is_disturbed(self) -> bool:
        """Whether something has been killed or stopped lately."""
        return time.monotonic() < self._disturbed_until_s

    async def summary(self, from_ms: int | None = None, to_ms: int | None = None) -> Told | str:
        """What the gateway tells, or a sentence on why it tells nothing."""
        bounds = [f"{name}={instant(ms)}" for name, ms in (("from", from_ms), ("to", to_ms)) if ms is not None]
        target = "/payments-summary" + ("?" + "&".join(bounds) if bounds else "")
        try:
            answer = await self._client.ask("GET", target)
        except (NotSent, Unanswered) as error:
            return f"{type(error).__name__}: {error}"
        if answer.status != 200:
            return f"{answer.status}: {answer.body.decode(errors='replace')}"
        told = json.loads(answer.body, parse_float=Decimal)
        numbers = [(told[name]["totalRequests"], cents_of(told[name]["totalAmount"])) for name in NAMES]
        return Told(Totals(*numbers[0], *numbers[1]), told.get("unknown", 0))

    async def audit(self) -> None:
        """One audit, by the rules at the top."""
        now_ms = time.time_ns() // 1_000_000
        from_ms, to_ms = (now_ms - before_ms for before_ms in WINDOW_MS)
        begun_s = time.monotonic()
        before = await self._processors.totals(from_ms, to_ms)
        while True:
            was_disturbed = self.is_disturbed
            told = await self.summary(from_ms, to_ms)
            after = await self._processors.totals(from_ms, to_ms)
            waited_s = time.monotonic() - begun_s
            disturbed = was_disturbed or self.is_disturbed
            if isinstance(told, str):
                self._note_unavailable(told, disturbed=disturbed)
                return
            if not after.covers(told.totals):
                self._fail(f"the summary tells too much: {told}, the processors have {after}", from_ms, to_ms)
                return
            missing = _payments(before) - _payments(told.totals)
            if told.totals.covers(before):
                self._note_equal(waited_s, at_once=told.totals == after, disturbed=disturbed)
                return
            if 0 < missing <= told.unknown:
                self.named += 1
                return
            if waited_s > (FAULTY_PATIENCE_S if disturbed else CALM_PATIENCE_S):
                self._fail(f"for {waited_s:.1f} s the summary tells {told} of {before}", from_ms, to_ms)
                return
            await asyncio.sleep(ASK_AGAIN_S)

    def _note_unavailable(self, told: str, *, disturbed: bool) -> None:
        self.unavailable += 1
        if not disturbed:
            self._fail(f"no summary although nothing was disturbed for {DISTURBED_S} s: {told}")

    def _note_equal(self, waited_s: float, *, at_once: bool, disturbed: bool) -> None:
        if at_once:
            self.equal += 1
        else:
            self.later += 1
        if not disturbed:
            self.lag_s_max = max(self.lag_s_max, waited_s)

    def _fail(self, sentence: str, *window_ms: int) -> None:
        window = " to ".join(map(instant, window_ms))
        self.failures.append(f"{instant(time.time_ns() // 1_000_000)} {sentence} {window}")

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()


class Verdict(NamedTuple):
    """What became of every payment, once all is settled.

    Args:
        accepted: ids answered with 202.
        stored: rows at the processors.
        unasked: rows of ids that got no 202: no answer came, yet they were accepted.
        lost: accepted and stored nowhere.
        twice: stored at both.
        foreign: rows nobody sent, or with an amount nobody sent or that was refused.
    """

    accepted: int
    stored: tuple[int, int]
    unasked: int
    lost: list[str]
    twice: list[str]
    foreign: list[Row]

    def __str__(self) -> str:
        """For people."""
        return (
            f"accepted {self.accepted:,}, stored {self.stored[0]:,} + {self.stored[1]:,}, "
            f"{self.unasked} of them without a 202; "
            f"lost {len(self.lost)}, twice {len(self.twice)}, foreign {len(self.foreign)}"
        )


def judge(sent: dict[str, Sent], rows: list[list[Row]]) -> Verdict:
    """Compares what clients were promised with what the processors have."""
    stored = [{row.correlation_id for row in each} for each in rows]
    anywhere = stored[0] | stored[1]
    accepted = {correlation_id for correlation_id, one in sent.items() if one.accepted}
    foreign = [
        row
        for row in rows[0] + rows[1]
        if row.correlation_id not in sent
        or row.amount_cents not in sent[row.correlation_id].accepted | sent[row.correlation_id].open
    ]
    return Verdict(
        len(accepted),
        (len(rows[0]), len(rows[1])),
        len(anywhere - accepted),
        sorted(accepted - anywhere),
        sorted(stored[0] & stored[1]),
        foreign,
    )


def totals_of(rows: list[list[Row]], from_ms: int = 0, to_ms: int = 1 << 62) -> Totals:
    """The totals of the rows with a requestedAt in this window, both ends included."""
    inside = [[row.amount_cents for row in each if from_ms <= row.requested_at_ms <= to_ms] for each in rows]
    return Totals(len(inside[0]), sum(inside[0]), len(inside[1]), sum(inside[1]))


def cents_of(amount: Decimal | int) -> int:
    """An amount in cents, exactly."""
    cents = Decimal(amount) * 100
    assert cents == int(cents), amount
    return int(cents)


def instant(ms: int) -> str:
    """Milliseconds UTC as ISO 8601."""
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{ms % 1000:03d}Z"


def _payments(totals: Totals) -> int:
    return totals.default_payments + totals.fallback_payments

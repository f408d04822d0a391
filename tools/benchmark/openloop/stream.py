"""Sends one kind of request when it is due, over connections that stay open, one request at a time on each."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator

from tools.benchmark.openloop.answers import Answer
from tools.benchmark.openloop.connection import Connection
from tools.benchmark.openloop.messages import UNANSWERED, Account, Interval
from tools.benchmark.openloop.requests import Request, Requests
from tools.benchmark.openloop.schedule import Group
from tools.benchmark.openloop.ticker import Ticker

ANSWER_TIMEOUT_S = 5.0  # over three times what the contest's client waits: an answer near that limit is not lost
HELD_AFTER_S = 2.0  # a request that found no free connection for so long is not sent any more: bounds the wait
CHECK_S = 0.1
AHEAD = 16  # requests made at a time
CONNECT_TIMEOUT_S = 5.0
CONNECT_AGAIN_S = 0.1
_NS_PER_S = 1_000_000_000
_NS_PER_US = 1_000


class Stream:
    """One kind of request.

    Args:
        requests: makes what is sent.
        address: host and port.
        first_turn: the number of the first request.
        on_phase: called with the phase's number when one begins, before its first request.

    Attributes:
        over: set when everything due was sent and answered, or given up.
    """

    def __init__(
        self,
        requests: Requests,
        address: tuple[str, int],
        *,
        first_turn: int = 0,
        on_phase: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.known: dict[bytes, Answer] = {}
        self.over = asyncio.Event()
        self.phase = 0
        self._requests = requests
        self._arrivals: Iterator[Group] = iter(())
        self._address = address
        self._turn = first_turn
        self._on_phase = on_phase
        self._account = Account(requests.name)
        self._group: Group | None = None
        self._sending_ended = False
        self._free: deque[Connection] = deque()
        self._busy: set[Connection] = set()
        self._waiting: deque[int] = deque()
        self._made: deque[Request] = deque()
        self._ticker = Ticker()
        self._loop = asyncio.get_running_loop()
        self._check: asyncio.TimerHandle | None = None
        self._connecting: set[asyncio.Task[None]] = set()

    @property
    def next_turn(self) -> int:
        """The number of the first request that is not due yet."""
        return self._turn + len(self._waiting)

    async def connect(self, connections: int) -> None:
        """Opens all connections; raises OSError if that fails."""
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            for _ in range(connections):
                await self._loop.create_connection(lambda: Connection(self), *self._address)

    def start(self, arrivals: Iterator[Group]) -> None:
        """Begins to send at the times in `arrivals`, by `time.monotonic_ns()`."""
        self._arrivals = arrivals
        self._group = next(arrivals, None)
        self._loop.add_reader(self._ticker.fd, self._on_tick)
        self._check = self._loop.call_later(CHECK_S, self._look_for_late)
        self._on_tick()

    def take(self) -> Interval:
        """Returns the interval that ends now, and begins the next."""
        return self._account.take(time.monotonic_ns(), self.phase, len(self._waiting))

    def close(self) -> None:
        """Ends all connections and the timers."""
        self._sending_ended = True
        self._loop.remove_reader(self._ticker.fd)
        self._ticker.close()
        if self._check is not None:
            self._check.cancel()
        for task in self._connecting:
            task.cancel()
        for connection in [*self._free, *self._busy]:
            connection.drop()

    def _on_tick(self) -> None:
        """Sends what is due by now."""
        now_ns = time.monotonic_ns()
        while (group := self._group) is not None and group.at_ns <= now_ns:
            at_ns, size, phase = group
            if size:
                self._account.count_late((now_ns - at_ns) // _NS_PER_US)
            else:
                self._begin(phase)
            for _ in range(size):
                self._waiting.append(at_ns)
                if self._free:
                    self._send(self._free.popleft())
            self._group = next(self._arrivals, None)
        if group is not None:
            self._ticker.arm(group.at_ns)
            self._make_ahead()
        else:
            self._loop.remove_reader(self._ticker.fd)
            self._sending_ended = True
            self._end_if_done()

    def _begin(self, phase: int) -> None:
        """Reports that a phase begins; the interval taken just before counts for the phase before."""
        self._on_phase(phase)
        self.phase = phase

    def _send(self, connection: Connection) -> None:
        """Sends the request that has waited longest."""
        request = self._made.popleft() if self._made else self._requests.make(self._turn)
        self._busy.add(connection)
        self._account.sent += 1
        connection.send(request, self._turn, self._waiting.popleft())
        self._turn += 1

    def _make_ahead(self) -> None:
        """Makes several requests at once: a single one between other work costs three times as much."""
        if len(self._made) < AHEAD:
            next_turn = self._turn + len(self._made)
            self._made.extend(self._requests.make(turn) for turn in range(next_turn, next_turn + AHEAD))

    def on_free(self, connection: Connection) -> None:
        """Sends a waiting request over it, or keeps it."""
        if self._waiting:
            self._send(connection)
        else:
            self._free.append(connection)
            if self._sending_ended:
                self._end_if_done()

    def on_answer(self, connection: Connection, answer: Answer) -> None:
        """Counts an answer."""
        request, connection.request = connection.request, None
        self._busy.discard(connection)
        if request is not None:
            latency_us = (time.monotonic_ns() - connection.at_ns) // _NS_PER_US
            if self._account.count(connection.turn, request.label, answer.status, latency_us, request.cents):
                self._requests.answered(request, answer.body)

    def on_lost(self, connection: Connection) -> None:
        """Counts the request under way as unanswered, and opens another connection."""
        if connection.request is not None:
            self._account.count(connection.turn, connection.request.label, UNANSWERED, 0, 0)
            connection.request = None
        self._busy.discard(connection)
        if connection in self._free:
            self._free.remove(connection)
        if self._sending_ended:
            self._end_if_done()
        else:
            task = self._loop.create_task(self._connect_again())
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect_again(self) -> None:
        """Opens one connection; retries for as long as the server is away."""
        while not self._sending_ended:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await self._loop.create_connection(lambda: Connection(self), *self._address)
            except OSError:
                await asyncio.sleep(CONNECT_AGAIN_S)
            else:
                return

    def _look_for_late(self) -> None:
        """Gives up requests that were sent, or were due, too long ago."""
        self._check = self._loop.call_later(CHECK_S, self._look_for_late)
        now_ns = time.monotonic_ns()
        held_before_ns = now_ns - int(HELD_AFTER_S * _NS_PER_S)
        while self._waiting and self._waiting[0] < held_before_ns:
            self._waiting.popleft()
            self._account.held += 1
        late_before_ns = now_ns - int((HELD_AFTER_S + ANSWER_TIMEOUT_S) * _NS_PER_S)
        for connection in [each for each in self._busy if each.at_ns < late_before_ns]:
            connection.drop()
        if self._sending_ended:
            self._end_if_done()

    def _end_if_done(self) -> None:
        if not self._waiting and not self._busy:
            self.over.set()

"""The generator's messages on its load, each a line of JSON, and the counts that it keeps in between. Pure.

Moments are `time.monotonic_ns()`, which is one clock for all processes of a machine.
"""

import json
from collections import Counter
from typing import Any, NamedTuple

from tools.benchmark.histogram import Histogram

FAILURES_NAMED_MAX = 20_000  # in a whole load; further ones are only counted
LATE = "late"  # how late groups were sent, beside the latencies of answers
REFUSED = "refused"  # latencies of answers that were no success
UNANSWERED = 0  # stands for a status
SUCCESS = range(200, 300)


class Began(NamedTuple):
    """A phase begins; its first payment is the one of this number. One past the last phase: all has been sent.

    `cpu_s` is what the generator had used by then.
    """

    at_ns: int
    phase: int
    first_turn: int
    cpu_s: float


class Interval(NamedTuple):
    """The results of one kind of request since the interval before, all in one phase.

    Attributes:
        at_ns: when it ends.
        stream: `payments` or `summaries`.
        sent: requests written to a connection.
        held: requests that were due and never sent, because no connection was free for too long.
        waiting: requests that are due and wait for a free connection now.
        statuses: answers by HTTP status, 0 for none.
        cents: amount of the payments accepted.
        failed: numbers and statuses of payments answered otherwise.
        latencies: by label, the bins and the greatest of a histogram of µs.
    """

    at_ns: int
    stream: str
    phase: int
    sent: int
    held: int
    waiting: int
    statuses: dict[int, int]
    cents: int
    failed: list[tuple[int, int]]
    latencies: dict[str, Histogram]


class Sample(NamedTuple):
    """One summary: its window, when it was asked for (UTC), and the answer's body."""

    kind: str
    from_ms: int | None
    to_ms: int | None
    asked_at_ms: int
    body: str


class Finished(NamedTuple):
    """The last message: the generator's own CPU, and some of the summaries it got."""

    at_ns: int
    cpu_s: float
    samples: list[Sample]


Message = Began | Interval | Finished
_KINDS: dict[str, type[Began | Interval | Finished]] = {"began": Began, "interval": Interval, "finished": Finished}


def encode(message: Message) -> str:
    """A message as a line."""
    name = next(name for name, kind in _KINDS.items() if isinstance(message, kind))
    return json.dumps({"message": name, **message._asdict()}, default=_plain)


def _plain(value: object) -> Any:
    if isinstance(value, Histogram):
        return {"bins": value.bins, "max_us": value.max_us}
    raise TypeError(f"{value!r} can't be said")


def decode(line: str) -> Message | None:
    """The message in a line, or None if it is none."""
    try:
        said = json.loads(line)
        kind = _KINDS[said.pop("message")]
        if kind is Finished:
            said["samples"] = [Sample(*each) for each in said["samples"]]
        if kind is Interval:
            said["statuses"] = {int(status): count for status, count in said["statuses"].items()}
            said["failed"] = [(turn, status) for turn, status in said["failed"]]
            said["latencies"] = {label: _histogram(shown) for label, shown in said["latencies"].items()}
        return kind(**said)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _histogram(shown: dict[str, Any]) -> Histogram:
    return Histogram({int(number): count for number, count in shown["bins"].items()}, shown["max_us"])


class Account:
    """Gathers the next interval of one kind of request."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._failures_named = 0
        self._begin()

    def _begin(self) -> None:
        self.sent = self.held = self.cents = 0
        self._statuses: Counter[int] = Counter()
        self._failed: list[tuple[int, int]] = []
        self._latencies: dict[str, Histogram] = {}

    def count_late(self, late_us: int) -> None:
        """Counts how late a group was sent."""
        self._record(LATE, late_us)

    def count(self, turn: int, label: str, status: int, latency_us: int, cents: int) -> bool:
        """Counts an answer, or (status 0) that none came; returns whether it was a success."""
        self._statuses[status] += 1
        if status in SUCCESS:
            self.cents += cents
            self._record(label, latency_us)
            return True
        if status != UNANSWERED:
            self._record(REFUSED, latency_us)
        if self._failures_named < FAILURES_NAMED_MAX:
            self._failures_named += 1
            self._failed.append((turn, status))
        return False

    def _record(self, label: str, value_us: int) -> None:
        histogram = self._latencies.get(label)
        if histogram is None:
            histogram = self._latencies[label] = Histogram()
        histogram.record(value_us)

    def take(self, at_ns: int, phase: int, waiting: int) -> Interval:
        """Returns the interval that ends now, and begins the next."""
        interval = Interval(
            *(at_ns, self._stream, phase, self.sent, self.held, waiting),
            *(dict(self._statuses), self.cents, self._failed, self._latencies),
        )
        self._begin()
        return interval

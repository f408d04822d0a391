"""Adds up the messages of the open-loop generator: per phase, per interval, and which payments failed. Pure."""

import dataclasses
from collections import Counter
from dataclasses import dataclass

from tools.benchmark.histogram import Histogram, together
from tools.benchmark.openloop.messages import LATE, SUCCESS, UNANSWERED, Began, Finished, Interval, Message, Sample

PAYMENTS = "payments"


@dataclass(slots=True)
class Counts:
    """The results of one kind of request in one phase; `latencies` are by label: of the answers, and `late`."""

    sent: int = 0
    held: int = 0
    cents: int = 0
    statuses: Counter[int] = dataclasses.field(default_factory=Counter)
    latencies: dict[str, Histogram] = dataclasses.field(default_factory=dict)

    def add(self, more: "Interval | Counts") -> None:
        """Adds the counts of an interval or of other `Counts`."""
        self.sent += more.sent
        self.held += more.held
        self.cents += more.cents
        self.statuses.update(more.statuses)
        for label, histogram in more.latencies.items():
            self.latencies.setdefault(label, Histogram()).add(histogram)

    @property
    def accepted(self) -> int:
        """How many were answered with success."""
        return sum(count for status, count in self.statuses.items() if status in SUCCESS)

    @property
    def unanswered(self) -> int:
        """How many got no answer."""
        return self.statuses[UNANSWERED]

    @property
    def refused(self) -> int:
        """How many were answered with anything else."""
        return sum(self.statuses.values()) - self.accepted - self.unanswered

    @property
    def failed(self) -> int:
        """How many were due and had no success: refused, not answered or not sent."""
        return self.refused + self.unanswered + self.held

    @property
    def answers(self) -> Histogram:
        """Latencies of all answers."""
        return together(histogram for label, histogram in self.latencies.items() if label != LATE)


class Tally:
    """All messages of one load.

    Attributes:
        began: the phases' beginnings, and at last the moment when everything was sent.
        intervals: those of payments, in order, about a second each.
        failed: by number, the status of each failed payment that was reported.
        cpu_s: what the generator used itself; 0 until it has finished.
    """

    def __init__(self, phases: int) -> None:
        self.began: list[Began] = []
        self.intervals: list[Interval] = []
        self.failed: dict[int, int] = {}
        self.samples: list[Sample] = []
        self.cpu_s = 0.0
        self._phases = phases
        self._counts: dict[tuple[str, int], Counts] = {}

    def on_message(self, message: Message) -> None:
        """Adds one message."""
        match message:
            case Began():
                self.began.append(message)
            case Interval():
                self._count(message.stream, message.phase).add(message)
                if message.stream == PAYMENTS:
                    self.intervals.append(message)
                    self.failed.update(message.failed)
            case Finished(_, cpu_s, samples):
                self.cpu_s, self.samples = cpu_s, samples

    def _count(self, stream: str, phase: int) -> Counts:
        # answers after the last phase's end count for that phase
        return self._counts.setdefault((stream, min(phase, self._phases - 1)), Counts())

    def counts(self, phase: int, stream: str = PAYMENTS) -> Counts:
        """The counts of a phase."""
        return self._count(stream, phase)

    def whole(self, stream: str = PAYMENTS) -> Counts:
        """The counts of all phases together."""
        whole = Counts()
        for phase in range(self._phases):
            whole.add(self._count(stream, phase))
        return whole

    def between(self, from_ns: int, to_ns: int) -> Histogram:
        """The latencies of payments in the intervals that ended after `from_ns` and not after `to_ns`."""
        return together(
            histogram
            for interval in self.intervals
            if from_ns < interval.at_ns <= to_ns
            for label, histogram in interval.latencies.items()
            if label != LATE
        )

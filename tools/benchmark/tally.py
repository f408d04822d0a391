"""Adds up what the open-loop generator tells: per phase, per second, and which payments failed. Pure."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass

from tools.benchmark.histogram import Histogram, together
from tools.benchmark.openloop.told import LATE, SUCCESS, UNANSWERED, Began, Event, Finished, Sample, Told

PAYMENTS = "payments"


@dataclass(slots=True)
class Counts:
    """What became of one kind of request in one phase; `latencies` are by label, those of answers and `late`."""

    sent: int = 0
    held: int = 0
    cents: int = 0
    statuses: Counter[int] = dataclasses.field(default_factory=Counter)
    latencies: dict[str, Histogram] = dataclasses.field(default_factory=dict)

    def add(self, told: Told | Counts) -> None:
        """Count what was told, once or all in all."""
        self.sent += told.sent
        self.held += told.held
        self.cents += told.cents
        self.statuses.update(told.statuses)
        for label, histogram in told.latencies.items():
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
    def answers(self) -> Histogram:
        """Latencies of all answers."""
        return together(histogram for label, histogram in self.latencies.items() if label != LATE)


class Tally:
    """All that was told of one load.

    Attributes:
        began: the phases' beginnings, and last the moment when everything was sent.
        seconds: what was told of payments, in order, about once a second.
        failed: status by number of each failed payment that was told.
        cpu_s: what the generator used itself; 0 until it has finished.
    """

    def __init__(self, phases: int) -> None:
        self.began: list[Began] = []
        self.seconds: list[Told] = []
        self.failed: dict[int, int] = {}
        self.samples: list[Sample] = []
        self.cpu_s = 0.0
        self._phases = phases
        self._counts: dict[tuple[str, int], Counts] = {}

    def on_event(self, event: Event) -> None:
        """Take in one event."""
        match event:
            case Began():
                self.began.append(event)
            case Told():
                self._count(event.stream, event.phase).add(event)
                if event.stream == PAYMENTS:
                    self.seconds.append(event)
                    self.failed.update(event.failed)
            case Finished(_, cpu_s, samples):
                self.cpu_s, self.samples = cpu_s, samples

    def _count(self, stream: str, phase: int) -> Counts:
        # answers that come after the last phase's end belong to it
        return self._counts.setdefault((stream, min(phase, self._phases - 1)), Counts())

    def counts(self, phase: int, stream: str = PAYMENTS) -> Counts:
        """Return what happened in a phase."""
        return self._count(stream, phase)

    def whole(self, stream: str = PAYMENTS) -> Counts:
        """Return what happened in all phases together."""
        whole = Counts()
        for phase in range(self._phases):
            whole.add(self._count(stream, phase))
        return whole

    def between(self, from_ns: int, to_ns: int) -> Histogram:
        """Return the latencies of payments told of after `from_ns` and not after `to_ns`: whole seconds."""
        return together(
            histogram
            for told in self.seconds
            if from_ns < told.at_ns <= to_ns
            for label, histogram in told.latencies.items()
            if label != LATE
        )

"""One line on how payments are doing, from the counters in the segments; read-only."""

from collections.abc import Sequence
from typing import NamedTuple

from shm import DispatcherCount, Segment, SegmentError, WorkerCount


class Status(NamedTuple):
    """Payments since the segments were made.

    Args:
        accepted: answered with 202 and committed.
        settled: at the default and at the fallback processor.
        waiting: accepted and not ended: in lanes, waiting, in flight, unknown.
        unknown: of those, with unknown outcome.
    """

    accepted: int
    settled: tuple[int, int]
    waiting: int
    unknown: int

    def __str__(self) -> str:
        """For people."""
        default, fallback = self.settled
        text = (
            f"accepted {self.accepted:,}  settled: default {default:,}, fallback {fallback:,}  waiting {self.waiting:,}"
        )
        return text + (f" ({self.unknown:,} unknown)" if self.unknown else "")


class Watch:
    """Looks into the segments of some instances."""

    def __init__(self, instances: Sequence[str]) -> None:
        """Attaches when asked for the first time."""
        self._instances = instances
        self._segments: dict[str, Segment] = {}

    def look(self) -> Status:
        """How payments are doing now. An instance whose segment is not there counts nothing."""
        accepted = default = fallback = waiting = unknown = 0
        for instance in self._instances:
            segment = self._attach(instance)
            if segment is None:
                continue
            geometry = segment.geometry
            for worker in range(geometry.workers):
                accepted += segment.worker_counters(worker).get(WorkerCount.ACCEPTED)
                waiting += sum(segment.lane(worker, one).depth for one in range(geometry.dispatchers))
            for one in range(geometry.dispatchers):
                row = segment.dispatcher_counters(one)
                default += row.get(DispatcherCount.SETTLED_DEFAULT)
                fallback += row.get(DispatcherCount.SETTLED_FALLBACK)
                unknown += row.get(DispatcherCount.UNKNOWN)
                waiting += sum(
                    row.get(gauge)
                    for gauge in (DispatcherCount.WAITING, DispatcherCount.SENDING, DispatcherCount.UNKNOWN)
                )
        return Status(accepted, (default, fallback), waiting, unknown)

    def _attach(self, instance: str) -> Segment | None:
        if instance not in self._segments:
            try:
                self._segments[instance] = Segment.attach(instance, read_only=True)
            except SegmentError:
                return None
        return self._segments[instance]

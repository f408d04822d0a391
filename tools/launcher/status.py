"""The status line on payments, from the counters in the segments; read-only.

Also a program of its own (`python -c "$(cat status.py)" app1 app2`), which prints a line of numbers a second until it
is told to stop. `tools/run --docker` runs it in a container beside the instances', whose image lacks this file.
"""

import signal
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from shm import DispatcherCount, Segment, SegmentError, WorkerCount

EVERY_S = 1.0


class Status(NamedTuple):
    """Payments since the segments were made.

    Args:
        accepted: answered with 202 and committed.
        default: settled at the default processor.
        fallback: settled at the fallback processor.
        waiting: accepted and not ended: in lanes, waiting, in flight, unknown.
        unknown: how many of the waiting have an unknown outcome.
    """

    accepted: int
    default: int
    fallback: int
    waiting: int
    unknown: int

    def __str__(self) -> str:
        """Returns the status line."""
        text = (
            f"accepted {self.accepted:,}  settled: default {self.default:,}, fallback {self.fallback:,}"
            f"  waiting {self.waiting:,}"
        )
        return text + (f" ({self.unknown:,} unknown)" if self.unknown else "")


class Watch:
    """Reads the segments of some instances."""

    def __init__(self, instances: Sequence[str]) -> None:
        """Attaches when asked for the first time."""
        self._instances = instances
        self._segments: dict[str, Segment] = {}

    def look(self) -> Status:
        """Counts the payments now. An instance without a segment adds nothing."""
        accepted = default = fallback = waiting = unknown = 0
        for instance in self._instances:
            segment = self._attach(instance)
            if segment is None:
                continue
            accepted += sum(row.get(WorkerCount.ACCEPTED) for row in segment.worker_rows())
            for one in range(segment.geometry.dispatchers):
                waiting += sum(lane.depth for lane in segment.lanes_to(one))
                row = segment.dispatcher_counters(one)
                default += row.get(DispatcherCount.SETTLED_DEFAULT)
                fallback += row.get(DispatcherCount.SETTLED_FALLBACK)
                unknown += row.get(DispatcherCount.UNKNOWN)
                waiting += sum(
                    row.get(gauge)
                    for gauge in (DispatcherCount.WAITING, DispatcherCount.SENDING, DispatcherCount.UNKNOWN)
                )
        return Status(accepted, default, fallback, waiting, unknown)

    def _attach(self, instance: str) -> Segment | None:
        if instance not in self._segments:
            try:
                self._segments[instance] = Segment.attach(instance, read_only=True)
            except SegmentError:
                return None
        return self._segments[instance]


def main(instances: Sequence[str]) -> None:
    """Prints a line of five numbers a second, in the order of `Status`."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # the first process of a container ignores it otherwise
    watch = Watch(instances)
    while True:
        print(*watch.look(), flush=True)
        time.sleep(EVERY_S)


if __name__ == "__main__":
    main(sys.argv[1:])

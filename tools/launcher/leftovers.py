"""What a run leaves in /dev/shm: nothing, or a segment that still holds accepted payments."""

from collections.abc import Sequence

from shm import UNSETTLED, Segment, SegmentError


def unsettled_in(segment: Segment) -> int:
    """Accepted payments of a segment that have not ended; those in a lane and in the table count twice."""
    geometry = segment.geometry
    unsettled = 0
    for dispatcher in range(geometry.dispatchers):
        unsettled += sum(segment.lane(worker, dispatcher).depth for worker in range(geometry.workers))
        unsettled += sum(kept is None or kept.state in UNSETTLED for _, kept in segment.table(dispatcher).scan())
    return unsettled


def clear(instances: Sequence[str]) -> list[str]:
    """Removes the segments of stopped instances that hold nothing unsettled; returns a sentence for each that stays."""
    staying = []
    for instance in instances:
        try:
            segment = Segment.attach(instance, read_only=True)
        except SegmentError:
            continue
        unsettled = unsettled_in(segment)
        if unsettled:
            staying.append(
                f"segment /gateway-{instance} stays: it holds {unsettled} accepted payments that are not settled; "
                "the next run takes them up"
            )
        else:
            Segment.unlink(instance)
    return staying

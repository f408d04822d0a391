"""What a run leaves in /dev/shm: nothing, or a segment that still holds accepted payments."""

from collections.abc import Sequence

from shm import Segment, SegmentError, count_unsettled


def clear(instances: Sequence[str]) -> list[str]:
    """Removes the segments of stopped instances that hold nothing unsettled; returns a sentence for each that stays."""
    staying = []
    for instance in instances:
        try:
            segment = Segment.attach(instance, read_only=True)
        except SegmentError:
            continue
        unsettled = count_unsettled(segment)
        if unsettled:
            staying.append(
                f"segment /gateway-{instance} stays: it holds {unsettled} accepted payments that are not settled; "
                "the next run takes them up"
            )
        else:
            Segment.unlink(instance)
    return staying

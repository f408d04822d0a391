"""What a run leaves in /dev/shm: nothing, or a segment that still holds accepted payments."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

from shm import (
    RoleTaken,
    Segment,
    SegmentError,
    SegmentMissing,
    SegmentNotReady,
    count_unsettled,
    lock_path,
    segment_name,
    take_role,
)

DEAD_WITHIN_S = 3.0  # killed processes are gone in milliseconds; a machine may be starved


def clear(instances: Sequence[str], sleep: Callable[[float], None]) -> list[str]:
    """Removes the segments of stopped instances that hold nothing unsettled; returns a sentence for each that stays."""
    return [told for instance in instances if (told := _clear(instance, sleep))]


def _clear(instance: str, sleep: Callable[[float], None]) -> str | None:
    name = segment_name(instance)
    if not lock_path(instance, "supervisor").exists():
        return None  # no instance of that name ever began here
    try:
        with _nobody_lives(instance, sleep) as segment:
            unsettled = 0 if segment is None else count_unsettled(segment)
            if not unsettled:
                _remove(instance)
                return None
    except RoleTaken as error:
        return f"segment {name} stays: {error}"
    except OSError as error:
        return f"segment {name} stays: {error.filename} is another user's ({error.strerror})"
    except SegmentError as error:
        return f"segment {name} stays: {error}"
    return (
        f"segment {name} stays: it holds {unsettled} accepted payments that are not settled; the next run takes them up"
    )


@contextmanager
def _nobody_lives(instance: str, sleep: Callable[[float], None]) -> Iterator[Segment | None]:
    """Holds every role of an instance, so that nobody accepts or settles meanwhile; its segment, None if it has none.

    Raises:
        RoleTaken: somebody plays one.
        SegmentError: the segment can't be read.
    """
    take = partial(take_role, instance, within_s=DEAD_WITHIN_S, sleep=sleep)
    with ExitStack() as roles:
        roles.enter_context(take("supervisor"))
        try:
            segment = Segment.attach(instance, read_only=True)
        except (SegmentMissing, SegmentNotReady):  # its maker died before anything was accepted
            yield None
            return
        for worker in range(segment.geometry.workers):
            roles.enter_context(take(f"worker-{worker}"))
        for dispatcher in range(segment.geometry.dispatchers):
            roles.enter_context(take(f"dispatcher-{dispatcher}"))
        yield segment


def _remove(instance: str) -> None:
    try:
        Segment.unlink(instance)
    except SegmentMissing:
        lock_path(instance, "supervisor").unlink(missing_ok=True)

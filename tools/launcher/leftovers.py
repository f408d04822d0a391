"""Removes a run's segments from /dev/shm, unless they still hold accepted payments."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

from shm import (
    SUPERVISOR,
    RoleTaken,
    Segment,
    SegmentError,
    SegmentMissing,
    SegmentNotReady,
    count_unsettled,
    discard_unfinished,
    dispatcher_role,
    instances_present,
    lock_path,
    lock_paths,
    segment_name,
    take_role,
    take_segment,
    worker_role,
)

DEAD_WITHIN_S = 3.0  # killed processes end in milliseconds, on a starved machine later


def clear(instances: Sequence[str], sleep: Callable[[float], None]) -> list[str]:
    """Removes the segments of stopped instances, unless one of them holds unsettled payments or can't be looked at.

    All stay or none: with one missing, the others would answer summaries with 503.

    Returns:
        A message for each segment that stays.
    """
    began = [instance for instance in instances if lock_path(instance, SUPERVISOR).exists()]
    with ExitStack() as held:
        reasons = {instance: _reason_to_stay(instance, sleep, held) for instance in began}
        if not any(reasons.values()):
            for instance in began:
                _remove(instance)
            return []
    return [
        f"segment {segment_name(instance)} stays: {reason or 'its totals belong to what stays beside it'}"
        for instance, reason in reasons.items()
        if reason or instance in instances_present()
    ]


def _reason_to_stay(instance: str, sleep: Callable[[float], None], held: ExitStack) -> str | None:
    try:
        segment = held.enter_context(_all_roles_held(instance, sleep))
    except OSError as error:
        return f"{error.filename} can't be opened ({error.strerror}): another user's, or not writable"
    except (RoleTaken, SegmentError) as error:
        return str(error)
    unsettled = 0 if segment is None else count_unsettled(segment)
    if not unsettled:
        return None
    return f"it holds {unsettled} accepted payments that are not settled; the next run takes them up"


@contextmanager
def _all_roles_held(instance: str, sleep: Callable[[float], None]) -> Iterator[Segment | None]:
    """Holds every role of an instance, so that no process accepts or settles; gives its segment, None if it has none.

    Raises:
        RoleTaken: a process has one.
        SegmentError: the segment can't be read.
    """
    take = partial(take_role, instance, within_s=DEAD_WITHIN_S, sleep=sleep)
    with ExitStack() as roles:
        roles.enter_context(take(SUPERVISOR))
        try:
            segment = Segment.attach(instance, read_only=True)
        except (SegmentMissing, SegmentNotReady):  # its creator died before anything was accepted
            yield None
            return
        roles.enter_context(take_segment(instance, within_s=DEAD_WITHIN_S, sleep=sleep))
        for worker in range(segment.geometry.workers):
            roles.enter_context(take(worker_role(worker)))
        for dispatcher in range(segment.geometry.dispatchers):
            roles.enter_context(take(dispatcher_role(dispatcher)))
        yield segment


def _remove(instance: str) -> None:
    discard_unfinished(instance)
    with suppress(SegmentMissing):
        Segment.unlink(instance)
    for path in lock_paths(instance):
        path.unlink(missing_ok=True)

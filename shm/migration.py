"""Copies a segment into one of another geometry, which then takes its name.

That is done only when nothing is unsettled: no payment in a lane, waiting, sending or unknown. What is copied: the
segment's id, a purge asked for without Redis, and for every dispatcher its base, roster, life, journal records
(published or not) and the payments that they are of. Counts and heartbeats begin again at zero.

The caller holds the supervisor's lock. Nobody else may have the old segment mapped for writing.

The new segment is built under a name of its own, and rename(2) puts it in the place of the old one at the end. A crash
before that leaves the old one as it was, and the next start throws the unfinished copy away.
"""

from pathlib import Path

from shm.counters import WorkerCount
from shm.errors import BrokenInvariant, SegmentIncompatible
from shm.layout import Geometry
from shm.names import segment_name, segment_path
from shm.recovery import require_head
from shm.segment import Segment
from shm.states import UNSETTLED

_UNFINISHED = ".next"  # no instance's name: the dot keeps it out of the pattern


def migrate(old: Segment, instance: str, geometry: Geometry) -> Segment:
    """Replaces the segment of an instance by one of another geometry that holds what the old one remembered.

    Args:
        old: the present segment.
        instance: whose.
        geometry: of the new one. If its journals are smaller, the oldest records are folded into the base.

    Returns:
        The new segment.

    Raises:
        SegmentIncompatible: the old one holds unsettled payments or is damaged, or the number of dispatchers changes.
            (Ids are spread over the dispatchers, and each keeps totals of its own that can't be split.)
        SegmentFull: there is no room for both at once.
        SegmentForbidden: as `Segment.create`.
    """
    if geometry.dispatchers != old.geometry.dispatchers:
        raise SegmentIncompatible(
            f"segment {segment_name(instance)} has {old.geometry.dispatchers} dispatchers, which can't change to "
            f"{geometry.dispatchers} while it exists, as each keeps totals and ids of its own: start with "
            f"{old.geometry.dispatchers} again, or begin anew as docs/operating.md says"
        )
    unsettled = count_unsettled(old)
    if unsettled:
        raise SegmentIncompatible(
            f"segment {segment_name(instance)} has another geometry ({_describe(old.geometry)}) and holds {unsettled} "
            "unsettled payments: start with the old settings until they are settled"
        )
    discard_unfinished(instance)
    new = Segment.create(instance + _UNFINISHED, geometry, segment_id=old.segment_id)
    try:
        copy_remembered(old, new)
    except BrokenInvariant as error:
        discard_unfinished(instance)
        raise SegmentIncompatible(f"segment {segment_name(instance)} can't be copied: {error}") from error
    _unfinished(instance).rename(segment_path(instance))
    return new


def discard_unfinished(instance: str) -> None:
    """Removes the unfinished copy of a migration that was killed, if there is one.

    The caller holds the supervisor's lock.
    """
    _unfinished(instance).unlink(missing_ok=True)


def _unfinished(instance: str) -> Path:
    return segment_path(instance + _UNFINISHED)


def _describe(geometry: Geometry) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in geometry._asdict().items())


def count_unsettled(segment: Segment) -> int:
    """How many accepted payments have not ended. A damaged slot counts as one, as nobody knows whether it has ended,
    and so does a lane whose tail is past its head, as nobody knows what was in it.

    A payment that is both in a lane and in a table, as a crash may leave it, counts twice.
    """
    count = 0
    for dispatcher in range(segment.geometry.dispatchers):
        count += sum(lane.depth or lane.tail > lane.head for lane in segment.lanes_to(dispatcher))
        count += sum(kept is None or kept.state in UNSETTLED for _, kept in segment.table(dispatcher).scan())
    return count


def copy_remembered(old: Segment, new: Segment) -> None:
    """Copies what must be kept of a segment without unsettled payments into a fresh one with as many dispatchers.

    Raises:
        BrokenInvariant: a base, a head, a record or a remembered payment is damaged.
    """
    for dispatcher in range(new.geometry.dispatchers):
        _copy_area(old, new, dispatcher)
    _copy_purge(old, new)


def _copy_purge(old: Segment, new: Segment) -> None:
    """Copies the last purge asked for without Redis: without it, dispatchers that have not begun its epoch never would.

    Into one worker's row, as the greatest number of all rows counts.
    """
    epoch = max(row.get(WorkerCount.PURGE_EPOCH) for row in old.worker_rows())
    new.worker_counters(0).put(WorkerCount.PURGE_EPOCH, epoch)


def _copy_area(old: Segment, new: Segment, dispatcher: int) -> None:
    """Copies one dispatcher's area. Records that don't fit are folded into the new base; the rest get slots 0, 1, …"""
    new.base_page(dispatcher)[:] = old.base_page(dispatcher)
    source, target = old.journal(dispatcher), new.journal(dispatcher)
    old_table, new_table = old.table(dispatcher), new.table(dispatcher)
    require_head(old_table, source)
    too_many = len(source.unfolded()) - new.geometry.journal_records
    if too_many > 0:
        target.commit_base(source.folded(too_many)[0])
    for slot, position in enumerate(range(target.base.journal_tail, source.head)):
        ended = source.read(position)
        kept = None if ended is None else old_table.read(ended.slot)
        if ended is None or kept is None:
            raise BrokenInvariant(f"journal record {position} or its payment is damaged")
        new_table.restore(slot, kept._replace(state=ended.state))
        target.put(position, ended._replace(slot=slot))

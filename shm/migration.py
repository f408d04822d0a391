"""A segment of another geometry: what must outlive it is copied into a new one, which then takes its name.

Only when nothing is unsettled: no payment in a lane, waiting, sending or unknown. Copied are the segment's id, and a
purge asked for, and for every dispatcher its base, roster, life, journal records (published or not) and the payments
remembered with them.
Nobody but the caller, who holds the supervisor's lock, may have the old segment mapped for writing.

The new segment is built under a name of its own and moved over the old one at the end: a crash on the way leaves the
old one as it was, and the unfinished copy is thrown away by the next start.
"""

from pathlib import Path

from shm.counters import WorkerCount
from shm.errors import BrokenInvariant, SegmentIncompatible
from shm.layout import Geometry
from shm.names import segment_name, segment_path
from shm.record import KIND_STATES
from shm.segment import Segment
from shm.states import UNSETTLED

_UNFINISHED = ".next"  # no instance's name: the dot keeps it out of the pattern


def migrate(old: Segment, instance: str, geometry: Geometry) -> Segment:
    """The segment of `instance` with another geometry, holding what the old one remembered.

    Raises:
        SegmentIncompatible: it holds unsettled payments, or is damaged, or the number of dispatchers changes (ids are
            spread over them and each keeps totals of its own, so neither could be moved).
        SegmentFull: no room for both at once.
    """
    if geometry.dispatchers != old.geometry.dispatchers:
        raise SegmentIncompatible(
            f"segment {segment_name(instance)} has {old.geometry.dispatchers} dispatchers, which can't change to "
            f"{geometry.dispatchers} while it exists: each keeps totals and ids of its own"
        )
    unsettled = count_unsettled(old)
    if unsettled:
        raise SegmentIncompatible(
            f"segment {segment_name(instance)} has another geometry ({_describe(old.geometry)}) and holds {unsettled} "
            "unsettled payments: start with the old settings until they are settled"
        )
    unfinished = _unfinished(instance)
    discard_unfinished(instance)
    new = Segment.create(instance + _UNFINISHED, geometry, segment_id=old.segment_id)
    try:
        copy_remembered(old, new)
    except BrokenInvariant as error:
        unfinished.unlink()
        raise SegmentIncompatible(f"segment {segment_name(instance)} can't be copied: {error}") from error
    unfinished.rename(segment_path(instance))
    return new


def discard_unfinished(instance: str) -> None:
    """Throws away what a migration that was killed has left; the caller holds the supervisor's lock."""
    _unfinished(instance).unlink(missing_ok=True)


def _unfinished(instance: str) -> Path:
    return segment_path(instance + _UNFINISHED)


def _describe(geometry: Geometry) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in geometry._asdict().items())


def count_unsettled(segment: Segment) -> int:
    """Accepted payments that have not ended, damaged slots included; one both in a lane and in a table counts twice."""
    geometry = segment.geometry
    count = 0
    for dispatcher in range(geometry.dispatchers):
        count += sum(segment.lane(worker, dispatcher).depth for worker in range(geometry.workers))
        count += sum(kept is None or kept.state in UNSETTLED for _, kept in segment.table(dispatcher).scan())
    return count


def copy_remembered(old: Segment, new: Segment) -> None:
    """Copies what must outlive a segment without unsettled payments into a fresh one with as many dispatchers.

    Raises:
        BrokenInvariant: a base, a record or a remembered payment is damaged.
    """
    for dispatcher in range(new.geometry.dispatchers):
        _copy_area(old, new, dispatcher)
    _copy_purge(old, new)


def _copy_purge(old: Segment, new: Segment) -> None:
    """Copies a purge asked for without Redis: dispatchers that have not taken it up yet would never agree otherwise."""
    rows = (old.worker_counters(worker) for worker in range(old.geometry.workers))
    new.worker_counters(0).put(WorkerCount.PURGE_EPOCH, max(row.get(WorkerCount.PURGE_EPOCH) for row in rows))


def _copy_area(old: Segment, new: Segment, dispatcher: int) -> None:
    """Copies one dispatcher's area; records that no longer fit are folded into the new base."""
    new.base_page(dispatcher)[:] = old.base_page(dispatcher)
    source, target = old.journal(dispatcher), new.journal(dispatcher)
    old_table, new_table = old.table(dispatcher), new.table(dispatcher)
    too_many = source.head - source.base.journal_tail - new.geometry.journal_records
    if too_many > 0:
        target.commit_base(source.folded(too_many)[0])
    for slot, position in enumerate(range(target.base.journal_tail, source.head)):
        ended = source.read(position)
        kept = None if ended is None else old_table.read(ended.slot)
        if ended is None or kept is None:
            raise BrokenInvariant(f"journal record {position} or its payment is damaged")
        new_table.restore(slot, kept._replace(state=KIND_STATES[ended.kind]))
        target.put(position, ended._replace(slot=slot))

"""A list of the segments in /dev/shm: their instances, and the roles that run. Tables are scanned only if none runs."""

from collections.abc import Iterable

from shm import SUPERVISOR, UNSETTLED, DispatcherCount, Segment, SegmentError, count_unsettled, instances_present
from tools.ring_view.locks import Holders
from tools.ring_view.reading import read_header, read_lanes, read_processes
from tools.ring_view.snapshot import Listed, Moment, Process

UNSETTLED_GAUGES = tuple(DispatcherCount[state.name].name.lower() for state in UNSETTLED)


def list_segments(holders: Holders, moment: Moment) -> list[Listed]:
    """Lists every segment, by instance; one that can't be read is listed with the reason."""
    return [look_at(instance, holders, moment) for instance in instances_present()]


def look_at(instance: str, holders: Holders, moment: Moment) -> Listed:
    """Makes a segment's row of the list."""
    try:
        segment = Segment.attach(instance, read_only=True)
    except SegmentError as error:
        return Listed(instance, str(error))
    header = read_header(segment, instance)
    processes = read_processes(segment, instance, holders, moment)
    alive = {process.role: process.pid for process in processes if process.alive}
    return Listed(
        instance=instance,
        problem=None,
        segment_id=header.segment_id,
        size_bytes=header.size_bytes,
        created_at_ms=header.created_at_ms,
        supervisor_pid=alive.get(SUPERVISOR),
        alive=tuple(alive),
        unsettled=_estimate(segment, processes, moment) if alive else count_unsettled(segment),
    )


def _estimate(segment: Segment, processes: Iterable[Process], moment: Moment) -> int:
    """Counts the payments of a running instance that have not ended, those in tables by the dispatchers' gauges. The
    gauges of a dead instance may stay too low for ever, and whoever is about to delete its segment would believe them.
    """
    return sum(lane.depth for lane in read_lanes(segment, moment.utc_us)) + _in_tables(processes)


def _in_tables(processes: Iterable[Process]) -> int:
    """Counts the payments that have not ended, as the dispatchers counted them last."""
    return sum(process.counts.get(gauge, 0) for process in processes for gauge in UNSETTLED_GAUGES)

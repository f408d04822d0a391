"""Finds what a healthy segment never shows, one message each. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from shm import SUPERVISOR
from tools.ring_view.snapshot import LEAVING, STARTING, Area, LaneView, Process

ALARMING: Mapping[str, str] = {
    "set_aside": "torn lane slots or damaged table slots were set aside",
    "misconfigured": "the processor answered that requests were wrong (400, 401, 404 …): check its URL",
}
"""Counts that mean trouble if they are above zero."""


LOCK_REMOVED = "its lock file was removed: start no second instance of that name; stop this one, then start it again"
"""A second one would make and lock a new file, and both would write the same segment."""


def find_alarms(processes: Sequence[Process], lanes: Sequence[LaneView], areas: Sequence[Area]) -> Iterator[str]:
    """Finds all alarms of a view."""
    supervisors = (process for process in processes if process.role == SUPERVISOR)
    running = any(process.alive and process.phase != LEAVING for process in supervisors)
    for process in processes:
        yield from _of_process(process, running=running)
    for lane in lanes:
        if lane.problem:
            yield f"lane worker-{lane.worker} to dispatcher-{lane.dispatcher}: {lane.problem}"
    for area in areas:
        if area.table.damaged:
            named = ", ".join(str(slot) for slot in area.table.damaged_slots)
            yield f"table of dispatcher-{area.dispatcher}: damaged slots: {area.table.damaged:,} ({named})"
        if area.journal.problem:
            yield f"journal of dispatcher-{area.dispatcher}: {area.journal.problem}"


def _of_process(process: Process, *, running: bool) -> Iterator[str]:
    if process.phase is None:
        yield f"{process.role}: its phase is damaged"
    if running and not process.alive:
        yield f"{process.role}: not running, though its supervisor is"
    elif process.alive and process.stale and process.phase != STARTING:  # no heartbeats during recovery
        yield f"{process.role}: holds its lock but has no heartbeat"
    if process.alive and process.lock_missing:
        yield f"{process.role}: {LOCK_REMOVED}"
    for count, meaning in ALARMING.items():
        value = process.counts.get(count, 0)
        if value:
            yield f"{process.role}: {count} {value:,}: {meaning}"

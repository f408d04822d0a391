"""Takes a snapshot of a segment that is mapped read-only."""

from collections.abc import Iterable

from shm import (
    SUPERVISOR,
    VERSION,
    Counters,
    DispatcherCount,
    Lane,
    Segment,
    SupervisorCount,
    WorkerCount,
    dispatcher_role,
    worker_role,
)
from tools.ring_view.alarms import find_alarms
from tools.ring_view.contents import age_ms, view_journal, view_table
from tools.ring_view.locks import Holders, Lock, read_lock
from tools.ring_view.snapshot import Area, Clock, Header, LaneView, Moment, Money, Process, Snapshot

AHEAD_US_MAX = 5_000_000  # a heartbeat may come after the reading began; one further ahead is of an earlier boot
PEEKS_MAX = 8  # attempts to read a lane's oldest payment while its dispatcher keeps taking them

Counts = type[SupervisorCount] | type[WorkerCount] | type[DispatcherCount]


def take_snapshot(segment: Segment, instance: str, holders: Holders, clock: Clock) -> Snapshot:
    """Reads everything once, lanes first: so a payment may be seen in its lane and in its table, but not in neither.

    Args:
        segment: attached, read-only.
        instance: whose it is.
        holders: the locks held now.
        clock: read when the reading begins and when it ends.
    """
    moment = clock()
    processes = read_processes(segment, instance, holders, moment)
    lanes = tuple(read_lanes(segment, moment.utc_us))
    areas = []
    changed = 0
    for dispatcher in range(segment.geometry.dispatchers):
        table, changed_there = view_table(segment.table(dispatcher), moment.utc_us)
        changed += changed_there
        journal = view_journal(segment.journal(dispatcher), segment.geometry.journal_records)
        roster = tuple(str(member) for member in segment.roster(dispatcher).members())
        areas.append(Area(dispatcher, table, journal, roster))
    return Snapshot(
        header=read_header(segment, instance),
        taken_at_ms=moment.utc_us // 1000,
        took_ms=moment.ms_until(clock()),
        changed=changed,
        processes=processes,
        lanes=lanes,
        areas=tuple(areas),
        totals=_add_up(areas),
        alarms=tuple(find_alarms(processes, lanes, areas)),
    )


def read_header(segment: Segment, instance: str) -> Header:
    """Reads the segment's header."""
    geometry = {**segment.geometry._asdict(), "table_slots": segment.geometry.table_slots}
    size = segment.geometry.size
    return Header(instance, f"{segment.segment_id:016x}", VERSION, segment.created_at_ms, size, geometry)


def read_processes(segment: Segment, instance: str, holders: Holders, moment: Moment) -> tuple[Process, ...]:
    """Reads every row of counters with the holder of its role."""
    rows: list[tuple[str, Counters, Counts]] = [(SUPERVISOR, segment.supervisor_counters(), SupervisorCount)]
    workers, dispatchers = range(segment.geometry.workers), range(segment.geometry.dispatchers)
    rows += [(worker_role(index), segment.worker_counters(index), WorkerCount) for index in workers]
    rows += [(dispatcher_role(index), segment.dispatcher_counters(index), DispatcherCount) for index in dispatchers]
    return tuple(
        _read_process(role, counters, counts, read_lock(holders, instance, role), moment)
        for role, counters, counts in rows
    )


def _read_process(role: str, counters: Counters, counts: Counts, lock: Lock, moment: Moment) -> Process:
    phase = counters.phase
    beat_us = counters.heartbeat_us
    beaten = 0 < beat_us <= moment.monotonic_us + AHEAD_US_MAX
    return Process(
        role=role,
        pid=counters.pid,
        phase=None if phase is None else phase.name.lower(),
        started_at_ms=counters.started_at_ms,
        lock_pid=lock.pid,
        heartbeat_age_ms=age_ms(beat_us, moment.monotonic_us) if beaten else None,
        sleeping=counters.sleeping,
        counts={count.name.lower(): counters.get(count) for count in counts},
        lock_missing=lock.is_missing,
    )


def read_lanes(segment: Segment, now_us: int) -> Iterable[LaneView]:
    """Reads every lane, with the age of its oldest payment."""
    for worker in range(segment.geometry.workers):
        for dispatcher in range(segment.geometry.dispatchers):
            yield read_lane(segment.lane(worker, dispatcher), worker, dispatcher, segment.geometry.lane_slots, now_us)


def read_lane(lane: Lane, worker: int, dispatcher: int, slots: int, now_us: int) -> LaneView:
    """Reads one lane; again while its head, tail and oldest payment do not fit together."""
    problem = None
    oldest_age_ms = None
    tail = head = 0
    for _ in range(PEEKS_MAX):
        tail, head = lane.tail, lane.head  # in this order: a head read later is never below the tail
        if not 0 <= head - tail <= slots:
            problem = f"head {head} and tail {tail} do not fit {slots} slots"
            continue  # taken and published anew between the two reads, or damaged
        payment = lane.peek(tail) if head > tail else None
        if payment is not None or head == tail:
            oldest_age_ms = None if payment is None else age_ms(payment.accepted_at_us, now_us)
            problem = None
            break
        problem = f"the slot of position {tail} is torn"
    depth = min(max(head - tail, 0), slots)
    return LaneView(worker, dispatcher, head, tail, depth, slots, oldest_age_ms, problem)


def _add_up(areas: Iterable[Area]) -> dict[str, Money] | None:
    totals: dict[str, Money] = {}
    for area in areas:
        if area.journal.problem:
            return None
        for name, money in area.journal.totals.items():
            totals[name] = totals.get(name, Money()) + money
    return totals

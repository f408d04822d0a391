"""The shared memory of an instance: lanes, tables, journals, counters. The public names, nothing else.

This package imports nothing of HTTP or asyncio, and knows a processor by its index only (0 default, 1 fallback).

    layout     where every byte is, who may write it, and why a reader never sees half a change
    states     the states of a payment and the transitions between them
    record     payments to bytes and back
    lane       the ring buffer from one web worker to one dispatcher
    table      every payment in a dispatcher's care, and those that ended and are remembered
    journal    the payments that ended, in order, and the totals of those already forgotten
    counters   what each process counts, and whether it lives
    roster     every dispatcher ever heard of whose totals belong to the summary
    recovery   what a dead dispatcher left, and what becomes of it
    segment    the shared memory object that holds all of them
    migration  copies a segment into one of another geometry
    role       locks that say which process may write
    names      names of segments and locks in /dev/shm
    errors     what can go wrong
"""

from shm.counters import Counters, DispatcherCount, Phase, SupervisorCount, WorkerCount
from shm.errors import (
    BrokenInvariant,
    IllegalTransition,
    RoleTaken,
    SegmentError,
    SegmentExists,
    SegmentForbidden,
    SegmentFull,
    SegmentIncompatible,
    SegmentMissing,
    SegmentNotReady,
    ShmError,
)
from shm.journal import Journal
from shm.lane import Lane
from shm.layout import DISPATCHERS_MAX, VERSION, WORKERS_MAX, Geometry
from shm.migration import count_unsettled, discard_unfinished, migrate
from shm.names import (
    INSTANCE_PATTERN,
    SUPERVISOR,
    dispatcher_role,
    instances_present,
    lock_path,
    lock_paths,
    segment_name,
    worker_role,
)
from shm.record import EPOCH_TIMES_FROM, PROCESSOR_NAMES, Accepted, AllTime, Base, Ended, Kept
from shm.recovery import recover
from shm.role import FileLock, is_role_free, make_lock_file, take_role, take_segment
from shm.roster import Member, Roster
from shm.segment import Fingerprint, Segment
from shm.states import ENDED, UNSETTLED, Event, State, next_state
from shm.table import Table

__all__ = [
    "DISPATCHERS_MAX",
    "ENDED",
    "EPOCH_TIMES_FROM",
    "INSTANCE_PATTERN",
    "PROCESSOR_NAMES",
    "SUPERVISOR",
    "UNSETTLED",
    "VERSION",
    "WORKERS_MAX",
    "Accepted",
    "AllTime",
    "Base",
    "BrokenInvariant",
    "Counters",
    "DispatcherCount",
    "Ended",
    "Event",
    "FileLock",
    "Fingerprint",
    "Geometry",
    "IllegalTransition",
    "Journal",
    "Kept",
    "Lane",
    "Member",
    "Phase",
    "RoleTaken",
    "Roster",
    "Segment",
    "SegmentError",
    "SegmentExists",
    "SegmentForbidden",
    "SegmentFull",
    "SegmentIncompatible",
    "SegmentMissing",
    "SegmentNotReady",
    "ShmError",
    "State",
    "SupervisorCount",
    "Table",
    "WorkerCount",
    "count_unsettled",
    "discard_unfinished",
    "dispatcher_role",
    "instances_present",
    "is_role_free",
    "lock_path",
    "lock_paths",
    "make_lock_file",
    "migrate",
    "next_state",
    "recover",
    "segment_name",
    "take_role",
    "take_segment",
    "worker_role",
]

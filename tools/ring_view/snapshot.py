"""What a view of a segment shows, as plain data. Ages are milliseconds before the moment it was taken."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from shm import PROCESSOR_NAMES, UNSETTLED

HEARTBEAT_STALE_MS = 1500
"""Three beats of 0.5 s missed; a summary waits for two."""

STARTING, LEAVING, GONE = "starting", "leaving", "gone"

_UNSETTLED = frozenset(state.name.lower() for state in UNSETTLED)


class Moment(NamedTuple):
    """When a view is taken, by both clocks.

    Args:
        utc_us: µs UTC.
        monotonic_us: µs of CLOCK_MONOTONIC, which heartbeats are in.
    """

    utc_us: int
    monotonic_us: int

    @classmethod
    def now(cls) -> Self:
        """Reads both clocks."""
        return cls(time.time_ns() // 1000, time.monotonic_ns() // 1000)

    def ms_until(self, later: "Moment") -> int:
        """Whole milliseconds that passed, by the monotonic clock."""
        return (later.monotonic_us - self.monotonic_us) // 1000


Clock = Callable[[], Moment]


@dataclass(frozen=True, slots=True)
class Money:
    """A number of payments and their sum."""

    count: int = 0
    amount_cents: int = 0

    def __add__(self, other: "Money") -> "Money":
        return Money(self.count + other.count, self.amount_cents + other.amount_cents)


@dataclass(frozen=True, slots=True)
class Header:
    """A segment's header; the id is 16 hexadecimal digits."""

    instance: str
    segment_id: str
    version: int
    created_at_ms: int
    size_bytes: int
    geometry: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Process:
    """A row of counters and the lock of its role.

    Args:
        role: `supervisor`, `worker-0`, `dispatcher-0`.
        phase: as it wrote last; None if damaged.
        lock_pid: the holder of the role's lock; None if there is none, or it can't be seen (another container's).
        heartbeat_age_ms: None if there was no heartbeat since the machine's last start.
        counts: by name; gauges are the last value stored.
        lock_missing: whether the lock's file is not there.
    """

    role: str
    pid: int
    phase: str | None
    started_at_ms: int
    lock_pid: int | None
    heartbeat_age_ms: int | None
    sleeping: bool
    counts: Mapping[str, int]
    lock_missing: bool = False

    @property
    def alive(self) -> bool:
        """Whether it runs: its lock is held, or (in another container) its heartbeat is new and it said no goodbye."""
        return self.lock_pid is not None or not (self.stale or self.phase == GONE)

    @property
    def stale(self) -> bool:
        """Whether its heartbeat has stopped."""
        return self.heartbeat_age_ms is None or self.heartbeat_age_ms > HEARTBEAT_STALE_MS


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment found in a lane or a table.

    Args:
        state: `accepted` in a lane, else its slot's state.
        processor: where it was last sent to; None before the first attempt.
        requested_at_ms: the requestedAt last sent; None before the first attempt.
        age_ms: since it was accepted.
        where: lane or slot, in words.
    """

    correlation_id: str
    state: str
    amount_cents: int
    processor: str | None
    attempts: int
    requested_at_ms: int | None
    accepted_at_us: int
    age_ms: int
    conflicts: int
    where: str


@dataclass(frozen=True, slots=True)
class LaneView:
    """One lane; the age is that of the oldest payment in it.

    Args:
        problem: a message if head and tail can't be right, or a slot below the head stays torn.
    """

    worker: int
    dispatcher: int
    head: int
    tail: int
    depth: int
    slots: int
    oldest_age_ms: int | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class StateTally:
    """The payments of one state in a table, with the ages of the first and the last accepted one."""

    count: int
    amount_cents: int
    oldest_age_ms: int
    newest_age_ms: int


@dataclass(frozen=True, slots=True)
class TableView:
    """One table.

    Args:
        states: by state; states that no slot is in are left out.
        damaged: how many slots are neither free nor readable, also the second time.
        damaged_slots: the first of them.
    """

    slots: int
    free: int
    states: Mapping[str, StateTally]
    damaged: int
    damaged_slots: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class JournalView:
    """One journal and its base.

    Args:
        kinds: records between tail and head, by how the payment ended.
        base: totals of the folded records of this epoch, by processor.
        totals: of this epoch by processor: the base and the records after it.
        problem: a message if the totals could not be read; they are empty then.
    """

    head: int
    life: int
    records: int
    problem: str | None
    tail: int = 0
    epoch: int = 0
    epoch_start: int = 0
    folded_until_ms: int = 0
    kinds: Mapping[str, int] = field(default_factory=dict)
    base: Mapping[str, Money] = field(default_factory=dict)
    totals: Mapping[str, Money] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Area:
    """What belongs to one dispatcher; the roster as in the names of the Redis hash's fields."""

    dispatcher: int
    table: TableView
    journal: JournalView
    roster: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A view of a whole segment.

    Args:
        taken_at_ms: when it began, ms UTC. A running instance went on meanwhile.
        took_ms: how long it took.
        changed: slots that could not be copied at first because they were changing.
        processes: supervisor, workers, dispatchers.
        totals: since the epoch, all dispatchers together; None if one of them could not be read.
        alarms: messages, none if all is well.
    """

    header: Header
    taken_at_ms: int
    took_ms: int
    changed: int
    processes: tuple[Process, ...]
    lanes: tuple[LaneView, ...]
    areas: tuple[Area, ...]
    totals: Mapping[str, Money] | None
    alarms: tuple[str, ...]

    @property
    def running(self) -> bool:
        """Whether the instance runs."""
        return any(process.alive for process in self.processes)

    @property
    def unsettled(self) -> int:
        """Payments accepted and not ended: in lanes, or waiting, sending, unknown."""
        tables = (
            tally.count for area in self.areas for state, tally in area.table.states.items() if state in _UNSETTLED
        )
        return sum(lane.depth for lane in self.lanes) + sum(tables)


@dataclass(frozen=True, slots=True)
class Search:
    """The result of a search.

    Args:
        payments: the oldest acceptances first, at most as many as asked for.
        matching: how many there are in all.
        unreadable: slots that could not be read.
    """

    header: Header
    taken_at_ms: int
    took_ms: int
    payments: tuple[Payment, ...]
    matching: int
    unreadable: int


@dataclass(frozen=True, slots=True)
class Listed:
    """A row of the list of segments in /dev/shm.

    Args:
        problem: a message if it can't be read; nothing else is known then.
        alive: the roles that run.
        unsettled: payments accepted and not ended: exact if nobody runs, damaged slots among them; else those in lanes,
            and in the tables as the dispatchers last counted them.
    """

    instance: str
    problem: str | None
    segment_id: str | None = None
    size_bytes: int | None = None
    created_at_ms: int | None = None
    supervisor_pid: int | None = None
    alive: tuple[str, ...] = ()
    unsettled: int | None = None


def processor_name(index: int) -> str:
    """A processor's name in the output."""
    return PROCESSOR_NAMES[index] if index < len(PROCESSOR_NAMES) else f"processor {index}"

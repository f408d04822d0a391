"""What a run met: faults, transitions of the state table, and what became of copies. Added up over runs."""

from collections import Counter
from collections.abc import Iterable
from enum import Enum, unique

from server.presence import ReadReason, WhatWasRead
from shm.counters import DispatcherCount
from shm.states import TRANSITIONS, Event, State


@unique
class Fault(Enum):
    """Everything that can go wrong here. The value is what people read."""

    WORKER_DIED_AT_STORE = "worker died between two stores"
    DISPATCHER_DIED_AT_STORE = "dispatcher died between two stores"
    TORN_STORE = "death left a part of a store"
    WORKER_KILLED = "worker killed"
    DISPATCHER_KILLED = "dispatcher killed"
    INSTANCE_KILLED = "instance killed"
    ALL_KILLED = "all instances killed at once"
    INSTANCE_STOPPED = "instance stopped in order"
    DISPATCHER_STOPPED = "dispatcher stopped in order"
    STOPPED_LATE = "orderly stop took too long"
    PAUSED = "process frozen"
    HALTED = "process frozen in the midst of a step"
    KILLED_AS_STUCK = "frozen process killed by its supervisor"
    WORKER_AWAY = "web worker away for seconds"
    FAMILY_FROZEN = "instance frozen with all its processes"
    REPLACED_IN_STOP = "dispatcher replaced during an orderly stop"
    COPIED = "segment copied into another geometry"

    PROCESSOR_DELAY = "processor's delay changed"
    PROCESSOR_FAILING = "processor failing"
    NOT_REACHED = "processor: no connection"
    HUNG_UP_BEFORE = "processor: hung up before the row"
    HUNG_UP_AFTER = "processor: hung up after the row"
    HUNG_UP_FIRST = "processor: hung up, row stored later"
    NEVER_ANSWERED = "processor: answer never comes"
    ANSWERED_LATE = "processor: answer comes late"
    ANSWERED_THE_DEAD = "processor: answer comes after a restart"
    STORED_FOR_THE_DEAD = "processor: row stored after a restart"
    REQUEST_SLOW = "processor: request under way for long"
    MALFORMED = "processor: malformed answer"
    BUSY = "processor: 429, too many at once"
    UNAVAILABLE = "processor: 503"
    BAD_GATEWAY = "processor: 502, 504"
    MISUSED = "processor: 401, 404, 405"
    REJECTED = "processor: 400, 413"
    REPLAYED = "processor: request carried twice"
    NOT_SHOWN = "processor: GET fails"

    REDIS_AWAY = "Redis refuses"
    REDIS_SILENT = "Redis never answers"
    REDIS_SLOW = "Redis slow"
    REDIS_EMPTIED = "Redis restarted empty"
    REDIS_RESTORED = "Redis restored older"
    REDIS_REQUEST_LOST = "Redis: request lost"
    REDIS_REPLY_LOST = "Redis: reply lost"
    REDIS_REQUEST_LATE = "Redis: request delayed past later ones"
    REDIS_CLOCK = "Redis's clock stepped"

    CLOCK = "wall clock stepped"
    COPY = "client sent a copy"
    OTHER_AMOUNT = "client sent another amount"
    OTHER_WORKER = "client sent a copy to another worker"
    OTHER_INSTANCE = "client sent a copy to another instance"
    FAILED_OVER = "client sent elsewhere, its own worker being down"
    UNREAD = "request left unread in a socket"
    READ_LATE = "request read after its client had turned away"
    NO_ANSWER = "client got no answer"
    LANE_FULL = "lane full"
    TABLE_FULL = "table full"
    JOURNAL_FULL = "journal full, folded"
    FORGOTTEN = "id accepted anew after it was forgotten"
    PURGE = "purge"
    SUMMARY_REFUSED = "summary refused with a reason"
    SUMMARY_WIDENED = "summary with a resolution"


TRANSITIONS_OF_TABLE = tuple((state, event) for state, row in TRANSITIONS.items() for event in row)

TAKINGS = (DispatcherCount.TAKEN, DispatcherCount.REPEATED, DispatcherCount.CONFLICTS)
"""What a dispatcher makes of a payment in a lane (`Custody.take`)."""

DECISIONS = (*ReadReason, WhatWasRead.DROP)
"""What a dispatcher makes of a sibling (`Presence.decide`), but for leaving all as it is."""

Transition = tuple[State, Event]


class Coverage:
    """Counts of what was met; picklable, so that several processes can add theirs up."""

    def __init__(self) -> None:
        """Nothing met."""
        self.faults: Counter[Fault] = Counter()
        self.transitions: Counter[Transition] = Counter()
        self.takings: Counter[DispatcherCount] = Counter()
        self.decisions: Counter[ReadReason | WhatWasRead] = Counter()
        self.refusals: Counter[str] = Counter()
        self.exceptions: Counter[str] = Counter()

    def add(self, other: "Coverage") -> None:
        """Adds another run's."""
        self.faults.update(other.faults)
        self.transitions.update(other.transitions)
        self.takings.update(other.takings)
        self.decisions.update(other.decisions)
        self.refusals.update(other.refusals)
        self.exceptions.update(other.exceptions)

    def missing(self) -> list[str]:
        """Names of what was never met."""
        return [name for name, count in self.rows() if count == 0]

    def rows(self) -> Iterable[tuple[str, int]]:
        """Every fault, transition, taking and decision with how often it was met."""
        for fault in Fault:
            yield fault.value, self.faults[fault]
        for state, event in TRANSITIONS_OF_TABLE:
            yield f"{state.name} on {event.name}", self.transitions[state, event]
        for taking in TAKINGS:
            yield f"taken from a lane: {taking.name.lower()}", self.takings[taking]
        for decision in DECISIONS:
            yield f"a sibling's ids: {decision.value}", self.decisions[decision]

"""A fixed row of words per process: heartbeat, pid, phase, counts. Read by all, written by that process
alone; heartbeat and phase by the supervisor while nobody plays the role.

Counts live on when a process is replaced: its successor goes on counting in the same row. A gauge is
overwritten with its newest value.
"""

import time
from enum import IntEnum, unique

from shm import layout

_HEARTBEAT = layout.COUNTERS_HEARTBEAT // layout.WORD
_PID = layout.COUNTERS_PID // layout.WORD
_PHASE = layout.COUNTERS_PHASE // layout.WORD
_STARTED_AT = layout.COUNTERS_STARTED_AT // layout.WORD
_SLEEPING = layout.COUNTERS_SLEEPING // layout.WORD
_COUNTS = layout.COUNTERS_COUNTS // layout.WORD


@unique
class Phase(IntEnum):
    """Where a process stands in its life. Zeroed memory reads as `NONE`."""

    NONE = 0
    STARTING = 1
    READY = 2
    LEAVING = 3
    GONE = 4


_PHASES = {int(phase): phase for phase in Phase}


@unique
class SupervisorCount(IntEnum):
    """What the supervisor counts."""

    FORKS = 0
    DEATHS = 1
    KILLS_OF_STUCK = 2


@unique
class WorkerCount(IntEnum):
    """What a web worker counts."""

    ACCEPTED = 0
    REPEATED = 1  # same id and amount again: 202, not handed over again
    CONFLICTS = 2  # same id, other amount: 409
    FULL = 3  # lane full: 503
    LOOKUPS = 4
    PURGE_EPOCH = 5  # gauge: the epoch asked for by POST /purge-payments while totals are kept locally
    LOOKUPS_REFUSED = 6  # beyond LOOKUPS_PER_S: 429


@unique
class DispatcherCount(IntEnum):
    """What a dispatcher counts."""

    TAKEN = 0
    REPEATED = 1  # id known, same amount: nothing to do
    CONFLICTS = 2  # id known, other amount
    SET_ASIDE = 3  # torn lane slots, and damaged table slots (these anew at each start): an alarm if ever above zero
    ATTEMPTS = 4
    SURE_NOS = 5
    UNCLEAR = 6  # attempts whose outcome was unknown
    SETTLED_DEFAULT = 7
    SETTLED_FALLBACK = 8
    DUPLICATES = 9
    REFUSED = 10
    FOLDED = 11
    WAITING = 12  # gauge
    SENDING = 13  # gauge
    UNKNOWN = 14  # gauge
    FLUSHES = 15
    FLUSHES_FAILED = 16
    REWRITES = 17  # times everything was written to Redis again
    PUBLISHED = 18  # gauge: journal position that the Redis hash has
    MISCONFIGURED = 19  # answers that say "you asked wrongly" (400, 401, 404 …): an alarm if ever above zero
    OLDEST_REMEMBERED_MS = 20  # gauge: requestedAt of the oldest remembered payment, ms UTC; 0 while none was folded
    UNKNOWN_LEAST_MS = 21  # gauge: least and greatest requestedAt of the unknown, ms UTC
    UNKNOWN_GREATEST_MS = 22
    VERIFIED_FOR_MS = 23  # gauge: start of the supervisor (ms UTC) after which all that waited was verified


class Counters:
    """One process's row over `layout.COUNTERS_LENGTH` bytes. Making one stores nothing."""

    def __init__(self, view: memoryview) -> None:
        self._words = view.cast("Q")

    def begin(self, pid: int, started_at_ms: int) -> None:
        """Takes the row up for a new process: it is starting, and its heart beats."""
        self._words[_PHASE] = Phase.STARTING
        self._words[_PID] = pid
        self._words[_STARTED_AT] = started_at_ms
        self._words[_SLEEPING] = 0
        self.beat()

    def beat(self, until_us: int | None = None) -> None:
        """Stores the heartbeat; called by the row's process about every 0.5 s.

        Args:
            until_us: until when it has handled what reached it, µs of CLOCK_MONOTONIC, which is the same in all
                processes of a machine. None: it just says that it is alive now, as every process does but a dispatcher
                at work.
        """
        self._words[_HEARTBEAT] = time.monotonic_ns() // 1000 if until_us is None else until_us

    @property
    def heartbeat_us(self) -> int:
        """When the process was last alive, or until when it has handled what reached it if it is a dispatcher: µs of
        CLOCK_MONOTONIC, of use only on the same boot.
        """
        return self._words[_HEARTBEAT]

    @property
    def pid(self) -> int:
        """The process's pid in its own container."""
        return self._words[_PID]

    @property
    def started_at_ms(self) -> int:
        """When the process started, ms UTC."""
        return self._words[_STARTED_AT]

    @property
    def phase(self) -> Phase | None:
        """Where the process stands in its life; None: the word is damaged, until the process stores its next phase."""
        return _PHASES.get(self._words[_PHASE])

    @phase.setter
    def phase(self, phase: Phase) -> None:
        self._words[_PHASE] = phase

    @property
    def sleeping(self) -> bool:
        """Whether the process (a dispatcher) wants its eventfd written when there is work."""
        return self._words[_SLEEPING] != 0

    @sleeping.setter
    def sleeping(self, sleeping: bool) -> None:
        self._words[_SLEEPING] = sleeping

    def add(self, count: IntEnum, by: int = 1) -> None:
        """Counts; the row's own process only (a load and a store)."""
        self._words[_COUNTS + count] += by

    def put(self, gauge: IntEnum, value: int) -> None:
        """Stores a gauge."""
        self._words[_COUNTS + gauge] = value

    def get(self, count: IntEnum) -> int:
        """Reads a count or gauge, from any process."""
        return self._words[_COUNTS + count]

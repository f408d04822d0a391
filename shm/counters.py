"""A row of words per process: heartbeat, pid, phase, counts. Any process may read it.

Only its own process stores to it; while there is none, the supervisor stores its heartbeat and phase. A row belongs to
a role, so counts outlive the process: its successor goes on counting. A *gauge* is no count but the newest value.

Each word is stored on its own. A reader may see some words from before a change and some from after it.
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
    """The stages of a process's life. Zeroed memory reads as `NONE`."""

    NONE = 0
    STARTING = 1
    READY = 2
    LEAVING = 3
    GONE = 4


_PHASES = {int(phase): phase for phase in Phase}


@unique
class SupervisorCount(IntEnum):
    """The supervisor's counts: each member is the index of its word."""

    FORKS = 0
    DEATHS = 1
    KILLS_OF_STUCK = 2


@unique
class WorkerCount(IntEnum):
    """A web worker's counts: each member is the index of its word."""

    ACCEPTED = 0
    REPEATED = 1  # same id and amount again: 202, not handed over again
    CONFLICTS = 2  # same id, other amount: 409
    FULL = 3  # lane full: 503
    LOOKUPS = 4  # of GET /payments/{id}
    PURGE_EPOCH = 5  # gauge: the epoch asked for by POST /purge-payments while totals are kept locally
    LOOKUPS_REFUSED = 6  # beyond LOOKUPS_PER_S: 429


@unique
class DispatcherCount(IntEnum):
    """A dispatcher's counts: each member is the index of its word."""

    TAKEN = 0  # new payments
    REPEATED = 1  # id known, same amount: nothing to do
    CONFLICTS = 2  # id known, other amount
    SET_ASIDE = 3  # damaged lane slots, and damaged table slots (counted again at each start): above zero is an alarm
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
    MISCONFIGURED = 19  # answers that blame the request (400, 401, 404 …): above zero is an alarm
    OLDEST_REMEMBERED_MS = 20  # gauge: requestedAt of the oldest remembered payment, ms UTC; 0 while none was folded
    UNKNOWN_LEAST_MS = 21  # gauge: least requestedAt of the unknown payments, ms UTC; 0 if there are none
    UNKNOWN_GREATEST_MS = 22  # gauge: the greatest likewise
    VERIFIED_FOR_MS = 23  # gauge: when the supervisor started (ms UTC) for whose instance all that waited is verified


class Counters:
    """One process's row over `layout.COUNTERS_LENGTH` bytes. Making one stores nothing.

    Args:
        view: the row's bytes; over read-only ones, reading works and a store is a TypeError.
    """

    def __init__(self, view: memoryview) -> None:
        self._words = view.cast("Q")

    def begin(self, pid: int, started_at_ms: int) -> None:
        """Called by a new process: stores who it is, that it is starting and awake, and a first heartbeat.

        Args:
            pid: its pid in its own container.
            started_at_ms: when it started, ms UTC.
        """
        self._words[_PHASE] = Phase.STARTING
        self._words[_PID] = pid
        self._words[_STARTED_AT] = started_at_ms
        self._words[_SLEEPING] = 0
        self.beat()

    def beat(self, until_us: int | None = None) -> None:
        """Stores the heartbeat; called by the row's process about every 0.5 s.

        Args:
            until_us: until when a dispatcher at work has handled all that reached it, µs of CLOCK_MONOTONIC, which is
                the same clock in all processes of a machine. None: now, which is what all others say.
        """
        self._words[_HEARTBEAT] = time.monotonic_ns() // 1000 if until_us is None else until_us

    @property
    def heartbeat_us(self) -> int:
        """The heartbeat stored last, as `beat` says: µs of CLOCK_MONOTONIC, which means nothing after another boot."""
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
        """The stage of the process's life. None while the word is damaged: its next store makes it right again."""
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
        """Adds `by` to a count. Called by the row's own process only: it is a load and a store."""
        self._words[_COUNTS + count] += by

    def put(self, gauge: IntEnum, value: int) -> None:
        """Stores the newest value of a gauge. Called by the row's own process only."""
        self._words[_COUNTS + gauge] = value

    def get(self, count: IntEnum) -> int:
        """The value of a count or gauge, for any process."""
        return self._words[_COUNTS + count]

"""When all that a sibling remembers counts here, and until when: decided from what each look shows of it.

A sibling is absent when nobody holds its supervisor's lock, when its supervisor is stopping, or when one of its web
workers is not at work: then HAProxy sends that one's ids elsewhere. No I/O, no clock: `siblings.Sibling` looks, and
reads or drops what it is told to.
"""

from enum import Enum, unique
from typing import NamedTuple

HAPROXY_RETURNS_MS = 5000  # HAProxy needs up to 2 s to send an instance its ids again


@unique
class Absence(Enum):
    """Why all that a sibling remembers counts here; the value is the log's word."""

    GONE = "gone"
    LEAVING = "leaving"
    SHORT_OF_WORKERS = "short of web workers"
    RETURNING = "returning"  # it serves, and HAProxy does not send it its ids again yet
    UNWATCHED = "unwatched for a while"  # it serves; nobody here has looked, or served


@unique
class Unread(Enum):
    """What to do with what was read of a sibling before, if anything, when nothing is to be read now."""

    KEEP = "keep"
    DROP = "drop"


class Sighting(NamedTuple):
    """What one look shows of a sibling.

    Args:
        is_gone: nobody holds its supervisor's lock.
        is_leaving: its supervisor says so.
        has_segment: else it has accepted nothing.
        away: the numbers of its web workers that are not at work.
        life_ms: when its supervisor's life began, ms UTC; 0: not known.
    """

    is_gone: bool
    is_leaving: bool
    has_segment: bool
    away: frozenset[int]
    life_ms: int


class Presence:
    """What is known of a sibling's presence, as long as it has the same segment.

    Args:
        stuck_ms: how long a process may hang, and what came to it with it.
    """

    def __init__(self, stuck_ms: int) -> None:
        self._returning_ms = HAPROXY_RETURNS_MS + stuck_ms
        self._read_because: Absence | None = None  # why its tables were read; None: nothing that was read is kept
        self._read_in_life_ms = 0  # when the life had begun, ms UTC, in which they were last read
        self._known_life_ms = 0  # the life up to which all that it accepted was read, or is among the latest
        self._was_going = False  # whether it was gone or leaving, and no later life has been seen
        self._read_at_ms = 0  # when they were last read; ticks, as the next three
        self._needed_at_ms = 0  # when it was last seen absent, or was to be read for another reason
        self._looked_at_ms = 0  # when `decide` was last asked
        self._served_at_ms = 0  # until when the web worker that went away last still served
        self._away = frozenset[int]()  # the web workers that were away at the last look

    def decide(self, seen: Sighting, now_ms: int, wall_ms: int, *, was_unwatched: bool) -> Absence | Unread:
        """Why all that it remembers is to be read now; or, if it needn't be, whether what was read is kept or dropped.

        | the sibling | which of its ids count here | and until when |
        | --- | --- | --- |
        | any | those that its workers published lately | two generations of them |
        | says that it is leaving | all that it remembers: read now, and again when it is gone | R after it is back |
        | is gone: nobody holds its supervisor's lock | all that it remembers: read now | the same |
        | has a web worker away | the same, if not read since that one served; at most once in R and life | the same |
        | has been back for under R, and was not read since or right before that | the same | R after it was read |
        | was unwatched: old requests may lie here that went there since | the same | the same |

        R is the time until HAProxy sends it its ids again, and `stuck_ms`: 10 s by default.

        Args:
            seen: what this look shows of it.
            now_ms: ticks, from before it was looked at.
            wall_ms: ms UTC.
            was_unwatched: whether nobody here had looked, or served, for a while.
        """
        if not seen.away <= self._away:
            self._served_at_ms = self._looked_at_ms
        self._away, self._looked_at_ms = seen.away, now_ms
        if self._was_going and self._read_because in {Absence.GONE, Absence.LEAVING}:  # else reading it has failed
            self._known_life_ms = seen.life_ms  # since it was read it has accepted nothing, or little if it was leaving
        is_same_life = seen.life_ms == self._read_in_life_ms  # a supervisor holds its lock before its life begins
        self._was_going = seen.is_gone or seen.is_leaving or (self._was_going and is_same_life)
        if seen.is_gone:
            absence = Absence.GONE
        elif seen.is_leaving:
            absence = Absence.LEAVING
        elif seen.away:
            absence = Absence.SHORT_OF_WORKERS
        else:
            return self._decide_of_present(seen, now_ms, wall_ms, was_unwatched=was_unwatched)
        self._needed_at_ms = now_ms
        return absence if was_unwatched or self._is_outdated(absence, seen.life_ms) else Unread.KEEP

    def has_read(self, because: Absence, life_ms: int, now_ms: int) -> None:
        """Notes that all it remembers was read, as `decide` said.

        Args:
            because: what that said.
            life_ms: as it was shown.
            now_ms: ticks, from before it was read.
        """
        self._read_because, self._read_in_life_ms, self._read_at_ms = because, life_ms, now_ms
        self._known_life_ms = life_ms

    def _is_outdated(self, absence: Absence, life_ms: int) -> bool:
        """Whether what was read of an absent one, if anything was, is not all that it remembers by now."""
        if self._read_because is None:
            return True
        if absence is Absence.SHORT_OF_WORKERS:  # who served after it was read may have accepted a lot since
            is_due = self._looked_at_ms - self._read_at_ms >= self._returning_ms
            return life_ms != self._known_life_ms or (is_due and self._served_at_ms > self._read_at_ms)
        return (self._read_because, self._read_in_life_ms) != (absence, life_ms)

    def _decide_of_present(self, seen: Sighting, now_ms: int, wall_ms: int, *, was_unwatched: bool) -> Absence | Unread:
        """Of one that is not absent: who has just come back is read, once in a life; after a while that is dropped."""
        if was_unwatched and seen.has_segment:
            self._needed_at_ms = now_ms
            return Absence.UNWATCHED
        if wall_ms - seen.life_ms < self._returning_ms and self._known_life_ms != seen.life_ms:
            self._needed_at_ms = now_ms  # whatever is kept of it: that may be dropped before its ids come there again
            return Absence.RETURNING
        if self._read_because is None or now_ms - self._needed_at_ms < self._returning_ms:
            return Unread.KEEP
        self._read_because = None
        return Unread.DROP

"""When all ids that a sibling remembers count here, and until when: decided from what each look shows of it.

A sibling is absent when nobody holds its supervisor's lock, when its supervisor is stopping, or when one of its web
workers is not at work: then HAProxy sends that worker's ids elsewhere. No I/O and no clock here: `siblings.Sibling`
looks, and then reads or drops the ids as decided.
"""

from enum import Enum, unique
from typing import NamedTuple

HAPROXY_RETURNS_MS = 5000  # HAProxy needs up to 2 s to send an instance its ids again


@unique
class ReadReason(Enum):
    """Why all that a sibling remembers counts here; the value is the log's word."""

    GONE = "gone"
    LEAVING = "leaving"
    SHORT_OF_WORKERS = "short of web workers"
    RETURNING = "returning"  # it serves, and HAProxy does not send it its ids again yet
    UNWATCHED = "watched from now on"  # it serves; nobody here has looked, or a worker here was away


@unique
class WhatWasRead(Enum):
    """What becomes of the ids read of a sibling before, if any, when nothing is to be read now."""

    KEEP = "keep"
    DROP = "drop"


class Sighting(NamedTuple):
    """What one look shows of a sibling.

    Args:
        is_gone: nobody holds its supervisor's lock.
        is_leaving: its supervisor says so.
        has_segment: else it has accepted nothing.
        away: the numbers of its web workers that are not at work.
        has_away_served: one of those has accepted something since the last look.
        life_ms: when its supervisor's life began, ms UTC; 0: not known.
    """

    is_gone: bool
    is_leaving: bool
    has_segment: bool
    away: frozenset[int]
    has_away_served: bool
    life_ms: int


class Presence:
    """What is known of a sibling's presence, as long as it has the same segment.

    Args:
        stuck_ms: how long a process may hang, and with it the payments that came to it.
    """

    def __init__(self, stuck_ms: int) -> None:
        self._returning_ms = HAPROXY_RETURNS_MS + stuck_ms
        self._read_because: ReadReason | None = None  # why its tables were last read; None: nothing read is kept
        # Lives are told by when they began, ms UTC.
        self._read_in_life_ms = 0  # the life in which its tables were last read
        self._known_life_ms = 0  # all that it accepted before this life was read, or is among the latest
        self._was_leaving_or_gone = False  # and no later life has been seen
        # Moments, by the ticking clock.
        self._read_at_ms = 0  # when its tables were last read
        self._needed_at_ms = 0  # when it was last seen absent, or had been read for another reason
        self._looked_at_ms = 0  # when `decide` was last called
        self._served_until_ms = 0  # when a web worker was last seen to have served and gone away
        self._away = frozenset[int]()  # the web workers that were away at the last look

    def decide(self, seen: Sighting, now_ms: int, wall_ms: int, *, was_unwatched: bool) -> ReadReason | WhatWasRead:
        """Why all ids that it remembers are to be read now; or, if not, whether those read before are kept or dropped.

        The first row that fits; in the first three it is absent:

        | the sibling | its tables are read | what was read counts until |
        | --- | --- | --- |
        | is gone: nobody holds its supervisor's lock | once | R after it is back |
        | says that it is leaving | once, and again when it is gone | R after it is back |
        | lacks a web worker | unless read since that one served; in one life at most once in R | R after it has all |
        | is present, and was unwatched | now | R after the reading |
        | is back for less than R, and was not read since or right before | once | R after the reading |
        | is present | no | as was said before; then it is dropped |

        The absent are read anew, too, if they were unwatched: requests may lie here whose clients went there since.
        R is 10 s by default: the time until HAProxy sends it its ids again (`HAPROXY_RETURNS_MS`), and `stuck_ms`.

        Args:
            seen: what this look shows of it.
            now_ms: by the ticking clock, from before it was looked at.
            wall_ms: ms UTC.
            was_unwatched: whether for a while nobody here had looked, or a web worker here was away; or more was
                accepted since the last look than is known as the latest.
        """
        if seen.has_away_served or not seen.away <= self._away:
            self._served_until_ms = now_ms
        self._away, self._looked_at_ms = seen.away, now_ms
        was_read_at_end = self._read_because in {ReadReason.GONE, ReadReason.LEAVING}  # if not, reading has failed
        if self._was_leaving_or_gone and was_read_at_end:
            self._known_life_ms = seen.life_ms  # since it was read it has accepted nothing, or little if it was leaving
        is_same_life = seen.life_ms == self._read_in_life_ms  # a supervisor holds its lock before its life begins
        is_leaving_or_gone = seen.is_leaving or seen.is_gone
        self._was_leaving_or_gone = is_leaving_or_gone or (self._was_leaving_or_gone and is_same_life)
        if seen.is_gone:
            reason = ReadReason.GONE
        elif seen.is_leaving:
            reason = ReadReason.LEAVING
        elif seen.away:
            reason = ReadReason.SHORT_OF_WORKERS
        else:
            return self._decide_of_present(seen, now_ms, wall_ms, was_unwatched=was_unwatched)
        self._needed_at_ms = now_ms
        return reason if was_unwatched or self._is_outdated(reason, seen.life_ms) else WhatWasRead.KEEP

    def has_read(self, because: ReadReason, life_ms: int, began_ms: int, ended_ms: int) -> None:
        """Notes that all ids it remembers have been read, as `decide` said.

        Args:
            because: what `decide` returned.
            life_ms: of the `Sighting` that was decided on.
            began_ms: by the ticking clock, from before its tables were read.
            ended_ms: from after that: this process may have stood still meanwhile.
        """
        self._read_because, self._read_in_life_ms, self._read_at_ms = because, life_ms, began_ms
        self._known_life_ms, self._needed_at_ms = life_ms, ended_ms

    def _is_outdated(self, reason: ReadReason, life_ms: int) -> bool:
        """Whether an absent sibling may remember more by now than was read of it, if anything was."""
        if self._read_because is None:
            return True
        if reason is ReadReason.SHORT_OF_WORKERS:  # one that served after the reading may have accepted a lot since
            is_due = self._looked_at_ms - self._read_at_ms >= self._returning_ms
            return life_ms != self._known_life_ms or (is_due and self._served_until_ms > self._read_at_ms)
        return (self._read_because, self._read_in_life_ms) != (reason, life_ms)

    def _decide_of_present(
        self, seen: Sighting, now_ms: int, wall_ms: int, *, was_unwatched: bool
    ) -> ReadReason | WhatWasRead:
        """As `decide`, of a sibling that is not absent: after its return it is read once; later on that is dropped."""
        if was_unwatched and seen.has_segment:
            self._needed_at_ms = now_ms
            return ReadReason.UNWATCHED
        if wall_ms - seen.life_ms < self._returning_ms and self._known_life_ms != seen.life_ms:
            # Even if ids are kept: those may be dropped before HAProxy sends them there again.
            self._needed_at_ms = now_ms
            return ReadReason.RETURNING
        if self._read_because is None or now_ms - self._needed_at_ms < self._returning_ms:
            return WhatWasRead.KEEP
        self._read_because = None
        return WhatWasRead.DROP

"""The journals of this volume, as whoever reads totals from Redis holds them against what it is told there.

A member that said goodbye is believed though it is silent, and one that Redis has never heard of is not missed. Both
may have begun another life since and settled in it, while Redis could not be reached: then the totals are not whole.
(Instances that share no volume can't be looked at; for those Redis's word has to do.)
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from server.clock import Clock
from shm import Journal, Member, Segment, SegmentError, SegmentMissing, SegmentNotReady

ATTACH_MS = 1000  # how old a mapping may be; the segment may have been made anew meanwhile


class Told(NamedTuple):
    """What Redis has of a member: which of its lives told it, and whether it said goodbye."""

    life: int
    said_goodbye: bool


class Neighbours:
    """All instances of this volume, this one too.

    Args:
        instances: their names.
        clock: tells how old a mapping is.
    """

    def __init__(self, instances: Iterable[str], clock: Clock) -> None:
        """Looks at nothing yet."""
        self._instances = tuple(instances)
        self._clock = clock
        self._journals: dict[str, Journal] = {}  # by member's name
        self._unreadable: str | None = None  # a sentence on a segment that is there and can't be read
        self._attached_at_ms = -ATTACH_MS

    def unheard(self, told: Mapping[str, Told]) -> str | None:
        """A sentence on a member that Redis would not miss though it may have settled more; None if there is none.

        Args:
            told: by member's name. Who lives and has not said goodbye tells in time, or is missed for its silence.
        """
        self._attach()
        if self._unreadable:
            return self._unreadable
        for member, journal in self._journals.items():
            if member not in told:
                if journal.life:
                    return f"instance {member} has not published its totals yet"
            elif told[member].said_goodbye and journal.life != told[member].life:
                return f"instance {member} is back and has not published its totals yet"
        return None

    def _attach(self) -> None:
        now_ms = self._clock.ticks_ms()
        if now_ms - self._attached_at_ms < ATTACH_MS:
            return
        self._attached_at_ms = now_ms
        self._unreadable = None
        self._journals = {
            str(Member(segment.segment_id, dispatcher)): segment.journal(dispatcher)
            for segment in map(self._segment, self._instances)
            if segment is not None
            for dispatcher in range(segment.geometry.dispatchers)
        }

    def _segment(self, instance: str) -> Segment | None:
        try:
            return self._open(instance)
        except (SegmentMissing, SegmentNotReady):
            return None  # it has never settled anything
        except SegmentError as error:
            self._unreadable = f"what instance {instance} has settled can't be seen: {error}"
            return None

    def _open(self, instance: str) -> Segment:
        return Segment.attach(instance, read_only=True)

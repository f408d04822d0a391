"""The other instances on the same volume: what they had accepted counts while they can't answer for it themselves.

HAProxy pins an id to an instance, but while that instance is down its clients may send again and reach another. So an
instance that is *absent* (nobody holds any of its locks, or its supervisor says that it is leaving) has its ids treated
as already accepted: whoever comes with one of them is not paid again, whether it was settled there or not.

An absent instance's segment no longer changes, so its ids are read once, when the absence is first noticed. One that is
leaving may still accept for a moment: it is read again when it is gone.
"""

import logging
from collections.abc import Iterable
from enum import Enum, unique

from server.clock import Clock
from shm import Phase, Segment, SegmentError, is_role_free

LOOK_MS = 2  # HAProxy tries elsewhere within milliseconds of a death; a look at a lock takes 5 µs
ATTACH_MS = 1000  # how old a mapping of a living sibling's segment may be; it may have been made anew meanwhile

_log = logging.getLogger(__name__)


@unique
class Presence(Enum):
    """Whether a sibling answers for its ids itself."""

    PRESENT = "present"
    LEAVING = "leaving"  # an orderly stop: its workers may still accept for a moment
    DYING = "dying"  # its supervisor is dead, the kernel is about to end the others
    GONE = "gone"


class Sibling:
    """One other instance.

    Args:
        instance: its name.
        clock: how long ago it was looked at.
    """

    def __init__(self, instance: str, clock: Clock) -> None:
        """Looks at nothing yet."""
        self._instance = instance
        self._clock = clock
        self._looked_at_ms = -LOOK_MS
        self._attached_at_ms = -ATTACH_MS
        self._segment: Segment | None = None
        self._presence = Presence.PRESENT
        self._ids: dict[bytes, int] = {}

    def amount_of(self, correlation_id: bytes) -> int | None:
        """The amount in cents that this sibling accepted under an id and can't answer for now, or None."""
        now_ms = self._clock.ticks_ms()
        if now_ms - self._looked_at_ms >= LOOK_MS:
            self._looked_at_ms = now_ms
            self._look(now_ms)
        return self._ids.get(correlation_id)

    def _look(self, now_ms: int) -> None:
        presence = self._presence_now(now_ms)
        if presence is self._presence:
            return
        self._presence = presence
        self._attach(now_ms)
        self._ids = {} if presence is Presence.PRESENT or self._segment is None else ids_in(self._segment)
        _log.info("%s is %s; %d of its ids count here", self._instance, presence.value, len(self._ids))

    def _presence_now(self, now_ms: int) -> Presence:
        if is_role_free(self._instance, "supervisor"):
            return Presence.GONE if self._all_roles_are_free(now_ms) else Presence.DYING
        if now_ms - self._attached_at_ms >= ATTACH_MS:
            self._attach(now_ms)
        leaving = self._segment is not None and self._segment.supervisor_counters().phase is Phase.LEAVING
        return Presence.LEAVING if leaving else Presence.PRESENT

    def _all_roles_are_free(self, now_ms: int) -> bool:
        if self._segment is None:
            self._attach(now_ms)
        if self._segment is None:
            return True
        geometry = self._segment.geometry
        roles = [f"worker-{worker}" for worker in range(geometry.workers)]
        roles += [f"dispatcher-{dispatcher}" for dispatcher in range(geometry.dispatchers)]
        return all(is_role_free(self._instance, role) for role in roles)

    def _attach(self, now_ms: int) -> None:
        self._attached_at_ms = now_ms
        self._segment = _attach(self._instance)

    def ids_now(self) -> dict[bytes, int]:
        """Every id that this sibling remembers now, absent or not, with its amount in cents."""
        segment = _attach(self._instance)
        return {} if segment is None else ids_in(segment)


def _attach(instance: str) -> Segment | None:
    try:
        return Segment.attach(instance, read_only=True)
    except SegmentError:
        return None


class Siblings:
    """All other instances."""

    def __init__(self, siblings: Iterable[Sibling]) -> None:
        """Looks at nothing yet."""
        self._siblings = list(siblings)

    def amount_of(self, correlation_id: bytes) -> int | None:
        """The amount in cents that an absent sibling accepted under an id; None if there is none."""
        for sibling in self._siblings:
            amount_cents = sibling.amount_of(correlation_id)
            if amount_cents is not None:
                return amount_cents
        return None

    def ids_now(self) -> dict[bytes, int]:
        """Every id that any sibling remembers now, with its amount in cents."""
        ids: dict[bytes, int] = {}
        for sibling in self._siblings:
            ids.update(sibling.ids_now())
        return ids


def ids_in(segment: Segment) -> dict[bytes, int]:
    """Every id in a segment's tables and lanes with its amount in cents; the first that was taken, if there are two."""
    geometry = segment.geometry
    ids: dict[bytes, int] = {}
    for dispatcher in range(geometry.dispatchers):
        for worker in range(geometry.workers):
            lane = segment.lane(worker, dispatcher)
            for position in range(lane.tail, lane.head):
                accepted = lane.peek(position)
                if accepted is not None:
                    ids.setdefault(accepted.correlation_id, accepted.amount_cents)
        ids.update(segment.table(dispatcher).ids())
    return ids

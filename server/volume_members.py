"""The journals on this volume, which a web worker reads beside Redis when it answers a summary.

Redis is a moment behind the journals, and does not know that a dispatcher has just died. Shared memory tells both:
which dispatchers live, in which life, and what each has settled since its last flush. So a summary takes what is
published from Redis and adds what the journals have beyond it. If shared memory shows that even both may lack
something, there is no summary. Instances on another volume can't be looked at: of them only Redis is read.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

from server.clock import Clock
from server.errors import TotalsUnavailable
from server.liveness import is_at_work, reason_for_doubt
from server.totals import UnknownRange
from server.totals_header import Header
from server.volume import THIS_VOLUME, Volume
from shm import (
    BrokenInvariant,
    Counters,
    Ended,
    Fingerprint,
    Journal,
    Member,
    Segment,
    SegmentError,
    SegmentMissing,
    SegmentNotReady,
    State,
)

UNPUBLISHED_MAX = 4096  # of a member that a summary adds, in some 15 ms; more would be over a second's settlements
_DIED = "has died, and its successor has not published its totals yet"


class _VolumeMember(NamedTuple):
    """One member on this volume."""

    instance: str
    dispatcher: int
    journal: Journal
    row: Counters


class VolumeMembers:
    """The members on this volume: the dispatchers of all its instances, those of this instance too.

    Args:
        siblings: the names of the other instances.
        own: this instance's name and segment, which is read whatever segment has that name by now.
        volume: where the other instances' segments are found.
        clock: ticking clock, for heartbeats.
    """

    def __init__(
        self,
        siblings: Iterable[str],
        *,
        own: Mapping[str, Segment] = MappingProxyType({}),
        volume: Volume = THIS_VOLUME,
        clock: Clock,
    ) -> None:
        """Looks at nothing yet."""
        self._volume = volume
        self._clock = clock
        self._siblings = tuple(siblings)
        self._segments = dict(own)  # by instance's name
        self._fingerprints: dict[str, Fingerprint] = {}  # of the siblings' segments, by instance's name
        self._members = _members_of(own)
        self._unreadable: str | None = None  # a sentence on a segment that exists and can't be read

    def reason_for_doubt(self, headers: Mapping[str, Header]) -> str | None:
        """A sentence on a member that may have settled more than Redis and its journal say; None if there is none.

        When a dispatcher has died, nobody knows what became of the payments it was sending until its successor
        publishes that.

        Args:
            headers: the header that Redis has of each member, by member's name.
        """
        try:
            return self._reason_for_doubt(headers)
        except OSError as error:  # no descriptors
            return f"the instances of this volume can't be looked at: {error.strerror or error}"

    def _reason_for_doubt(self, headers: Mapping[str, Header]) -> str | None:
        self._attach()
        if self._unreadable:
            return self._unreadable
        for name, member in self._members.items():
            is_free = partial(self._volume.is_role_free, member.instance)
            at_work = is_at_work(is_free, member.dispatcher, member.row)
            life = member.journal.life  # read afterwards: so it is the life of the dispatcher that is at work
            if name not in headers:
                if life:
                    return f"instance {name} has not published its totals yet"
            elif headers[name].version.life != life:
                return f"instance {name} is back and has not published its totals yet"
            elif not headers[name].said_goodbye:
                reason = reason_for_doubt(name, member.row, self._clock, at_work=at_work, otherwise=_DIED)
                if reason:
                    return reason
        return None

    def named(self, reason: str) -> str:
        """A reason in which each member of this volume is followed by its instance's name, which people know."""
        with contextlib.suppress(OSError):  # then the segments mapped until now must do
            self._attach()
        for name, member in self._members.items():
            reason = reason.replace(name, f"{name} ({member.instance})")
        return reason

    def unknowns(self) -> dict[str, UnknownRange]:
        """Payments whose outcome is unknown, by member's name: with these, too, Redis is a moment behind."""
        return {name: UnknownRange.of(member.row) for name, member in self._members.items()}

    def unpublished(self, headers: Mapping[str, Header]) -> Iterator[Ended]:
        """What each member on this volume has settled since its header, to be added to what Redis has of it.

        Args:
            headers: as in `reason_for_doubt`.

        Raises:
            TotalsUnavailable: a journal can't be read, is too far ahead, or has begun another epoch.
        """
        for name, member in self._members.items():
            if name in headers and not headers[name].said_goodbye:
                try:
                    yield from self._since(name, headers[name], member.journal)
                except BrokenInvariant as error:
                    raise TotalsUnavailable(f"what instance {name} has settled can't be read: {error}") from error

    def _since(self, name: str, header: Header, journal: Journal) -> Iterator[Ended]:
        head = journal.head
        if journal.base.epoch != header.version.epoch:
            raise TotalsUnavailable(f"instance {name} has not published yet that it took up the last purge")
        if head - header.position > UNPUBLISHED_MAX:
            raise TotalsUnavailable(f"instance {name} has not published {head - header.position} settlements")
        for position in range(header.position, head):
            ended = journal.read(position)
            if ended is None:
                raise TotalsUnavailable(f"instance {name} settles faster than can be counted")
            if ended.state is State.SETTLED:
                yield ended

    def _attach(self) -> None:
        """Maps the siblings' segments, again if another one has a sibling's name by now, as after a change of geometry.

        A segment that has lost its name (RemoveIPC= of systemd) stays mapped: its instance may go on with it.
        """
        self._unreadable = None
        for instance in self._siblings:
            try:
                fingerprint = self._volume.fingerprint(instance)  # before mapping: a change in between shows next time
                if fingerprint is not None and fingerprint != self._fingerprints.get(instance):
                    self._segments[instance] = self._volume.attach(instance)
                    self._fingerprints[instance] = fingerprint
                    self._members = _members_of(self._segments)
            except (SegmentMissing, SegmentNotReady):
                pass  # nothing has ever been settled in what has this name now
            except SegmentError as error:
                self._unreadable = f"what instance {instance} has settled can't be seen: {error}"


def _members_of(segments: Mapping[str, Segment]) -> dict[str, _VolumeMember]:
    """The dispatchers of segments (given by instance's name), by member's name."""
    return {
        str(Member(segment.segment_id, number)): _VolumeMember(
            instance, number, segment.journal(number), segment.dispatcher_counters(number)
        )
        for instance, segment in segments.items()
        for number in range(segment.geometry.dispatchers)
    }

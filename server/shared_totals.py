"""Totals that instances share over Redis: a web worker's summaries and purges.

A summary adds up what is published in Redis and what the journals of this volume have beyond that
(`server/volume_members.py`). If the sum would not be exact, there is a sentence that says why instead.
"""

import asyncio
import contextlib
from collections.abc import Iterator

from server.clock import Clock
from server.errors import TotalsUnavailable
from server.ledger import Ledger
from server.published import PublishedMember, Purge, member_levels
from server.redis_totals import TotalsHash
from server.totals import (
    PURGE_POLL_S,
    PURGE_WITHIN_S,
    Levels,
    Summary,
    Window,
    count_window,
    counted_from,
    covering,
)
from server.totals_header import Header
from server.volume_members import VolumeMembers

_NOTHING_PUBLISHED = "no instance has published its totals yet"


class SharedTotals:
    """A web worker's reader of totals that instances share over Redis; `LocalTotals` is the reader without it.

    Args:
        totals: the Redis hash; closed with this object.
        volume_members: those whose journals are read beside Redis.
        clock: numbers purges; the clock that stamps requestedAt.
    """

    def __init__(self, totals: TotalsHash, volume_members: VolumeMembers, clock: Clock) -> None:
        self._totals = totals
        self._volume_members = volume_members
        self._clock = clock

    async def summary(self, window: Window) -> Summary:
        """The totals of a window over all members, both ends included.

        Raises:
            TotalsUnavailable: they can't be exact now; the text says why.
        """
        with self._naming_instances():
            members = await self._read_members(window)
            counted, resolution = counted_from(members, window)
            if counted != window:
                members = await self._read_members(counted)
            # Counted as it was read: after a purge between the two reads the members' bounds would give another window,
            # whose fields were not read.
            return count_window(members, counted).widened(resolution)

    @contextlib.contextmanager
    def _naming_instances(self) -> Iterator[None]:
        """Adds to a reason the names of the instances whose members it mentions."""
        try:
            yield
        except TotalsUnavailable as error:
            raise TotalsUnavailable(self._volume_members.named(str(error))) from error

    async def _read_members(self, window: Window) -> list[Levels]:
        purge, members = await self._totals.read_window(window)
        if not members:
            raise TotalsUnavailable(_NOTHING_PUBLISHED)
        levels = {member.name: member_levels(member, purge) for member in members}
        return self._with_journals(levels, _headers_of(members))

    def _with_journals(self, published: dict[str, Levels], headers: dict[str, Header]) -> list[Levels]:
        """What Redis has of each member, and as one member more what the journals of this volume have beyond that."""
        if reason := self._volume_members.reason_for_doubt(headers):
            raise TotalsUnavailable(reason)
        # Before the journals and after: what is settled or becomes unknown in between counts twice rather than never.
        before = self._volume_members.unknowns()
        unpublished = Ledger()
        for ended in self._volume_members.unpublished(headers):
            unpublished.add(ended.processor, ended.requested_at_ms, ended.amount_cents)
        after = self._volume_members.unknowns()
        for name in published.keys() & before.keys():
            if not headers[name].said_goodbye:
                unknowns = covering(published[name].unknowns, covering(before[name], after[name]))
                published[name] = published[name]._replace(unknowns=unknowns)
        return [*published.values(), unpublished.levels()]

    async def purge(self) -> None:
        """Raises the epoch and waits until every member has taken it up, except those that said goodbye before.

        A member that is not heard of may be settling all the same, and its totals from before the purge may still be in
        summaries: then the purge is not done.

        Raises:
            TotalsUnavailable: Redis gave no answer, or a member did not take the purge up in time.
        """
        with self._naming_instances():
            epoch = 0
            reason: str | None = _NOTHING_PUBLISHED
            deadline_s = asyncio.get_running_loop().time() + PURGE_WITHIN_S
            while asyncio.get_running_loop().time() < deadline_s:
                purge, members = await self._totals.members()
                if not epoch:
                    if not members:
                        raise TotalsUnavailable(_NOTHING_PUBLISHED)
                    # 0 again if another purge came between the two calls: this one then follows it.
                    epoch = await self._totals.raise_epoch(self._clock.wall_us() // 1000, follows=purge.epoch)
                    continue
                reason = self._not_taken_up(epoch, purge, members)
                if reason is None:
                    return
                await asyncio.sleep(PURGE_POLL_S)
            raise TotalsUnavailable(f"the purge was not done within {PURGE_WITHIN_S:.0f} s: {reason}")

    def _not_taken_up(self, epoch: int, purge: Purge, members: list[PublishedMember]) -> str | None:
        """Why a purge is not done yet; None if it is."""
        for member in members:  # a member that has taken up this purge need not have taken up a later one
            if not member.has_taken_up(purge) and not (member.header and member.header.version.epoch >= epoch):
                return f"instance {member.name} did not take it up"
        if reason := self._volume_members.reason_for_doubt(_headers_of(members)):
            return reason
        if not any(member.header and member.header.version.epoch >= epoch for member in members):
            return "no instance would remember it"  # all have said goodbye, and Redis may lose it
        return None

    async def aclose(self) -> None:
        """Closes the connection to Redis."""
        await self._totals.aclose()


def _headers_of(members: list[PublishedMember]) -> dict[str, Header]:
    """The headers of members that have one, by member's name."""
    return {member.name: member.header for member in members if member.header is not None}

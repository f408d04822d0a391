"""Totals between instances in one small Redis hash: the calls, and a web worker's summaries.

Totals are written by scripts, as absolute values that the hash takes only if they are newer: a call that was delayed,
repeated or lost its answer does no harm. A summary is one script too, so what it reads belongs to one instant. A
member is read whole in several calls, so its header is read with each of them, and compared.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from server import redis_scripts
from server.clock import Clock, SystemClock
from server.errors import TotalsUnavailable
from server.ledger import Ledger
from server.neighbours import Neighbours, Told
from server.processors import Health
from server.redis_client import RedisClient, Word
from server.totals import (
    PURGE_POLL_S,
    PURGE_WITHIN_S,
    Levels,
    Summary,
    count_window,
    either,
    reaches_forgotten,
    touched,
)
from server.totals_header import RETIRED, Header, Version
from server.totals_rows import Purge, Row, has_taken_up, levels_of, member_levels, parse_header, parse_rows

FIELDS_AT_ONCE = 128  # of a member that is read: up to a megabyte, all detail there is
_NOBODY = "no instance has published its totals yet"
LEASE_MS = 5300  # a processor allows one health call per 5 s from all instances together; and one may be late
LEASE_AGAIN_MS = 100  # for one that ran out while it was looked at


class Found(NamedTuple):
    """What a flush learned.

    Args:
        applied: whether the hash took it.
        header: the member's header as it was before, None if there was none.
        epoch: the hash's epoch.
        is_purged: whether that purge was of this very hash, so that `header`, if older, was there before it.
        roster: every member's name.
        health: per processor the text of the last shared poll, empty if there was none.
    """

    applied: bool
    header: Header | None
    epoch: int
    is_purged: bool
    roster: tuple[str, ...]
    health: tuple[str, str]


class TotalsHash:
    """The hash, over one connection that comes back by itself.

    Args:
        url: of the Redis server.
        neighbours: whose journals summaries are held against; None: for those who read none.
        clock: numbers purges; None: the machine's.
    """

    def __init__(self, url: str, neighbours: Neighbours | None = None, clock: Clock | None = None) -> None:
        """Connects at the first call, not now."""
        self._clock = clock or SystemClock()
        self._neighbours = neighbours
        self._redis = RedisClient(url)

    async def flush(
        self,
        member: str,
        header: Header,
        fields: dict[str, bytes],
        dropped: set[str],
        *,
        builds_on: Version | None,
        roster: str,
    ) -> Found:
        """Writes a member's new values.

        Args:
            member: its name.
            header: its new header, newer than any it sent before.
            fields: changed fields by name.
            dropped: names of fields to remove.
            builds_on: version of its header that the hash must have or be past, every change since being among
                `fields`; None: on nothing, they are everything it has.
            roster: names of members to have on the roster, separated by commas.

        Raises:
            TotalsUnavailable: Redis gave no answer; whether it took the values is not known.
        """
        pairs = [part for pair in fields.items() for part in pair]
        base = "" if builds_on is None else " ".join(map(str, builds_on))
        arguments = [member, header.to_text(), base, roster, len(fields), *pairs, *dropped]
        applied, found, epoch, is_purged, members, *health = await self._run(redis_scripts.FLUSH, *arguments)
        return Found(
            applied == 1,
            parse_header(found),
            int(epoch),
            is_purged == 1,
            tuple(members.decode().split(",")),
            (health[0].decode(), health[1].decode()),
        )

    async def read_member(self, member: str) -> tuple[Header, Levels] | None:
        """Everything the hash has of a member, or None if it has nothing. Read in pieces, as it may be megabytes.

        Raises:
            TotalsUnavailable: Redis gave no answer, or somebody wrote meanwhile.
        """
        prefix = f"{member}|".encode()
        header_text, *names = await self._run(redis_scripts.NAMES, member)
        fields: dict[bytes, bytes] = {}
        for start in range(0, len(names), FIELDS_AT_ONCE):
            some = names[start : start + FIELDS_AT_ONCE]
            told, *values = await self._redis.call("HMGET", redis_scripts.HASH, f"{member}|h", *some)
            if (told or b"") != header_text:  # each flush changes it, so an equal one means equal fields, wherever
                raise TotalsUnavailable("the totals changed while they were read")
            fields.update((name.removeprefix(prefix), value) for name, value in zip(some, values, strict=True))
        header = parse_header(header_text)
        return None if header is None else (header, levels_of(header, fields))

    async def summary(self, from_ms: int | None, to_ms: int | None) -> Summary:
        """The totals of a window over all members, both ends included.

        Raises:
            TotalsUnavailable: they can't be exact now; the reason says why.
        """
        with self._naming():
            members = await self._read_members(from_ms, to_ms)
            resolution = reaches_forgotten(members, from_ms, to_ms)
            if resolution:
                from_ms = None
                members = await self._read_members(from_ms, to_ms)
            return count_window(members, from_ms, to_ms).widened(resolution)

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        """Says of whom a reason speaks."""
        try:
            yield
        except TotalsUnavailable as error:
            if self._neighbours is None:
                raise
            raise TotalsUnavailable(self._neighbours.named(error.reason)) from error

    async def _read_members(self, from_ms: int | None, to_ms: int | None) -> list[Levels]:
        needed = touched(from_ms, to_ms)
        arguments: list[str | int] = ["", ""]
        if needed:
            last = "" if needed.last_minute is None else needed.last_minute
            arguments = [needed.first_minute, last, len(needed.cut_minutes), *needed.cut_minutes, *needed.seconds]
        purge, rows = await self._rows(arguments)
        if not rows:
            raise TotalsUnavailable(_NOBODY)
        members = {row.name: member_levels(row, purge) for row in rows}
        if self._neighbours is not None:
            told = _told(rows)
            if unheard := self._neighbours.unheard(told):
                raise TotalsUnavailable(unheard)
            # Before the journals and after: what is settled or becomes unknown in between is told twice, not never.
            before = self._neighbours.unknowns()
            unpublished = Ledger()
            for ended in self._neighbours.unpublished(told):
                unpublished.add(ended.processor, ended.requested_at_ms, ended.amount_cents)
            after = self._neighbours.unknowns()
            for name in members.keys() & before.keys():
                if not told[name].said_goodbye:
                    unknowns = either(members[name].unknowns, either(before[name], after[name]))
                    members[name] = members[name]._replace(unknowns=unknowns)
            members[""] = unpublished.levels()
        return list(members.values())

    async def members(self) -> tuple[Purge, list[Row]]:
        """The last purge, and everyone on the hash's roster.

        Raises:
            TotalsUnavailable: Redis gave no answer.
        """
        return await self._rows(["", ""])

    async def retire(self, member: str, header: Header) -> bool:
        """Says goodbye for a member; False if it has flushed since `header` was read, and is left alone.

        Raises:
            TotalsUnavailable: Redis gave no answer; whether it was done is not known.
        """
        goodbye = header._replace(said_goodbye=RETIRED)
        return bool(await self._run(redis_scripts.RETIRE, member, header.to_text(), goodbye.to_text()))

    async def purge(self) -> None:
        """Raises the epoch and waits until every member has taken it up, but those that said goodbye.

        One that is not heard of may be settling all the same, and its old totals are still among the answers of others:
        then nobody is told that all is well.

        Raises:
            TotalsUnavailable: Redis gave no answer, or a member did not follow in time.
        """
        with self._naming():
            epoch, reason = 0, _NOBODY
            deadline_s = asyncio.get_running_loop().time() + PURGE_WITHIN_S
            while asyncio.get_running_loop().time() < deadline_s:
                purge, rows = await self.members()
                if not rows and not epoch:
                    raise TotalsUnavailable(_NOBODY)
                if not epoch:  # nor if another purge comes between the two calls: then this one follows that
                    epoch = await self._run(redis_scripts.PURGE, self._clock.wall_us() // 1000, purge.epoch)
                    continue
                missing = self._not_taken_up(epoch, purge, rows)
                if missing is None:
                    return
                reason = missing
                await asyncio.sleep(PURGE_POLL_S)
            raise TotalsUnavailable(f"the purge was not done within {PURGE_WITHIN_S:.0f} s: {reason}")

    def _not_taken_up(self, epoch: int, purge: Purge, rows: list[Row]) -> str | None:
        """Why a purge is not done yet; None if it is."""
        for row in rows:  # who has taken up this one need not have taken up one that came after it
            if not has_taken_up(row, purge) and not (row.header and row.header.epoch >= epoch):
                return f"instance {row.name} did not take it up"
        if self._neighbours and (unheard := self._neighbours.unheard(_told(rows))):
            return unheard
        if purge.epoch < epoch or not any(row.header and row.header.epoch >= epoch for row in rows):
            return "no instance would remember it"  # if Redis lost it, as they have all said goodbye
        return None

    async def lease_health_poll(self, processor: int) -> int:
        """In how many ms to try again; 0: this instance has the lease, and is to ask this processor's health now.

        Raises:
            TotalsUnavailable: Redis gave no answer.
        """
        lease = f"{redis_scripts.HEALTH_LEASE}{processor}"
        if await self._redis.call("SET", lease, "1", "NX", "PX", LEASE_MS):
            return 0
        left_ms: int = await self._redis.call("PTTL", lease)
        # Redis keeps the end as a time of day: on a clock that was set back it may be far away.
        return min(left_ms, LEASE_MS) if left_ms > 0 else LEASE_AGAIN_MS

    async def share_health(self, processor: int, health: Health, polled_at_ms: int) -> None:
        """Tells all instances, with their next flush, what a poll found.

        Raises:
            TotalsUnavailable: Redis gave no answer.
        """
        text = f"{int(health.failing)} {health.response_ms_min} {polled_at_ms}"
        await self._redis.call("HSET", redis_scripts.HASH, f"health.{processor}", text)

    async def aclose(self) -> None:
        """Closes the connection."""
        await self._redis.aclose()

    async def _rows(self, arguments: list[str | int]) -> tuple[Purge, list[Row]]:
        return parse_rows(await self._run(redis_scripts.SUMMARY, *arguments))

    async def _run(self, script: str, *arguments: Word) -> Any:
        return await self._redis.run(script, redis_scripts.HASH, *arguments)


def _told(rows: list[Row]) -> dict[str, Told]:
    """What the rows of a summary say of their members' lives."""
    return {
        row.name: Told(row.header.epoch, row.header.life, row.header.position, bool(row.header.said_goodbye))
        for row in rows
        if row.header is not None
    }

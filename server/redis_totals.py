"""Totals between instances in one small Redis hash: the calls.

Scripts write totals as absolute values, and only if they are newer than the hash's: a call that is delayed or repeated,
or whose answer is lost, does no harm. A summary is one script too, so all that it reads belongs to one instant. To read
everything of a member takes several calls, so its header is read with each, and compared.
"""

import functools
from typing import Any, NamedTuple

from server import redis_scripts
from server.errors import TotalsUnavailable
from server.processors import HEALTH_EVERY_MS, Health
from server.published import PublishedMember, Purge, parse_header, parse_members
from server.redis_client import RedisClient, Word
from server.totals import ALL_TIME, Levels, Window, touched
from server.totals_fields import are_whole
from server.totals_header import RETIRED, Header, Version

FIELDS_AT_ONCE = 128  # read of a member in one call: up to a megabyte, if they have all the detail there is
LEASE_AGAIN_MS = 100  # when to ask again for a lease that ran out while it was looked at


class SharedHealth(NamedTuple):
    """What a health poll found, which is shared by all instances.

    Args:
        health: what the processor said of itself.
        polled_at_ms: when it was asked, ms UTC.
    """

    health: Health
    polled_at_ms: int

    def to_text(self) -> str:
        """The text in the hash: 1 if the processor fails or 0, `response_ms_min`, `polled_at_ms`."""
        return f"{int(self.health.failing)} {self.health.response_ms_min} {self.polled_at_ms}"

    @classmethod
    def from_text(cls, text: str) -> "SharedHealth":
        """The reverse of `to_text`.

        Raises:
            ValueError: the text is something else.
        """
        failing, response_ms_min, polled_at_ms = map(int, text.split(" "))
        if failing not in {0, 1}:
            raise ValueError(f"whether a processor fails is told by 0 or 1, not by {failing}")
        return cls(Health(failing == 1, response_ms_min), polled_at_ms)


@functools.lru_cache(maxsize=8)  # every flush is answered with the same ones, until there are others after five seconds
def parse_health(text: bytes) -> SharedHealth | None:
    """A shared poll as the hash has it; None if there is none, or one that this program did not write."""
    try:
        return SharedHealth.from_text(text.decode())
    except ValueError:
        return None


class FlushAnswer(NamedTuple):
    """What Redis answers to a flush.

    Args:
        applied: whether the hash took it.
        header: the member's header as it was before, None if there was none.
        epoch: the hash's epoch.
        is_purged: whether that epoch's purge was made on this very hash; if so, an older `header` was there before it.
        roster: every member's name.
        health: per processor the last shared poll; None if there was none, or one that this program did not write.
    """

    applied: bool
    header: Header | None
    epoch: int
    is_purged: bool
    roster: tuple[str, ...]
    health: tuple[SharedHealth | None, SharedHealth | None]


class TotalsHash:
    """The hash, over one connection that is made again when it was lost.

    Args:
        redis: the client; closed with this object.
    """

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    async def flush(
        self,
        member: str,
        header: Header,
        fields: dict[str, bytes],
        dropped: set[str],
        *,
        builds_on: Version | None,
        roster: tuple[str, ...],
    ) -> FlushAnswer:
        """Writes a member's new values.

        Args:
            member: its name.
            header: its new header, newer than any it sent before.
            fields: changed fields by name.
            dropped: names of fields to remove.
            builds_on: version of its header that the hash must have, or a later one: `fields` are all changes since;
                None: they build on nothing, and are all fields that the member has.
            roster: names of members to have on the roster.

        Raises:
            TotalsUnavailable: Redis gave no answer; whether it took the values is not known.
        """
        pairs = [part for pair in fields.items() for part in pair]
        base = "" if builds_on is None else " ".join(map(str, builds_on))
        arguments = [member, header.to_text(), base, ",".join(roster), len(fields), *pairs, *dropped]
        applied, found, epoch, is_purged, members, *health = await self._run(redis_scripts.FLUSH, *arguments)
        return FlushAnswer(
            applied == 1,
            parse_header(found),
            int(epoch),
            is_purged == 1,
            tuple(members.decode(errors="replace").split(",")),
            (parse_health(health[0]), parse_health(health[1])),
        )

    async def read_member(self, member: str) -> tuple[Header, Levels] | None:
        """Everything that the hash has of a member. None: no header, or a field that another program wrote to. Read
        in pieces: it may be megabytes.

        Raises:
            TotalsUnavailable: Redis gave no answer, or somebody wrote meanwhile.
        """
        prefix = f"{member}|".encode()
        header_text, *names = await self._run(redis_scripts.NAMES, member)
        fields: dict[bytes, bytes] = {}
        for start in range(0, len(names), FIELDS_AT_ONCE):
            some = names[start : start + FIELDS_AT_ONCE]
            current, *values = await self._redis.call("HMGET", redis_scripts.HASH, f"{member}|h", *some)
            if (current or b"") != header_text:  # each flush changes it, so equal ones mean equal fields, on any server
                raise TotalsUnavailable("the totals changed while they were read")
            fields.update((name.removeprefix(prefix), value) for name, value in zip(some, values, strict=True))
        header = parse_header(header_text)
        if header is None:
            return None
        levels = header.levels(fields)
        return (header, levels) if are_whole(levels.minutes, levels.details) else None

    async def read_window(self, window: Window) -> tuple[Purge, list[PublishedMember]]:
        """The last purge, and what `window` touches of every member on the hash's roster, all at one instant.

        Raises:
            TotalsUnavailable: Redis gave no answer.
        """
        arguments: list[str | int] = ["", ""]
        if needed := touched(window):
            last = "" if needed.last_minute is None else needed.last_minute
            arguments = [needed.first_minute, last, len(needed.cut_minutes), *needed.cut_minutes, *needed.seconds]
        return parse_members(await self._run(redis_scripts.SUMMARY, *arguments))

    async def members(self) -> tuple[Purge, list[PublishedMember]]:
        """The last purge, and every member on the hash's roster, without fields.

        Raises:
            TotalsUnavailable: Redis gave no answer.
        """
        return await self.read_window(ALL_TIME)

    async def retire(self, member: str, header: Header) -> bool:
        """Says goodbye for a member; False, with nothing done, if it has flushed since `header` was read.

        Raises:
            TotalsUnavailable: Redis gave no answer; whether goodbye was said is not known.
        """
        goodbye = header._replace(said_goodbye=RETIRED)
        return bool(await self._run(redis_scripts.RETIRE, member, header.to_text(), goodbye.to_text()))

    async def raise_epoch(self, asked_at_ms: int, *, follows: int) -> int:
        """Begins a purge; returns its number, or 0 if another one came in between, or nobody has published yet.

        Args:
            asked_at_ms: when the purge was asked for, ms UTC by the clock that stamps requestedAt.
            follows: number of the purge before it, as last read.

        Raises:
            TotalsUnavailable: Redis gave no answer; whether the purge was begun is not known.
        """
        epoch: int = await self._run(redis_scripts.PURGE, asked_at_ms, follows)
        return epoch

    async def lease_health_poll(self, processor: int) -> int:
        """Tries to take the lease of a processor's health poll: 0 if this instance has it, and is to poll now; else the
        number of ms after which to try again.

        Raises:
            TotalsUnavailable: Redis gave no answer.
        """
        lease = f"{redis_scripts.HEALTH_LEASE}{processor}"
        if await self._redis.call("SET", lease, "1", "NX", "PX", HEALTH_EVERY_MS):
            return 0
        left_ms: int = await self._redis.call("PTTL", lease)
        if left_ms > HEALTH_EVERY_MS:  # Redis keeps the end as a time of day, and its clock was set back
            await self._redis.call("PEXPIRE", lease, HEALTH_EVERY_MS)
            return HEALTH_EVERY_MS
        return left_ms if left_ms > 0 else LEASE_AGAIN_MS

    async def share_health(self, processor: int, shared: SharedHealth) -> None:
        """Tells all instances, with their next flush, what a poll found.

        Raises:
            TotalsUnavailable: Redis gave no answer.
        """
        await self._redis.call("HSET", redis_scripts.HASH, f"health.{processor}", shared.to_text())

    async def aclose(self) -> None:
        """Closes the connection."""
        await self._redis.aclose()

    async def _run(self, script: str, *arguments: Word) -> Any:
        return await self._redis.run(script, redis_scripts.HASH, *arguments)

"""`python -m server.retire`: shows the members of the totals, and retires one that never comes back.

An instance that died without a goodbye is part of every total, so summaries are a 503 until it is started again. If its
segment is lost for good, nobody can say what it settled last. To retire it is to say goodbye in its place: what it had
published counts for ever; what it had not published is given up, with all that it had accepted and not paid.

| exit status | meaning |
| --- | --- |
| 0 | shown, or retired |
| 1 | not retired; the sentence says why |
| 2 | a setting or the usage is wrong |
| 130 | interrupted |
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from server.config import Config, from_environment
from server.errors import ConfigError, TotalsUnavailable
from server.published import SEEN_WITHIN_MS, PublishedMember, Purge
from server.redis_client import RedisClient
from server.redis_totals import TotalsHash
from server.totals_header import RETIRED, Header
from shm import Member, Segment, SegmentError, SegmentMissing, instances_present

EXIT_DONE = 0
EXIT_REFUSED = 1
EXIT_WRONG_SETTING = 2
EXIT_INTERRUPTED = 130

_HEAD = ("MEMBER", "LAST SEEN", "SAID GOODBYE", "DEFAULT", "FALLBACK", "UNKNOWN")


def main(arguments: Sequence[str] | None = None) -> int:
    """Carries out a command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        config = from_environment()
        if not config.redis_url:
            raise ConfigError("REDIS_URL must be set: without Redis an instance's totals are its own")
        said = asyncio.run(_carry_out(config, options.member))
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_WRONG_SETTING
    except (Refusal, TotalsUnavailable) as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_REFUSED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    sys.stdout.write(f"{said}\n")
    return EXIT_DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m server.retire",
        description="Shows the members of the totals; with a member's name, says goodbye for one that will never come "
        "back: what it has published counts for ever, everything else that it knew of is given up. REDIS_URL must be "
        "set as for the instances.",
    )
    parser.add_argument("member", nargs="?", metavar="MEMBER", help="as a 503 names it, e.g. babac77403e8eace.0")
    return parser


class Refusal(Exception):
    """Why a member is not retired: a sentence for the person at the keyboard."""


async def _carry_out(config: Config, name: str | None) -> str:
    totals = TotalsHash(RedisClient(config.redis_url))
    try:
        purge, members = await totals.members()
        if name is None:
            return table(members)
        member = next((member for member in members if member.name == name), None)
        header = check(member, name, purge=purge, is_here=name in members_here())
        if not await totals.retire(name, header):
            raise Refusal(f"{name} has published something just now: it lives.")
    finally:
        await totals.aclose()
    default_payments, _, fallback_payments, _ = header.all_time
    return (
        f"{name} is retired. {default_payments} payments at default and {fallback_payments} at fallback "
        f"count for ever; {header.unknowns.payments} outcomes stay unknown."
    )


def members_here() -> set[str]:
    """The names of all members that have a segment on this volume.

    Raises:
        Refusal: a segment can't be read, so nobody can tell whose it is.
    """
    names = set()
    for instance in instances_present():
        try:
            segment = Segment.attach(instance, read_only=True)
        except SegmentMissing:
            continue  # removed just now
        except SegmentError as error:
            raise Refusal(f"It may be here: {error}.") from error
        names |= {str(Member(segment.segment_id, index)) for index in range(segment.geometry.dispatchers)}
    return names


def check(member: PublishedMember | None, name: str, *, purge: Purge, is_here: bool) -> Header:
    """The last header of a member that may be retired.

    Args:
        member: what Redis has of it; None: no such member.
        name: its name.
        purge: the last purge.
        is_here: whether its segment is on this volume.

    Raises:
        Refusal: it may not be retired.
    """
    if member is None:
        raise Refusal(f"There is no member {name} in the totals.")
    if is_here:
        raise Refusal(f"The segment of {name} is on this volume: start its instance, and nothing is lost.")
    if member.header is None:
        raise Refusal(
            f"Redis has nothing of {name}: without it totals would be wrong, and no one could tell by how much."
        )
    if member.is_behind(purge) and not purge.is_of_this_hash:
        raise Refusal(
            f"What {name} has published may be of before a purge that Redis has lost since, or of after it: "
            "start its instance, or purge again."
        )
    if not member.header.is_whole and not member.is_behind(purge):
        raise Refusal(f"{name} died while it was writing its totals: what is there is a part of them.")
    if member.header.said_goodbye == RETIRED:
        raise Refusal(f"{name} is retired already.")
    if member.header.said_goodbye and not member.header.unknowns.payments:
        raise Refusal(f"{name} has said goodbye: it is not waited for.")
    if member.silent_ms < 0:
        raise Refusal(
            f"Nobody knows when {name} was last heard of: Redis's clock was set back. Try again once it has caught up."
        )
    if member.silent_ms <= SEEN_WITHIN_MS:
        raise Refusal(f"{name} lives: it was heard of {member.silent_ms} ms ago.")
    return member.header


def table(members: Sequence[PublishedMember]) -> str:
    """All members as a table of text, one per line below the heading."""
    rows = [_HEAD, *map(_row, members)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _row(member: PublishedMember) -> tuple[str, ...]:
    header = member.header
    if header is None:
        return member.name, "never", "-", "-", "-", "-"
    default_payments, _, fallback_payments, _ = header.all_time
    return (
        member.name,
        f"{member.silent_ms // 1000} s ago" if member.silent_ms >= 0 else "?",
        "yes" if header.said_goodbye else "no",
        str(default_payments),
        str(fallback_payments),
        str(header.unknowns.payments),
    )


if __name__ == "__main__":
    sys.exit(main())

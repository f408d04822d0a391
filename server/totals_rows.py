"""What the Redis hash gives of a member, turned into levels: pure."""

from typing import Any, NamedTuple

from server.errors import TotalsUnavailable
from server.totals import Levels, UnknownRange
from server.totals_header import Header

SEEN_WITHIN_MS = 1500  # three beats of the publisher


class MemberState(NamedTuple):
    """A member of the totals.

    Args:
        name: its name.
        header: its header, if the hash has one.
        silent_ms: how long ago it last flushed.
        is_purged: whether a purge that it has not taken up made its totals void.
    """

    name: str
    header: Header | None
    silent_ms: int
    is_purged: bool


def parse_header(text: bytes) -> Header | None:
    """A header as the hash has it; None if there is none, or one that this program did not write."""
    try:
        return Header.from_text(text.decode()) if text else None
    except ValueError:
        return None


def has_taken_up(row: list[Any], epoch: int) -> bool:
    """Whether a member counts from a purge on, or will before it settles anything more: it said goodbye."""
    header = parse_header(row[1])
    return header is not None and (header.epoch >= epoch or bool(header.said_goodbye))


def member_levels(row: list[Any], now_ms: int, epoch: int) -> Levels | None:
    """Levels of one member of a summary; None if a purge emptied it.

    Args:
        row: name, header, when it last flushed (ms by Redis's clock), its fields and their values by turns.
        now_ms: now, by the same clock.
        epoch: number of the last purge.

    Raises:
        TotalsUnavailable: its totals may not be whole.
    """
    name = row[0].decode()
    header = parse_header(row[1])
    if header is None:
        raise TotalsUnavailable(f"the totals of instance {name} are not there (yet)")
    if header.epoch < epoch and header.said_goodbye:
        return None
    if not header.is_whole:
        raise TotalsUnavailable(f"the totals of instance {name} are being written")
    silent_ms = now_ms - int(row[2])
    if not header.said_goodbye and not 0 <= silent_ms <= SEEN_WITHIN_MS:  # below 0, nobody knows for how long
        raise TotalsUnavailable(f"instance {name} has not been heard of for {silent_ms} ms")
    if header.epoch < epoch:
        raise TotalsUnavailable(f"instance {name} has not taken up the last purge yet")
    return levels_of(header, dict(zip(row[3][::2], row[3][1::2], strict=True)))


def levels_of(header: Header, fields: dict[bytes, bytes]) -> Levels:
    """A member's levels, of its header and its fields by name; names of other things are passed over."""
    return Levels(
        (header.default_payments, header.default_cents, header.fallback_payments, header.fallback_cents),
        {int(name[1:]): value for name, value in fields.items() if name[:1] == b"m"},
        {int(name[1:]): value for name, value in fields.items() if name[:1] == b"s" and name != b"seen"},
        header.exact_from_ms,
        header.minutes_from,
        header.detail_from_s,
        header.first_minute,
        header.latest_minute,
        UnknownRange(header.unknown_payments, header.unknown_least_ms, header.unknown_greatest_ms),
    )

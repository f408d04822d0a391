"""What the hash has of each member, as a summary's script returns it, and the levels it stands for: pure."""

from typing import Any, NamedTuple

from server.errors import TotalsUnavailable
from server.ledger import NO_UNKNOWNS, Ledger
from server.totals import Levels
from server.totals_fields import are_whole
from server.totals_header import RETIRED, Header

SEEN_WITHIN_MS = 1500  # three beats of the publisher


class Purge(NamedTuple):
    """The last purge.

    Args:
        epoch: its number.
        purged: number of the last purge made on this very hash. If that is another purge, a member told the hash of the
            last one, and what the hash has of an older epoch may have been settled since.
    """

    epoch: int
    purged: int

    @property
    def is_of_this_hash(self) -> bool:
        """Whether it was made on this very hash, so that what the hash has of an older epoch was there before it."""
        return self.purged == self.epoch


class PublishedMember(NamedTuple):
    """What the hash has of a member, as a summary's script shows it.

    Args:
        name: its name.
        header: its header; None if the hash has none, or one that this program did not write.
        silent_ms: how long ago it last flushed, by Redis's clock; negative if that was set back.
        fields: those of its fields that the window touches, by name.
    """

    name: str
    header: Header | None
    silent_ms: int
    fields: dict[bytes, bytes]

    def is_behind(self, purge: Purge) -> bool:
        """Whether its header is from before the last purge; False if there is no header, when nothing is known."""
        return self.header is not None and self.header.version.epoch < purge.epoch

    def left_before(self, purge: Purge) -> bool:
        """Whether it said goodbye before the last purge: it will take the purge up before it settles anything more."""
        said_goodbye = self.header is not None and bool(self.header.said_goodbye)
        return said_goodbye and self.is_behind(purge) and purge.is_of_this_hash

    def has_taken_up(self, purge: Purge) -> bool:
        """Whether it counts from the last purge on, or will before it settles anything more."""
        return self.header is not None and (not self.is_behind(purge) or self.left_before(purge))


def parse_header(text: bytes) -> Header | None:
    """A header as the hash has it; None if there is none, or one that this program did not write."""
    try:
        return Header.from_text(text.decode()) if text else None
    except ValueError:
        return None


def parse_members(answer: list[Any]) -> tuple[Purge, list[PublishedMember]]:
    """The last purge and all members, from the answer of a summary's script.

    What another program wrote on the roster is a member without a header, even if its name is no text.

    Raises:
        TotalsUnavailable: another program wrote something else in the place of a number.
    """
    now_text, epoch_text, purged_text, *members = answer
    try:
        return Purge(int(epoch_text), int(purged_text)), [
            PublishedMember(
                name.decode(errors="replace"),
                parse_header(header_text),
                int(now_text) - int(seen_text),
                dict(zip(pairs[::2], pairs[1::2], strict=True)),
            )
            for name, header_text, seen_text, pairs in members
        ]
    except ValueError as error:
        raise TotalsUnavailable(f"another program has written to the totals in Redis: {error}") from error


def member_levels(member: PublishedMember, purge: Purge) -> Levels:
    """The levels of one member, for a summary.

    Args:
        member: the member.
        purge: the last purge.

    Raises:
        TotalsUnavailable: its totals may not be whole.
    """
    name, header, silent_ms, fields = member
    if header is None:
        raise TotalsUnavailable(f"the totals of instance {name} are not there (yet)")
    if member.left_before(purge):  # nothing of it counts, but what it left unknown may, once it is back
        unknowns = NO_UNKNOWNS if header.said_goodbye == RETIRED else header.unknowns
        return Ledger().levels(unknowns)
    if not header.is_whole:
        raise TotalsUnavailable(f"the totals of instance {name} are being written")
    if not header.said_goodbye and silent_ms < 0:
        raise TotalsUnavailable(f"nobody knows when instance {name} was last heard of: Redis's clock was set back")
    if not header.said_goodbye and silent_ms > SEEN_WITHIN_MS:
        raise TotalsUnavailable(f"instance {name} has not been heard of for {silent_ms} ms")
    if member.is_behind(purge):
        raise TotalsUnavailable(f"instance {name} has not taken up the last purge yet")
    levels = header.levels(fields)
    if not are_whole(levels.minutes, levels.details, may_be_cut=True):
        raise TotalsUnavailable(f"another program has written to the totals of instance {name} in Redis")
    return levels

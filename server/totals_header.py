"""A member's header in the Redis hash: text both ways, pure.

One line of whole numbers separated by spaces, so that scripts can read it, and people with redis-cli: `Header`'s fields
in their order, and last the number of the format in which the member's other fields are written. The first three
numbers decide which of two headers is the newer.
"""

from collections.abc import Mapping
from typing import NamedTuple

from server.totals import Levels, UnknownRange
from server.totals_fields import by_number
from shm import AllTime

FORMAT = 2
"""Raised with every change of the bytes in `server/totals_fields.py`. A program of another format takes the line for no
header, so it refuses summaries instead of misreading this member. Version 0.1.0 wrote no format."""

RETIRED = 2
"""A goodbye that `server/retire.py` said in a member's place."""

Version = tuple[int, int, int]
"""Epoch, life and flush: what decides which of two headers of a member is the newer."""


class Header(NamedTuple):
    """What a member says of itself with every flush.

    Args:
        epoch: number of the last purge it knows.
        life: how many dispatchers have started on its journal.
        flush: number of this flush within the life.
        position: the hash has everything below this journal position.
        exact_from_ms, minutes_from, detail_from_s, first_minute, latest_minute: as in `server.totals.Levels`.
        default_payments, default_cents, fallback_payments, fallback_cents: all-time totals.
        unknown_payments, unknown_least_ms, unknown_greatest_ms: as in `server.totals.UnknownRange`.
        is_whole: 0 while more changed fields are to follow in further flushes: until then none of them can be used.
        said_goodbye: 1 after an orderly stop: then its silence is no reason for doubt; `RETIRED` if it won't be back.
    """

    epoch: int
    life: int
    flush: int
    position: int
    exact_from_ms: int
    minutes_from: int
    detail_from_s: int
    first_minute: int
    latest_minute: int
    default_payments: int
    default_cents: int
    fallback_payments: int
    fallback_cents: int
    unknown_payments: int
    unknown_least_ms: int
    unknown_greatest_ms: int
    is_whole: int
    said_goodbye: int

    @property
    def all_time(self) -> AllTime:
        """The four all-time totals as one."""
        return self.default_payments, self.default_cents, self.fallback_payments, self.fallback_cents

    @property
    def unknowns(self) -> UnknownRange:
        """Payments whose outcome is unknown."""
        return UnknownRange(self.unknown_payments, self.unknown_least_ms, self.unknown_greatest_ms)

    @classmethod
    def of(
        cls,
        levels: Levels,
        *,
        epoch: int,
        life: int,
        flush: int,
        position: int,
        is_whole: bool,
        said_goodbye: bool,
    ) -> "Header":
        """The header of a flush that brings the hash to these levels; the other arguments are the header's fields."""
        return cls(
            epoch,
            life,
            flush,
            position,
            levels.exact_from_ms,
            levels.minutes_from,
            levels.detail_from_s,
            levels.first_minute,
            levels.latest_minute,
            *levels.all_time,
            *levels.unknowns,
            int(is_whole),
            int(said_goodbye),
        )

    def levels(self, fields: Mapping[bytes, bytes]) -> Levels:
        """The levels of the member that sent this header, with the given ones of its fields, by name; fields that are
        neither a minute nor detail are left out.
        """
        minutes, details = by_number(fields)
        return Levels(
            all_time=self.all_time,
            minutes=minutes,
            details=details,
            exact_from_ms=self.exact_from_ms,
            minutes_from=self.minutes_from,
            detail_from_s=self.detail_from_s,
            first_minute=self.first_minute,
            latest_minute=self.latest_minute,
            unknowns=self.unknowns,
        )

    def to_text(self) -> str:
        """The header as it stands in the hash."""
        return " ".join(map(str, (*self, FORMAT)))

    @classmethod
    def from_text(cls, text: str) -> "Header":
        """The reverse of `to_text`.

        Raises:
            ValueError: not a header, or one of another format.
        """
        *numbers, written_in = [int(word) for word in text.split(" ")]
        if len(numbers) != len(cls._fields):
            raise ValueError(f"a header has {len(cls._fields)} numbers and a format, not {len(numbers) + 1} numbers")
        if written_in != FORMAT:
            raise ValueError(f"the format is {FORMAT} here, not {written_in}")
        return cls(*numbers)

    @property
    def version(self) -> Version:
        """Epoch, life and flush: the greater of two versions is the newer."""
        return self.epoch, self.life, self.flush

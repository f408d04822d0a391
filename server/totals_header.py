"""A member's header in the Redis hash: text both ways, pure.

One line of whole numbers separated by spaces, so that scripts can read it, and people with redis-cli: what
`NUMBER_NAMES` says, in that order, and last the number of the format in which the member's other fields are written.
The first three numbers decide which of two headers is the newer.
"""

from collections.abc import Mapping
from typing import NamedTuple

from server.totals import Levels, Reach, UnknownRange
from server.totals_fields import by_number
from shm import AllTime

FORMAT = 2
"""Raised with every change of the bytes in `server/totals_fields.py`. A program of another format takes the line for no
header, so it refuses summaries instead of misreading this member. Version 0.1.0 wrote no format."""

RETIRED = 2
"""A goodbye that `server/retire.py` said in a member's place."""


class Version(NamedTuple):
    """What decides which of two headers of a member is the newer: the greater version.

    Args:
        epoch: number of the last purge that the member knows.
        life: how many dispatchers have started on its journal.
        flush: number of this flush within the life.
    """

    epoch: int
    life: int
    flush: int


NUMBER_NAMES = (
    *Version._fields,
    "position",
    *Reach._fields,
    *("default_payments", "default_cents", "fallback_payments", "fallback_cents"),
    *("unknown_payments", "unknown_least_ms", "unknown_greatest_ms"),
    *("is_whole", "said_goodbye"),
)
"""What the numbers of a header's text are, without the format."""


class Header(NamedTuple):
    """What a member says of itself with every flush.

    Args:
        version: of this flush.
        position: the hash has everything below this journal position.
        reach: how far back each level reaches.
        all_time: everything since the last purge.
        unknowns: payments whose outcome is unknown.
        is_whole: 0 while more changed fields are to follow in further flushes: until then none of them can be used.
        said_goodbye: 1 after an orderly stop: then its silence is no reason for doubt; `RETIRED` if it won't be back.
    """

    version: Version
    position: int
    reach: Reach
    all_time: AllTime
    unknowns: UnknownRange
    is_whole: int
    said_goodbye: int

    def levels(self, fields: Mapping[bytes, bytes]) -> Levels:
        """The levels of the member that sent this header, with the given ones of its fields, by name; fields that are
        neither a minute nor detail are left out.
        """
        minutes, details = by_number(fields)
        return Levels(self.all_time, minutes, details, self.reach, self.unknowns)

    def to_text(self) -> str:
        """The header as it stands in the hash."""
        version, position, reach, all_time, unknowns, *flags = self
        numbers = (*version, position, *reach, *all_time, *unknowns, *map(int, flags), FORMAT)
        return " ".join(map(str, numbers))

    @classmethod
    def from_text(cls, text: str) -> "Header":
        """The reverse of `to_text`.

        Raises:
            ValueError: not a header, or one of another format.
        """
        *numbers, written_in = [int(word) for word in text.split(" ")]
        if len(numbers) != len(NUMBER_NAMES):
            raise ValueError(f"a header has {len(NUMBER_NAMES)} numbers and a format, not {len(numbers) + 1} numbers")
        if written_in != FORMAT:
            raise ValueError(f"the format is {FORMAT} here, not {written_in}")
        default_payments, default_cents, fallback_payments, fallback_cents = numbers[9:13]
        return cls(
            Version(*numbers[:3]),
            numbers[3],
            Reach(*numbers[4:9]),
            (default_payments, default_cents, fallback_payments, fallback_cents),
            UnknownRange(*numbers[13:16]),
            *numbers[16:],
        )

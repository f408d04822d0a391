"""The fields that a member's totals are made of: their names, their bytes, and what they add up to. Pure.

What they are for is said in `server/totals.py`. The same bytes are in a dispatcher's memory and in the Redis hash.

```text
minute   name    m<minutes since 1970>
         bytes   2 totals of the minute, default then fallback; then its 60 seconds: 2 totals each, default then
                 fallback, or only 1 each if only one processor has payments in that minute
         total   payments u32, amount in cents u64                                          12 bytes
detail   name    s<seconds since 1970>
         bytes   one cell per millisecond and processor, in order of arrival
         cell    millisecond within the second u16, processor u8, 1 unused, payments u32, amount in cents u64   16 bytes
```
"""

import re
import struct
from collections.abc import Mapping

SECOND_MS = 1000
MINUTE_S = 60
MINUTE_MS = SECOND_MS * MINUTE_S
PROCESSORS = 2

TOTAL = struct.Struct("<IQ")
MINUTE_TOTALS_LENGTH = TOTAL.size * PROCESSORS  # the totals of the whole minute, at the field's beginning
MINUTE_LENGTH = TOTAL.size * PROCESSORS * (1 + MINUTE_S)
LONE_MINUTE_LENGTH = TOTAL.size * (PROCESSORS + MINUTE_S)  # of a minute with payments at one processor
CELL = struct.Struct("<HBxIQ")
_BOTH_TOTALS = struct.Struct("<IQIQ")  # of a minute, or of a second where each has two totals

# As they are written here: another spelling would stand for the same number, and int() does not read any length.
_is_name = re.compile(rb"[ms](?:0|[1-9][0-9]{0,15})").fullmatch

Field = bytes | bytearray


def minute_name(minute: int) -> str:
    """The name of a minute's field, after the member's."""
    return f"m{minute}"


def second_name(second: int) -> str:
    """The name of a second's detail, after the member's."""
    return f"s{second}"


def by_number(fields: Mapping[bytes, bytes]) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """Sorts a member's fields, given by name, into minutes and details, by number; others are left out, also those
    that another program has put there.
    """
    minutes: dict[int, bytes] = {}
    details: dict[int, bytes] = {}
    for name, value in fields.items():
        if _is_name(name):
            (minutes if name[:1] == b"m" else details)[int(name[1:])] = value
    return minutes, details


def are_whole(minutes: Mapping[int, Field], details: Mapping[int, Field], *, may_be_cut: bool = False) -> bool:
    """Whether all of these have a length that a field of their kind has: not if another program has written one.

    Args:
        minutes: fields of minutes.
        details: of seconds.
        may_be_cut: whether a minute's field may end after the totals of the whole minute.
    """
    lengths = {MINUTE_LENGTH, LONE_MINUTE_LENGTH, *((MINUTE_TOTALS_LENGTH,) if may_be_cut else ())}
    return all(len(field) in lengths for field in minutes.values()) and all(
        len(field) % CELL.size == 0 for field in details.values()
    )


def add_to_minute(field: bytearray, within: int, processor: int, amount_cents: int) -> bytearray:
    """Adds a payment of the minute's second `within` to its field; returns that, or a wider one to take its place."""
    is_lone = len(field) == LONE_MINUTE_LENGTH
    if is_lone and TOTAL.unpack_from(field, (1 - processor) * TOTAL.size)[0]:
        field = widened_minute(field)
        is_lone = False
    second = PROCESSORS + within if is_lone else PROCESSORS * (1 + within) + processor
    for offset in (processor * TOTAL.size, second * TOTAL.size):
        payments, cents = TOTAL.unpack_from(field, offset)
        TOTAL.pack_into(field, offset, payments + 1, cents + amount_cents)
    return field


def widened_minute(field: bytearray) -> bytearray:
    """A copy of a minute's field, one total per second, as a field with two per second."""
    of_seconds = (_BOTH_TOTALS.pack(*seconds_totals(field, within, within + 1)) for within in range(MINUTE_S))
    return field[: _BOTH_TOTALS.size] + b"".join(of_seconds)


def minute_totals(field: Field) -> tuple[int, ...]:
    """Payments and cents at default, then at fallback, of a whole minute; the field may be cut after these totals."""
    return _BOTH_TOTALS.unpack_from(field)


def seconds_totals(field: Field, first: int, last: int) -> list[int]:
    """Payments and cents at default, then at fallback, of a minute's seconds from `first` to before `last`.

    If there are no seconds from the one to the other, fewer numbers, all zero.
    """
    if len(field) == MINUTE_LENGTH:
        return _sums(_BOTH_TOTALS, field, 1 + first, 1 + last)
    of_one = _sums(TOTAL, field, PROCESSORS + first, PROCESSORS + last)
    of_minute_at_default, _ = TOTAL.unpack_from(field)
    return [*of_one, 0, 0] if of_minute_at_default else [0, 0, *of_one]


def _sums(entry: struct.Struct, field: Field, first: int, last: int) -> list[int]:
    """Adds up a field's entries from `first` to before `last`, number by number; empty if there are no entries."""
    return [*map(sum, zip(*entry.iter_unpack(field[entry.size * first : entry.size * last]), strict=True))]


def detail_totals(field: Field, low_ms: int, high_ms: int) -> list[int]:
    """Payments and cents at default, then at fallback, of one second, from its ms `low_ms` to `high_ms` inclusive."""
    totals = [0, 0, 0, 0]
    for millisecond, processor, count, amount_cents in CELL.iter_unpack(field):
        if low_ms <= millisecond <= high_ms:
            totals[2 * processor] += count
            totals[2 * processor + 1] += amount_cents
    return totals


def cell_offsets(field: Field) -> dict[int, int]:
    """The offset of each cell in a second's detail, by its key: millisecond x 2 + processor."""
    cells = enumerate(CELL.iter_unpack(field))
    return {millisecond * PROCESSORS + processor: index * CELL.size for index, (millisecond, processor, _, _) in cells}

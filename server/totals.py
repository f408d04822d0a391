"""Totals over a time window: pure, in integer cents and integer milliseconds.

A *member* (one dispatcher of one instance) keeps its settled payments at three levels, each coarser and kept longer:

| level | one entry per | kept |
| --- | --- | --- |
| detail | millisecond and processor, in a field per second | the last `DETAIL_BYTES_MAX` bytes |
| minutes | second and processor, in a field per minute | the last `MINUTES_MAX` minutes |
| all time | processor | since the last purge |

A window is counted from the coarsest level that fits: whole minutes, whole seconds, and detail only for the second
that an end of the window cuts through. Its cost does not grow with the payments ever made.

```text
minute field    2 totals of the minute, then 60 x 2 totals of its seconds, each default then fallback
a total         payments u32, amount in cents u64                                          12 bytes
detail field    one cell per millisecond and processor, in order of arrival
a cell          millisecond within the second u16, processor u8, 1 unused, payments u32, amount in cents u64    16 bytes
```
"""

import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

SECOND_MS = 1000
MINUTE_S = 60
MINUTE_MS = SECOND_MS * MINUTE_S
PROCESSORS = 2

TOTAL = struct.Struct("<IQ")
MINUTE_LENGTH = TOTAL.size * PROCESSORS * (1 + MINUTE_S)
CELL = struct.Struct("<HBxIQ")
_SECOND_TOTALS = struct.Struct("<IQIQ")  # a second's two totals, or a minute's


class Total(NamedTuple):
    """Payments settled at one processor: how many, and their sum in cents."""

    payments: int
    amount_cents: int


class Summary(NamedTuple):
    """The answer to one window, over all instances.

    Args:
        default: settled at the default processor.
        fallback: settled at the fallback processor.
        unknown: payments whose outcome is unknown and whose requestedAt lies in the window.
        resolution: None when exact to the millisecond, else a sentence on what the window was widened to.
    """

    default: Total
    fallback: Total
    unknown: int = 0
    resolution: str | None = None


class Unknowns(NamedTuple):
    """Payments of one member whose outcome is unknown: how many, with their least and greatest requestedAt."""

    payments: int
    least_ms: int
    greatest_ms: int


class Levels(NamedTuple):
    """What one member has: the fields of its levels (at least those a window touches) and where each level begins.

    Args:
        all_time: payments and cents at default, then at fallback.
        minutes: minute number (ms UTC // 60,000) to its field. One that is missing is zero.
        details: second number (ms UTC // 1,000) to its field. One that is missing is zero.
        exact_from_ms: what was settled with an earlier requestedAt is known only in `all_time`; 0: nothing.
        minutes_from: first minute that is kept; earlier ones are known only in `all_time`.
        detail_from_s: first second whose detail is kept whole.
        first_minute, latest_minute: no minute before the one or after the other has a field.
        unknowns: payments whose outcome is unknown.
    """

    all_time: tuple[int, int, int, int]
    minutes: Mapping[int, bytes | bytearray]
    details: Mapping[int, bytes | bytearray]
    exact_from_ms: int
    minutes_from: int
    detail_from_s: int
    first_minute: int
    latest_minute: int
    unknowns: Unknowns


class Touched(NamedTuple):
    """The fields that a window touches.

    Args:
        first_minute: first minute needed.
        last_minute: last minute needed, None for all that come.
        seconds: the seconds that an end of the window cuts through.
    """

    first_minute: int
    last_minute: int | None
    seconds: tuple[int, ...]


def touched(from_ms: int | None, to_ms: int | None) -> Touched | None:
    """Which fields the window [from_ms, to_ms] needs; None if the all-time totals are enough."""
    if from_ms is None and to_ms is None:
        return None
    start_ms, end_ms = _counted_span(from_ms, to_ms)
    cut = []
    if start_ms % SECOND_MS:
        cut.append(start_ms // SECOND_MS)
    if end_ms is not None and (end_ms + 1) % SECOND_MS:
        cut.append(end_ms // SECOND_MS)
    return Touched(start_ms // MINUTE_MS, None if end_ms is None else end_ms // MINUTE_MS, tuple(dict.fromkeys(cut)))


def _counted_span(from_ms: int | None, to_ms: int | None) -> tuple[int, int | None]:
    """The span that is really counted: a window without `from` is all time less what lies after `to`."""
    if from_ms is not None:
        return max(from_ms, 0), to_ms
    return max((to_ms or 0) + 1, 0), None


def count_window(members: Iterable[Levels], from_ms: int | None, to_ms: int | None) -> Summary | str:
    """The summary of a window over all members, or a sentence on why it can't be exact.

    Args:
        members: everyone whose settlements count.
        from_ms: first requestedAt included, ms UTC; None for the beginning of time.
        to_ms: last requestedAt included, ms UTC; None for the end of time.
    """
    totals = [0, 0, 0, 0]
    unknown = 0
    widened_ms = 0
    empty = from_ms is not None and to_ms is not None and (from_ms > to_ms or to_ms < 0)
    for member in members:
        if empty:
            continue
        unknown += _unknown_within(member.unknowns, from_ms, to_ms)
        if from_ms is None and to_ms is None:
            _add(totals, member.all_time, 1)
            continue
        start_ms, end_ms = _counted_span(from_ms, to_ms)
        if start_ms < member.exact_from_ms:
            return f"windows that begin before {member.exact_from_ms} ms UTC can no longer be counted exactly"
        counted, widened = _count_span(member, start_ms, end_ms)
        widened_ms = max(widened_ms, widened)
        if from_ms is None:
            _add(totals, member.all_time, 1)
            _add(totals, counted, -1)
        else:
            _add(totals, counted, 1)
    resolution = None
    if widened_ms:
        resolution = f"before {widened_ms} ms UTC payments are kept by the second; the window was widened to whole ones"
    return Summary(Total(totals[0], totals[1]), Total(totals[2], totals[3]), unknown, resolution)


def reaches_forgotten(members: Iterable[Levels], from_ms: int | None) -> str | None:
    """A sentence for a window that begins before minutes that are no longer kept; None if it does not.

    What they held is still in the all-time totals, so such a window is counted as one without a beginning.
    """
    kept_from_ms = max((member.minutes_from * MINUTE_MS for member in members), default=0)
    if from_ms is None or from_ms >= kept_from_ms:
        return None
    return f"payments before {kept_from_ms} ms UTC are kept as one sum; the window was widened to all of them"


def _add(totals: list[int], more: Iterable[int], sign: int) -> None:
    for index, number in enumerate(more):
        totals[index] += sign * number


def _unknown_within(unknowns: Unknowns, from_ms: int | None, to_ms: int | None) -> int:
    """How many of the unknown may lie in the window: all of them once their range meets it."""
    if not unknowns.payments:
        return 0
    before = to_ms is not None and unknowns.least_ms > to_ms
    after = from_ms is not None and unknowns.greatest_ms < from_ms
    return 0 if before or after else unknowns.payments


def _count_span(member: Levels, start_ms: int, end_ms: int | None) -> tuple[list[int], int]:
    """What a member settled from start_ms to end_ms, and up to when only coarser levels were left (0: nowhere)."""
    totals = [0, 0, 0, 0]
    widened_ms = 0
    last_minute = member.latest_minute
    if end_ms is not None:
        last_minute = min(last_minute, end_ms // MINUTE_MS)
    for minute in range(max(start_ms // MINUTE_MS, member.first_minute), last_minute + 1):
        field = member.minutes.get(minute)
        if field is None:
            continue
        low_ms = max(start_ms - minute * MINUTE_MS, 0)
        high_ms = MINUTE_MS - 1 if end_ms is None else min(end_ms - minute * MINUTE_MS, MINUTE_MS - 1)
        if low_ms == 0 and high_ms == MINUTE_MS - 1:
            _add(totals, _SECOND_TOTALS.unpack_from(field), 1)
        else:
            widened_ms = max(widened_ms, _count_minute(member, totals, minute, low_ms, high_ms))
    return totals, widened_ms


def _count_minute(member: Levels, totals: list[int], minute: int, low_ms: int, high_ms: int) -> int:
    """Adds the part of a minute from low_ms to high_ms within it; returns up to when it had to be widened, or 0."""
    widened_ms = 0
    field = member.minutes[minute]
    for within in range(low_ms // SECOND_MS, high_ms // SECOND_MS + 1):
        low = max(low_ms - within * SECOND_MS, 0)
        high = min(high_ms - within * SECOND_MS, SECOND_MS - 1)
        second = minute * MINUTE_S + within
        whole = low == 0 and high == SECOND_MS - 1
        if whole or second < member.detail_from_s:
            _add(totals, _SECOND_TOTALS.unpack_from(field, _SECOND_TOTALS.size * (1 + within)), 1)
            if not whole:
                widened_ms = (second + 1) * SECOND_MS
        else:
            _count_second(totals, member.details.get(second, b""), low, high)
    return widened_ms


def _count_second(totals: list[int], field: bytes | bytearray, low_ms: int, high_ms: int) -> None:
    for millisecond, processor, count, amount_cents in CELL.iter_unpack(field):
        if low_ms <= millisecond <= high_ms:
            totals[2 * processor] += count
            totals[2 * processor + 1] += amount_cents

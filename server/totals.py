"""Totals over a time window: pure, in integer cents and integer milliseconds.

A *member* (one dispatcher of one instance) keeps its settled payments at three levels, each coarser and kept longer:

| level | one entry per | kept |
| --- | --- | --- |
| detail | millisecond and processor, in a field per second | the last `DETAIL_BYTES_MAX` bytes |
| minutes | second and processor, in a field per minute | the last `MINUTES_MAX` minutes |
| all time | processor | since the last purge |

Each part of a window is counted at the coarsest level that fits: whole minutes, whole seconds, and detail only for the
seconds that an end of the window cuts through. The cost does not grow with the number of payments ever made.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from server.errors import TotalsUnavailable
from server.notation import format_instant_ms
from server.totals_fields import (
    MINUTE_MS,
    MINUTE_S,
    SECOND_MS,
    Field,
    detail_totals,
    minute_totals,
    seconds_totals,
)
from shm import AllTime, Counters, DispatcherCount

PURGE_WITHIN_S = 3.0  # six beats: every dispatcher that lives has heard of a purge by then
PURGE_POLL_S = 0.05  # between two looks at who has taken it up


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

    def widened(self, why: str | None) -> "Summary":
        """This answer with the sentence `why`, if any, on how its window was widened before it was counted."""
        return self._replace(resolution=" ".join(filter(None, (why, self.resolution))) or None)


class UnknownRange(NamedTuple):
    """Payments of one member whose outcome is unknown: how many, with their least and greatest requestedAt."""

    payments: int
    least_ms: int
    greatest_ms: int

    @classmethod
    def of(cls, row: Counters) -> "UnknownRange":
        """Those of a dispatcher, as its row tells them."""
        return cls(
            row.get(DispatcherCount.UNKNOWN),
            row.get(DispatcherCount.UNKNOWN_LEAST_MS),
            row.get(DispatcherCount.UNKNOWN_GREATEST_MS),
        )


class Reach(NamedTuple):
    """How far back each level of one member reaches.

    Args:
        exact_from_ms: payments with an earlier requestedAt count in all time only; 0: there are none.
        minutes_from: first minute that is kept; earlier ones are known only in all time.
        detail_from_s: first second whose detail is kept whole.
        first_minute, latest_minute: no minute before the one or after the other has a field.
    """

    exact_from_ms: int
    minutes_from: int
    detail_from_s: int
    first_minute: int
    latest_minute: int


class Levels(NamedTuple):
    """What one member has: the fields of its levels, at least those that a window touches.

    Args:
        all_time: everything since the last purge.
        minutes: minute number (ms UTC // 60,000) to its field. A missing one is zero.
        details: second number (ms UTC // 1,000) to its field. A missing one is zero.
        reach: how far back each level reaches.
        unknowns: payments whose outcome is unknown.
    """

    all_time: AllTime
    minutes: Mapping[int, Field]
    details: Mapping[int, Field]
    reach: Reach
    unknowns: UnknownRange


class Window(NamedTuple):
    """Both ends of a window in milliseconds since 1970 UTC, both included; None: open at that end.

    Instants before 1970 are negative. `from_ms` > `to_ms` is an empty window.
    """

    from_ms: int | None = None
    to_ms: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no requestedAt can lie in it; none is before 1970."""
        return self.to_ms is not None and self.to_ms < max(self.from_ms or 0, 0)

    def span(self) -> tuple[int, int | None]:
        """The span that is really counted, with None for no end. A window without `from` is all time less what lies
        after `to`, so for that the span is what lies after `to`.
        """
        if self.from_ms is not None:
            return max(self.from_ms, 0), self.to_ms
        return max((self.to_ms or 0) + 1, 0), None


ALL_TIME = Window()  # without ends


class Touched(NamedTuple):
    """The fields that a window touches.

    Args:
        first_minute: first minute needed.
        last_minute: last minute needed; None: all from the first on.
        cut_minutes: the minutes that an end of the window cuts through; of others the whole minute's totals are enough.
        seconds: the seconds that an end of the window cuts through.
    """

    first_minute: int
    last_minute: int | None
    cut_minutes: tuple[int, ...]
    seconds: tuple[int, ...]


def touched(window: Window) -> Touched | None:
    """Which fields a window needs; None if the all-time totals are enough."""
    if window == ALL_TIME:
        return None
    start_ms, end_ms = window.span()
    last_minute = None if end_ms is None else end_ms // MINUTE_MS
    cut_minutes, cut_seconds = _cut_units(start_ms, end_ms, MINUTE_MS), _cut_units(start_ms, end_ms, SECOND_MS)
    return Touched(start_ms // MINUTE_MS, last_minute, cut_minutes, cut_seconds)


def _cut_units(start_ms: int, end_ms: int | None, unit_ms: int) -> tuple[int, ...]:
    """The numbers of the units (minutes or seconds) that an end of a span cuts through."""
    cut = []
    if start_ms % unit_ms:
        cut.append(start_ms // unit_ms)
    if end_ms is not None and (end_ms + 1) % unit_ms:
        cut.append(end_ms // unit_ms)
    return tuple(dict.fromkeys(cut))


def count_window(members: Sequence[Levels], window: Window) -> Summary:
    """The summary of a window over all members.

    Args:
        members: the levels of all whose settlements count.
        window: as `counted_from` gives it.

    Raises:
        TotalsUnavailable: an end of the window lies before the time from which on totals are exact.
    """
    if window.is_empty:
        return Summary(Total(0, 0), Total(0, 0))
    window, resolution = _widened(members, window)
    totals = [0, 0, 0, 0]
    for member in members:
        if window.from_ms is None:
            _add(totals, member.all_time, 1)
        if window == ALL_TIME:
            continue
        start_ms, end_ms = window.span()
        if start_ms < member.reach.exact_from_ms:
            since = format_instant_ms(member.reach.exact_from_ms)
            raise TotalsUnavailable(f"an end of the window lies before {since}, from when on totals are exact")
        _add(totals, _count_span(member, start_ms, end_ms), -1 if window.from_ms is None else 1)
    unknown = sum(_unknown_within(member.unknowns, window) for member in members)
    return Summary(Total(totals[0], totals[1]), Total(totals[2], totals[3]), unknown, resolution)


def counted_from(members: Iterable[Levels], window: Window) -> tuple[Window, str | None]:
    """A window with the `from` with which it is to be counted, and a sentence if that is not its own.

    Payments of minutes that are no longer kept are still in the all-time totals. So a window that begins before the
    minutes that are kept is counted from the beginning of time (None).
    """
    kept_from_ms = _kept_from_ms(members)
    if window.from_ms is None or max(window.from_ms, 0) >= kept_from_ms or window.is_empty:
        return window, None
    return window._replace(from_ms=None), _forgotten(kept_from_ms)


def _kept_from_ms(members: Iterable[Levels]) -> int:
    return max((member.reach.minutes_from * MINUTE_MS for member in members), default=0)


def _forgotten(kept_from_ms: int) -> str:
    return f"payments before {format_instant_ms(kept_from_ms)} are kept as one sum; the window was widened to them all"


def _widened(members: Iterable[Levels], window: Window) -> tuple[Window, str | None]:
    """The window that all members' levels can answer, and a sentence if it is a wider one.

    It is the same for all members, also for those that have dropped less: so the answer can name the window of its sum.
    """
    resolution = None
    from_ms, to_ms = window
    kept_from_ms = _kept_from_ms(members)
    if from_ms is None and to_ms is not None and to_ms + 1 < kept_from_ms:
        to_ms = kept_from_ms - 1
        resolution = _forgotten(kept_from_ms)
    detail_from_ms = max((member.reach.detail_from_s * SECOND_MS for member in members), default=0)
    start_ms, end_ms = from_ms, to_ms
    if start_ms is not None and 0 < start_ms < detail_from_ms:
        start_ms -= start_ms % SECOND_MS
    if end_ms is not None and end_ms < detail_from_ms:
        end_ms += SECOND_MS - 1 - end_ms % SECOND_MS
    if (start_ms, end_ms) != (from_ms, to_ms):
        detail_from = format_instant_ms(detail_from_ms)
        resolution = f"before {detail_from} payments are kept by the second; the window was widened to whole ones"
    return Window(start_ms, end_ms), resolution


def _add(totals: list[int], more: Iterable[int], sign: int) -> None:
    for index, number in enumerate(more):
        totals[index] += sign * number


def covering(one: UnknownRange, other: UnknownRange) -> UnknownRange:
    """A range that covers two readings: the greater number of payments, from the least to the greatest of both."""
    if not one.payments or not other.payments:
        return max(one, other)
    return UnknownRange(
        max(one.payments, other.payments),
        min(one.least_ms, other.least_ms),
        max(one.greatest_ms, other.greatest_ms),
    )


def _unknown_within(unknowns: UnknownRange, window: Window) -> int:
    """How many of a member's unknown payments may lie in the window: all of them if their range meets it, else none."""
    before = window.to_ms is not None and unknowns.least_ms > window.to_ms
    after = window.from_ms is not None and unknowns.greatest_ms < window.from_ms
    return 0 if before or after else unknowns.payments


def _count_span(member: Levels, start_ms: int, end_ms: int | None) -> list[int]:
    """What a member settled from start_ms to end_ms inclusive; None: without an end."""
    totals = [0, 0, 0, 0]
    first_minute, last_minute = max(start_ms // MINUTE_MS, member.reach.first_minute), member.reach.latest_minute
    if end_ms is not None:
        last_minute = min(last_minute, end_ms // MINUTE_MS)
    for minute in range(first_minute, last_minute + 1):
        if (field := member.minutes.get(minute)) is None:
            continue
        low_ms = max(start_ms - minute * MINUTE_MS, 0)
        high_ms = MINUTE_MS - 1 if end_ms is None else min(end_ms - minute * MINUTE_MS, MINUTE_MS - 1)
        if low_ms == 0 and high_ms == MINUTE_MS - 1:
            _add(totals, minute_totals(field), 1)
        else:
            _count_minute(member, totals, minute, low_ms, high_ms)
    return totals


def _count_minute(member: Levels, totals: list[int], minute: int, low_ms: int, high_ms: int) -> None:
    """Adds to `totals` a part of a minute: from its ms `low_ms` to `high_ms` inclusive."""
    first, last = -(-low_ms // SECOND_MS), (high_ms + 1) // SECOND_MS  # seconds that are whole, `last` not included
    _add(totals, seconds_totals(member.minutes[minute], first, last), 1)
    for within in {low_ms // SECOND_MS, high_ms // SECOND_MS}.difference(range(first, last)):
        detail, begin_ms = member.details.get(minute * MINUTE_S + within, b""), within * SECOND_MS
        _add(totals, detail_totals(detail, low_ms - begin_ms, high_ms - begin_ms), 1)

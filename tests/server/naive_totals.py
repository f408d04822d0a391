"""Totals the plain way: every settlement in a list that is looked through from end to end. The truth for comparison.

Beside it, settlements and windows for Hypothesis, gathered where counting goes wrong: around whole seconds and
minutes, and at the beginning of time.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest
from hypothesis import strategies as st

from server import ledger
from server.errors import TotalsUnavailable
from server.ledger import Ledger
from server.totals import ALL_TIME, Levels, Summary, Total, UnknownRange, Window, count_window, counted_from, touched
from server.totals_fields import MINUTE_MS, MINUTE_TOTALS_LENGTH
from shm import AllTime

SPAN_MS = 4 * MINUTE_MS  # how far from the origin settlements may be
ORIGINS_MS = (0, 29_209_714 * MINUTE_MS)
"""The beginning of time, and 2025-07-15T12:34Z."""

NO_UNKNOWNS = UnknownRange(0, 0, 0)


class Settled(NamedTuple):
    """A settled payment.

    Args:
        processor: 0 default, 1 fallback.
        requested_at_ms: ms UTC.
        amount_cents: in cents.
    """

    processor: int
    requested_at_ms: int
    amount_cents: int


_AROUND_EDGES = [second * 1000 + ms for second in (0, 1, 2, 59, 60, 61, 119, 120, 180) for ms in (-1, 0, 1, 500, 999)]
offsets_ms = st.sampled_from([ms for ms in _AROUND_EDGES if ms >= 0]) | st.integers(0, SPAN_MS)
window_offsets_ms = st.none() | st.sampled_from(_AROUND_EDGES) | st.integers(-10, SPAN_MS + 10)


def settlements(origin_ms: int) -> st.SearchStrategy[Settled]:
    """Payments settled in the four minutes from `origin_ms` on."""
    return st.builds(
        Settled, st.integers(0, 1), offsets_ms.map(lambda offset_ms: origin_ms + offset_ms), st.integers(1, 2**40)
    )


def windows(origin_ms: int) -> st.SearchStrategy[Window]:
    """Windows around the same minutes, empty ones and open ones too."""
    ends = window_offsets_ms.map(lambda offset_ms: None if offset_ms is None else origin_ms + offset_ms)
    return st.builds(Window, ends, ends)


def count(settled: Iterable[Settled], window: tuple[int | None, int | None] = ALL_TIME) -> tuple[Total, Total]:
    """What was settled in a window at default and at fallback."""
    from_ms, to_ms = window
    within = [
        one
        for one in settled
        if (from_ms is None or from_ms <= one.requested_at_ms) and (to_ms is None or one.requested_at_ms <= to_ms)
    ]
    amounts = [[one.amount_cents for one in within if one.processor == processor] for processor in (0, 1)]
    return Total(len(amounts[0]), sum(amounts[0])), Total(len(amounts[1]), sum(amounts[1]))


def all_time(settled: Iterable[Settled]) -> AllTime:
    """The same of all there are, as a ledger has it."""
    default, fallback = count(settled)
    return (*default, *fallback)


def ledger_of(settled: Iterable[Settled], folded: Iterable[Settled] = ()) -> Ledger:
    """A ledger of payments told one by one, after others that were folded before it could be told."""
    folded = list(folded)
    exact_from_ms = max((one.requested_at_ms + 1 for one in folded), default=0)
    made = Ledger(all_time(folded), exact_from_ms)
    for one in settled:
        made.add(*one)
    return made


@contextmanager
def small_ledgers(*, detail_bytes: int = 1 << 20, minutes: int = 2880, cell_seconds: int = 32) -> Iterator[None]:
    """Bounds that a few payments reach, for the ledgers made within."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "DETAIL_BYTES_MAX", detail_bytes)
        patch.setattr(ledger, "FIELD_OVERHEAD_BYTES", 0)  # so that the bound is so many cells
        patch.setattr(ledger, "MINUTES_MAX", minutes)
        patch.setattr(ledger, "CELL_SECONDS_MAX", cell_seconds)
        yield


def ask(members: list[Levels], window: Window) -> Summary | str:
    """The answer to a window, or why there is none. Of each member no more is fetched than the window touches."""
    fetched = [fetch(member, window) for member in members]
    counted, resolution = counted_from(fetched, window)
    if counted != window:
        fetched = [fetch(member, counted) for member in members]
    try:
        return count_window(fetched, counted).widened(resolution)
    except TotalsUnavailable as error:
        return str(error)


def fetch(member: Levels, window: Window) -> Levels:
    """What a reader of the hash gets of a member: the fields that a window touches, and no others."""
    needed = touched(window)
    if needed is None:
        return member._replace(minutes={}, details={})
    last = member.reach.latest_minute if needed.last_minute is None else needed.last_minute
    minutes = {
        minute: field if minute in needed.cut_minutes else field[:MINUTE_TOTALS_LENGTH]
        for minute, field in member.minutes.items()
        if needed.first_minute <= minute <= last
    }
    details = {second: field for second, field in member.details.items() if second in needed.seconds}
    return member._replace(minutes=minutes, details=details)

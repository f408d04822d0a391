"""The rows a processor has stored, and their totals over any window. Pure; exact integers throughout.

Totals are kept per second, so that a window costs one addition per second of the test and a look at the rows of its two
edge seconds, however many payments there are.
"""

from collections.abc import Iterator
from enum import Enum, unique
from typing import NamedTuple

from tools.processor.wire import US_PER_S, Payment

ROWS_MAX = 3_000_000
"""Thirty of the contest's final tests, or an hour of `bench soak` and what fills it; 0.9 GB (290 bytes a row)."""

Row = tuple[int, int]
"""(requested_at_us, amount_cents). A plain tuple: the garbage collector stops tracking it, unlike a NamedTuple."""


@unique
class Storing(Enum):
    """Whether a payment was stored."""

    STORED = 1
    ALREADY_HERE = 2
    FULL = 3


class Totals(NamedTuple):
    """Number and sum of payments."""

    payments: int
    cents: int


class _Second:
    """The rows requested within one second."""

    __slots__ = ("cents", "rows")

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.cents = 0


class PaymentStore:
    """Rows by id, each stored once; at most `rows_max`."""

    def __init__(self, rows_max: int = ROWS_MAX) -> None:
        self._rows_max = rows_max
        self._rows: dict[str, Row] = {}
        self._seconds: dict[int, _Second] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, payment: Payment) -> Storing:
        """Stores a payment unless its id is here already or there is no room."""
        correlation_id, amount_cents, requested_at_us = payment
        if correlation_id in self._rows:
            return Storing.ALREADY_HERE
        if len(self._rows) >= self._rows_max:
            return Storing.FULL
        row = (requested_at_us, amount_cents)
        self._rows[correlation_id] = row
        second = self._seconds.get(requested_at_us // US_PER_S)
        if second is None:
            second = self._seconds[requested_at_us // US_PER_S] = _Second()
        second.rows.append(row)
        second.cents += amount_cents
        return Storing.STORED

    def get(self, correlation_id: str) -> Row | None:
        """The row of an id in lower case, if it is here."""
        return self._rows.get(correlation_id)

    def totals(self, from_us: int | None, to_us: int | None) -> Totals:
        """The totals of `from_us <= requestedAt <= to_us`; of all if an end is missing, as in the contest's."""
        if from_us is None or to_us is None:
            return Totals(len(self._rows), sum(second.cents for second in self._seconds.values()))
        first, last = from_us // US_PER_S, to_us // US_PER_S
        count = cents = 0
        for at, second in self._seconds.items():
            if first < at < last:
                count += len(second.rows)
                cents += second.cents
            elif at in (first, last):
                inside = [amount for requested_at, amount in second.rows if from_us <= requested_at <= to_us]
                count += len(inside)
                cents += sum(inside)
        return Totals(count, cents)

    def rows(self) -> Iterator[Payment]:
        """Yields all rows in the order they were stored."""
        for correlation_id, (requested_at_us, amount_cents) in self._rows.items():
            yield Payment(correlation_id, amount_cents, requested_at_us)

    def purge(self) -> None:
        """Forgets everything."""
        self._rows.clear()
        self._seconds.clear()

"""Counts of latencies in bins whose width grows with the value, so that an hour of them takes a few kilobytes. Pure.

The idea is HdrHistogram's (Gil Tene): each power of two is split into the same number of bins. With 128 bins a
percentile is at most 0.8 % too high, and values below 256 are exact. Values are whole microseconds.
"""

from collections.abc import Iterable, Mapping

from tools.benchmark.latencies import NONE, Latency

SPLIT_BITS = 7
_SPLIT = 1 << SPLIT_BITS
_US_PER_MS = 1000


def bin_of(value: int) -> int:
    """The number of the bin that holds a value of 0 or more."""
    shift = value.bit_length() - SPLIT_BITS - 1
    return value if shift <= 0 else (shift << SPLIT_BITS) + (value >> shift)


def highest_in(number: int) -> int:
    """The greatest value that a bin holds."""
    if number < 2 * _SPLIT:
        return number
    shift = (number >> SPLIT_BITS) - 1
    return ((number - (shift << SPLIT_BITS) + 1) << shift) - 1


class Histogram:
    """Whole microseconds, counted by bin; the greatest value is exact."""

    __slots__ = ("bins", "max_us")

    def __init__(self, bins: Mapping[int, int] | None = None, max_us: int = 0) -> None:
        self.bins: dict[int, int] = dict(bins or {})
        self.max_us = max_us

    def record(self, value_us: int) -> None:
        """Counts one value."""
        number = bin_of(value_us)
        self.bins[number] = self.bins.get(number, 0) + 1
        if value_us > self.max_us:  # noqa: PLR1730 - a call of max() costs as much as all the rest
            self.max_us = value_us

    def add(self, other: "Histogram") -> None:
        """Adds the counts of another histogram."""
        for number, count in other.bins.items():
            self.bins[number] = self.bins.get(number, 0) + count
        self.max_us = max(self.max_us, other.max_us)

    @property
    def count(self) -> int:
        """How many values were counted."""
        return sum(self.bins.values())

    def quantiles_us(self, shares: Iterable[float]) -> list[int]:
        """The quantile of each share, in rising order; 0 if there are no values."""
        found: list[int] = []
        passed, numbers, count = 0, iter(sorted(self.bins)), self.count
        value_us = 0
        for share in shares:
            while passed < share * count:
                number = next(numbers)
                passed += self.bins[number]
                value_us = min(highest_in(number), self.max_us)
            found.append(value_us)
        return found

    def latency(self) -> Latency:
        """The distribution in milliseconds."""
        if not self.bins:
            return NONE
        p50, p90, p99, p999 = (each / _US_PER_MS for each in self.quantiles_us((0.5, 0.9, 0.99, 0.999)))
        return Latency(self.count, p50, p90, p99, p999, self.max_us / _US_PER_MS)


def together(histograms: Iterable[Histogram]) -> Histogram:
    """The sum of these histograms."""
    whole = Histogram()
    for each in histograms:
        whole.add(each)
    return whole

"""Tests of tools/benchmark/histogram.py."""

from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from tools.benchmark.histogram import SPLIT_BITS, Histogram, bin_of, highest_in, together
from tools.benchmark.latencies import NONE

VALUES = st.integers(0, 10**9)


class TestBins:
    """Which values are counted together."""

    @given(VALUES)
    def test_a_value_is_at_most_the_highest_of_its_bin(self, value: int) -> None:
        """And at most 0.8 % below it; the next value is in the next bin."""
        highest = highest_in(bin_of(value))
        assert value <= highest <= value + (value >> SPLIT_BITS)
        assert bin_of(highest) == bin_of(value)
        assert bin_of(highest + 1) == bin_of(value) + 1


class TestHistogram:
    """Counting."""

    @given(st.lists(VALUES, min_size=1), st.floats(0.001, 1.0))
    def test_a_quantile_is_as_high_as_the_values(self, values: list[int], share: float) -> None:
        """So many of the values are not above it, and it is at most 0.8 % too high."""
        histogram = Histogram()
        for value in values:
            histogram.record(value)
        exact = sorted(values)[ceil(share * len(values)) - 1]
        found = histogram.quantiles_us([share])[0]
        assert exact <= found <= exact + (exact >> SPLIT_BITS)

    @given(st.lists(VALUES), st.lists(VALUES))
    def test_two_together_are_one_of_both(self, some: list[int], others: list[int]) -> None:
        """Adding loses nothing."""
        apart, whole = [Histogram(), Histogram()], Histogram()
        for histogram, values in zip(apart, (some, others), strict=True):
            for value in values:
                histogram.record(value)
                whole.record(value)
        added = together(apart)
        assert (added.bins, added.max_us, added.count) == (whole.bins, whole.max_us, len(some) + len(others))

    def test_latency_is_in_milliseconds(self) -> None:
        """The greatest is exact."""
        histogram = Histogram()
        for value_us in (*range(1, 100), 123_457):
            histogram.record(value_us)
        shown = histogram.latency()
        assert (shown.count, shown.p50_ms, shown.p99_ms, shown.max_ms) == (100, 0.05, 0.099, 123.457)

    def test_nothing_counted_is_none(self) -> None:
        """As with k6's metrics."""
        assert Histogram().latency() == NONE
        assert Histogram().quantiles_us([0.5]) == [0]

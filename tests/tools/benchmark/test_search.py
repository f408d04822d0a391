"""Tests of tools/benchmark/search.py."""

from hypothesis import given
from hypothesis import strategies as st

from tools.benchmark.search import CLOSE_ENOUGH, RATE_MAX, RATE_MIN, Search

TRIES_MAX = 40


def searched(start: int, capacity: int) -> tuple[int | None, int]:
    """What is found of a gateway that sustains `capacity`, and in how many tries."""
    search = Search(start)
    tries = 0
    while not search.is_over and tries < TRIES_MAX:
        search.tell(sustained=search.rate <= capacity)
        tries += 1
    return search.best, tries


class TestSearch:
    """The highest rate."""

    @given(st.integers(1, RATE_MAX), st.integers(RATE_MIN, RATE_MAX))
    def test_finds_it(self, start: int, capacity: int) -> None:
        """From anywhere, at most 5 % (or one a second) below what is sustained, and never above it."""
        best, tries = searched(start, capacity)
        assert tries < TRIES_MAX
        assert best is not None
        assert best <= capacity
        assert capacity <= max(best * CLOSE_ENOUGH, best + 1) or best == RATE_MAX

    def test_begins_at_any_rate(self) -> None:
        """Half as much more of one a second would be the same again."""
        best, tries = searched(1, 1000)
        assert tries < TRIES_MAX
        assert best is not None
        assert best <= 1000 <= best * CLOSE_ENOUGH

    def test_gives_up_when_nothing_is_sustained(self) -> None:
        """Below the lowest rate nothing is tried."""
        assert searched(3000, 0)[0] is None

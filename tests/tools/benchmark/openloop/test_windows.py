"""Tests of tools/benchmark/openloop/windows.py."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.benchmark.openloop.windows import CLOSED_MS, KINDS, SHORT_MS_MAX, Window, draw, instant

HISTORY_MS, NOW_MS = 1_753_000_000_123, 1_753_000_600_456


class TestDraw:
    """Random windows."""

    @given(st.sampled_from(KINDS), st.integers())
    def test_is_within_what_was_paid(self, kind: str, seed: int) -> None:
        """Nothing but the future one, and the contest's at the beginning, reaches beyond."""
        window = draw(random.Random(seed), kind, HISTORY_MS, NOW_MS)
        assert window.kind == kind
        assert (window.from_ms is None) is (kind in {"all", "to"})
        assert (window.to_ms is None) is (kind in {"all", "from"})
        if kind == "empty":
            assert window.from_ms is not None
            assert window.from_ms > NOW_MS
        elif window.to_ms is not None:
            assert window.to_ms <= NOW_MS - CLOSED_MS
        if kind == "short":
            assert window.from_ms is not None
            assert window.to_ms is not None
            assert 0 <= window.to_ms - window.from_ms <= SHORT_MS_MAX
        if kind == "seconds":
            assert window.from_ms is not None
            assert window.to_ms is not None
            assert (window.from_ms % 1000, (window.to_ms + 1) % 1000) == (0, 0)

    def test_a_history_that_has_just_begun_is_enough(self) -> None:
        """Nothing is older than two seconds yet."""
        assert draw(random.Random(1), "long", NOW_MS, NOW_MS) == Window("long", NOW_MS, NOW_MS)

    def test_other_kinds_are_an_error(self) -> None:
        """A slip of the programmer's."""
        with pytest.raises(ValueError, match="no windows of the kind odd"):
            draw(random.Random(1), "odd", HISTORY_MS, NOW_MS)


class TestQuery:
    """A window as part of an address."""

    @pytest.mark.parametrize(
        ("window", "query"),
        [
            (Window("all", None, None), ""),
            (Window("from", 5, None), "?from=1970-01-01T00:00:00.005Z"),
            (Window("to", None, 1000), "?to=1970-01-01T00:00:01.000Z"),
            (Window("long", 5, 1000), "?from=1970-01-01T00:00:00.005Z&to=1970-01-01T00:00:01.000Z"),
        ],
    )
    def test_names_the_ends_there_are(self, window: Window, query: str) -> None:
        """ISO 8601 with milliseconds."""
        assert window.query == query

    def test_an_instant_has_three_digits(self) -> None:
        """Always."""
        assert instant(HISTORY_MS) == "2025-07-20T08:26:40.123Z"

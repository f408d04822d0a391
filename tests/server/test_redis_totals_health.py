"""A shared poll of a processor's health, as text in the hash and back."""

import pytest

from server.processors import Health
from server.redis_totals import SharedHealth, parse_health
from tests.fakes import NOON_MS


class TestSharedHealth:
    """What is written, and what is read."""

    @pytest.mark.parametrize("failing", [False, True])
    def test_both_ways(self, failing: bool) -> None:  # noqa: FBT001  of the test's table
        """What one instance writes is what another reads."""
        shared = SharedHealth(Health(failing, 20), NOON_MS)
        assert shared.to_text() == f"{failing:d} 20 {NOON_MS}"
        assert parse_health(shared.to_text().encode()) == shared

    @pytest.mark.parametrize(
        "text",
        [b"", b" ", b"gibberish", b"1 5", b"1 5 1000 7", b"2 5 1000", b"1 5.0 1000", b"\xff 5 1000", b"9" * 9999],
    )
    def test_of_another_program(self, text: bytes) -> None:
        """What this program would not have written is nothing."""
        assert parse_health(text) is None

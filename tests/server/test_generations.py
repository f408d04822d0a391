"""A memory of ids that is bounded and never forgets the newest."""

from hypothesis import given, settings
from hypothesis import strategies as st

from server.generations import Generations


class TestGenerations:
    """Generations."""

    @settings(max_examples=30)
    @given(st.integers(1, 8), st.lists(st.integers(0, 40), max_size=60, unique=True))
    def test_at_least_the_last_size_of_them(self, size: int, numbers: list[int]) -> None:
        """The newest `size` ids are always known, and never more than twice as many."""
        recent = Generations(size)
        for place, number in enumerate(numbers):
            recent.put(number.to_bytes(16, "big"), number)
            known = [one for one in numbers[: place + 1] if recent.get(one.to_bytes(16, "big")) == one]
            assert set(numbers[max(0, place + 1 - size) : place + 1]) <= set(known)
            assert len(known) <= 2 * size

    def test_zero_is_known(self) -> None:
        """Nothing in here takes a number for its absence."""
        recent = Generations(1)
        recent.put(bytes(16), 0)
        assert recent.get(bytes(16)) == 0
        recent.put(b"1" * 16, 1)
        assert recent.get(bytes(16)) == 0

"""Searches for the highest sustained rate: up or down until one is and one is not, then by bisection. Pure."""

RATE_MIN = 10
RATE_MAX = 50_000
CLOSE_ENOUGH = 1.05  # between the highest sustained rate and the lowest that is not
_STRIDE = 1.5


class Search:
    """A search: try `rate`, `tell` whether it was sustained, until `is_over`.

    Attributes:
        rate: the next one to try.
        best: the highest sustained rate; None if there was none.
    """

    def __init__(self, start: int) -> None:
        self.rate = start
        self.best: int | None = None
        self._least_failed: int | None = None

    def tell(self, *, sustained: bool) -> None:
        """Records whether `rate` was sustained, and chooses the next."""
        if sustained:
            self.best = self.rate
        else:
            self._least_failed = self.rate
        if self._least_failed is None:
            self.rate = min(max(int(self.rate * _STRIDE), self.rate + 1), RATE_MAX)
        elif self.best is None:
            self.rate = max(int(self.rate / _STRIDE), RATE_MIN)
        else:
            self.rate = (self.best + self._least_failed) // 2

    @property
    def is_over(self) -> bool:
        """Whether the answer is close enough, or outside of the range that is searched."""
        if self.best is None:
            return self._least_failed == RATE_MIN
        if self._least_failed is None:
            return self.best == RATE_MAX
        return self._least_failed <= max(self.best * CLOSE_ENOUGH, self.best + 1)

"""Bounded memories by id: of numbers, and of payments accepted lately."""

_AMOUNT_BITS = 64  # an amount is a 64-bit word in the segment
_AMOUNT_MASK = (1 << _AMOUNT_BITS) - 1


class Generations:
    """Remembers the ids put in last, each with a number: at least `size` of them and at most twice as many.

    Two generations: when the younger is full the older is forgotten, so that neither time nor memory grows.
    """

    __slots__ = ("_old", "_size", "_young")

    def __init__(self, size: int) -> None:
        self._size = size
        self._young: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}

    def get(self, correlation_id: bytes) -> int | None:
        """The number of an id, or None if it is not remembered."""
        number = self._young.get(correlation_id)
        return self._old.get(correlation_id) if number is None else number

    def put(self, correlation_id: bytes, number: int) -> None:
        """Remembers an id."""
        if len(self._young) >= self._size:
            self._old, self._young = self._young, {}
        self._young[correlation_id] = number


class LatestIds:
    """The ids accepted last, with amount and time: at least `size` of them and at most twice as many.

    One number holds both: half the memory of a tuple.
    """

    def __init__(self, size: int) -> None:
        self._numbers = Generations(size)

    def add(self, correlation_id: bytes, amount_cents: int, accepted_at_us: int) -> None:
        """The next one learned; of several with one id the first accepted counts, in whatever order they are met."""
        known = self._numbers.get(correlation_id)
        if known is None or accepted_at_us < known >> _AMOUNT_BITS:
            self._numbers.put(correlation_id, accepted_at_us << _AMOUNT_BITS | amount_cents)

    def get(self, correlation_id: bytes) -> tuple[int, int] | None:
        """Amount in cents and time of acceptance (µs UTC) of an id, or None."""
        number = self._numbers.get(correlation_id)
        return None if number is None else (number & _AMOUNT_MASK, number >> _AMOUNT_BITS)

"""A bounded memory: the ids put in last, each with a number."""


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

"""The ids that another instance has accepted lately, learned by following its lanes while it fills them."""

from collections.abc import Iterator

from server.generations import Generations
from shm import Lane, Table

_AMOUNT_BITS = 64  # an amount is a 64-bit word in the segment
_AMOUNT_MASK = (1 << _AMOUNT_BITS) - 1


class LatestIds:
    """The ids accepted last, with amount and time: at least `size` of them and at most twice as many.

    One number holds both: half the memory of a tuple.
    """

    def __init__(self, size: int) -> None:
        self._numbers = Generations(size)

    def add(self, correlation_id: bytes, amount_cents: int, accepted_at_us: int) -> None:
        """Takes in the next one; of several with one id the first accepted counts, in whatever order they are met."""
        number = accepted_at_us << _AMOUNT_BITS | amount_cents
        known = self._numbers.get(correlation_id)
        if known is not None and known >> _AMOUNT_BITS <= accepted_at_us:
            number = known
        self._numbers.put(correlation_id, number)  # known or not: now it is among the latest

    def get(self, correlation_id: bytes) -> tuple[int, int] | None:
        """Amount in cents and time of acceptance (µs UTC) of an id, or None."""
        number = self._numbers.get(correlation_id)
        return None if number is None else (number & _AMOUNT_MASK, number >> _AMOUNT_BITS)


class LatestAccepted:
    """What was published last in an instance's lanes: at least `size` ids and at most twice as many.

    Args:
        lanes: all of that instance.
        tables: all of them, where what was missed in a lane is found.
        size: how many; what all lanes hold together at least.
    """

    def __init__(self, lanes: list[Lane], tables: list[Table], size: int) -> None:
        self._lanes = lanes
        self._tables = tables
        self._size = size
        self._heads: list[int] = []  # per lane, how far it has been followed; empty: not at all yet
        self._latest = LatestIds(size)

    def follow(self) -> None:
        """Learns what was published since the last time. To be called often, before the lanes' slots are used again:
        what was missed, as everything at first, is looked for in the tables, all of which takes long.
        """
        if not self._follow():
            self._begin()

    def get(self, correlation_id: bytes) -> tuple[int, int] | None:
        """Amount in cents and time of acceptance (µs UTC) of an id, or None."""
        return self._latest.get(correlation_id)

    def has_taken(self, correlation_id: bytes) -> bool:
        """Whether it has taken an id into a table by now: a search of milliseconds, for what hardly ever happens."""
        return any(table.find(correlation_id) is not None for table in self._tables)

    def taken(self) -> Iterator[tuple[int, int, bytes, int, int]]:
        """What its tables have, as `Table.ids` tells it."""
        for table in self._tables:
            yield from table.ids()

    def _begin(self) -> None:
        """Learns the latest ids of its tables and those in its lanes; what is taken meanwhile is met twice."""
        self._heads = [lane.tail for lane in self._lanes]
        self._latest = LatestIds(self._size)
        times = sorted(accepted_at_us for *_, accepted_at_us in self.taken())
        since_us = times[-self._size] if len(times) > self._size else 0
        for _, _, correlation_id, cents, accepted_at_us in self.taken():
            if accepted_at_us >= since_us:
                self._latest.add(correlation_id, cents, accepted_at_us)
        self._follow()

    def _follow(self) -> bool:
        """Learns what was published since; False if something was missed."""
        is_whole = len(self._heads) == len(self._lanes)
        for index, followed in enumerate(self._heads):
            lane = self._lanes[index]
            head = lane.head
            for position in range(followed, head):
                payment = lane.peek(position)
                if payment is None:
                    is_whole = False
                else:
                    self._latest.add(*payment)
            self._heads[index] = head
        return is_whole

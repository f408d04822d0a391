"""The ids that another instance has accepted lately, learned by following its lanes while it fills them."""

from collections.abc import Iterator

from server.generations import Generations
from shm import Lane, Table

_AMOUNT_BITS = 64  # an amount is a 64-bit word in the segment
_AMOUNT_MASK = (1 << _AMOUNT_BITS) - 1
_BEGINNINGS_MAX = 2  # a damaged slot in a lane looks like one that was missed, and would have all read for ever


class LatestIds:
    """The ids accepted last, with amount and time: at least `size` of them and at most twice as many.

    Amount and time are kept in one number, which takes half the memory of a tuple.
    """

    def __init__(self, size: int) -> None:
        self._numbers = Generations(size)

    def add(self, correlation_id: bytes, amount_cents: int, accepted_at_us: int) -> None:
        """Adds an acceptance; of several of one id the earliest counts, in whatever order they are added."""
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
        tables: all of that instance, where what was missed in a lane is found.
        size: how many ids; not less than all lanes hold together.
    """

    def __init__(self, lanes: list[Lane], tables: list[Table], size: int) -> None:
        self._lanes = lanes
        self._tables = tables
        self._size = size
        self._heads: list[int] = []  # per lane, how far it has been followed; empty: not at all yet
        self._latest = LatestIds(size)

    def follow(self) -> list[int]:
        """Learns what was published since the last call; returns how much that was in each lane (at first: how much
        ever was). To be called often, before the lanes' slots are used again: if anything was missed, as at first, all
        tables are read, which takes long.
        """
        followed = [*self._heads] or [0] * len(self._lanes)
        if not self._read_lanes():
            self._begin_anew()
        return [head - before for head, before in zip(self._heads, followed, strict=True)]

    def get(self, correlation_id: bytes) -> tuple[int, int] | None:
        """Amount in cents and time of acceptance (µs UTC) of an id, or None."""
        return self._latest.get(correlation_id)

    def has_taken(self, correlation_id: bytes) -> bool:
        """Whether that instance has taken an id into a table by now: a search of milliseconds, hardly ever needed."""
        return any(table.find(correlation_id) is not None for table in self._tables)

    def taken(self) -> Iterator[tuple[int, int, bytes, int, int]]:
        """What that instance's tables have, as `Table.entries` yields it."""
        for table in self._tables:
            yield from table.entries()

    def _begin_anew(self) -> None:
        """Learns the latest ids in the tables, and those in the lanes; what is taken meanwhile is met in both. Again
        if slots of the lanes were used again meanwhile: what lay there has been taken into tables already read.
        """
        for _ in range(_BEGINNINGS_MAX):
            self._heads = [lane.tail for lane in self._lanes]
            self._read_tables()
            if self._read_lanes():
                return

    def _read_tables(self) -> None:
        """Learns the latest ids in the tables, and forgets all others."""
        self._latest = LatestIds(self._size)
        times = sorted(accepted_at_us for *_, accepted_at_us in self.taken())
        since_us = times[-self._size] if len(times) > self._size else 0
        for _, _, correlation_id, cents, accepted_at_us in self.taken():
            if accepted_at_us >= since_us:
                self._latest.add(correlation_id, cents, accepted_at_us)

    def _read_lanes(self) -> bool:
        """Learns what the lanes have got since; False if something was missed."""
        is_whole = len(self._heads) == len(self._lanes)
        for index, followed in enumerate(self._heads):
            lane = self._lanes[index]
            positions = lane.published(followed)
            for position in positions:
                payment = lane.peek(position)
                if payment is None:
                    is_whole = False
                else:
                    self._latest.add(*payment)
            self._heads[index] = positions.stop
        return is_whole

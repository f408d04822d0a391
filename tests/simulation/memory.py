"""The memory of one simulated process: the instance's bytes, as one process sees them.

A process that is not going to die at a store gets a plain `memoryview`, which is fast. One that is going to gets the
counting view of `tests/shm/memory.py`, here so that several processes share one instance's bytes and each dies alone.
"""

from collections.abc import Callable

from tests.shm.memory import TEARS, Died, Memory


class MortalMemory(Memory):
    """An instance's bytes as seen by a process that dies at one of its stores; of that store a part may be left.

    Args:
        data: the instance's bytes, shared with its other processes.
        stores: how many stores happen; the next one kills.
        counts: whether a store at an offset counts and may kill: most stores are to counters, which nobody recovers.
        tear: which part of the fatal store is left, if it is no word: a key of `TEARS`.
        on_death: called at the fatal store, before `Died` is raised.
    """

    def __init__(
        self,
        data: bytearray,
        stores: int,
        tear: str,
        on_death: Callable[[bool], None],
        *,
        counts: Callable[[int], bool],
    ) -> None:
        super().__init__(0)
        self.data = data
        self._left = stores
        self._part = TEARS[tear]
        self._on_death = on_death
        self._dead = False
        self._counts = counts

    def store(self, start: int, data: bytes, tear: Callable[[int], slice]) -> None:
        """Stores, or kills the process. A dead process stores nothing, whatever of its code still runs."""
        if self._dead:
            raise Died
        counts = self._counts(start)
        if self._left > 0 or not counts:
            self._left -= counts
            self.data[start : start + len(data)] = data
            return
        self._dead = True
        part = tear(len(data))
        self.data[start + part.start : start + part.stop] = data[part]
        self._on_death(part.stop > part.start)
        raise Died

    def store_slice(self, start: int, data: bytes) -> None:
        """Stores several bytes, not in one step."""
        self.store(start, data, self._part)

    def live(self) -> None:
        """Takes the death back."""
        self._left = 1 << 60

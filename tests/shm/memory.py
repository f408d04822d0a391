"""Memory whose process can be made to die at any store: a stand-in for a `memoryview` over a segment.

Only what `shm` does with a view is there: slices, stores to slices, `bytes`, and `cast("Q")` with its words. A word
store is whole or has not happened (one aligned 8-byte store); a store to a slice is a `memmove`, of which a death may
leave any part behind: see `TEARS`.
"""

from collections.abc import Callable
from typing import cast

WORD = 8

TEARS: dict[str, Callable[[int], slice]] = {
    "nothing": lambda _: slice(0, 0),
    "first word": lambda _: slice(0, WORD),
    "first half": lambda length: slice(0, length // 2),
    "all but the last byte": lambda length: slice(0, length - 1),
    "second half": lambda length: slice(length // 2, length),
    "all but the first byte": lambda length: slice(1, length),
}
"""Which part of a slice store a death leaves behind, by the length of the store."""


class Died(Exception):
    """The process that was storing is no more."""


class Memory:
    """Bytes that count their stores and let the process die at one of them.

    Args:
        length: how many bytes, all zero at first.
    """

    def __init__(self, length: int) -> None:
        """Nothing is going to die yet."""
        self.data = bytearray(length)
        self.stores = 0
        self.on_copy: Callable[[], object] = lambda: None  # called before each copy of a slice
        self.on_load: Callable[[], object] = lambda: None  # called before each load of a word
        self._dies_at: int | None = None
        self._tear = TEARS["nothing"]

    def die_at(self, stores: int, tear: str = "nothing") -> None:
        """Lets so many more stores happen; of the next one only the `tear` part, if it is no word store."""
        self._dies_at = self.stores + stores
        self._tear = TEARS[tear]

    def live(self) -> None:
        """Takes `die_at` back."""
        self._dies_at = None

    def store(self, start: int, data: bytes, tear: Callable[[int], slice]) -> None:
        """Stores `data`, or the part of it that `tear` leaves, and then dies."""
        self.stores += 1
        if self._dies_at is not None and self.stores > self._dies_at:
            part = tear(len(data))
            self.data[start + part.start : start + part.stop] = data[part]
            raise Died
        self.data[start : start + len(data)] = data

    def store_slice(self, start: int, data: bytes) -> None:
        """Stores several bytes, not in one step."""
        self.store(start, data, self._tear)

    def store_word(self, start: int, value: int) -> None:
        """Stores eight bytes in one step."""
        self.store(start, value.to_bytes(WORD, "little"), TEARS["nothing"])

    def view(self, start: int = 0, length: int | None = None) -> memoryview:
        """What stands for a `memoryview` of these bytes."""
        return cast("memoryview", View(self, start, len(self.data) - start if length is None else length))


class View:
    """A part of a memory, as `memoryview` shows it."""

    def __init__(self, memory: Memory, start: int, length: int) -> None:
        """Holds no bytes of its own."""
        self._memory = memory
        self._start = start
        self._length = length

    def __getitem__(self, part: slice) -> "View":
        start, stop, _ = part.indices(self._length)
        return View(self._memory, self._start + start, stop - start)

    def __setitem__(self, part: slice, data: bytes) -> None:
        start, stop, _ = part.indices(self._length)
        if stop - start != len(data):
            raise ValueError("memoryview assignment: lvalue and rvalue have different structures")
        self._memory.store_slice(self._start + start, data)

    def __bytes__(self) -> bytes:
        self._memory.on_copy()
        return bytes(self._memory.data[self._start : self._start + self._length])

    def cast(self, format_: str) -> "Words":
        """The same bytes as words."""
        if format_ != "Q" or self._start % WORD:
            raise ValueError(f"no aligned words: {format_} at {self._start}")
        return Words(self._memory, self._start)


class Words:
    """A part of a memory as unsigned 8-byte words, each loaded and stored in one step."""

    def __init__(self, memory: Memory, start: int) -> None:
        """Holds no bytes of its own."""
        self._memory = memory
        self._start = start

    def __getitem__(self, index: int) -> int:
        self._memory.on_load()
        start = self._start + index * WORD
        return int.from_bytes(self._memory.data[start : start + WORD], "little")

    def __setitem__(self, index: int, value: int) -> None:
        self._memory.store_word(self._start + index * WORD, value)

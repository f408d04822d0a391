"""Waiting payments that one processor has rejected: for a while only the other one may take them. Pure bookkeeping.

A 400 or 413 says that the payment is not stored, and would be rejected again. But something else may have answered in
the processor's place, so a payment ends as refused only when both have rejected it. Until then it waits for the other
one in a queue of its own, so as not to hold up payments that may go to either. The other one may be away for good, so
after a time either may take the payment again.
"""

from collections import deque
from typing import NamedTuple

BARRED_MS = 30_000  # whatever answers 400 in a processor's place for a moment is gone by then
BARRED_MS_MAX = 8 * 60_000  # doubled each time up to this: a full table that nobody takes is 137 requests a second then
LIFTED_AT_ONCE_MAX = 64  # in one turn of the dispatcher: well under a millisecond


class _Rejection(NamedTuple):
    """Which processor has rejected a payment, and until when it is not asked again, on the caller's clock."""

    processor: int
    until_ms: int


class Rejections:
    """One dispatcher's rejections of payments that have not ended. In memory only: after a crash each payment may be
    rejected anew.

    Attributes:
        queues: by processor, table slots of waiting payments that only it may take, those that wait longest first.
    """

    def __init__(self) -> None:
        self.queues = (deque[int](), deque[int]())
        self._rejections = dict[int, _Rejection]()  # by table slot, so no more than the table has
        self._next_bar_ms = dict[int, int]()  # by slot: how long its next rejection bars a processor, if not the first

    def __len__(self) -> int:
        """How many payments wait for one processor alone."""
        return sum(map(len, self.queues))

    def note(self, slot: int, processor: int, now_ms: int) -> bool:
        """Notes that a processor has rejected a payment; True if the other one may still take it."""
        rejection = self._rejections.get(slot)
        if rejection is not None:
            return rejection.processor == processor
        barred_ms = self._next_bar_ms.get(slot, BARRED_MS)
        self._next_bar_ms[slot] = min(2 * barred_ms, BARRED_MS_MAX)
        self._rejections[slot] = _Rejection(processor, now_ms + barred_ms)
        return True

    def queue(self, slot: int) -> bool:
        """Queues a waiting payment, last, for the one processor that may take it; False if either may."""
        rejection = self._rejections.get(slot)
        if rejection is None:
            return False
        self.queues[1 - rejection.processor].append(slot)
        return True

    def lift(self, now_ms: int) -> list[int]:
        """Takes out the slots of some whose time is over: from now on either processor may take them."""
        lifted: list[int] = []
        for queue in self.queues:
            while queue and self._rejections[queue[0]].until_ms <= now_ms and len(lifted) < LIFTED_AT_ONCE_MAX:
                lifted.append(queue.popleft())
        for slot in lifted:
            del self._rejections[slot]
        return lifted

    def forget(self, slot: int) -> None:
        """Drops what is known of a payment that has ended."""
        self._rejections.pop(slot, None)
        self._next_bar_ms.pop(slot, None)

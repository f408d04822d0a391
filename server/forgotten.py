"""The ids of payments that were forgotten a moment ago, while a copy of one may still lie in a lane.

An ended payment is remembered until the journal is full of later ones. From then on its id is as new as any, so no copy
that came before may be left in a lane, or it would be paid again. Three rules see to that:

1. Room for a payment from a lane never depends on forgetting one (`Custody.room`): each payment that ends makes room.
   Else the copy of a payment might wait in its lane just until that payment is forgotten.
2. The journal is at least twice as long as all lanes together (`server/config.py`). So what lay in the lanes when a
   payment ended, its copies too, has been taken long before it is forgotten.
3. What came later is taken right before anything is forgotten (`Custody.before_forgetting`). What stays in a lane even
   then, for lack of room, is what this file is for: until that has been taken, the forgotten ids are still known.

The third rule is kept in memory only: after a crash, a copy that came just then is taken for a new payment.
"""

from collections import deque
from collections.abc import Mapping, Sequence

from shm import Lane


class ForgottenIds:
    """The forgotten ids of one dispatcher that are still known.

    Args:
        lanes: from each web worker to this dispatcher.

    Attributes:
        amounts: amount in cents by id. Nearly always empty: `amount_of` need not be called then.
    """

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self.amounts: dict[bytes, int] = {}
        self._lanes = lanes
        self._known_until = deque[tuple[list[int], list[bytes]]]()  # the lanes' heads then, and these ids; oldest first

    def add(self, amounts: Mapping[bytes, int]) -> None:
        """Keeps ids that are forgotten now (and their amounts in cents), until what lies in the lanes has been taken.

        Drops those kept before, if what lay in the lanes then has been taken.
        """
        self._drop_old()
        if any(lane.depth for lane in self._lanes):
            self.amounts.update(amounts)
            self._known_until.append(([lane.head for lane in self._lanes], [*amounts]))

    def amount_of(self, correlation_id: bytes) -> int | None:
        """The amount in cents of an id that is still known; None for any other."""
        self._drop_old()
        return self.amounts.get(correlation_id)

    def _drop_old(self) -> None:
        while self._known_until:
            heads, ids = self._known_until[0]
            if any(lane.tail < head for lane, head in zip(self._lanes, heads, strict=True)):
                return
            self._known_until.popleft()
            for correlation_id in ids:
                del self.amounts[correlation_id]

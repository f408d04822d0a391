"""A lane: the ring buffer that hands accepted payments from one web worker to one dispatcher, in order.

One writer per word: the worker stores slots and the head, the dispatcher stores the tail. Head and tail count records
ever published and ever taken; the slot of position p is p modulo the number of slots (Lamport, *Proving the
Correctness of Multiprocess Programs*, 1977: one producer and one consumer need no lock).

Publishing: 1. see that head - tail leaves room, 2. store the slot, 3. store the head (the commit).
Taking: 1. see that the head is past the tail, 2. copy the slot and check its sequence and checksum, 3. keep the copy,
4. store the tail. A crash between 3 and 4 leaves it in both: the successor steps over it before anything else
(`shm/recovery.py`).
"""

from shm import layout
from shm.errors import BrokenInvariant
from shm.record import Accepted, pack_lane_slot, unpack_lane_slot

_HEAD = layout.LANE_HEAD // layout.WORD
_TAIL = layout.LANE_TAIL // layout.WORD


class Lane:
    """One lane over any writable buffer of `Geometry.lane_length` bytes; over a read-only one, only reading works.

    Args:
        view: the lane's bytes.
        slots: how many slots it has, a power of two.
    """

    def __init__(self, view: memoryview, slots: int) -> None:
        """Looks at memory only when asked to: making a lane stores nothing."""
        self._view = view
        self._words = view.cast("Q")
        self._slots = slots
        self._mask = slots - 1

    @property
    def head(self) -> int:
        """Payments ever published."""
        return self._words[_HEAD]

    @property
    def tail(self) -> int:
        """Payments ever taken."""
        return self._words[_TAIL]

    @property
    def depth(self) -> int:
        """Payments published and not yet taken; only an indication while both sides run, never negative."""
        tail = self.tail
        return max(self.head - tail, 0)

    def try_publish(self, payment: tuple[bytes, int, int]) -> bool:
        """Called by the worker: hands over a payment, the fields of an `Accepted`. False if the lane is full, and then
        nothing was stored.
        """
        head = self._words[_HEAD]
        if head - self._words[_TAIL] >= self._slots:
            return False
        start = layout.LANE_SLOTS_OFFSET + (head & self._mask) * layout.LANE_SLOT_LENGTH
        self._view[start : start + layout.LANE_SLOT_LENGTH] = pack_lane_slot(head, payment)
        self._words[_HEAD] = head + 1
        return True

    def peek(self, position: int) -> Accepted | None:
        """The payment at `position`, below the head; None while its slot does not hold it: torn, or overwritten since.

        Between tail and head None means torn: on a processor that reorders stores it comes right soon. At or above the
        head, what a dead worker left may read whole: it was never accepted, and the next payment takes its place.
        """
        start = layout.LANE_SLOTS_OFFSET + (position & self._mask) * layout.LANE_SLOT_LENGTH
        return unpack_lane_slot(position, bytes(self._view[start : start + layout.LANE_SLOT_LENGTH]))

    def find(self, correlation_id: bytes) -> Accepted | None:
        """The oldest payment with this id between tail and head, for those who don't follow. A slot's checksum is
        looked at only where the id is the same: those of a full lane take milliseconds.
        """
        for position in range(self.tail, self.head):
            start = layout.LANE_SLOTS_OFFSET + (position & self._mask) * layout.LANE_SLOT_LENGTH + layout.LANE_ID
            if self._view[start : start + layout.ID_LENGTH] == correlation_id:
                payment = self.peek(position)
                if payment is not None and payment.correlation_id == correlation_id:
                    return payment
        return None

    def peek_raw(self, position: int) -> bytes:
        """The 64 bytes of a slot as they are, for whoever has to report a damaged one."""
        start = layout.LANE_SLOTS_OFFSET + (position & self._mask) * layout.LANE_SLOT_LENGTH
        return bytes(self._view[start : start + layout.LANE_SLOT_LENGTH])

    def advance(self, tail: int) -> None:
        """Called by the dispatcher: everything below `tail` is in its table now, so the slots may be used again.

        Raises:
            BrokenInvariant: `tail` is past the head, which would lose payments yet to come, or goes back.
        """
        if not self.tail <= tail <= self.head:
            raise BrokenInvariant(f"lane tail {self.tail} may not become {tail}: its head is {self.head}")
        self._words[_TAIL] = tail

"""A lane: the ring buffer that hands accepted payments from one web worker to one dispatcher, in order.

One producer and one consumer need no lock (Lamport, *Proving the Correctness of Multiprocess Programs*, 1977). The
worker alone stores slots and the head, the dispatcher alone stores the tail. Head and tail count the payments ever
published and ever taken, so they never wrap around. The payment at position p lies in slot p modulo the number of
slots. A published payment has a position with tail <= p < head.

Publishing, by the worker:
    1. see that head - tail is less than the number of slots;
    2. store the slot;
    3. store the head: the commit. A crash before it leaves a slot that nobody takes for published.
Taking, by the dispatcher:
    1. see that the tail is below the head;
    2. copy the slot, and check its sequence and checksum;
    3. keep the copy in the table;
    4. store the tail. A crash before it leaves the payment in lane and table; the successor stores the tail past it
       before anything else (`shm/recovery.py`).

The worker stores into a slot again only after it has loaded a tail past that slot, and the dispatcher stores that tail
only after it has kept the copy: so what is published and not taken is never overwritten. Why the head is not seen
before its slot is said in `shm/layout.py`.
"""

from shm import layout
from shm.errors import BrokenInvariant
from shm.record import Accepted, pack_lane_slot, unpack_lane_slot

_HEAD = layout.LANE_HEAD // layout.WORD
_TAIL = layout.LANE_TAIL // layout.WORD


class Lane:
    """One lane over any writable buffer; over a read-only one, reading works and a store is a TypeError.

    Args:
        view: the lane's bytes, `Geometry.lane_length` of them.
        slots: how many slots it has, a power of two.
    """

    def __init__(self, view: memoryview, slots: int) -> None:
        """Neither loads nor stores anything."""
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
        """Payments published and not yet taken: an indication while either side runs, and never negative."""
        tail = self.tail  # first: a head loaded later is not below it
        return max(self.head - tail, 0)

    def try_publish(self, payment: tuple[bytes, int, int]) -> bool:
        """Called by the worker: publishes a payment, given as the fields of an `Accepted` in any tuple.

        Returns:
            Whether it was published. False: the lane is full, and nothing was stored. So it is while the tail is past
            the head, which is damage: nobody would take the payment.
        """
        head = self._words[_HEAD]
        if not 0 <= head - self._words[_TAIL] < self._slots:
            return False
        start = layout.LANE_SLOTS_OFFSET + (head & self._mask) * layout.LANE_SLOT_LENGTH
        self._view[start : start + layout.LANE_SLOT_LENGTH] = pack_lane_slot(head, payment)
        self._words[_HEAD] = head + 1
        return True

    def published(self, since: int | None = None) -> range:
        """Positions from `since` (None: from the tail) up to the head, for any process.

        They end where the lane would be full, whatever the head says: to look at all that a damaged one promises would
        never end. Of what is published meanwhile some may be left out.
        """
        tail = self.tail  # first: what has been published by now is no further from it than there are slots
        return range(tail if since is None else since, min(self.head, tail + self._slots))

    def peek(self, position: int) -> Accepted | None:
        """The payment at `position`, or None if its slot does not hold it whole. To be asked for below the head only.

        None below the tail: the slot has been used again. None between tail and head: the slot is damaged, or, on a
        processor that reorders stores, not visible yet. At or above the head there may be a whole record by a worker
        that died before it stored the head: it was never accepted, and the next payment overwrites it.
        """
        start = layout.LANE_SLOTS_OFFSET + (position & self._mask) * layout.LANE_SLOT_LENGTH
        return unpack_lane_slot(position, bytes(self._view[start : start + layout.LANE_SLOT_LENGTH]))

    def find(self, correlation_id: bytes) -> Accepted | None:
        """The oldest payment with this id between tail and head, or None. For any process.

        A checksum is verified only where the id is the same: verifying all of a full lane would take milliseconds.
        """
        for position in self.published():
            start = layout.LANE_SLOTS_OFFSET + (position & self._mask) * layout.LANE_SLOT_LENGTH + layout.LANE_ID
            if self._view[start : start + layout.ID_LENGTH] == correlation_id:
                payment = self.peek(position)
                if payment is not None and payment.correlation_id == correlation_id:
                    return payment
        return None

    def peek_raw(self, position: int) -> bytes:
        """The 64 bytes of the slot that `position` has, unchecked, to report a damaged one."""
        start = layout.LANE_SLOTS_OFFSET + (position & self._mask) * layout.LANE_SLOT_LENGTH
        return bytes(self._view[start : start + layout.LANE_SLOT_LENGTH])

    def advance(self, tail: int) -> None:
        """Called by the dispatcher: stores the tail. It has dealt with all below `tail`, whose slots may be used again.

        Raises:
            BrokenInvariant: `tail` is past the head, which would lose payments yet to come, or below the present tail.
        """
        if not self.tail <= tail <= self.head:
            raise BrokenInvariant(f"lane tail {self.tail} may not become {tail}: its head is {self.head}")
        self._words[_TAIL] = tail

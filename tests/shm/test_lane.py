"""shm/lane.py: first in, first out, full as a return value, and nothing torn."""

import pytest

from shm import layout
from shm.errors import BrokenInvariant
from shm.lane import Lane
from shm.record import Accepted, pack_lane_slot
from tests.shm.memory import TEARS, Died, Memory

SLOTS = 4
LENGTH = layout.LANE_SLOTS_OFFSET + SLOTS * layout.LANE_SLOT_LENGTH


def payment(number: int) -> Accepted:
    """A payment unlike all others."""
    return Accepted(number.to_bytes(16, "big"), 100 + number, 1_000_000 + number)


def fresh_lane() -> tuple[Lane, bytearray]:
    """An empty lane of four slots, and its bytes."""
    data = bytearray(LENGTH)
    return Lane(memoryview(data), SLOTS), data


def fill(lane: Lane, numbers: range) -> None:
    """Publishes these payments, for which there is room."""
    for number in numbers:
        assert lane.try_publish(payment(number))


class TestPublish:
    """Lane.try_publish."""

    def test_head_counts_what_was_published(self) -> None:
        """Each payment published raises head and depth by one."""
        lane, _ = fresh_lane()
        assert (lane.head, lane.tail, lane.depth) == (0, 0, 0)
        fill(lane, range(3))
        assert (lane.head, lane.tail, lane.depth) == (3, 0, 3)

    def test_full_lane_stores_nothing(self) -> None:
        """A full lane says so and is left byte for byte as it was."""
        lane, data = fresh_lane()
        fill(lane, range(SLOTS))
        before = bytes(data)
        assert not lane.try_publish(payment(99))
        assert bytes(data) == before

    def test_room_comes_back_with_the_tail(self) -> None:
        """Each payment taken makes room for one more."""
        lane, _ = fresh_lane()
        fill(lane, range(SLOTS))
        lane.advance(1)
        assert lane.try_publish(payment(SLOTS))
        assert not lane.try_publish(payment(99))

    def test_order_is_kept_over_many_laps(self) -> None:
        """Payments come out in the order they went in, however often the ring wraps around."""
        lane, _ = fresh_lane()
        fill(lane, range(3))
        for number in range(3, 100):
            assert lane.try_publish(payment(number))
            assert lane.peek(lane.tail) == payment(number - 3)
            lane.advance(lane.tail + 1)

    def test_two_views_of_one_memory_are_one_lane(self) -> None:
        """What one process publishes another sees, as nothing is kept outside the memory."""
        lane, data = fresh_lane()
        other = Lane(memoryview(data), SLOTS)
        fill(lane, range(2))
        assert other.peek(1) == payment(1)
        other.advance(2)
        assert lane.depth == 0

    @pytest.mark.parametrize("tear", TEARS)
    @pytest.mark.parametrize("stores", [0, 1])
    def test_a_worker_that_dies_has_published_nothing(self, stores: int, tear: str) -> None:
        """Dying while the slot or the head is stored leaves head, tail and the older payments as they were."""
        memory = Memory(LENGTH)
        lane = Lane(memory.view(), SLOTS)
        fill(lane, range(3))
        lane.advance(1)
        memory.die_at(stores, tear)
        with pytest.raises(Died):
            lane.try_publish(payment(3))
        memory.live()
        assert (lane.head, lane.tail) == (3, 1)
        assert [lane.peek(position) for position in (1, 2)] == [payment(1), payment(2)]
        fill(lane, range(7, 9))
        assert [lane.peek(position) for position in range(1, 5)] == [payment(number) for number in (1, 2, 7, 8)]

    @pytest.mark.parametrize("place", [0, 7], ids=["a little", "far"])
    def test_a_tail_past_the_head_is_refused(self, place: int) -> None:
        """While a damaged tail is past the head nobody would take what is published: nothing is stored."""
        lane, data = fresh_lane()
        fill(lane, range(2))
        data[layout.LANE_TAIL + place] = 3
        before = bytes(data)
        assert not lane.try_publish(payment(2))
        assert bytes(data) == before

    def test_publishing_is_two_stores(self) -> None:
        """Publishing is two stores; what a death at each of them leaves is the test above."""
        memory = Memory(LENGTH)
        fill(Lane(memory.view(), SLOTS), range(1))
        assert memory.stores == 2


class TestTake:
    """Lane.peek, Lane.peek_raw and Lane.advance."""

    def test_peek_takes_nothing(self) -> None:
        """A payment may be looked at any number of times until the tail passes it."""
        lane, data = fresh_lane()
        fill(lane, range(1))
        before = bytes(data)
        assert lane.peek(0) == lane.peek(0) == payment(0)
        assert bytes(data) == before

    def test_nothing_published_is_none(self) -> None:
        """A slot never written holds no payment."""
        lane, _ = fresh_lane()
        assert lane.peek(0) is None

    def test_overwritten_is_none(self) -> None:
        """A position whose slot was used again is no longer there, and never shows another payment."""
        lane, _ = fresh_lane()
        fill(lane, range(SLOTS))
        lane.advance(1)
        fill(lane, range(SLOTS, SLOTS + 1))
        assert lane.peek(0) is None

    def test_torn_slot_is_none_until_it_is_whole(self) -> None:
        """A slot of which some bytes are still missing holds no payment, and comes right when they arrive."""
        lane, data = fresh_lane()
        fill(lane, range(1))
        whole = pack_lane_slot(0, payment(0))
        data[layout.LANE_SLOTS_OFFSET + 20 : layout.LANE_SLOTS_OFFSET + 40] = bytes(20)
        assert lane.peek(0) is None
        data[layout.LANE_SLOTS_OFFSET : layout.LANE_SLOTS_OFFSET + 64] = whole
        assert lane.peek(0) == payment(0)

    def test_published_is_what_lies_between_tail_and_head(self) -> None:
        """From the tail, or from any other position, up to the head: also over a whole lap."""
        lane, _ = fresh_lane()
        assert list(lane.published()) == []
        fill(lane, range(3))
        lane.advance(2)
        assert list(lane.published()) == [2]
        fill(lane, range(3, 6))
        assert list(lane.published()) == [2, 3, 4, 5]
        assert list(lane.published(1)) == [1, 2, 3, 4, 5]
        assert list(lane.published(6)) == []

    def test_a_damaged_head_promises_a_full_lane_at_most(self) -> None:
        """Whoever looks at all that is published comes to an end, and finds what is there."""
        lane, data = fresh_lane()
        fill(lane, range(3))
        lane.advance(1)
        data[layout.LANE_HEAD + 7] ^= 0x40
        assert lane.published() == range(1, 1 + SLOTS)
        assert lane.published(2) == range(2, 1 + SLOTS)
        assert lane.find(payment(2).correlation_id) == payment(2)
        assert lane.find(payment(9).correlation_id) is None

    def test_find_gives_the_oldest_between_tail_and_head(self) -> None:
        """What lies between tail and head is found by its id, the oldest of equal ones; a torn slot is passed over."""
        lane, data = fresh_lane()
        fill(lane, range(3))
        lane.advance(2)
        again = payment(2)._replace(amount_cents=1)
        assert lane.try_publish(again)
        fill(lane, range(4, 6))
        assert [lane.find(payment(number).correlation_id) for number in range(6)] == [
            None,
            None,
            payment(2),
            None,
            payment(4),
            payment(5),
        ]
        data[layout.LANE_SLOTS_OFFSET + 2 * layout.LANE_SLOT_LENGTH + 30] ^= 0xFF
        assert lane.find(payment(2).correlation_id) == again

    def test_find_ends_below_the_head(self) -> None:
        """What a worker stored before it died, and did not publish, was never accepted."""
        lane, data = fresh_lane()
        fill(lane, range(1))
        start = layout.LANE_SLOTS_OFFSET + layout.LANE_SLOT_LENGTH
        data[start : start + layout.LANE_SLOT_LENGTH] = pack_lane_slot(1, payment(1))
        assert lane.find(payment(0).correlation_id) == payment(0)
        assert lane.find(payment(1).correlation_id) is None

    def test_peek_raw_shows_the_bytes_as_they_are(self) -> None:
        """A damaged slot can be reported byte for byte."""
        lane, data = fresh_lane()
        fill(lane, range(2))
        start = layout.LANE_SLOTS_OFFSET + layout.LANE_SLOT_LENGTH
        data[start + 30] ^= 0xFF
        assert lane.peek(1) is None
        assert lane.peek_raw(1) == bytes(data[start : start + layout.LANE_SLOT_LENGTH])

    @pytest.mark.parametrize("tail", [1, 4])
    def test_tail_neither_goes_back_nor_passes_the_head(self, tail: int) -> None:
        """A tail that would show payments again, or lose ones to come, is refused and not stored."""
        lane, _ = fresh_lane()
        fill(lane, range(3))
        lane.advance(2)
        with pytest.raises(BrokenInvariant, match=f"^lane tail 2 may not become {tail}: its head is 3$"):
            lane.advance(tail)
        assert lane.tail == 2

    def test_a_read_only_view_can_be_looked_at(self) -> None:
        """Over read-only memory all reading works and a store is an error."""
        lane, data = fresh_lane()
        fill(lane, range(2))
        watcher = Lane(memoryview(bytes(data)), SLOTS)
        assert (watcher.depth, watcher.peek(1)) == (2, payment(1))
        with pytest.raises(TypeError, match="read-only"):
            watcher.advance(1)

    def test_depth_is_never_negative(self) -> None:
        """Even damaged counters give no negative depth."""
        lane, data = fresh_lane()
        data[layout.LANE_TAIL] = 5
        assert lane.depth == 0

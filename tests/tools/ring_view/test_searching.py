"""Payments looked for by id and by state."""

from shm import Event
from tests.tools.ring_view.segments import Filled, payment_id
from tools.ring_view.searching import STATES, Searcher
from tools.ring_view.snapshot import Moment, Search

LIMIT = 10
NOW = Moment(10_000_000, 0)


def by_state(filled: Filled, *states: str, limit: int = LIMIT) -> Search:
    """Looks for states at 10 s after the beginning of time."""
    return Searcher(filled.attach(), lambda: NOW).by_state(filled.instance, states, limit)


def by_id(filled: Filled, number: int) -> Search:
    """Looks for an id at 10 s after the beginning of time."""
    return Searcher(filled.attach(), lambda: NOW).by_id(filled.instance, payment_id(number), LIMIT)


def ids(found: Search) -> list[str]:
    """The ids found, in order."""
    return [payment.correlation_id for payment in found.payments]


class TestByState:
    """`Searcher.by_state`."""

    def test_states_are_those_of_the_state_table(self) -> None:
        """A payment is accepted while it lies in a lane, and has one of the table's states from then on."""
        assert STATES == ("accepted", "waiting", "sending", "unknown", "settled", "duplicate", "refused")

    def test_only_the_states_asked_for(self, filled: Filled) -> None:
        """Others are left out, wherever they are."""
        filled.publish(1)
        filled.wait(2)
        filled.settle(3, 0)
        assert ids(by_state(filled, "waiting")) == [str(payment_id(2))]
        assert ids(by_state(filled, "accepted")) == [str(payment_id(1))]
        assert by_state(filled, "unknown").matching == 0

    def test_several_states(self, filled: Filled) -> None:
        """Lanes and tables are looked through together, the oldest acceptance first."""
        filled.publish(1, accepted_at_us=5)
        filled.publish(2, accepted_at_us=1, worker=1)
        filled.wait(3, accepted_at_us=3)
        assert ids(by_state(filled, "accepted", "waiting")) == [str(payment_id(number)) for number in (2, 3, 1)]

    def test_the_limit_leaves_the_oldest(self, filled: Filled) -> None:
        """No more than asked for are given, and all are counted."""
        for number in range(5):
            filled.wait(number, accepted_at_us=100 - number)
        found = by_state(filled, "waiting", limit=2)
        assert ids(found) == [str(payment_id(4)), str(payment_id(3))]
        assert found.matching == 5

    def test_what_is_shown_of_a_waiting_payment(self, filled: Filled) -> None:
        """Before the first attempt there is no processor and no requestedAt."""
        filled.wait(1, amount_cents=250, accepted_at_us=9_999_000)
        (payment,) = by_state(filled, "waiting").payments
        assert (payment.processor, payment.requested_at_ms, payment.attempts) == (None, None, 0)
        assert (payment.amount_cents, payment.age_ms, payment.where) == (250, 1, "dispatcher-0 slot 0")

    def test_what_is_shown_of_an_unknown_payment(self, filled: Filled) -> None:
        """It belongs to its processor, with the requestedAt sent, its attempts and its conflicts."""
        table = filled.segment.table(0)
        slot = filled.wait(1)
        table.begin(slot, 1, 1234)
        table.apply(slot, Event.UNCLEAR)
        table.count_conflict(slot)
        (payment,) = by_state(filled, "unknown").payments
        assert (payment.processor, payment.requested_at_ms) == ("fallback", 1234)
        assert (payment.attempts, payment.conflicts) == (1, 1)

    def test_damaged_slots_are_counted(self, filled: Filled) -> None:
        """What can't be read may be what is looked for, so it is told."""
        filled.damage_slot(filled.wait(1))
        filled.publish(2)
        filled.damage_lane_slot()
        found = by_state(filled, "accepted", "waiting")
        assert (found.matching, found.unreadable) == (0, 2)

    def test_an_impossible_lane_is_not_followed(self, filled: Filled) -> None:
        """A damaged head does not send the search through positions that no lane holds."""
        filled.put_word(filled.segment.geometry.lane_offset(0, 0), 1 << 60)
        assert by_state(filled, "accepted").unreadable == 4


class TestById:
    """`Searcher.by_id`."""

    def test_in_a_table(self, filled: Filled) -> None:
        """A payment in a dispatcher's care is found."""
        filled.settle(1, 0)
        filled.settle(2, 1)
        (payment,) = by_id(filled, 2).payments
        assert (payment.state, payment.processor, payment.requested_at_ms) == ("settled", "fallback", 1000)

    def test_in_a_lane(self, filled: Filled) -> None:
        """A payment not taken yet is found, and only the one asked for."""
        filled.publish(1)
        filled.publish(2)
        (payment,) = by_id(filled, 2).payments
        assert (payment.state, payment.where) == ("accepted", "lane worker-0 to dispatcher-0")

    def test_every_copy(self, filled: Filled) -> None:
        """A second acceptance still in a lane is shown beside the first."""
        filled.wait(1, accepted_at_us=1)
        filled.publish(1, accepted_at_us=2)
        assert [payment.state for payment in by_id(filled, 1).payments] == ["waiting", "accepted"]

    def test_unknown_id(self, filled: Filled) -> None:
        """An id that is not there is found nowhere."""
        filled.wait(1)
        found = by_id(filled, 9)
        assert (found.payments, found.matching) == ((), 0)


def test_a_slot_used_again_meanwhile_is_passed_over(filled: Filled) -> None:
    """A payment taken, and its slot filled anew, between the look at the tail and at the slot is not damage."""
    for number in range(4):
        filled.publish(number)
    segment = filled.attach()
    search = Searcher(segment, lambda: NOW)
    original = segment.lane

    def lane_in_use(worker: int, dispatcher: int) -> object:
        lane = original(worker, dispatcher)
        peek = lane.peek

        def peek_late(position: int) -> object:
            if position == 0 and worker == 0:
                filled.segment.lane(0, 0).advance(1)
                filled.publish(9)
            return peek(position)

        lane.peek = peek_late  # type: ignore[method-assign, assignment]
        return lane

    segment.lane = lane_in_use  # type: ignore[method-assign, assignment]
    found = search.by_state(filled.instance, ["accepted"], LIMIT)
    assert (found.matching, found.unreadable) == (3, 0)

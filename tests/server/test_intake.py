"""server/intake.py: lanes are emptied in order, in bounded turns, and nothing in them is lost or guessed at."""

import logging

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.custody import Custody
from server.intake import TAKEN_PER_TURN_MAX, TORN_PATIENCE_MS, Intake
from server.siblings import Siblings
from shm import Accepted, DispatcherCount, Event, Geometry, Lane
from shm.layout import LANE_SLOT_LENGTH, LANE_SLOTS_OFFSET
from tests.fakes import FakeClock
from tests.server.fake_area import FakeArea

LANE_LENGTH = 256


def payment(number: int, amount_cents: int = 100) -> Accepted:
    """A payment."""
    return Accepted(number.to_bytes(16, "big"), amount_cents, 1_000_000 + number)


class Killed(BaseException):
    """The dispatcher dies here."""


class FakeSiblings(Siblings):
    """Siblings that are absent and had accepted what a test says."""

    def __init__(self) -> None:
        super().__init__([], FakeClock(), [], [])
        self.amounts: dict[bytes, int] = {}
        self.looks = 0
        self.dies_at = b""

    def look(self) -> bool:
        """Count."""
        self.looks += 1
        return True

    def amount_of(self, payment: Accepted) -> int | None:
        """What the test says."""
        if payment.correlation_id == self.dies_at:
            raise Killed
        return self.amounts.get(payment.correlation_id)


class Entrance:
    """Two lanes, an intake, and a custody behind it."""

    def __init__(self, *, waiting_slots: int = 508, journal_records: int = 4, waiting_in_lanes: int = 0) -> None:
        length = Geometry(2, 1, LANE_LENGTH, 1, 2).lane_length
        self.memory = [bytearray(length), bytearray(length)]
        self.lanes = [Lane(memoryview(memory), LANE_LENGTH) for memory in self.memory]
        self.publish(*range(1, 1 + waiting_in_lanes))
        self.area = FakeArea(waiting_slots, journal_records)
        self.custody = Custody(self.lanes, self.area.table, self.area.journal, self.area.counters, lambda _: None)
        self.clock = FakeClock()
        self.siblings = FakeSiblings()
        self.intake = Intake(
            self.lanes,
            self.custody,
            self.area.counters,
            self.clock,
            siblings=self.siblings,
            after_absence=waiting_in_lanes > 0,
        )
        self.custody.before_forgetting = self.intake.take

    def publish(self, *numbers: int, lane: int = 0) -> None:
        """A web worker hands payments over."""
        for number in numbers:
            assert self.lanes[lane].try_publish(payment(number))

    def tear(self, position: int) -> None:
        """Changes a byte of the first lane's slot, or changes it back."""
        self.memory[0][LANE_SLOTS_OFFSET + position % LANE_LENGTH * LANE_SLOT_LENGTH + 9] ^= 1

    def end(self, slot: int) -> None:
        """A payment is paid."""
        self.custody.begin(slot, 0, 1)
        self.custody.end(slot, Event.PAID, self.custody.read(slot))

    def taken(self) -> list[int]:
        """Numbers of the payments that wait, in order."""
        slots = [*self.custody.waiting]
        return [int.from_bytes(self.custody.read(slot).correlation_id, "big") for slot in slots]

    def count(self, what: DispatcherCount) -> int:
        """One of the dispatcher's counts."""
        return self.area.counters.get(what)


class TestTake:
    """Intake.take."""

    def test_nothing_is_there(self) -> None:
        """An empty lane is no work."""
        entrance = Entrance()
        assert entrance.intake.is_empty()
        assert not entrance.intake.take()

    def test_takes_all_lanes_in_order(self) -> None:
        """What was accepted is in the table, and the slots may be used again."""
        entrance = Entrance()
        entrance.publish(1, 2)
        entrance.publish(3, lane=1)
        assert not entrance.intake.is_empty()
        assert not entrance.intake.take()
        assert entrance.taken() == [1, 2, 3]
        assert [lane.depth for lane in entrance.lanes] == [0, 0]
        assert entrance.intake.is_empty()

    def test_a_turn_is_bounded_per_lane(self) -> None:
        """A full lane does not keep answers and beats waiting, nor the other lane; there is more, it says."""
        entrance = Entrance()
        entrance.publish(*range(1, TAKEN_PER_TURN_MAX + 2))
        entrance.publish(1000, lane=1)
        assert entrance.intake.take()
        assert entrance.taken() == [*range(1, TAKEN_PER_TURN_MAX + 1), 1000]
        assert not entrance.intake.take()
        assert entrance.taken()[-1] == TAKEN_PER_TURN_MAX + 1

    def test_repetitions_leave_the_lane(self) -> None:
        """A copy is not kept, whatever its amount, and does not stop what follows."""
        entrance = Entrance()
        entrance.publish(1, 1)
        assert entrance.lanes[0].try_publish(payment(1, amount_cents=7))
        entrance.publish(2)
        assert not entrance.intake.take()
        assert entrance.taken() == [1, 2]
        assert entrance.count(DispatcherCount.REPEATED) == 1
        assert entrance.count(DispatcherCount.CONFLICTS) == 1

    def test_a_full_table_leaves_them_where_they_are(self) -> None:
        """Nothing is lost: they stay in the lane, in order, and it is no reason to be busy."""
        entrance = Entrance(waiting_slots=5)
        entrance.publish(*range(1, 9))
        for _ in range(5):
            entrance.intake.take()
        assert entrance.taken() == [1, 2, 3, 4, 5]
        assert not entrance.intake.take()
        assert entrance.lanes[0].depth == 3
        assert entrance.lanes[0].peek(entrance.lanes[0].tail) == payment(6)

    @pytest.mark.parametrize("looks", [1, 2, 3, 4])
    @pytest.mark.parametrize("ends", [1, 5, 6])
    def test_a_full_table_is_shared_out(self, looks: int, ends: int) -> None:
        """Whenever there is room for a few, all lanes get as much of it: none waits for another to be empty."""
        entrance = Entrance(waiting_slots=6)
        entrance.publish(*range(1, 101))
        entrance.publish(*range(101, 201), lane=1)
        for _ in range(12):
            for _ in range(looks):
                entrance.intake.take()
            for _ in range(min(ends, len(entrance.custody.waiting))):
                entrance.end(entrance.custody.waiting.popleft())
        depths = [lane.depth for lane in entrance.lanes]
        assert sum(depths) <= 200 - 12 * ends
        assert abs(depths[0] - depths[1]) <= 1


class TestKilled:
    """What a dispatcher that died while it took has passed in its lane."""

    @pytest.mark.parametrize("met", ["elsewhere", "conflict", "torn", "repeated"])
    def test_is_behind_the_successor(self, met: str) -> None:
        """It finds nothing in the lane that was taken before, whatever lay between: it might be forgotten by then."""
        entrance = Entrance()
        entrance.publish(1)
        if met == "elsewhere":
            entrance.siblings.amounts[payment(2)[0]] = 100
        number = 1 if met in {"conflict", "repeated"} else 2
        assert entrance.lanes[0].try_publish(payment(number, 7 if met == "conflict" else 100))
        entrance.publish(3, 4)
        if met == "torn":
            entrance.tear(1)
            entrance.intake.take()
            entrance.clock.advance(TORN_PATIENCE_MS)
        entrance.siblings.dies_at = payment(4)[0]
        with pytest.raises(Killed):
            entrance.intake.take()
        entrance.siblings.dies_at = b""
        Custody(entrance.lanes, entrance.area.table, entrance.area.journal, entrance.area.counters, lambda _: None)
        assert entrance.lanes[0].tail == 3


class TestTorn:
    """A slot that is not what it claims."""

    def test_is_waited_for(self) -> None:
        """On a CPU that reorders stores it comes right; what came before it is taken."""
        entrance = Entrance()
        entrance.publish(1, 2, 3)
        entrance.tear(1)
        assert not entrance.intake.take()
        entrance.clock.advance(TORN_PATIENCE_MS - 1)
        assert not entrance.intake.take()
        assert entrance.taken() == [1]
        entrance.tear(1)
        entrance.intake.take()
        assert entrance.taken() == [1, 2, 3]
        assert entrance.count(DispatcherCount.SET_ASIDE) == 0

    def test_is_set_aside_after_a_second(self, caplog: pytest.LogCaptureFixture) -> None:
        """It is counted and told with its bytes, and what follows is taken; the other lane is not held up."""
        entrance = Entrance()
        entrance.publish(1, 2)
        entrance.tear(0)
        entrance.intake.take()
        entrance.publish(9, lane=1)
        entrance.intake.take()
        assert entrance.taken() == [9]
        entrance.clock.advance(TORN_PATIENCE_MS)
        raw = entrance.lanes[0].peek_raw(0).hex()
        with caplog.at_level(logging.CRITICAL):
            entrance.intake.take()
        assert entrance.taken() == [9, 2]
        assert entrance.count(DispatcherCount.SET_ASIDE) == 1
        assert f"lane 0, position 0 is damaged, set aside: {raw}" in caplog.text

    def test_each_has_its_own_second(self) -> None:
        """Patience with one slot is not used up by another before it."""
        entrance = Entrance()
        entrance.publish(1, 2)
        entrance.tear(0)
        entrance.intake.take()
        entrance.clock.advance(TORN_PATIENCE_MS - 1)
        entrance.tear(0)
        entrance.tear(1)
        entrance.intake.take()
        entrance.clock.advance(TORN_PATIENCE_MS - 1)
        entrance.intake.take()
        assert entrance.taken() == [1]
        assert entrance.count(DispatcherCount.SET_ASIDE) == 0

    def test_neighbours_too(self) -> None:
        """Two torn slots in a row are not set aside together: each is seen to stay torn."""
        entrance = Entrance()
        entrance.publish(1, 2, 3)
        entrance.tear(0)
        entrance.tear(1)
        counts = []
        for _ in range(4):
            entrance.intake.take()
            counts.append(entrance.count(DispatcherCount.SET_ASIDE))
            entrance.clock.advance(TORN_PATIENCE_MS)
        assert counts == [0, 1, 2, 2]
        assert entrance.taken() == [3]


class TestAfterAbsence:
    """What may have been accepted or paid elsewhere."""

    def test_what_lay_there_is_unverified(self) -> None:
        """What was in a lane while the instance was away is kept apart; what comes now is not."""
        entrance = Entrance(waiting_in_lanes=2)
        assert entrance.intake.has_unverified()
        entrance.publish(3)
        entrance.publish(4, lane=1)
        entrance.intake.take()
        assert not entrance.intake.has_unverified()
        assert entrance.taken() == [3, 4]
        assert len(entrance.custody.unverified) == 2

    def test_what_an_absent_sibling_has_is_not_paid_here(self) -> None:
        """It leaves the lane and is counted; an id that is in our own table is our own affair."""
        entrance = Entrance()
        entrance.publish(1)
        entrance.intake.take()
        entrance.siblings.amounts = {payment(number)[0]: 100 for number in (1, 2)} | {payment(3)[0]: 999}
        entrance.publish(1, 2, 3, 4)
        entrance.intake.take()
        assert entrance.taken() == [1, 4]
        assert entrance.count(DispatcherCount.REPEATED) == 2
        assert entrance.count(DispatcherCount.CONFLICTS) == 1

    def test_siblings_are_looked_at_only_when_there_is_something(self) -> None:
        """Once per lane and turn, before its payments are taken."""
        entrance = Entrance()
        entrance.intake.take()
        assert entrance.siblings.looks == 0
        entrance.publish(1, 2)
        entrance.intake.take()
        assert entrance.siblings.looks == 1

    def test_what_comes_after_the_look_is_left_for_the_next(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A sibling that has died since may have accepted a copy of it first."""
        entrance = Entrance()
        entrance.publish(1)

        def look() -> bool:
            entrance.publish(2)
            return True

        monkeypatch.setattr(entrance.siblings, "look", look)
        entrance.intake.take()
        assert entrance.taken() == [1]

    def test_a_sibling_does_not_overrule_our_own_table(self) -> None:
        """A copy of what was taken here is a repeat, though a sibling has the same id with another amount."""
        entrance = Entrance()
        entrance.publish(1)
        entrance.intake.take()
        entrance.siblings.amounts = {payment(1)[0]: 999}
        entrance.publish(1)
        entrance.intake.take()
        assert (entrance.count(DispatcherCount.REPEATED), entrance.count(DispatcherCount.CONFLICTS)) == (1, 0)


class TestForgetting:
    """A payment is remembered for as long as a copy that was accepted while it was known lies in a lane."""

    @given(
        st.integers(1, 2),
        st.integers(1, 24),
        st.lists(st.tuples(st.sampled_from(("come", "copy", "again", "end", "take")), st.integers(1, 20)), max_size=30),
    )
    @example(1, 20, [*[("come", 4), ("take", 1)] * 5, ("copy", 1), ("end", 20), ("take", 1)])
    @example(1, 2, [*[("come", 1), ("take", 1), ("end", 1)] * 8, ("come", 5), ("take", 1), ("again", 1), ("end", 9)])
    @example(1, 2, [*[("come", 2), ("take", 1)] * 5, ("come", 3), ("copy", 1), *[("end", 20), ("take", 5)] * 3])
    def test_no_copy_is_taken_for_a_new_one(
        self, workers: int, waiting_slots: int, moves: list[tuple[str, int]]
    ) -> None:
        """Whatever comes, is copied, ends and is taken in whatever order, with the smallest journal there may be."""
        length = Geometry(1, 1, 4, 1, 2).lane_length
        lanes = [Lane(memoryview(bytearray(length)), 4) for _ in range(workers)]
        area = FakeArea(waiting_slots, 2 * 4 * workers)
        custody = Custody(lanes, area.table, area.journal, area.counters, lambda _: None)
        intake = Intake(lanes, custody, area.counters, FakeClock(), siblings=FakeSiblings(), after_absence=False)
        custody.before_forgetting = intake.take
        accepted, unended = 0, list[int]()
        for what, count in moves:
            for turn in range(count):
                if what == "take":
                    intake.take()
                elif what == "end" and custody.waiting:
                    slot = custody.waiting.popleft()
                    kept = custody.read(slot)
                    custody.begin(slot, 0, 1)
                    custody.end(slot, Event.PAID, kept)
                    unended.remove(int.from_bytes(kept.correlation_id, "big"))  # fails for one that has ended before
                elif what == "come" and lanes[turn % workers].try_publish(payment(accepted)):
                    unended.append(accepted)
                    accepted += 1
                elif what == "copy" and unended:
                    lanes[-1].try_publish(payment(unended[(turn * 7) % len(unended)]))
                elif what == "again":
                    known = (one for one in map(payment, range(accepted)) if area.table.find(one.correlation_id))
                    if oldest := next(known, None):
                        lanes[-1].try_publish(oldest)
        assert area.counters.get(DispatcherCount.TAKEN) <= accepted

    def test_a_sibling_is_asked_again_once_all_copies_have_passed(self) -> None:
        """From then on the forgotten id is as unknown here as any."""
        entrance = Entrance(waiting_slots=8, journal_records=512)
        for number in range(512):
            entrance.custody.take(payment(number))
            entrance.end(entrance.custody.waiting.popleft())
        entrance.custody.take(payment(600))
        entrance.publish(0)
        entrance.custody.before_forgetting = lambda: False  # it stays where it is
        entrance.end(entrance.custody.waiting.popleft())
        assert entrance.custody.knows(payment(0).correlation_id)
        entrance.intake.take()
        entrance.siblings.amounts[payment(0).correlation_id] = payment(0).amount_cents
        entrance.publish(0)
        entrance.intake.take()
        assert entrance.count(DispatcherCount.TAKEN) == 513

    def test_lanes_are_emptied_before(self) -> None:
        """A copy of the oldest is still met as one."""
        entrance = Entrance(waiting_slots=8, journal_records=16)
        for number in range(16):
            entrance.custody.take(payment(number))
            entrance.end(entrance.custody.waiting.popleft())
        entrance.custody.take(payment(600))
        entrance.publish(0)
        entrance.end(entrance.custody.waiting.popleft())
        assert not entrance.custody.knows(payment(0).correlation_id)
        assert (entrance.lanes[0].depth, entrance.count(DispatcherCount.REPEATED)) == (0, 1)

    def test_none_however_deep(self) -> None:
        """A journal that fills up for the first time, at once, forgets nothing that lies deep in a full lane."""
        entrance = Entrance(waiting_slots=1100, journal_records=1024)
        for number in range(1100):
            entrance.custody.take(payment(number))
        entrance.publish(*range(2000, 2255), 0)
        for _ in range(1100):
            entrance.end(entrance.custody.waiting.popleft())
        for _ in range(8):  # a bound: a lane that never ends is a failure, not a test that hangs
            entrance.intake.take()
        assert entrance.intake.is_empty()
        assert (entrance.count(DispatcherCount.REPEATED), entrance.count(DispatcherCount.TAKEN)) == (1, 1100 + 255)

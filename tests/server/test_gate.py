"""server/gate.py: the way in, over a real segment and with real doorbells."""

import errno
import os
from collections.abc import Iterator
from zlib import crc32

import pytest

from server.errors import LookupUnavailable
from server.gate import CONFLICT_LOOKUPS_PER_S, Gate, PerSecond
from server.payments import Acceptance, Payment, PaymentStatus
from shm import Accepted, Event, Geometry, Kept, Segment, State, Table, WorkerCount
from tests.fakes import NOON_MS, FakeClock
from tests.server.other_instance import copy_of, other_instance
from tests.shm.segments import damaged_head, fresh_instance, refuse

GEOMETRY = Geometry(workers=2, dispatchers=2, lane_slots=4, waiting_slots=8, journal_records=8)
RECENT_IDS = 4
AT_US = NOON_MS * 1000


def id_of(number: int) -> bytes:
    """A payment's id."""
    return number.to_bytes(16, "big")


def payment(number: int, amount_cents: int = 1990) -> Payment:
    """A payment."""
    return id_of(number), amount_cents


def numbers_for(dispatcher: int, count: int) -> list[int]:
    """Numbers of payments that belong to a dispatcher: the hash must never change, lest copies miss each other."""
    return [number for number in range(64) if crc32(id_of(number)) % 2 == dispatcher][:count]


class Porch:
    """A segment with its doorbells and one worker's gate; `reopen` is that worker's successor."""

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.clock = FakeClock()
        self.siblings: tuple[str, ...] = ()
        self.doorbells = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]
        self.gate = self.reopen()

    def reopen(self, worker: int = 0) -> Gate:
        """A gate that knows only what is in memory."""
        return Gate(
            self.segment,
            worker,
            self.doorbells,
            recent_ids=RECENT_IDS,
            lookups_per_s=3,
            clock=self.clock,
            siblings=self.siblings,
        )

    def accept(self, *numbers: int, amount_cents: int = 1990) -> list[Acceptance]:
        """What the gate says to payments."""
        return [self.gate.accept(payment(number, amount_cents)) for number in numbers]

    def in_lane(self, dispatcher: int, worker: int = 0) -> list[Accepted | None]:
        """What lies in a lane."""
        lane = self.segment.lane(worker, dispatcher)
        return [lane.peek(position) for position in range(lane.tail, lane.head)]

    def take_all(self) -> None:
        """Both dispatchers take what is there, each into the next slots."""
        for dispatcher in range(2):
            table, slots = self.segment.table(dispatcher), iter(range(100))
            used = {slot for slot, _ in table.scan()}
            for worker in range(2):
                lane = self.segment.lane(worker, dispatcher)
                for position in range(lane.tail, lane.head):
                    accepted = lane.peek(position)
                    assert accepted is not None
                    table.insert(next(slot for slot in slots if slot not in used), accepted)
                lane.advance(lane.head)

    def drop_all(self) -> None:
        """Both dispatchers take what is there and forget it."""
        for dispatcher in range(2):
            for worker in range(2):
                lane = self.segment.lane(worker, dispatcher)
                lane.advance(lane.head)

    def rings(self) -> list[int]:
        """How often each doorbell was rung since it was last heard."""
        counts = []
        for doorbell in self.doorbells:
            try:
                counts.append(os.eventfd_read(doorbell))
            except BlockingIOError:
                counts.append(0)
        return counts

    def count(self, what: WorkerCount) -> int:
        """One of worker 0's counts."""
        return self.segment.worker_counters(0).get(what)

    def close(self) -> None:
        """No more doorbells."""
        for doorbell in self.doorbells:
            os.close(doorbell)


@pytest.fixture
def porch() -> Iterator[Porch]:
    """A fresh segment for two workers and two dispatchers, gone afterwards."""
    with fresh_instance() as instance:
        made = Porch(Segment.create(instance, GEOMETRY))
        yield made
        made.close()


class TestAccept:
    """Gate.accept."""

    def test_accepted_is_committed(self, porch: Porch) -> None:
        """The payment is in this worker's lane to its dispatcher, with the time of its acceptance."""
        assert porch.accept(1) == [Acceptance.ACCEPTED]
        lanes = [porch.in_lane(dispatcher, worker) for dispatcher in range(2) for worker in range(2)]
        assert max(lanes, key=len) == [Accepted(id_of(1), 1990, AT_US)]
        assert sum(map(len, lanes)) == 1
        assert porch.in_lane(0, worker=1) == porch.in_lane(1, worker=1) == []
        assert porch.count(WorkerCount.ACCEPTED) == 1

    def test_an_id_has_one_dispatcher(self, porch: Porch) -> None:
        """The same in every worker and every life: copies that came different ways meet there."""
        other = porch.reopen(worker=1)
        for number in range(8):
            porch.accept(number)
            other.accept(payment(number))
            lanes = [[bool(porch.in_lane(d, worker)) for d in range(2)] for worker in range(2)]
            assert lanes[0] == lanes[1]
            porch.drop_all()

    def test_ids_are_spread(self, porch: Porch) -> None:
        """Both dispatchers get their share, and each what its hash says."""
        porch.accept(*numbers_for(0, 3), *numbers_for(1, 2))
        assert [len(porch.in_lane(dispatcher)) for dispatcher in range(2)] == [3, 2]
        assert len(numbers_for(0, 64)) > 20
        assert len(numbers_for(1, 64)) > 20

    def test_one_dispatcher_gets_all(self) -> None:
        """No hash is needed then, as in most instances."""
        with fresh_instance() as instance:
            porch = Porch(Segment.create(instance, GEOMETRY._replace(dispatchers=1)))
            assert porch.accept(1, 2, 3) == [Acceptance.ACCEPTED] * 3
            assert len(porch.in_lane(0)) == 3
            porch.close()

    def test_the_same_again_is_repeated(self, porch: Porch) -> None:
        """It is not handed over again."""
        assert porch.accept(1, 1, 1) == [Acceptance.ACCEPTED, Acceptance.REPEATED, Acceptance.REPEATED]
        assert len(porch.in_lane(0)) + len(porch.in_lane(1)) == 1
        assert porch.count(WorkerCount.REPEATED) == 2

    def test_any_number_of_repeats_is_answered(self, porch: Porch) -> None:
        """What is known here is not looked up, so no limit of look-ups applies."""
        porch.accept(1)
        assert porch.accept(*[1] * 20) == [Acceptance.REPEATED] * 20

    def test_another_amount_is_a_conflict(self, porch: Porch) -> None:
        """It is not handed over, and the first amount stays the one that is known."""
        porch.accept(1)
        assert porch.accept(1, amount_cents=5) == [Acceptance.CONFLICT]
        assert porch.accept(1) == [Acceptance.REPEATED]
        assert len(porch.in_lane(0)) + len(porch.in_lane(1)) == 1
        assert porch.count(WorkerCount.CONFLICTS) == 1

    def test_the_amount_that_stands_is_no_conflict(self, porch: Porch) -> None:
        """Two amounts came to two workers, and both got a 202; the one taken first may be sent again to either."""
        other = porch.reopen(worker=1)
        assert porch.accept(1) == [Acceptance.ACCEPTED]
        porch.take_all()
        assert other.accept(payment(1, 5)) is Acceptance.ACCEPTED
        for dispatcher in range(2):
            lane = porch.segment.lane(1, dispatcher)
            lane.advance(lane.head)  # dropped: the id is known
        assert other.accept(payment(1)) is Acceptance.REPEATED
        assert other.accept(payment(1, 5)) is Acceptance.CONFLICT

    def test_one_that_stands_at_a_sibling_is_no_conflict(self, porch: Porch) -> None:
        """It was away when the other amount came here."""
        with other_instance() as sibling:
            sibling.take(copy_of(1))
            porch.siblings = (sibling.name,)
            gate = porch.reopen()
            assert gate.accept(payment(1, 5)) is Acceptance.ACCEPTED
            porch.drop_all()
            assert gate.accept(payment(1)) is Acceptance.REPEATED

    def test_one_that_was_left_to_a_sibling_is_a_conflict_no_more(self, porch: Porch) -> None:
        """Here it was taken with one amount, there with another while this instance was away, and paid."""
        with other_instance() as sibling:
            porch.accept(1)
            porch.take_all()
            sibling.take(copy_of(1, 5), State.SETTLED)
            porch.siblings = (sibling.name,)
            assert porch.reopen().accept(payment(1, 5)) is Acceptance.REPEATED

    def test_conflicts_are_looked_up_as_often_as_is_allowed(self, porch: Porch) -> None:
        """Each takes milliseconds; clients' own look-ups are not used up by it."""
        other = porch.reopen(worker=1)
        porch.accept(1)
        porch.take_all()
        assert other.accept(payment(1, 5)) is Acceptance.ACCEPTED
        lanes = [porch.segment.lane(1, dispatcher) for dispatcher in range(2)]
        for lane in lanes:
            lane.advance(lane.head)
        conflicts = [other.accept(payment(1, 7)) for _ in range(CONFLICT_LOOKUPS_PER_S)]
        assert conflicts == [Acceptance.CONFLICT] * CONFLICT_LOOKUPS_PER_S
        assert other.accept(payment(1)) is Acceptance.CONFLICT
        assert other.may_look_up()
        porch.clock.advance(1000)
        assert other.accept(payment(1)) is Acceptance.REPEATED

    def test_one_that_can_not_be_looked_up_is_a_conflict(self, porch: Porch, monkeypatch: pytest.MonkeyPatch) -> None:
        """It may be at a sibling that can't be looked at now; this instance's own memory is searched all the same."""
        with other_instance() as sibling:
            porch.siblings = (sibling.name,)
            gate = porch.reopen()
            porch.reopen(worker=1).accept(payment(1))
            porch.take_all()
            assert gate.accept(payment(1, 5)) is Acceptance.ACCEPTED
            porch.drop_all()
            monkeypatch.setattr(Segment, "fingerprint", refuse(OSError(errno.EMFILE, "no descriptors")))
            assert gate.accept(payment(1, 7)) is Acceptance.CONFLICT
            assert gate.accept(payment(1)) is Acceptance.REPEATED

    def test_a_full_lane_refuses(self, porch: Porch) -> None:
        """Nothing is stored and the id not remembered: once there is room it is accepted like any other."""
        numbers = numbers_for(0, 6)
        assert porch.accept(*numbers) == [*[Acceptance.ACCEPTED] * 4, Acceptance.FULL, Acceptance.FULL]
        assert porch.count(WorkerCount.FULL) == 2
        assert porch.accept(*numbers_for(1, 1)) == [Acceptance.ACCEPTED]
        porch.take_all()
        assert porch.accept(numbers[4]) == [Acceptance.ACCEPTED]
        assert porch.in_lane(0) == [Accepted(id_of(numbers[4]), 1990, AT_US)]


class TestDoorbell:
    """The eventfd that wakes a dispatcher."""

    def test_is_rung_only_for_a_sleeper(self, porch: Porch) -> None:
        """A dispatcher that is awake will look by itself; a write costs more than all the rest."""
        first, second = numbers_for(0, 2)
        porch.accept(first)
        assert porch.rings() == [0, 0]
        porch.segment.dispatcher_counters(0).sleeping = True
        porch.accept(second)
        assert porch.rings() == [1, 0]

    def test_is_not_rung_for_what_is_not_handed_over(self, porch: Porch) -> None:
        """Repeats, conflicts and refusals are no work for a dispatcher."""
        numbers = numbers_for(1, 5)
        porch.accept(*numbers)
        for dispatcher in range(2):
            porch.segment.dispatcher_counters(dispatcher).sleeping = True
        porch.accept(numbers[0], numbers[4])
        porch.accept(numbers[0], amount_cents=1)
        assert porch.rings() == [0, 0]

    def test_is_rung_after_the_payment_is_there(self, porch: Porch) -> None:
        """Whoever is woken finds it."""
        (number,) = numbers_for(1, 1)
        porch.segment.dispatcher_counters(1).sleeping = True
        seen: list[int] = []
        gate = Gate(
            porch.segment,
            0,
            porch.doorbells,
            recent_ids=RECENT_IDS,
            lookups_per_s=3,
            clock=porch.clock,
            ring=lambda doorbell: seen.append(len(porch.in_lane(1)) if doorbell == porch.doorbells[1] else -1),
        )
        gate.accept(payment(number))
        assert seen == [1]


class TestMemory:
    """What a worker knows when it starts."""

    def test_a_successor_knows_what_lies_in_its_lanes(self, porch: Porch) -> None:
        """A repeat after a crash is answered like one before it."""
        porch.accept(1, 2)
        porch.gate = porch.reopen()
        assert porch.accept(1) == [Acceptance.REPEATED]
        assert porch.accept(2, amount_cents=1) == [Acceptance.CONFLICT]

    def test_a_successor_knows_what_is_in_the_tables(self, porch: Porch) -> None:
        """Of both dispatchers, waiting or ended."""
        porch.accept(1, 2, 3)
        porch.take_all()
        for dispatcher in range(2):
            table = porch.segment.table(dispatcher)
            for slot, _ in table.scan():
                table.begin(slot, 0, NOON_MS)
                table.apply(slot, Event.PAID)
        porch.gate = porch.reopen()
        assert porch.accept(1, 2, 3) == [Acceptance.REPEATED] * 3
        assert porch.accept(4) == [Acceptance.ACCEPTED]

    def test_the_newest_are_known_when_there_are_too_many(self, porch: Porch) -> None:
        """A memory of four keeps the four accepted last."""
        for number in range(8):
            porch.clock.advance(1)
            porch.accept(number)
            porch.take_all()
        porch.gate = porch.reopen()
        assert porch.accept(7, 6, 5, 4) == [Acceptance.REPEATED] * 4
        assert porch.accept(3) == [Acceptance.ACCEPTED]  # the dispatcher will know it

    def test_the_amount_taken_first_counts(self, porch: Porch) -> None:
        """A conflicting copy that lies in a lane behind it does not become the one that is known."""
        porch.accept(1)
        porch.take_all()
        dispatcher = 0 if porch.segment.table(0).find(id_of(1)) else 1
        porch.segment.lane(0, dispatcher).try_publish(Accepted(id_of(1), 5, AT_US))
        porch.gate = porch.reopen()
        assert porch.accept(1, amount_cents=5) == [Acceptance.CONFLICT]
        assert porch.accept(*[1] * 20) == [Acceptance.REPEATED] * 20

    def test_torn_and_damaged_slots_are_left_out(self, porch: Porch) -> None:
        """They are the dispatcher's to deal with; the worker starts all the same."""
        porch.accept(1)
        dispatcher = 0 if porch.in_lane(0) else 1
        lane = porch.segment.lane(0, dispatcher)
        lane._view[128 + 9] ^= 1  # noqa: SLF001  no process of ours would do this
        porch.gate = porch.reopen()
        assert porch.accept(1) == [Acceptance.ACCEPTED]

    def test_a_damaged_head_is_not_followed(self, porch: Porch) -> None:
        """The worker starts all the same, knows what is there, and accepts what belongs to other dispatchers."""
        (number, another), (elsewhere,) = numbers_for(0, 2), numbers_for(1, 1)
        porch.accept(number)
        with damaged_head(porch.segment.lane(0, 0)):
            porch.gate = porch.reopen()
            assert porch.accept(number, another) == [Acceptance.REPEATED, Acceptance.FULL]
            assert porch.accept(elsewhere) == [Acceptance.ACCEPTED]
            assert porch.gate.find(id_of(another)) is None

    def test_what_is_taken_meanwhile_is_known(self, porch: Porch, monkeypatch: pytest.MonkeyPatch) -> None:
        """A dispatcher that empties a lane while the tables are read does not hide what it took."""
        (number,) = numbers_for(0, 1)
        porch.accept(number)
        scan = Table.scan

        def scan_then_take(table: Table) -> Iterator[tuple[int, Kept | None]]:
            yield from scan(table)
            monkeypatch.undo()
            porch.take_all()

        monkeypatch.setattr(Table, "scan", scan_then_take)
        porch.gate = porch.reopen()
        assert porch.accept(number) == [Acceptance.REPEATED]


class TestFind:
    """Gate.find and Gate.may_look_up."""

    def test_in_a_lane(self, porch: Porch) -> None:
        """Accepted, whichever worker accepted it."""
        porch.accept(1)
        expected = PaymentStatus("accepted", 1990, None, None, AT_US, 0)
        assert porch.gate.find(id_of(1)) == expected
        assert porch.reopen(worker=1).find(id_of(1)) == expected
        assert porch.count(WorkerCount.LOOKUPS) == 1

    def test_nowhere(self, porch: Porch) -> None:
        """Never seen, or forgotten."""
        porch.accept(1)
        assert porch.gate.find(id_of(2)) is None

    def test_at_a_sibling(self, porch: Porch) -> None:
        """What another instance took while this one was away; what is here comes first."""
        (number,) = numbers_for(1, 1)
        correlation_id = id_of(number)
        with other_instance() as other:
            porch.siblings = (other.name,)
            porch.gate = porch.reopen()
            other.take(copy_of(number, 500), State.SETTLED)
            assert porch.gate.find(correlation_id) == PaymentStatus("settled", 500, "default", NOON_MS, AT_US, 0)
            porch.accept(number)
            assert porch.gate.find(correlation_id) == PaymentStatus("accepted", 1990, None, None, AT_US, 0)

    def test_where_nobody_can_look(self, porch: Porch, monkeypatch: pytest.MonkeyPatch) -> None:
        """A payment that is here is shown; for any other nobody can say that it was never accepted."""
        porch.siblings = ("none",)
        gate = porch.reopen()
        monkeypatch.setattr(Segment, "fingerprint", refuse(OSError(errno.EMFILE, "no descriptors")))
        gate.accept(payment(1))
        assert gate.find(id_of(1)) is not None
        with pytest.raises(LookupUnavailable):
            gate.find(id_of(2))

    def test_look_ups_are_limited_per_second(self, porch: Porch) -> None:
        """Three a second here; what was not used is not saved up."""
        assert [porch.gate.may_look_up() for _ in range(5)] == [True, True, True, False, False]
        porch.clock.advance(1000)
        assert [porch.gate.may_look_up() for _ in range(4)] == [True, True, True, False]
        porch.clock.advance(10_000)
        assert [porch.gate.may_look_up() for _ in range(4)] == [True, True, True, False]
        assert porch.count(WorkerCount.LOOKUPS_REFUSED) == 4


class TestPerSecond:
    """PerSecond."""

    def test_counts_by_whole_seconds_of_the_ticking_clock(self) -> None:
        """At the turn of the second it starts afresh."""
        clock = FakeClock()
        clock.advance(-clock.ticks_ms() % 1000)
        allowed = PerSecond(1, clock)
        assert [allowed.allow(), allowed.allow()] == [True, False]
        clock.advance(999)
        assert not allowed.allow()
        clock.advance(1)
        assert allowed.allow()

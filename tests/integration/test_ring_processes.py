"""The ring between real processes: nothing lost, nothing twice, nothing torn, whoever is killed.

Every payment follows from its worker and its number, so that a reader can tell each one from the bytes alone: number n
of worker w goes to dispatcher n % DISPATCHERS, and position p of that lane holds number p * DISPATCHERS + dispatcher. A
lane read in order without a wrong payment has therefore carried exactly the right set.
"""

import random
import signal
import struct
import time
from collections.abc import Iterator
from functools import partial

import pytest

from shm import Accepted, DispatcherCount, Geometry, Segment, State, take_role
from tests.shm.miniature import Miniature
from tests.shm.processes import end, fork, wait_for
from tests.shm.segments import fresh_instance

pytestmark = pytest.mark.slow

WORKERS = 2
DISPATCHERS = 2
GEOMETRY = Geometry(WORKERS, DISPATCHERS, lane_slots=256, waiting_slots=64, journal_records=128)
ID = struct.Struct(">QQ")
SUM = DispatcherCount.ATTEMPTS  # a word of the reader's row that is free here: the sum of the cents it has taken
PAUSE_S = 0.000_5
TIMEOUT_S = 120.0  # a busy machine; alone it takes a tenth of that


def payment_of(worker: int, number: int) -> Accepted:
    """The only payment there is with this number from this worker."""
    return Accepted(ID.pack(worker + 1, number), 1 + number * 7919 % 100_003, (worker << 48) + number)


def is_right(payment: Accepted) -> bool:
    """Whether all parts of a payment belong together."""
    worker, number = ID.unpack(payment.correlation_id)
    return payment == payment_of(worker - 1, number)


def total_cents(dispatcher: int, count: int) -> int:
    """What the first `count` payments of every worker come to, as far as they are this dispatcher's."""
    return sum(
        payment_of(worker, number).amount_cents
        for worker in range(WORKERS)
        for number in range(dispatcher, count, DISPATCHERS)
    )


def write(instance: str, worker: int, count: int) -> None:
    """A worker's process: publishes its payments from where its predecessor stopped, which the lanes' heads tell."""
    with take_role(instance, f"worker-{worker}"):
        segment = Segment.attach(instance)
        lanes = [segment.lane(worker, dispatcher) for dispatcher in range(DISPATCHERS)]
        for number in range(sum(lane.head for lane in lanes), count):
            payment = payment_of(worker, number)
            while not lanes[number % DISPATCHERS].try_publish(payment):
                time.sleep(PAUSE_S)


def read(instance: str, dispatcher: int, count: int) -> None:
    """A reader's process: empties its lanes and checks that each payment is the one that must come next."""
    with take_role(instance, f"dispatcher-{dispatcher}"):
        segment = Segment.attach(instance)
        row = segment.dispatcher_counters(dispatcher)
        lanes = [segment.lane(worker, dispatcher) for worker in range(WORKERS)]
        while any(lane.tail < count // DISPATCHERS for lane in lanes):
            taken = 0
            for worker, lane in enumerate(lanes):
                tail, head = lane.tail, lane.head
                cents = 0
                for position in range(tail, head):
                    payment = lane.peek(position)
                    expected = payment_of(worker, position * DISPATCHERS + dispatcher)
                    assert payment == expected, f"lane {worker} to {dispatcher}, {position}: {payment}"
                    cents += expected.amount_cents
                lane.advance(head)
                row.add(DispatcherCount.TAKEN, head - tail)
                row.add(SUM, cents)
                taken += head - tail
            if not taken:
                time.sleep(PAUSE_S)


def settle(instance: str, dispatcher: int, count: int) -> None:
    """A dispatcher's process: takes, attempts and settles everything, beginning with what its predecessor left."""
    with take_role(instance, f"dispatcher-{dispatcher}"):
        segment = Segment.attach(instance)
        lanes = [segment.lane(worker, dispatcher) for worker in range(WORKERS)]
        life = Miniature(lanes, segment.table(dispatcher), segment.journal(dispatcher))
        assert life.recovered.set_aside == []
        life.journal.begin_life()
        unsettled = life.unsettled()
        while unsettled or any(lane.tail < count // DISPATCHERS for lane in lanes):
            for number, correlation_id in enumerate(unsettled):
                life.settle(correlation_id, number % 2, 1_000)
            unsettled = life.take()
            if not unsettled:
                time.sleep(PAUSE_S)


def watch(instance: str, until: float) -> None:
    """A read-only process: looks at everything all the time, and never sees anything that is not whole and right."""
    segment = Segment.attach(instance, read_only=True)
    seen = 0
    while time.monotonic() < until:
        for dispatcher in range(DISPATCHERS):
            for worker in range(WORKERS):
                lane = segment.lane(worker, dispatcher)
                tail, head = lane.tail, lane.head
                assert head >= tail, "a tail was past its head"
                for position in range(tail, head, 16):
                    payment = lane.peek(position)  # None: overwritten since
                    assert payment is None or is_right(payment)
                    seen += payment is not None
            for _, kept in segment.table(dispatcher).scan():
                assert kept is None or kept.state is State.FREE or is_right(Accepted(*kept[3:6]))  # None: busy slot
            base = segment.journal(dispatcher).base
            assert base.journal_tail == base.default_payments + base.fallback_payments, "a base was not whole"
    assert seen


@pytest.fixture
def instance() -> Iterator[str]:
    """An instance with a real segment."""
    with fresh_instance() as name:
        Segment.create(name, GEOMETRY)
        yield name


@pytest.fixture
def children() -> Iterator[list[int]]:
    """Pids of children that are to be gone in the end."""
    pids = list[int]()
    yield pids
    for pid in pids:
        end(pid)


def kill_now_and_then(works: dict[int, partial[None]], kills: int, children: list[int]) -> int:
    """Kills one of the children again and again, wherever it is, and lets a successor do the same work.

    Returns:
        How many were in the middle of their work.
    """
    dice, hits = random.Random(1), 0
    for _ in range(kills):
        time.sleep(dice.uniform(0.01, 0.08))
        pid = dice.choice(list(works))
        work = works.pop(pid)
        exit_code = end(pid)
        assert exit_code in {0, -signal.SIGKILL}, f"a child failed with {exit_code}"
        hits += exit_code != 0
        children.remove(pid)
        successor = fork(work)
        children.append(successor)
        works[successor] = work
    return hits


def assert_all_taken(instance: str, count: int) -> None:
    """Checks that the readers have got `count` payments of each worker."""
    segment = Segment.attach(instance)
    for dispatcher in range(DISPATCHERS):
        row = segment.dispatcher_counters(dispatcher)
        assert row.get(DispatcherCount.TAKEN) == WORKERS * count // DISPATCHERS
        assert row.get(SUM) == total_cents(dispatcher, count)


class TestRing:
    """Several workers and several dispatchers over one segment."""

    def test_two_million_payments(self, instance: str, children: list[int]) -> None:
        """Each reader gets exactly the payments meant for it, once and in order, while somebody watches read-only."""
        count = 1_000_000
        started_at = time.monotonic()
        works = [partial(write, instance, worker, count) for worker in range(WORKERS)]
        works += [partial(read, instance, dispatcher, count) for dispatcher in range(DISPATCHERS)]
        children += [fork(work) for work in works]
        watcher = fork(partial(watch, instance, started_at + 3))
        children.append(watcher)
        wait_for(children, TIMEOUT_S)
        assert_all_taken(instance, count)

    def test_killed_workers_have_successors(self, instance: str, children: list[int]) -> None:
        """A worker killed at any moment leaves lanes with which its successor goes on, without gap or repetition."""
        count = 400_000
        readers = [fork(partial(read, instance, dispatcher, count)) for dispatcher in range(DISPATCHERS)]
        children += readers
        works = {}
        for worker in range(WORKERS):
            work = partial(write, instance, worker, count)
            works[fork(work)] = work
        children += works
        assert kill_now_and_then(works, 15, children) > 0
        wait_for(children, TIMEOUT_S)
        assert_all_taken(instance, count)

    def test_whoever_is_killed_each_payment_settles_once(self, instance: str, children: list[int]) -> None:
        """With workers and dispatchers killed at any moment, the totals in the end are exact to the cent."""
        count = 50_000
        works = {}
        for worker in range(WORKERS):
            work = partial(write, instance, worker, count)
            works[fork(work)] = work
        for dispatcher in range(DISPATCHERS):
            work = partial(settle, instance, dispatcher, count)
            works[fork(work)] = work
        watcher = fork(partial(watch, instance, time.monotonic() + 2))
        children += [*works, watcher]
        assert kill_now_and_then(works, 25, children) > 0
        wait_for(children, TIMEOUT_S)
        segment = Segment.attach(instance)
        for dispatcher in range(DISPATCHERS):
            lanes = [segment.lane(worker, dispatcher) for worker in range(WORKERS)]
            life = Miniature(lanes, segment.table(dispatcher), segment.journal(dispatcher))
            assert life.totals() == (WORKERS * count // DISPATCHERS, total_cents(dispatcher, count))
            assert life.unsettled() == []

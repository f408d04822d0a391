"""A segment of simulated memory, whose table and journal tell what is committed to them."""

from collections.abc import Callable

from shm import Accepted, Base, Counters, Ended, Event, Geometry, Journal, Lane, Segment, State, Table, layout
from tests.simulation.coverage import Coverage
from tests.simulation.halts import in_one_go
from tests.simulation.truth import MemberTruth, Truth

Published = Callable[[int, bytes, int], None]
"""Told which worker has published which id, and when it was accepted, µs UTC."""


class WatchedLane(Lane):
    """A lane that tells what is published in it."""

    def watch(self, worker: int, on_publish: Published) -> "WatchedLane":
        """Names who is told; returns itself."""
        self._worker = worker
        self._on_publish = on_publish
        return self

    def try_publish(self, payment: tuple[bytes, int, int]) -> bool:
        """The store of the head, the last one, is the commit."""
        is_published = super().try_publish(payment)
        if is_published:
            with in_one_go():
                self._on_publish(self._worker, payment[0], payment[2])
        return is_published


class WatchedTable(Table):
    """A table that counts transitions and tells which payments are taken."""

    def watch(self, truth: Truth, member: MemberTruth, coverage: Coverage) -> "WatchedTable":
        """Names who is told; returns itself."""
        self._truth = truth
        self._member = member
        self._coverage = coverage
        return self

    def insert(self, slot: int, payment: Accepted) -> None:
        """The store of the state word, the last one, is the commit."""
        super().insert(slot, payment)
        self._coverage.transitions[State.FREE, Event.TAKEN] += 1
        with in_one_go():
            self._truth.took(self._member, payment)

    def begin(self, slot: int, processor: int, requested_at_ms: int) -> int:
        """Counts, and tells of the attempt."""
        kept = self.read(slot)
        assert kept is not None
        with in_one_go():
            self._truth.began(self._member, kept.correlation_id)
        attempts = super().begin(slot, processor, requested_at_ms)
        self._coverage.transitions[State.WAITING, Event.ATTEMPT_BEGAN] += 1
        return attempts

    def apply(self, slot: int, event: Event, processor: int | None = None) -> State:
        """Counts."""
        before = self.state(slot)
        after = super().apply(slot, event, processor)
        self._coverage.transitions[before, event] += 1
        return after


class WatchedJournal(Journal):
    """A journal that tells what is committed to it. In each operation the last store is the commit."""

    def watch(self, truth: Truth, member: MemberTruth, table: Table) -> "WatchedJournal":
        """Names who is told; returns itself."""
        self._truth = truth
        self._member = member
        self._slots_of = table
        return self

    def begin_life(self) -> None:
        """Tells of the successor."""
        self._member.forgotten_at_us.clear()
        super().begin_life()

    def append(self, ended: Ended) -> None:
        """Tells of the end."""
        kept, position = self._slots_of.read(ended.slot), self.head
        super().append(ended)
        assert kept is not None
        with in_one_go():
            self._truth.ended(self._member, position, kept.correlation_id, ended, kept.state)

    def commit_base(self, base: Base) -> None:
        """Tells of the base."""
        super().commit_base(base)
        with in_one_go():
            self._truth.based(self._member, base)


class SimulatedSegment(Segment):
    """A segment as one process sees it.

    Args:
        data: the instance's bytes.
        view: what the process reads and writes them through.
        geometry: the segment's.
        segment_id: its id.
        truth: what is told of every commit.
        members: the truth of each dispatcher.
        coverage: where transitions are counted.
        on_publish: told of every payment that is published.
    """

    def __init__(
        self,
        data: bytearray,
        view: memoryview,
        geometry: Geometry,
        segment_id: int,
        *,
        truth: Truth,
        members: list[MemberTruth],
        coverage: Coverage,
        on_publish: Published,
    ) -> None:
        super().__init__(data, geometry, segment_id, 0)  # type: ignore[arg-type]  # find() is all it asks of a mmap
        self._view = view
        self._truth = truth
        self._members = members
        self._coverage = coverage
        self._on_publish = on_publish

    def lane(self, worker: int, dispatcher: int) -> WatchedLane:
        """The lane from a worker to a dispatcher."""
        start = self.geometry.lane_offset(worker, dispatcher)
        lane = WatchedLane(self._view[start : start + self.geometry.lane_length], self.geometry.lane_slots)
        return lane.watch(worker, self._on_publish)

    def table(self, dispatcher: int) -> WatchedTable:
        """A dispatcher's table."""
        geometry = self.geometry
        start = geometry.area_offset(dispatcher) + layout.BASE_PAGE_LENGTH + geometry.journal_length
        end = start + geometry.table_length

        def search(needle: bytes, offset: int) -> int:
            found = self._memory.find(needle, start + offset, end)
            return found if found < 0 else found - start

        table = WatchedTable(self._view[start:end], geometry.table_slots, search)
        return table.watch(self._truth, self._members[dispatcher], self._coverage)

    def journal(self, dispatcher: int) -> WatchedJournal:
        """A dispatcher's journal and base."""
        geometry = self.geometry
        start = geometry.area_offset(dispatcher)
        page = self._view[start : start + layout.BASE_PAGE_LENGTH]
        records = self._view[
            start + layout.BASE_PAGE_LENGTH : start + layout.BASE_PAGE_LENGTH + geometry.journal_length
        ]
        journal = WatchedJournal(page, records, geometry.journal_records)
        return journal.watch(self._truth, self._members[dispatcher], self.table(dispatcher))

    def counters(self, index: int) -> Counters:
        """A row of counters."""
        return self._counters(index)

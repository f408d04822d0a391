"""What lane, table and journal together mean, in plain Python: the truth they are compared with.

Each operation gives the list of models that its commits pass through, in order. A death anywhere in the operation must
leave memory that recovery turns into one of them, or into the model before the first: nothing half done, nothing lost.
"""

from dataclasses import dataclass, field, replace
from itertools import dropwhile
from typing import NamedTuple

from shm.record import EMPTY_BASE, Accepted, Base
from shm.states import ENDED, Event, State, next_state
from tests.shm.miniature import GEOMETRY, Miniature


class Row(NamedTuple):
    """A payment in the dispatcher's care."""

    state: State
    processor: int
    attempts: int
    requested_at_ms: int
    amount_cents: int
    accepted_at_us: int
    conflicts: int


class End(NamedTuple):
    """A payment that ended and is remembered."""

    correlation_id: bytes
    state: State
    processor: int
    requested_at_ms: int
    amount_cents: int


@dataclass(frozen=True)
class Model:
    """An instance with one worker and one dispatcher, between two stores.

    Args:
        lane: accepted payments, oldest first.
        rows: payments in the table by id.
        ends: ended payments not folded, oldest first.
        base: what the folded ones come to.
    """

    lane: tuple[Accepted, ...] = ()
    rows: dict[bytes, Row] = field(default_factory=dict)
    ends: tuple[End, ...] = ()
    base: Base = EMPTY_BASE

    def with_row(self, correlation_id: bytes, row: Row) -> "Model":
        """The same with one row new or changed."""
        return replace(self, rows=self.rows | {correlation_id: row})

    def crashed(self) -> "Model":
        """What recovery must make of this: what was being sent is unknown, and the lane begins with what is new."""
        rows = {known: row._replace(state=next_state(row.state, Event.CRASHED)) for known, row in self.rows.items()}
        amounts = {known: row.amount_cents for known, row in rows.items()}
        lane = dropwhile(lambda payment: amounts.get(payment.correlation_id) == payment.amount_cents, self.lane)
        return replace(self, rows=rows, lane=tuple(lane))

    def publish(self, payment: Accepted) -> list["Model"]:
        """A payment is accepted, unless the lane is full."""
        if len(self.lane) == GEOMETRY.lane_slots:
            return []
        return [replace(self, lane=(*self.lane, payment))]

    def take(self) -> list["Model"]:
        """Each payment in the lane gets a row, or is a repetition or a conflict of one; then it leaves the lane."""
        steps, model = list[Model](), self
        for payment in self.lane:
            row = model.rows.get(payment.correlation_id)
            if row is None and len(model.rows) == GEOMETRY.table_slots:
                break
            if row is None:
                fresh = Row(State.WAITING, 0, 0, 0, payment.amount_cents, payment.accepted_at_us, 0)
                steps.append(model := model.with_row(payment.correlation_id, fresh))
            elif row.amount_cents != payment.amount_cents:
                conflicting = row._replace(conflicts=row.conflicts + 1)
                steps.append(model := model.with_row(payment.correlation_id, conflicting))
            steps.append(model := replace(model, lane=model.lane[1:]))
        return steps

    def begin(self, correlation_id: bytes, processor: int, requested_at_ms: int) -> list["Model"]:
        """A waiting payment is about to be sent."""
        row = self.rows[correlation_id]._replace(requested_at_ms=requested_at_ms)
        sending = row._replace(state=State.SENDING, processor=processor, attempts=row.attempts + 1)
        return [self.with_row(correlation_id, row), self.with_row(correlation_id, sending)]

    def hear(self, correlation_id: bytes, event: Event) -> list["Model"]:
        """A payment changes its state; if it ends, the oldest end may have to make room."""
        row = self.rows[correlation_id]
        state = next_state(row.state, event)
        if state not in ENDED:
            return [self.with_row(correlation_id, row._replace(state=state))]
        steps = self.forget(1) if len(self.ends) == GEOMETRY.journal_records else []
        model = steps[-1] if steps else self
        end = End(correlation_id, state, row.processor, row.requested_at_ms, row.amount_cents)
        ended = model.with_row(correlation_id, row._replace(state=state))
        return [*steps, replace(ended, ends=(*model.ends, end))]

    def forget(self, count: int) -> list["Model"]:
        """The oldest ends go into the base, and their rows go."""
        base, rows = self.base, dict(self.rows)
        for end in self.ends[:count]:
            del rows[end.correlation_id]
            if end.state is State.SETTLED and base.journal_tail >= base.epoch_start:
                name = ("default", "fallback")[end.processor]
                base = base._replace(
                    folded_until_ms=max(base.folded_until_ms, end.requested_at_ms + 1),
                    **{
                        f"{name}_payments": getattr(base, f"{name}_payments") + 1,
                        f"{name}_cents": getattr(base, f"{name}_cents") + end.amount_cents,
                    },
                )
            base = base._replace(journal_tail=base.journal_tail + 1)
        return [replace(self, rows=rows, ends=self.ends[count:], base=base)]

    def purge(self, epoch: int) -> list["Model"]:
        """Totals start again from zero."""
        tail = self.base.journal_tail
        return [replace(self, base=Base(epoch, tail, tail + len(self.ends), 0, 0, 0, 0, 0))]


def observe(life: Miniature) -> Model:
    """What memory says, read as anybody may read it."""
    lane = tuple(payment for at in range(life.lane.tail, life.lane.head) if (payment := life.lane.peek(at)))
    assert len(lane) == life.lane.depth
    ids, rows = {}, {}
    for slot, kept in life.table.scan():
        assert kept is not None
        assert kept.correlation_id not in rows, "an id has two slots"
        ids[slot] = kept.correlation_id
        rows[kept.correlation_id] = Row(
            kept.state,
            kept.processor,
            kept.attempts,
            kept.requested_at_ms,
            kept.amount_cents,
            kept.accepted_at_us,
            kept.conflicts,
        )
    base = life.journal.base
    ends = []
    for position in range(base.journal_tail, life.journal.head):
        ended = life.journal.read(position)
        assert ended is not None
        ends.append(End(ids[ended.slot], ended.state, ended.processor, ended.requested_at_ms, ended.amount_cents))
    return Model(lane, rows, tuple(ends), base)

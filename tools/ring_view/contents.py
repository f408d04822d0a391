"""A dispatcher's area: its table counted by state, its journal summed up. Only reads, while others write."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from shm import ENDED, Base, BrokenInvariant, Journal, Kept, State, Table
from tools.ring_view.snapshot import JournalView, Money, StateTally, TableView, processor_name

SUMS_MAX = 8  # how often a journal is read if its writer keeps overtaking the reader; each reading takes up to 0.2 s
DAMAGED_SHOWN_MAX = 16  # slots that are listed; the rest is only counted


@dataclass(slots=True)
class _Tally:
    """One state's payments while they are being counted."""

    count: int = 0
    amount_cents: int = 0
    oldest_at_us: int = 0
    newest_at_us: int = 0

    def add(self, kept: Kept) -> None:
        """Counts one more."""
        at_us = kept.accepted_at_us
        if not self.count:
            self.oldest_at_us = self.newest_at_us = at_us
        elif at_us < self.oldest_at_us:
            self.oldest_at_us = at_us
        elif at_us > self.newest_at_us:
            self.newest_at_us = at_us
        self.count += 1
        self.amount_cents += kept.amount_cents


@dataclass(slots=True)
class Scan:
    """One pass over a table: yields its payments and remembers what could not be read.

    Args:
        damaged: slots that were not readable the second time either.
        changed: how many slots were readable the second time, or free.
    """

    table: Table
    damaged: list[int] = field(default_factory=list)
    changed: int = 0

    def __iter__(self) -> Iterator[tuple[int, Kept]]:
        """Yields every payment with its slot; those that were read a second time come last."""
        doubtful = []
        for slot, kept in self.table.scan():
            if kept is None:
                doubtful.append(slot)
            elif kept.state is not State.FREE:  # freed between the two readings
                yield slot, kept
        for slot in doubtful:
            kept = self.table.read(slot)
            if kept is None:
                self.damaged.append(slot)
                continue
            self.changed += 1
            if kept.state is not State.FREE:
                yield slot, kept


def view_table(table: Table, now_us: int) -> tuple[TableView, int]:
    """Counts a table by state, and the slots that changed while they were read.

    Args:
        table: over a mapping that others may write.
        now_us: what ages are counted to, µs UTC.
    """
    scan = Scan(table)
    tallies: dict[State, _Tally] = {state: _Tally() for state in State if state is not State.FREE}
    for _, kept in scan:
        tallies[kept.state].add(kept)
    used = sum(tally.count for tally in tallies.values()) + len(scan.damaged)
    states = {state_name(state): _finish(tally, now_us) for state, tally in tallies.items() if tally.count}
    shown = tuple(scan.damaged[:DAMAGED_SHOWN_MAX])
    return TableView(len(table), len(table) - used, states, len(scan.damaged), shown), scan.changed


def _finish(tally: _Tally, now_us: int) -> StateTally:
    oldest_age_ms, newest_age_ms = age_ms(tally.oldest_at_us, now_us), age_ms(tally.newest_at_us, now_us)
    return StateTally(tally.count, tally.amount_cents, oldest_age_ms, newest_age_ms)


def age_ms(at_us: int, now_us: int) -> int:
    """Whole milliseconds from one moment to another, both µs UTC; 0 for what happened after the reading began."""
    return max(now_us - at_us, 0) // 1000


def state_name(state: State) -> str:
    """A state's name in the output."""
    return state.name.lower()


def view_journal(journal: Journal, records: int) -> JournalView:
    """Reads a journal with its totals as of one head.

    A base and the records between its tail and a head have the same sum whatever is folded meanwhile, as long as none
    of these records is overwritten before it is read. That is rare, as a reader is far faster than a writer. It is
    detected by the record's sequence and the changed base, and the journal is read again.

    Args:
        journal: over a mapping that others may write.
        records: how many it has room for.
    """
    problem = f"its writer overtook the reader {SUMS_MAX} times"
    try:
        for _ in range(SUMS_MAX):
            base, head = journal.base, journal.head  # in this order: a head read later is never below the tail
            sums = _sum(journal, base, head, records)
            after = journal.base
            if isinstance(sums, _Sums) and after.epoch == base.epoch:
                return _view(journal.life, records, base, head, sums)
            if isinstance(sums, str) and after == base:
                problem = sums
                break
    except BrokenInvariant as error:
        problem = str(error)
    return JournalView(journal.head, journal.life, records, problem)


class _Sums(NamedTuple):
    """Sums of the records: how many ended in which state, and the settled ones of this epoch by processor index."""

    ends: dict[State, int]
    settled: dict[int, Money]


def _sum(journal: Journal, base: Base, head: int, records: int) -> _Sums | str:
    """Sums up the records from the base's tail to `head`; returns a message if one of them can't be read."""
    if not 0 <= head - base.journal_tail <= records:
        return f"head {head} and tail {base.journal_tail} do not fit {records} records"
    ends = dict.fromkeys(sorted(ENDED), 0)
    counts: Counter[int] = Counter()
    cents: Counter[int] = Counter()
    read, epoch_start = journal.read, base.epoch_start
    for position in range(base.journal_tail, head):
        ended = read(position)
        if ended is None:
            return f"record {position} is damaged"
        ends[ended.state] += 1
        if ended.state is State.SETTLED and position >= epoch_start:
            counts[ended.processor] += 1
            cents[ended.processor] += ended.amount_cents
    return _Sums(ends, {processor: Money(count, cents[processor]) for processor, count in counts.items()})


def _view(life: int, records: int, base: Base, head: int, sums: _Sums) -> JournalView:
    folded = [Money(base.default_payments, base.default_cents), Money(base.fallback_payments, base.fallback_cents)]
    by_name = {processor_name(index): money for index, money in enumerate(folded)}
    totals = dict(by_name)
    for processor, money in sorted(sums.settled.items()):
        name = processor_name(processor)
        totals[name] = totals.get(name, Money()) + money
    return JournalView(
        head=head,
        life=life,
        records=records,
        problem=None,
        tail=base.journal_tail,
        epoch=base.epoch,
        epoch_start=base.epoch_start,
        folded_until_ms=base.folded_until_ms,
        kinds={state_name(state): count for state, count in sums.ends.items()},
        base=by_name,
        totals=totals,
    )

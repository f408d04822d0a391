"""What a dead dispatcher left in its table and journal, and what becomes of each leftover.

Run by the successor before anything else, holding the role's lock. Running it again, or dying in the middle of it,
changes nothing that matters.

| found | fate |
| --- | --- |
| journal record between tail and head | its slot is made to say the same: the journal decides |
| slot ended, no such record | freed: its record was folded, and the dispatcher died before freeing the slot |
| slot waiting | waits again |
| slot sending | becomes unknown: asked for again at the same processor with the same requestedAt |
| slot unknown | stays unknown |
| slot damaged | set aside: left as it is, counted, never guessed at |
| record above the head | never happened; overwritten by the next |
| payment at the tail of a lane and in the table | stepped over: it was taken, and the tail not stored yet |

The last line can't wait for the lane's turn: a payment is known only as long as it is remembered, and nobody promises
that its lane's turn comes before it has ended and been forgotten.
"""

from array import array
from collections.abc import Sequence
from typing import NamedTuple

from shm.errors import BrokenInvariant
from shm.journal import Journal
from shm.lane import Lane
from shm.record import KIND_STATES, Accepted
from shm.states import ENDED, Event, State
from shm.table import Table


class Recovered(NamedTuple):
    """What a dispatcher starts with.

    Args:
        slots: id to table slot, of every payment in the table.
        free: free slots, lowest last so that `pop` gives the lowest; 4 bytes each (a list of numbers takes 36).
        waiting: slots of waiting payments, oldest acceptance first.
        unknown: slots of payments whose outcome is unknown.
        set_aside: slots that are damaged.
    """

    slots: dict[bytes, int]
    free: "array[int]"
    waiting: list[int]
    unknown: list[int]
    set_aside: list[int]


def recover(lanes: Sequence[Lane], table: Table, journal: Journal) -> Recovered:
    """Brings table, journal and tails of lanes to agree, and tells what is in the table.

    Raises:
        BrokenInvariant: a journal record between tail and head, or the base, is damaged.
    """
    recorded = _replay(table, journal)
    slots: dict[bytes, int] = {}
    waiting: list[tuple[int, int]] = []
    unknown: list[int] = []
    set_aside: list[int] = []
    taken: set[int] = set()
    for slot, kept in table.scan():
        if kept is None:
            set_aside.append(slot)
        elif kept.state in ENDED and slot not in recorded:
            table.apply(slot, Event.FOLDED)
            continue
        else:
            state = table.apply(slot, Event.CRASHED)
            slots[kept.correlation_id] = slot
            if state is State.WAITING:
                waiting.append((kept.accepted_at_us, slot))
            elif state is State.UNKNOWN:
                unknown.append(slot)
        taken.add(slot)
    free = array("I", (slot for slot in range(len(table) - 1, -1, -1) if slot not in taken))
    for lane in lanes:
        _step_over(lane, slots, table)
    return Recovered(slots, free, [slot for _, slot in sorted(waiting)], unknown, set_aside)


def _replay(table: Table, journal: Journal) -> set[int]:
    """Makes every slot say what its journal record says; returns the slots that have a record."""
    recorded = set()
    for position in range(journal.base.journal_tail, journal.head):
        ended = journal.read(position)
        if ended is None or ended.slot >= len(table):
            raise BrokenInvariant(f"journal record {position} is damaged")
        recorded.add(ended.slot)
        table.replay(ended.slot, KIND_STATES[ended.kind], ended.processor)
    return recorded


def _step_over(lane: Lane, slots: dict[bytes, int], table: Table) -> None:
    """Stores the tail past the payments that a predecessor has taken already.

    That is one at most, as the tail is stored after each; a repetition after it may go with it.
    """
    tail = position = lane.tail
    while position < lane.head and _is_taken(lane.peek(position), slots, table):
        position += 1
    if position != tail:
        lane.advance(position)


def _is_taken(payment: Accepted | None, slots: dict[bytes, int], table: Table) -> bool:
    """Whether the table has this payment. Not with another amount: that is a conflict, and yet to be counted."""
    if payment is None or payment.correlation_id not in slots:
        return False
    kept = table.read(slots[payment.correlation_id])
    return kept is not None and kept.amount_cents == payment.amount_cents

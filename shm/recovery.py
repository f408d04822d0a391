"""What a dead dispatcher left in its table and journal, and what becomes of each leftover.

Run by the successor before anything else, holding the role's lock. First the journal is replayed into the table, then
every slot is looked at, then the lanes.

| found | fate |
| --- | --- |
| journal record between tail and head | its slot gets the same state and processor: the journal decides |
| slot ended, no such record | freed: its record was folded, and the dispatcher died before it freed the slot |
| slot waiting | waits again |
| slot sending | becomes unknown: asked for again at the same processor with the same requestedAt |
| slot unknown | stays unknown |
| slot damaged | set aside: counted, not used, and not repaired but for what its record says |
| payment at the tail of a lane that is in the table too | the tail is stored past it: it has been taken already |
| record at or above the head | nothing: it has not happened, and the next one overwrites it |

A successor may die at any store of this, and the next one comes to the same end, byte for byte: each fate is at most
one store of a word, and doing it again changes nothing. The journal is not stored to, so the same slots have a record
each time, and a tail only moves past what stays in the table.

The tails can't wait until the dispatcher takes from the lanes again. A payment is known only as long as it is
remembered: by then it may have ended and been forgotten, and would be taken for a new one.
"""

from array import array
from collections.abc import Sequence
from typing import NamedTuple

from shm.errors import BrokenInvariant
from shm.journal import Journal
from shm.lane import Lane
from shm.record import Accepted
from shm.states import ENDED, Event, State
from shm.table import Table


class Recovered(NamedTuple):
    """What a dispatcher starts with.

    Args:
        slot_by_id: table slot by id, of every payment in the table that can be read.
        free: free slots, lowest last so that `pop` gives the lowest. An array, of 4 bytes each: a list takes 36.
        waiting: slots of waiting payments, oldest acceptance first.
        unknown: slots of payments whose outcome is unknown, in slot order.
        set_aside: slots that are damaged, in slot order.
    """

    slot_by_id: dict[bytes, int]
    free: "array[int]"
    waiting: list[int]
    unknown: list[int]
    set_aside: list[int]


def recover(lanes: Sequence[Lane], table: Table, journal: Journal) -> Recovered:
    """Makes the table and the lanes' tails agree with the journal; returns what is in the table.

    Args:
        lanes: all lanes to this dispatcher; their workers may be publishing meanwhile.
        table: the dispatcher's.
        journal: the dispatcher's.

    Raises:
        BrokenInvariant: a journal record between tail and head, the head or the base is damaged. Totals with a hole in
            them are not guessed at.
    """
    recorded = _replay(table, journal)
    slot_by_id: dict[bytes, int] = {}
    waiting: list[tuple[int, int]] = []
    unknown: list[int] = []
    set_aside: list[int] = []
    in_use: set[int] = set()
    for slot, kept in table.scan():
        if kept is None:
            set_aside.append(slot)
        elif kept.state in ENDED and slot not in recorded:
            table.apply(slot, Event.FOLDED)
            continue
        else:
            state = table.apply(slot, Event.CRASHED)
            slot_by_id[kept.correlation_id] = slot
            if state is State.WAITING:
                waiting.append((kept.accepted_at_us, slot))
            elif state is State.UNKNOWN:
                unknown.append(slot)
        in_use.add(slot)
    free = array("I", (slot for slot in range(len(table) - 1, -1, -1) if slot not in in_use))
    for lane in lanes:
        _step_over(lane, slot_by_id, table)
    return Recovered(slot_by_id, free, [slot for _, slot in sorted(waiting)], unknown, set_aside)


def _replay(table: Table, journal: Journal) -> set[int]:
    """Stores in every slot with a journal record what that record says; returns these slots."""
    recorded = set()
    for position in journal.unfolded():
        ended = journal.read(position)
        if ended is None or ended.slot >= len(table):
            raise BrokenInvariant(f"journal record {position} is damaged")
        recorded.add(ended.slot)
        table.replay(ended.slot, ended.state, ended.processor)
    require_head(table, journal)
    return recorded


def require_head(table: Table, journal: Journal) -> None:
    """Refuses a journal whose head is lower than it was: what the records above it say would count no more.

    The head is stored after the record and before the slot's state. So a predecessor that died in between may have left
    a record at the head, but not one of a payment that has ended.

    Raises:
        BrokenInvariant: the payment of the record at the head has ended.
    """
    ended = journal.read(journal.head)
    if ended is None or ended.slot >= len(table):
        return
    kept = table.read(ended.slot)
    if kept is not None and kept.state in ENDED:
        raise BrokenInvariant(f"journal head {journal.head} is too low: the payment of the record there has ended")


def _step_over(lane: Lane, slot_by_id: dict[bytes, int], table: Table) -> None:
    """Stores the tail past the payments that a predecessor has taken already.

    That is one at most, as a dispatcher stores the tail after each. Copies, with the same amount, of payments in the
    table may follow it; they are passed as well, as they would be dropped anyway.
    """
    tail = position = lane.tail
    while position < lane.head and _is_taken(lane.peek(position), slot_by_id, table):
        position += 1
    if position != tail:
        lane.advance(position)


def _is_taken(payment: Accepted | None, slot_by_id: dict[bytes, int], table: Table) -> bool:
    """Whether the table has this id with this amount. With another amount it is a conflict, which is still to count."""
    if payment is None or payment.correlation_id not in slot_by_id:
        return False
    kept = table.read(slot_by_id[payment.correlation_id])
    return kept is not None and kept.amount_cents == payment.amount_cents

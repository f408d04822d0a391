"""The states of a payment and every transition between them. They live here and nowhere else.

A payment is *accepted* while it lies in a lane. Once its dispatcher has taken it, it has a table slot, whose state word
holds one of `State`. `TRANSITIONS` is the whole table, and a test walks it. A pair that it does not list is an
`IllegalTransition` that names the state and the event. Where it is not obvious, a comment says what a crash at that
point leaves behind.

Three rules explain the table:

1. An unknown payment belongs to its processor for ever: no event leads from `UNKNOWN` to `WAITING`.
2. The journal decides what ended. A record below the journal's head *is* the end of its payment, whatever the slot
   says (`shm/recovery.py` replays it).
3. A conflict is not a state. It is a copy of a payment with another amount that a web worker accepted. The dispatcher
   drops the copy and, if the first payment is in its table, counts the conflict in that payment's slot.

Within `WAITING` a dispatcher tells three queues apart, in its own memory only (`server/custody.py`): waiting,
unverified (not to be sent before it has been looked up) and rejected (for a while for one processor only). They are not
states: after a crash they are decided anew.
"""

from enum import IntEnum, unique

from shm.errors import IllegalTransition


@unique
class State(IntEnum):
    """What a table slot's state word says of its payment. Zeroed memory reads as `FREE`."""

    FREE = 0
    WAITING = 1
    SENDING = 2
    UNKNOWN = 3
    SETTLED = 4
    DUPLICATE = 5
    REFUSED = 6


@unique
class Event(IntEnum):
    """What can happen to a payment in a dispatcher's care."""

    TAKEN = 1  # copied from a lane
    ATTEMPT_BEGAN = 2  # processor and requestedAt chosen, about to be sent
    PAID = 3  # 200
    SURE_NO = 4  # 429, 500, 503, or no connection: the processor has not stored it and this attempt never will
    REJECTED = 5  # 400 or 413 by both processors (by the first alone it is a SURE_NO), or a sure no to the last attempt
    SHOWN_OURS = 6  # the processor shows it with the requestedAt and amount sent from here
    SHOWN_OTHER = 7  # the processor shows it with another requestedAt or amount
    UNCLEAR = 8  # hang-up, time-out, malformed or unexpected answer
    CRASHED = 9  # the dispatcher died and its successor found it so
    FOUND_ELSEWHERE = 10  # found at a processor or in another instance's segment, after this instance was down
    FOLDED = 11  # its journal record was folded into the base: forgotten


STATES = {int(state): state for state in State}
"""Each state by its number: a cheaper look-up than the call `State(number)`, made several times per payment."""

TRANSITIONS: dict[State, dict[Event, State]] = {
    State.FREE: {
        Event.TAKEN: State.WAITING,  # crash before: still in the lane, taken again
    },
    State.WAITING: {
        Event.ATTEMPT_BEGAN: State.SENDING,  # crash before: waits again
        Event.FOUND_ELSEWHERE: State.DUPLICATE,  # crash before: looked up again
        Event.CRASHED: State.WAITING,
    },
    State.SENDING: {
        Event.PAID: State.SETTLED,  # crash before the journal: unknown; after: settled
        Event.SURE_NO: State.WAITING,  # crash before: unknown, asked at the same processor
        Event.REJECTED: State.REFUSED,
        Event.SHOWN_OURS: State.SETTLED,
        Event.SHOWN_OTHER: State.DUPLICATE,
        Event.UNCLEAR: State.UNKNOWN,
        Event.CRASHED: State.UNKNOWN,
    },
    State.UNKNOWN: {
        Event.PAID: State.SETTLED,
        Event.SHOWN_OURS: State.SETTLED,
        Event.SHOWN_OTHER: State.DUPLICATE,
        Event.SURE_NO: State.UNKNOWN,  # says nothing of an earlier request, which the processor may store later
        Event.REJECTED: State.UNKNOWN,
        Event.UNCLEAR: State.UNKNOWN,
        Event.CRASHED: State.UNKNOWN,
    },
    State.SETTLED: {Event.FOLDED: State.FREE, Event.CRASHED: State.SETTLED},
    State.DUPLICATE: {Event.FOLDED: State.FREE, Event.CRASHED: State.DUPLICATE},
    State.REFUSED: {Event.FOLDED: State.FREE, Event.CRASHED: State.REFUSED},
}

ENDED = frozenset({State.SETTLED, State.DUPLICATE, State.REFUSED})
"""States of a payment that has a journal record. It is remembered until that record is folded."""

UNSETTLED = frozenset({State.WAITING, State.SENDING, State.UNKNOWN})
"""States of a payment that was accepted and has not ended: never thrown away."""


def next_state(state: State, event: Event) -> State:
    """The state that `event` leads to from `state`.

    Raises:
        IllegalTransition: the table does not list this pair; a bug in the caller, never bad luck.
    """
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise IllegalTransition(state.name, event.name) from None

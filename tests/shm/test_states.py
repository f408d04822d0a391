"""shm/states.py: the whole table, pair by pair, and what it makes impossible."""

import itertools

import pytest

from shm.errors import IllegalTransition
from shm.states import ENDED, TRANSITIONS, UNSETTLED, Event, State, next_state

F, W, S, U, P, D, R = State  # free, waiting, sending, unknown, settled (paid), duplicate, refused

# A row per event, a column per state in the order above; None where the event cannot happen.
TABLE: dict[Event, tuple[State | None, ...]] = {
    Event.TAKEN: (W, None, None, None, None, None, None),
    Event.ATTEMPT_BEGAN: (None, S, None, None, None, None, None),
    Event.PAID: (None, None, P, P, None, None, None),
    Event.SURE_NO: (None, None, W, U, None, None, None),
    Event.REJECTED: (None, None, R, U, None, None, None),
    Event.SHOWN_OURS: (None, None, P, P, None, None, None),
    Event.SHOWN_OTHER: (None, None, D, D, None, None, None),
    Event.UNCLEAR: (None, None, U, U, None, None, None),
    Event.CRASHED: (None, W, U, U, P, D, R),
    Event.FOUND_ELSEWHERE: (None, D, None, None, None, None, None),
    Event.FOLDED: (None, None, None, None, F, F, F),
}
PAIRS = list(itertools.product(State, Event))


def reachable(start: State) -> set[State]:
    """Every state that some events lead to from `start`, before the slot is free again."""
    found, fresh = set[State](), {start}
    while fresh:
        found |= fresh
        fresh = {after for state in fresh for after in TRANSITIONS[state].values()} - found - {State.FREE}
    return found


class TestNextState:
    """next_state: one answer for each pair of state and event."""

    @pytest.mark.parametrize(("state", "event"), PAIRS, ids=lambda member: member.name)
    def test_every_pair_leads_to_its_state_or_is_refused(self, state: State, event: Event) -> None:
        """A listed pair leads to its state; any other is an error that names the state and the event."""
        expected = TABLE[event][state]
        if expected is None:
            with pytest.raises(IllegalTransition, match=f"^no transition from {state.name} on {event.name}$"):
                next_state(state, event)
        else:
            assert next_state(state, event) is expected


class TestTransitions:
    """What the table as a whole makes sure of."""

    def test_an_unknown_payment_stays_at_its_processor(self) -> None:
        """No way leads from unknown back to waiting or sending, short of the slot's being freed."""
        assert reachable(State.UNKNOWN) == {State.UNKNOWN} | ENDED - {State.REFUSED}

    def test_an_unsettled_payment_is_never_thrown_away(self) -> None:
        """Only an ended payment's slot can be freed."""
        assert {state for state in State if State.FREE in TRANSITIONS[state].values()} == ENDED

    def test_an_end_is_final(self) -> None:
        """An ended payment never changes its end: it is forgotten, or stays as it is."""
        for state in ENDED:
            assert set(TRANSITIONS[state].values()) == {state, State.FREE}

    def test_every_state_can_be_reached(self) -> None:
        """Every state can be reached from a free slot."""
        assert reachable(State.FREE) | {State.FREE} == set(State)

    @pytest.mark.parametrize("state", sorted(UNSETTLED | ENDED), ids=lambda state: state.name)
    def test_a_second_crash_changes_nothing(self, state: State) -> None:
        """A crash during recovery leaves what one crash leaves."""
        once = next_state(state, Event.CRASHED)
        assert next_state(once, Event.CRASHED) is once

    def test_a_payment_is_free_unsettled_or_ended(self) -> None:
        """The three groups are all the states, without overlap; zeroed memory is free."""
        assert {State.FREE} | UNSETTLED | ENDED == set(State)
        assert len(UNSETTLED) + len(ENDED) == len(State) - 1
        assert State(0) is State.FREE

"""A payment that a sibling's table has as well as this instance's own: which of the two pays it.

Asked after an absence, of what waited (`server/verification.py`). Both instances may ask this of each other at once,
and must never come to different answers: the payment would be paid twice, or by nobody.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from shm import SUPERVISOR, DispatcherCount, Segment, State, Table, dispatcher_role

_SENT_THERE = (State.SENDING, State.UNKNOWN, State.SETTLED)


class Copy(NamedTuple):
    """A payment in a sibling's table that this instance has as well.

    Args:
        is_free: whether nobody plays a role of that sibling.
        segment: the sibling's.
        table: where it is there.
        slot: and in which slot.
        correlation_id: its id.
        wins_ties: whether that sibling's copies count first if accepted in the same microsecond.
    """

    is_free: Callable[[str], bool]
    segment: Segment
    table: Table
    slot: int
    correlation_id: bytes
    wins_ties: bool

    def wins_over(self, accepted_at_us: int) -> bool | None:
        """Whether what waits here unverified, accepted then (µs UTC), is to be left to this copy.

        True: the sibling pays, and ours ends as a duplicate. False: ours goes on. None: not to be told yet, ask again.

        | the copy | answer |
        | --- | --- |
        | is no longer there, or ended without being paid | False |
        | is sending, unknown or settled | True |
        | waits, and its instance has verified all it found | True: it will be sent there |
        | waits, and a dispatcher there is just starting | None |
        | waits there unverified, and the one here was accepted first | False |
        | the same, but the copy was; its instance is down | True |
        | the same, and its instance is verifying | None: it may have left it to an earlier life of this one |
        """
        pays_what_waits = self._pays_what_waits()  # before the slot is read: it may begin to be sent
        kept = self.table.read(self.slot)
        if kept is None or kept.correlation_id != self.correlation_id:
            return False
        if kept.state in _SENT_THERE:
            return True
        if kept.state is not State.WAITING:
            return False
        if pays_what_waits or pays_what_waits is None:
            return pays_what_waits
        if not is_first(kept.accepted_at_us, accepted_at_us, wins_ties=self.wins_ties):
            return False
        return True if self._is_down() else None

    def _is_down(self) -> bool:
        """Whether the sibling has no supervisor; its next life will verify what waits."""
        return self.is_free(SUPERVISOR)

    def _pays_what_waits(self) -> bool | None:
        """Whether what waits there is paid there for certain, as all has been verified; None: ask again in a moment.

        A dispatcher's lock is looked at before its words: those are an earlier life's as long as nobody holds it, and
        say nothing of what the next one will do.
        """
        dispatchers = range(self.segment.geometry.dispatchers)
        if self._is_down():
            return False
        if any(self.is_free(dispatcher_role(dispatcher)) for dispatcher in dispatchers):
            return None
        since_ms = self.segment.supervisor_counters().started_at_ms
        rows = (self.segment.dispatcher_counters(dispatcher) for dispatcher in dispatchers)
        return all(row.get(DispatcherCount.VERIFIED_FOR_MS) == since_ms for row in rows)


def is_first(theirs_us: int, ours_us: int, *, wins_ties: bool) -> bool:
    """Whether a sibling's copy, accepted then, comes before ours. Of two in the same microsecond one must, too: the
    one of the instance whose name sorts first.
    """
    return theirs_us < ours_us or (wins_ties and theirs_us == ours_us)


def copies_in(
    segment: Segment, is_free: Callable[[str], bool], knows: Callable[[bytes], bool], *, wins_ties: bool
) -> Iterator[Copy]:
    """Of the ids that this instance knows, those that a sibling has paid or may be going to pay.

    What lies in its lanes is not looked at: its dispatcher knows whose ids it meets.

    Args:
        segment: the sibling's.
        is_free: whether nobody plays a role of that sibling.
        knows: whether an id is known here.
        wins_ties: whether that sibling's name sorts before this instance's.
    """
    for dispatcher in range(segment.geometry.dispatchers):
        table = segment.table(dispatcher)
        for slot, state, correlation_id, _, _ in table.ids():
            if (state in _SENT_THERE or state == State.WAITING) and knows(correlation_id):
                yield Copy(is_free, segment, table, slot, correlation_id, wins_ties)

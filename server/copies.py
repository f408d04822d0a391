"""A payment that a sibling's table has as well as this instance's own: which of the two pays it.

Asked after an absence, for each payment that waited (`server/verification.py`). Both instances may ask this of each
other at once, and their answers must always agree: else the payment would be paid twice, or by nobody.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from shm import SUPERVISOR, DispatcherCount, Segment, State, Table, dispatcher_role

_SENT_THERE = (State.SENDING, State.UNKNOWN, State.SETTLED)


class Copy(NamedTuple):
    """A payment in a sibling's table that this instance has as well.

    Args:
        is_free: told a role, whether nobody plays it in the sibling.
        segment: the sibling's.
        table: the table there that has it.
        slot: its slot in that table.
        correlation_id: its id.
        wins_ties: whether the sibling's copy comes first if both were accepted in the same microsecond.
    """

    is_free: Callable[[str], bool]
    segment: Segment
    table: Table
    slot: int
    correlation_id: bytes
    wins_ties: bool

    def wins_over(self, accepted_at_us: int) -> bool | None:
        """Whether a payment that waits here unverified, accepted at `accepted_at_us` (µs UTC), is left to this copy.

        True: the sibling pays, and ours ends as a duplicate. False: ours goes on. None: nobody can tell yet, ask again.

        | the copy | answer |
        | --- | --- |
        | is no longer there, or ended without being paid | False |
        | is sending, unknown or settled | True |
        | waits, and its instance has verified all it found | True: it will be sent there |
        | waits, and a dispatcher there is just starting | None |
        | waits there unverified, and ours was accepted first | False |
        | waits there unverified, and was accepted first; its instance is down | True |
        | the same, but its instance is verifying | None: it may have left it to an earlier life of this instance |
        """
        # Asked before the slot is read: afterwards the copy may be sent or be left to us, and its instance die.
        is_down = self._is_down()
        pays_what_waits = not is_down and self._pays_what_waits()
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
        return True if is_down else None

    def _is_down(self) -> bool:
        """Whether the sibling has no supervisor; its next life will verify what waits."""
        return self.is_free(SUPERVISOR)

    def _pays_what_waits(self) -> bool | None:
        """Whether what waits there is certain to be paid there, as all has been verified; None: ask again in a moment.
        Not to be asked of a sibling that is down.

        The dispatchers' locks are looked at before their rows: as long as nobody holds a lock, the row is that of an
        earlier life, and says nothing of what the next one will do.
        """
        dispatchers = range(self.segment.geometry.dispatchers)
        if any(self.is_free(dispatcher_role(dispatcher)) for dispatcher in dispatchers):
            return None
        since_ms = self.segment.supervisor_counters().started_at_ms
        rows = (self.segment.dispatcher_counters(dispatcher) for dispatcher in dispatchers)
        return all(row.get(DispatcherCount.VERIFIED_FOR_MS) == since_ms for row in rows)


def is_first(theirs_us: int, ours_us: int, *, wins_ties: bool) -> bool:
    """Whether a sibling's copy comes before ours, by when each was accepted. Of two in the same microsecond the one at
    the instance whose name sorts first comes first: so both instances agree.
    """
    return theirs_us < ours_us or (wins_ties and theirs_us == ours_us)


def copies_in(
    segment: Segment, is_free: Callable[[str], bool], knows: Callable[[bytes], bool], *, wins_ties: bool
) -> Iterator[Copy]:
    """The payments that a sibling has paid or may be going to pay, of those that this instance knows.

    The sibling's lanes are not looked at: its dispatcher asks, before it takes a payment, whether we have its id.

    Args:
        segment: the sibling's.
        is_free: told a role, whether nobody plays it in the sibling.
        knows: whether an id is known here.
        wins_ties: whether the sibling's name sorts before this instance's.
    """
    for dispatcher in range(segment.geometry.dispatchers):
        table = segment.table(dispatcher)
        for slot, state, correlation_id, _, _ in table.entries():
            if (state in _SENT_THERE or state == State.WAITING) and knows(correlation_id):
                yield Copy(is_free, segment, table, slot, correlation_id, wins_ties)

"""A payment that a sibling's table has as well as this instance's own: which of the two pays it.

Asked after an absence, for each payment that waited (`server/verification.py`). Both instances may ask this of each
other at once, and their answers must always agree: else the payment would be paid twice, or by nobody.
"""

from collections.abc import Callable, Iterator
from enum import Enum, unique
from typing import NamedTuple

from shm import SUPERVISOR, DispatcherCount, Segment, State, Table, dispatcher_role

_SENT_THERE = (State.SENDING, State.UNKNOWN, State.SETTLED)


@unique
class Payer(Enum):
    """Who pays a payment that a sibling has as well."""

    US = "us"
    SIBLING = "sibling"
    UNDECIDED = "undecided"  # nobody can tell yet: ask again


@unique
class _Stage(Enum):
    """How far a sibling is with verifying what waits in its tables."""

    DOWN = "down"  # it has no supervisor: its next life will verify what waits
    STARTING = "starting"  # one of its dispatchers is just starting: nothing can be told yet
    VERIFYING = "verifying"
    VERIFIED = "verified"  # what waits is certain to be paid there


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

    def who_pays(self, accepted_at_us: int) -> Payer:
        """Who pays this copy and ours, which waits here unverified and was accepted at `accepted_at_us` (µs UTC).

        If the sibling does, ours ends as a duplicate; if we do, ours goes on.

        | the copy | who pays |
        | --- | --- |
        | is no longer there, or ended without being paid | us |
        | is sending, unknown or settled | sibling |
        | waits, and its instance has verified all it found | sibling: it will be sent there |
        | waits, and a dispatcher there is just starting | undecided |
        | waits there unverified, and ours was accepted first | us |
        | waits there unverified, and was accepted first; its instance is down | sibling |
        | the same, but its instance is verifying | undecided: it may have left it to an earlier life of this instance |
        """
        # Asked before the slot is read: afterwards the copy may be sent or be left to us, and its instance die.
        stage = self._stage()
        kept = self.table.read(self.slot)
        if kept is None or kept.correlation_id != self.correlation_id:
            return Payer.US
        if kept.state in _SENT_THERE:
            return Payer.SIBLING
        if kept.state is not State.WAITING:
            return Payer.US
        if stage is _Stage.VERIFIED:
            return Payer.SIBLING
        if stage is _Stage.STARTING:
            return Payer.UNDECIDED
        if not is_first(kept.accepted_at_us, accepted_at_us, wins_ties=self.wins_ties):
            return Payer.US
        return Payer.SIBLING if stage is _Stage.DOWN else Payer.UNDECIDED

    def _stage(self) -> _Stage:
        """How far the sibling is.

        The dispatchers' locks are looked at before their rows: as long as nobody holds a lock, the row is that of an
        earlier life, and says nothing of what the next one will do.
        """
        dispatchers = range(self.segment.geometry.dispatchers)
        if self.is_free(SUPERVISOR):
            return _Stage.DOWN
        if any(self.is_free(dispatcher_role(dispatcher)) for dispatcher in dispatchers):
            return _Stage.STARTING
        since_ms = self.segment.supervisor_counters().started_at_ms
        rows = (self.segment.dispatcher_counters(dispatcher) for dispatcher in dispatchers)
        have_all_verified = all(row.get(DispatcherCount.VERIFIED_FOR_MS) == since_ms for row in rows)
        return _Stage.VERIFIED if have_all_verified else _Stage.VERIFYING


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

"""A ledger that follows one journal, record by record, from its base on."""

from server.errors import TotalsUnavailable
from server.ledger import Ledger
from server.totals import Levels
from shm import Base, Journal

RECORDS_AT_ONCE = 4096  # some 20 ms: the process has other work as well
FAR_PART = 4  # a follower is far behind if it has not read a quarter of what the journal holds
_RESTARTS_MAX = 8  # times that a journal may overtake its follower before the follower gives up


class JournalFollower:
    """The totals of one dispatcher since the last purge, read from its journal and base.

    Records that were folded before they could be read still count in the base's all-time totals; the ledger's
    `exact_from_ms` says from when on windows can be counted.

    Args:
        journal: of a dispatcher of this instance.

    Attributes:
        epoch: the purge that the ledger counts from.
        position: the next journal position to be read.
        ledger: the totals of everything below that position.
        is_behind: whether the last `follow` left records unread.

    Raises:
        BrokenInvariant: the journal's base is damaged.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.is_behind = True
        self._start_over(journal.base)

    def resume(self, epoch: int, position: int, levels: Levels) -> bool:
        """Goes on from published totals that cover everything below `position`; False if they don't fit the journal.

        Raises:
            BrokenInvariant: the journal's base is damaged.
        """
        base = self._journal.base
        if epoch != base.epoch or not base.journal_tail <= position <= self._journal.head:
            return False
        self._start_over(base)
        self.position = position
        self.ledger.resume(levels)
        return True

    def follow(self) -> bool:
        """Reads up to the journal's head, `RECORDS_AT_ONCE` records at most; returns whether the ledger began again.

        Raises:
            TotalsUnavailable: the journal moved on faster than it could be read.
            BrokenInvariant: the journal's base is damaged.
        """
        restarted = False
        for _ in range(_RESTARTS_MAX):
            # Before the base: else what is settled after a purge between the two reads would count in the old epoch.
            head = self._journal.head
            base = self._journal.base
            if base.epoch != self.epoch or base.journal_tail > self.position:
                self._start_over(base)
                restarted = True
            end = min(head, self.position + RECORDS_AT_ONCE)
            if self._read_to(end):
                self.is_behind = end < head
                return restarted
        raise TotalsUnavailable("settlements are faster than they can be counted")

    @property
    def is_far_behind(self) -> bool:
        """Whether so much is unread that it must be read soon: what is folded unread has no windows."""
        return self._journal.head - self.position > self._journal.capacity // FAR_PART

    def _start_over(self, base: Base) -> None:
        """Begins again from a base: what was folded into it is all that is known."""
        self.epoch = base.epoch
        self.position = max(base.journal_tail, base.epoch_start)  # nothing below counts
        self._base = base
        self.ledger = Ledger(base.all_time, base.folded_until_ms)

    def _read_to(self, end: int) -> bool:
        for position in range(self.position, end):
            ended = self._journal.read(position)
            if ended is None:
                return False
            if self._base.counts(position, ended):
                self.ledger.add(ended.processor, ended.requested_at_ms, ended.amount_cents)
            self.position = position + 1
        return True

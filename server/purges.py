"""How one dispatcher's journal takes up purges, also those it hears of late. Runs in the dispatcher's process.

An epoch is the number of a purge. With Redis it is the time of the purge, ms UTC, or one more than the number before if
that is later; without Redis, and in 0.1.0, it is a count. `EPOCH_TIMES_FROM` tells them apart.

Redis tells of a purge when it answers a flush; and when a dispatcher starts, another journal on this volume may tell of
one that Redis has forgotten. Usually that is a moment after the purge. After an outage it may be hours, and then the
journal has settlements from before the purge and from after it.
"""

import logging
from collections.abc import Iterable
from contextlib import suppress

from server.redis_totals import FlushAnswer
from shm import EPOCH_TIMES_FROM, BrokenInvariant, Journal, Segment

_log = logging.getLogger(__name__)


class Purges:
    """The purges that one journal takes up.

    Args:
        journal: this dispatcher's.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._missed_epoch = 0  # the last purge, if it was heard of too late, which is logged once; else 0
        self._missed_until = 0  # the journal position reached when Redis last told of that purge

    @property
    def is_last_missed(self) -> bool:
        """Whether the last purge was heard of too late to be taken up. Then Redis takes no flush until the next one."""
        return self._missed_epoch > 0

    def hear_from_volume(self, epoch: int) -> None:
        """Called before anything is published, with the last purge that anybody on this volume has taken up.

        If the journal has settlements that were requested since the purge, nothing is done: Redis may know better
        whether they were published before it.
        """
        base, head = self._journal.base, self._journal.head
        is_news = base.epoch < epoch >= EPOCH_TIMES_FROM and base.folded_until_ms <= epoch
        if is_news and self._journal.first_requested_since(epoch, 0) == head:  # which may read all of it
            self._take_up(epoch, 0, head)

    def hear_from_redis(self, answer: FlushAnswer, position: int) -> None:
        """Called with the answer to a flush that was not taken, as there was a later purge than the journal's.

        Args:
            answer: what Redis said.
            position: the journal position that the flush reached to.
        """
        self._take_up(answer.epoch, self._settled_before(answer), position)

    def _settled_before(self, answer: FlushAnswer) -> int:
        """The journal position below which everything was settled before a purge, whatever the clocks said; 0: unknown.

        Two positions are sure, and the greater one counts:

        * that of the header which the hash still has of this member: the hash has taken no flush of this member since;
        * if an earlier purge was missed, the one reached when Redis last told of that: this purge had not come yet.

        Neither is sure if the hash was told of this purge by another member, because it was emptied since, or is an
        older copy. Then that header, and the answers that told of the missed purge, may be from after this purge.
        """
        if not answer.is_purged:
            return 0
        return max(self._missed_until, answer.header.position if answer.header else 0)

    def _take_up(self, epoch: int, settled_before: int, position: int) -> None:
        """Begins the epoch of a purge, at the first record that belongs to it, so that one heard of late loses nothing.

        That record is the first settlement, from position `settled_before` on (all below is older than the purge), that
        was requested at the time of the purge or later. If such records may be in the base already, they can't be told
        apart any more. Then the purge is missed, and summaries are a 503 until the next one.
        """
        if epoch == self._missed_epoch:
            self._missed_until = position
            return
        base = self._journal.base
        if epoch < EPOCH_TIMES_FROM:
            self._journal.begin_epoch(epoch)
        elif base.journal_tail <= settled_before or base.folded_until_ms <= epoch:
            self._journal.begin_epoch(epoch, self._journal.first_requested_since(epoch, settled_before))
        else:
            self._missed_epoch, self._missed_until = epoch, position
            _log.critical("purge %d was heard of too late to tell what came after it: purge again", epoch)
            return
        self._missed_epoch = self._missed_until = 0
        _log.info("purge %d: totals start from zero", epoch)


def last_purge(segments: Iterable[Segment]) -> int:
    """The greatest epoch of all journals of some segments, as far as they can be read; 0: there was no purge."""
    epochs = [0]
    for segment in segments:
        for dispatcher in range(segment.geometry.dispatchers):
            with suppress(BrokenInvariant):  # damaged: its own dispatcher says so
                epochs.append(segment.journal(dispatcher).base.epoch)
    return max(epochs)

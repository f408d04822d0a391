"""The purges that one dispatcher's journal takes up, also those heard of late. Runs in the dispatcher's process.

A purge is heard of from Redis, with the answer to a flush, or at the start from another instance, if Redis may have
forgotten it. Usually that is a moment after it was asked for; after an outage it may be hours, with settlements of
before and after it in the journal.
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
        self._missed = 0  # number of one that was heard of too late; told of once
        self._missed_until = 0  # the position reached when Redis last told of that one

    @property
    def is_one_missed(self) -> bool:
        """Whether the last one was heard of too late to be taken up: Redis takes nothing then until the next one."""
        return self._missed > 0

    def hear_from_sibling(self, epoch: int) -> None:
        """Called before anything is published, with the last purge that another instance has taken up.

        If this journal has something requested since, Redis may know better whether that was published before it.
        """
        base, head = self._journal.base, self._journal.head
        is_news = base.epoch < epoch >= EPOCH_TIMES_FROM and base.folded_until_ms <= epoch
        if is_news and self._journal.first_requested_since(epoch, 0) == head:  # which may read all of it
            self._take_up(epoch, 0, head)

    def hear_from_redis(self, answer: FlushAnswer, position: int) -> None:
        """Called with the answer to a flush that was not taken, because of a later purge than the journal's.

        Args:
            answer: what Redis said.
            position: the journal position that the flush reached to.
        """
        self._take_up(answer.epoch, self._settled_before(answer), position)

    def _settled_before(self, answer: FlushAnswer) -> int:
        """The journal position below which everything was settled before a purge, whatever the clocks said; 0: unknown.

        Two positions are sure. The one in the header that the hash still has of this member: it has taken nothing of
        this member since the purge. And, if an earlier purge was missed, the one reached when Redis last told of that:
        this purge had not come yet.

        Neither is sure if the hash was told of this purge by another member, because it was emptied since, or is an
        older copy: that header, and what was told of the missed purge, may be from after this one.
        """
        if not answer.is_purged:
            return 0
        return max(self._missed_until, answer.header.position if answer.header else 0)

    def _take_up(self, epoch: int, before: int, position: int) -> None:
        """A purge that this journal has not taken up: begins its epoch at the first record that belongs to it.

        That is the first settlement from position `before` on (what lies below was settled before the purge) that was
        requested after it, so that one heard of late costs nothing. If such records are in the base already they can't
        be told apart any more: then summaries on this volume are 503 until the next purge.
        """
        if epoch == self._missed:
            self._missed_until = position
            return
        base = self._journal.base
        if epoch < EPOCH_TIMES_FROM:
            self._journal.begin_epoch(epoch)
        elif base.journal_tail <= before or base.folded_until_ms <= epoch:
            self._journal.begin_epoch(epoch, self._journal.first_requested_since(epoch, before))
        else:
            self._missed, self._missed_until = epoch, position
            _log.critical("purge %d was heard of too late to tell what came after it: purge again", epoch)
            return
        self._missed = self._missed_until = 0
        _log.info("purge %d: totals start from zero", epoch)


def last_purge(segments: Iterable[Segment]) -> int:
    """The greatest epoch of all journals of some segments, as far as they can be read; 0: there was no purge."""
    epochs = [0]
    for segment in segments:
        for dispatcher in range(segment.geometry.dispatchers):
            with suppress(BrokenInvariant):  # damaged: its own dispatcher says so
                epochs.append(segment.journal(dispatcher).base.epoch)
    return max(epochs)

"""What must be known of a sibling's payments, and until when: the promise that `server/presence.py` keeps.

It is told here from what really happened, not from what anybody has looked at. Where the two may differ it claims less:
what a dispatcher may have read a little too early, or may drop a little too soon, is left to `LatestAccepted`.
"""

from math import inf
from typing import NamedTuple

MISSED_S_MAX = 3.1  # so long a dispatcher may fail to look without having to read everything afterwards


class Leave(NamedTuple):
    """A web worker that served, and went away.

    Args:
        at_s: when, virtual time, as the others.
        noticed_at_s: from when on a sibling sees it.
        until_s: until when at least a sibling looks while it is away.
    """

    at_s: float
    noticed_at_s: float
    until_s: float = inf


class Absences:
    """When an instance was away in part or as a whole, as its siblings may see it.

    Absences that follow each other soon are one here: a sibling may have read everything for the first of them only.

    Args:
        returning_s: R of `Presence.decide`.
    """

    def __init__(self, returning_s: float) -> None:
        self._returning_s = returning_s
        self._since_s: float | None = None  # when all of it was there last; None: it never was away
        self._is_away = False
        self._counts_until_s = 0.0
        self._ended_at_s = 0.0
        self._left: dict[int, Leave] = {}  # of each web worker the last

    def begin(self, now_s: float) -> None:
        """A part of it is away; more may be already."""
        if self._since_s is None or (not self._is_away and now_s > self._ended_at_s + self._apart_s):
            self._since_s, self._counts_until_s = now_s, 0.0
            self._left.clear()
        self._is_away = True

    def leave(self, worker: int, now_s: float, noticed_at_s: float) -> None:
        """A web worker is away that has served long enough for every sibling to see that.

        Args:
            worker: which.
            now_s: virtual time.
            noticed_at_s: from when on a sibling sees it.
        """
        self._left[worker] = Leave(now_s, noticed_at_s)

    def come_back(self, worker: int, now_s: float, *, is_noticed: bool) -> None:
        """A web worker is back; `is_noticed`: every sibling that looked at all must have seen that it was away."""
        left = self._left.pop(worker, None)
        if is_noticed and left is not None:
            self._left[worker] = left._replace(until_s=min(left.until_s, now_s - MISSED_S_MAX))

    def end(self, now_s: float, *, is_noticed: bool) -> None:
        """All of it is there again: see `come_back`."""
        self._is_away = False
        self._ended_at_s = now_s
        if is_noticed:
            self._counts_until_s = now_s + self._returning_s - MISSED_S_MAX

    def bound_s(self, returns: "Returns", now_s: float, *, is_seen: bool) -> float | None:
        """What was taken before this must be known to a sibling's dispatcher now; None: nothing need be.

        Args:
            returns: that dispatcher's.
            now_s: virtual time.
            is_seen: whether who looks now sees that it is away.
        """
        if self._since_s is None or not (is_seen or (not self._is_away and now_s < self._counts_until_s)):
            return None
        read_at_s = returns.first_since(self._since_s - self._apart_s)
        since_s = self._since_s if read_at_s is None else min(self._since_s, read_at_s)
        # Who has served since it was read last is read again while it is away, as soon as that is R ago.
        again_s = (
            min(left.at_s - MISSED_S_MAX, min(now_s, left.until_s) - self._returning_s)
            for left in self._left.values()
            if left.noticed_at_s <= now_s
        )
        return max([since_s, *again_s])

    @property
    def _apart_s(self) -> float:
        """After so long a time whatever a sibling has read is dropped."""
        return self._returning_s + MISSED_S_MAX


class Returns:
    """When a dispatcher itself, or a web worker of its instance, came back from an absence.

    Args:
        returning_s: R.
    """

    def __init__(self, returning_s: float) -> None:
        self._returning_s = returning_s
        self._at_s: list[float] = []
        self._sure_at_s: float | None = None
        self._read_at_s = 0.0  # what was taken elsewhere before this has been read

    def note(self, at_s: float, *, is_sure: bool, read_at_s: float | None = None) -> None:
        """One is back.

        Args:
            at_s: since when, virtual time.
            is_sure: whether the dispatcher must have found out and read everything by now, or just before.
            read_at_s: when it did so, if that may have been earlier.
        """
        self._at_s.append(at_s)
        if is_sure:
            self._sure_at_s = max(at_s, self._sure_at_s or 0.0)
            self._read_at_s = max(self._read_at_s, at_s if read_at_s is None else read_at_s)

    def bound_s(self, now_s: float) -> float | None:
        """What was taken elsewhere before this must be known now; None: nothing need be."""
        if self._sure_at_s is None or now_s >= self._sure_at_s + self._returning_s - MISSED_S_MAX:
            return None
        return self._read_at_s - MISSED_S_MAX

    def first_since(self, since_s: float) -> float | None:
        """The first return after a time: what may have been read then is not read again soon."""
        return min((at_s for at_s in self._at_s if at_s > since_s), default=None)

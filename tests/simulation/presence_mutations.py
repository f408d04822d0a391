"""Mutations of what is known of a sibling that is, or was, away: each breaks one rule of `server/presence.py`, or of
how `server/siblings.py` finds out.
"""

from collections.abc import Callable
from typing import Any

from server.latest import LatestAccepted
from server.presence import Presence, ReadReason, Sighting, WhatWasRead
from server.siblings import Siblings, away_of

Patch = tuple[Any, str, Any]

HOUR_MS = 3_600_000
_decide = Presence.decide


def _deciding(of: Callable[[Sighting], Sighting]) -> list[Patch]:
    """Has every look show something else."""

    def decide(
        self: Presence, seen: Sighting, now_ms: int, wall_ms: int, *, was_unwatched: bool
    ) -> ReadReason | WhatWasRead:
        return _decide(self, of(seen), now_ms, wall_ms, was_unwatched=was_unwatched)

    return [(Presence, "decide", decide)]


def _ignore_death() -> list[Patch]:
    """A sibling without a supervisor is taken for one that serves."""
    return _deciding(lambda seen: seen._replace(is_gone=False))


def _ignore_leaving() -> list[Patch]:
    """A sibling that says that it is leaving is taken for one that serves."""
    return _deciding(lambda seen: seen._replace(is_leaving=False))


def _ignore_missing_workers() -> list[Patch]:
    """A sibling's web workers are never missed."""
    return _deciding(lambda seen: seen._replace(away=frozenset()))


def _ignore_returns() -> list[Patch]:
    """A sibling that is back is not read, though HAProxy does not send it its ids yet."""

    def decide(
        self: Presence, seen: Sighting, now_ms: int, wall_ms: int, *, was_unwatched: bool
    ) -> ReadReason | WhatWasRead:
        return _decide(self, seen, now_ms, wall_ms + HOUR_MS, was_unwatched=was_unwatched)

    return [(Presence, "decide", decide)]


def _ignore_own_absence() -> list[Patch]:
    """Nobody who did not look for a while reads what he may have missed."""

    def decide(
        self: Presence, seen: Sighting, now_ms: int, wall_ms: int, *, was_unwatched: bool
    ) -> ReadReason | WhatWasRead:
        return _decide(self, seen, now_ms, wall_ms, was_unwatched=False)

    return [(Presence, "decide", decide)]


def _drop_at_once() -> list[Patch]:
    """What was read of a sibling is dropped as soon as it is back."""
    begin = Presence.__init__

    def hasty(self: Presence, stuck_ms: int) -> None:
        begin(self, stuck_ms)
        self._returning_ms = 0

    return [(Presence, "__init__", hasty)]


def _read_once() -> list[Patch]:
    """Who lacks a web worker again is not read again, though that one has served in between."""
    is_outdated = Presence._is_outdated  # noqa: SLF001  a mutation knows its victim

    def satisfied(self: Any, reason: ReadReason, life_ms: int) -> bool:
        if reason is ReadReason.SHORT_OF_WORKERS:
            return self._read_because is None
        return is_outdated(self, reason, life_ms)

    return [(Presence, "_is_outdated", satisfied)]


def _ignore_own_workers() -> list[Patch]:
    """An instance does not mind how long its own web workers were away, and what lies in their sockets."""

    def serving(self: Siblings, heads: list[int], now_ms: int) -> list[int]:
        return []

    return [(Siblings, "_serving", serving)]


def _overlook_brief_returns() -> list[Patch]:
    """An own web worker that was back only long enough to publish counts as away all the time."""

    def serving(self: Any, heads: list[int], now_ms: int) -> list[int]:
        away = away_of(self._workers, now_ms)
        return [number for number in range(len(heads)) if number not in away]

    return [(Siblings, "_serving", serving)]


def _make_do_with_what_is_kept() -> list[Patch]:
    """A sibling that was gone between two looks is not read as long as anything read before is kept."""
    decide = Presence._decide_of_present  # noqa: SLF001  the same

    def contented(
        self: Any, seen: Sighting, now_ms: int, wall_ms: int, *, was_unwatched: bool
    ) -> ReadReason | WhatWasRead:
        if self._read_because is not None:
            self._known_life_ms = seen.life_ms
        return decide(self, seen, now_ms, wall_ms, was_unwatched=was_unwatched)

    return [(Presence, "_decide_of_present", contented)]


def _miss_what_comes_while_reading() -> list[Patch]:
    """Whoever stood still while it read a sibling takes all for read, whatever that one has accepted meanwhile."""
    follow = LatestAccepted.follow

    def follow_little(self: LatestAccepted) -> list[int]:
        return [min(count, 1) for count in follow(self)]

    return [(LatestAccepted, "follow", follow_little)]


def _drop_what_was_read_slowly() -> list[Patch]:
    """What was read of a sibling counts from before the reading on, however long that took."""
    has_read = Presence.has_read

    def has_read_then(self: Any, because: ReadReason, life_ms: int, began_ms: int, ended_ms: int) -> None:
        needed_at_ms = self._needed_at_ms
        has_read(self, because, life_ms, began_ms, ended_ms)
        self._needed_at_ms = needed_at_ms

    return [(Presence, "has_read", has_read_then)]


PRESENCE_MUTATIONS: dict[str, Callable[[], list[Patch]]] = {
    "ignore-death": _ignore_death,
    "ignore-leaving": _ignore_leaving,
    "ignore-missing-workers": _ignore_missing_workers,
    "ignore-returns": _ignore_returns,
    "ignore-own-absence": _ignore_own_absence,
    "ignore-own-workers": _ignore_own_workers,
    "overlook-brief-returns": _overlook_brief_returns,
    "make-do-with-what-is-kept": _make_do_with_what_is_kept,
    "drop-at-once": _drop_at_once,
    "read-once": _read_once,
    "miss-what-comes-while-reading": _miss_what_comes_while_reading,
    "drop-what-was-read-slowly": _drop_what_was_read_slowly,
}

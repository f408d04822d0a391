"""Random windows of a summary, of every kind that a gateway may answer at a different cost. Pure."""

import random
from datetime import UTC, datetime
from typing import NamedTuple

# The window of the final's audits: from 15 s to 2 s ago. Windows that end so long ago don't change any more.
RECENT_START_MS = 15_000
CLOSED_MS = 2_000
SHORT_MS_MAX = 5_000
_SECOND_MS = 1000
_HOUR_MS = 3_600_000
KINDS = ("all", "from", "to", "recent", "short", "long", "seconds", "empty")


class Window(NamedTuple):
    """Both ends are included, ms UTC; None: the end is left out."""

    kind: str
    from_ms: int | None
    to_ms: int | None

    @property
    def query(self) -> str:
        """The query of the URL: empty, or `?from=…&to=…`."""
        ends = [(name, at_ms) for name, at_ms in (("from", self.from_ms), ("to", self.to_ms)) if at_ms is not None]
        return "?" * bool(ends) + "&".join(f"{name}={instant(at_ms)}" for name, at_ms in ends)


def instant(at_ms: int) -> str:
    """A time as ISO 8601 with milliseconds, UTC."""
    seconds, ms = divmod(at_ms, _SECOND_MS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ms:03}Z"


def draw(chance: random.Random, kind: str, history_from_ms: int, now_ms: int) -> Window:
    """A random window of this kind in the time since `history_from_ms`.

    | kind | its ends |
    | --- | --- |
    | all | none |
    | from, to | one, any millisecond |
    | recent | those of the contest's audits |
    | short | any milliseconds, at most `SHORT_MS_MAX` apart |
    | long | any milliseconds, any distance |
    | seconds | the first millisecond of a second and the last of another |
    | empty | in the future |
    """
    closed_ms = max(now_ms - CLOSED_MS, history_from_ms)
    first_ms, last_ms = sorted(chance.randint(history_from_ms, closed_ms) for _ in range(2))
    match kind:
        case "all":
            return Window(kind, None, None)
        case "from":
            return Window(kind, first_ms, None)
        case "to":
            return Window(kind, None, last_ms)
        case "recent":
            return Window(kind, now_ms - RECENT_START_MS, now_ms - CLOSED_MS)
        case "short":
            return Window(kind, first_ms, min(first_ms + chance.randint(0, SHORT_MS_MAX), closed_ms))
        case "long":
            return Window(kind, first_ms, last_ms)
        case "seconds":
            return Window(kind, first_ms - first_ms % _SECOND_MS, last_ms - last_ms % _SECOND_MS - 1)
        case "empty":
            return Window(kind, now_ms + _HOUR_MS, now_ms + 2 * _HOUR_MS)
        case other:
            raise ValueError(f"there are no windows of the kind {other}")

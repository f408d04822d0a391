"""When requests are due: constant rates, phase after phase. Pure."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

# Above this rate requests are sent in groups of two, three, …: each wake-up costs the generator some 15 µs.
GROUPS_PER_S_MAX = 1000
NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000


class Group(NamedTuple):
    """`size` requests due at one moment; with size 0 it marks the beginning of a phase (or, past the last, the end)."""

    at_ns: int
    size: int
    phase: int


def groups(spans: Sequence[tuple[int, int]], start_ns: int) -> Iterator[Group]:
    """Yields all groups in the order of their times, each phase's mark first.

    Args:
        spans: (requests per second, milliseconds) of each phase.
        start_ns: when the first phase begins; any clock.
    """
    for phase, (rate_per_s, duration_ms) in enumerate(spans):
        yield Group(start_ns, 0, phase)
        size = -(-rate_per_s // GROUPS_PER_S_MAX)
        due = rate_per_s * duration_ms // 1000
        for first in range(0, due, max(size, 1)):
            yield Group(start_ns + first * NS_PER_S // rate_per_s, min(size, due - first), phase)
        start_ns += duration_ms * NS_PER_MS
    yield Group(start_ns, 0, len(spans))

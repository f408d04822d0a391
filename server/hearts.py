"""What a dispatcher's row and lock say: is it at work, does its heart beat, what is unknown to it.

Whoever answers a summary asks this, with Redis or without: a dispatcher that is dead, has not recovered or is frozen
may know less than has happened.
"""

from collections.abc import Callable

from server.clock import Clock
from server.totals import UnknownRange
from shm import Counters, DispatcherCount, Phase, dispatcher_role

BEATS_WITHIN_MS = 1000  # two beats of a dispatcher; one that is frozen does not hear what processors answer meanwhile

_AT_WORK = (Phase.READY, Phase.LEAVING)


def is_at_work(is_free: Callable[[str], bool], dispatcher: int, row: Counters) -> bool:
    """Whether a dispatcher lives and is past recovery: until then nobody has told what its predecessor was sending.

    The lock is looked at first: the supervisor writes STARTING into the row before a successor can take it, so the
    phase there is that of whoever holds it.

    Args:
        is_free: whether nobody plays a role of that instance.
        dispatcher: its number.
        row: its row of counters.
    """
    return not is_free(dispatcher_role(dispatcher)) and row.phase in _AT_WORK


def silent_for_ms(row: Counters, clock: Clock) -> int:
    """How long ago a process's heart last beat."""
    return clock.ticks_ms() - row.heartbeat_us // 1000


def reason_for_doubt(dispatcher: str, row: Counters, clock: Clock, *, at_work: bool, otherwise: str) -> str | None:
    """A sentence on a dispatcher that may know less than has happened; None if nothing says so.

    Args:
        dispatcher: what it is called in the sentence.
        row: its row of counters.
        clock: ticking clock.
        at_work: what `is_at_work` said of it.
        otherwise: how the sentence goes on, after its name, if it is not.
    """
    if row.phase is None:
        return f"the row of dispatcher {dispatcher} is damaged: nobody can tell whether it is at work"
    if not at_work:
        return f"dispatcher {dispatcher} {otherwise}"
    silent_ms = silent_for_ms(row, clock)
    return f"dispatcher {dispatcher} has been silent for {silent_ms} ms" if silent_ms > BEATS_WITHIN_MS else None


def unknowns_of(row: Counters) -> UnknownRange:
    """A dispatcher's payments whose outcome is unknown, as its row has them."""
    return UnknownRange(
        row.get(DispatcherCount.UNKNOWN),
        row.get(DispatcherCount.UNKNOWN_LEAST_MS),
        row.get(DispatcherCount.UNKNOWN_GREATEST_MS),
    )

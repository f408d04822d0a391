"""Liveness of a dispatcher, from its lock and its row: does it live, has it recovered, when was its last heartbeat?

Web workers ask this for every summary, with Redis or without: a dispatcher that is dead, has not recovered yet or is
frozen may have written down less than has happened.
"""

from collections.abc import Callable

from server.clock import Clock
from shm import Counters, Phase, dispatcher_role

BEATS_WITHIN_MS = 1000  # two beats of a dispatcher; while frozen it does not hear what processors answer

_AT_WORK = (Phase.READY, Phase.LEAVING)


def is_at_work(is_free: Callable[[str], bool], dispatcher: int, row: Counters) -> bool:
    """Whether a dispatcher lives and is past recovery: until then nobody tells what its predecessor was sending.

    The lock is looked at first. The supervisor writes STARTING into the row before a successor can take the lock, so
    the phase read afterwards is that of the process that holds it.

    Args:
        is_free: told a role, whether nobody plays it in the dispatcher's instance.
        dispatcher: its number.
        row: its row of counters.
    """
    return not is_free(dispatcher_role(dispatcher)) and row.phase in _AT_WORK


def silent_for_ms(row: Counters, clock: Clock) -> int:
    """How many ms ago a process's last heartbeat was."""
    return clock.ticks_ms() - row.heartbeat_us // 1000


def reason_for_doubt(dispatcher: str, row: Counters, clock: Clock, *, at_work: bool, otherwise: str) -> str | None:
    """A sentence on a dispatcher that may have written down less than has happened; None if nothing says so.

    Args:
        dispatcher: what it is called in the sentence.
        row: its row of counters.
        clock: ticking clock.
        at_work: what `is_at_work` returned.
        otherwise: what the sentence says of the dispatcher if it is not at work.
    """
    if row.phase is None:
        return f"the row of dispatcher {dispatcher} is damaged: nobody can tell whether it is at work"
    if not at_work:
        return f"dispatcher {dispatcher} {otherwise}"
    silent_ms = silent_for_ms(row, clock)
    return f"dispatcher {dispatcher} has been silent for {silent_ms} ms" if silent_ms > BEATS_WITHIN_MS else None

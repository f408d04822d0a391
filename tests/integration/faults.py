"""What goes wrong in a run, and when: all of it follows from the seed. Pure."""

from collections.abc import Iterator
from enum import Enum, unique
from itertools import count
from random import Random
from typing import NamedTuple

GAP_S = (1.5, 5.0)  # between two faults
FIRST_S = 3.0
LAST_BEFORE_END_S = 3.0
WEATHER_GAP_S = (1.0, 6.0)
STOPPED_S = (1.0, 8.0)  # how long something stays stopped that nobody replaces meanwhile
LONG_AWAY_S = 30.0
LONG_RUN_S = 300.0
DELAYS_MS = (0, 0, 0, 0, 5, 20, 100, 100, 500, 900, 1200, 2000, 5000)
DELAY_MS_MAX = max(DELAYS_MS)
FAILING_SHARE = 0.3


@unique
class Fault(Enum):
    """What can go wrong with the gateway."""

    WORKER_KILLED = "worker killed"
    DISPATCHER_KILLED = "dispatcher killed"
    SUPERVISOR_KILLED = "supervisor killed"
    BOTH_KILLED = "both supervisors killed"
    HAPROXY_KILLED = "HAProxy killed"
    REDIS_KILLED = "Redis killed"
    WORKER_STOPPED = "worker stopped"
    DISPATCHER_STOPPED = "dispatcher stopped"
    REDIS_STOPPED = "Redis stopped"
    REDIS_EMPTIED = "Redis emptied"
    REDIS_DEAD = "Redis dead for long"
    RESTARTED = "instance restarted"


KILLS = {
    Fault.WORKER_KILLED: 1,
    Fault.DISPATCHER_KILLED: 1,
    Fault.SUPERVISOR_KILLED: 1,
    Fault.BOTH_KILLED: 2,
    Fault.HAPROXY_KILLED: 1,
    Fault.REDIS_KILLED: 1,
    Fault.REDIS_DEAD: 1,
}
"""How many processes get a SIGKILL (besides the children that go down with their supervisor)."""

DECK = (
    *(Fault.WORKER_KILLED, Fault.DISPATCHER_KILLED, Fault.SUPERVISOR_KILLED) * 2,
    *(Fault.BOTH_KILLED, Fault.HAPROXY_KILLED, Fault.REDIS_KILLED),
    *(Fault.WORKER_STOPPED, Fault.DISPATCHER_STOPPED, Fault.REDIS_STOPPED, Fault.REDIS_EMPTIED, Fault.RESTARTED),
)
"""Dealt out in random order, then shuffled anew: every kind has its turn soon."""

LONG_FAULTS = (Fault.REDIS_STOPPED, Fault.REDIS_DEAD, Fault.REDIS_EMPTIED)
"""Redis unreachable, dead, and emptied again and again, each for half a minute in a run that is long enough."""


class Happening(NamedTuple):
    """One fault.

    Args:
        at_s: when, seconds after the beginning.
        fault: what.
        instance: 0 or 1, of those it can happen to.
        number: of the worker.
        lasts_s: for what is stopped.
    """

    at_s: float
    fault: Fault
    instance: int = 0
    number: int = 0
    lasts_s: float = 0.0


class Weather(NamedTuple):
    """A processor changes.

    Args:
        at_s: when, seconds after the beginning.
        processor: 0 or 1.
        delay_ms: how long it takes from now on.
        failing: whether it fails.
    """

    at_s: float
    processor: int
    delay_ms: int
    failing: bool


def draw_faults(seed: int, seconds: float) -> list[Happening]:
    """The faults of a run, in order."""
    rng = Random(f"faults {seed}")
    drawn = []
    at_s = FIRST_S
    for fault in _deal(rng):
        if at_s > seconds - LAST_BEFORE_END_S:
            break
        drawn.append(Happening(at_s, fault, rng.randrange(2), rng.randrange(2), rng.uniform(*STOPPED_S)))
        at_s += rng.uniform(*GAP_S)
    if seconds >= LONG_RUN_S:
        share = seconds / (len(LONG_FAULTS) + 1)
        drawn += [
            Happening(share * (place + 1) - LONG_AWAY_S, fault, lasts_s=LONG_AWAY_S)
            for place, fault in enumerate(LONG_FAULTS)
        ]
    return sorted(drawn)


def _deal(rng: Random) -> Iterator[Fault]:
    for _ in count():
        deck = list(DECK)
        rng.shuffle(deck)
        yield from deck


def draw_weather(seed: int, seconds: float) -> list[Weather]:
    """What the processors do in a run, in order."""
    rng = Random(f"weather {seed}")
    drawn = []
    at_s = 0.0
    while (at_s := at_s + rng.uniform(*WEATHER_GAP_S)) < seconds:
        drawn.append(Weather(at_s, rng.randrange(2), rng.choice(DELAYS_MS), rng.random() < FAILING_SHARE))
    return drawn

"""A web worker's seat: the socket that its supervisor keeps for it, and whether HAProxy sends it requests.

Whatever becomes of a worker, its socket keeps what nobody has read, while HAProxy and the clients turn elsewhere after
a time: so a request may be read long after its payment was accepted by another instance.
"""

from collections.abc import Callable
from random import Random

from server.siblings import SERVES_WITHIN_MS
from tests.simulation.process import Life

CHECKS_FAIL_S = (3.0, 4.5)  # three checks of up to a second, half a second apart (haproxy/haproxy.cfg)
CHECK_EVERY_S = 0.5  # who refuses, or says that it is leaving, is found out at the next one
RISES_WITHIN_S = 2.0  # until a good check; one that hangs in the socket counts when it is answered
LOOKED_WITHIN_S = 0.6  # a dispatcher looks at heartbeats twice a second
SILENT_S = SERVES_WITHIN_MS / 1000 + 0.1  # so long after its last heartbeat a process counts as silent
LONG_AWAY_S = 2 * SERVES_WITHIN_MS / 1000 + LOOKED_WITHIN_S  # from here on its own dispatchers must have missed it

Request = Callable[[Life], None]


class Seat:
    """Empty at first.

    Args:
        rng: decides when HAProxy finds out.
        now_s: virtual time.
        is_up: whether HAProxy takes it for up until its first check, and not for down.

    Attributes:
        unread: what lies in the socket.
        away_since_s: when the worker was last at work, virtual time; None while it is.
        served_since_s: when it last began to be at work.
        noticed_at_s: from when on siblings see that it is away.
        back_at_s: when it came back from a long absence, if it has accepted nothing since.
    """

    def __init__(self, rng: Random, now_s: float, *, is_up: bool) -> None:
        self.unread: list[Request] = []
        self.away_since_s: float | None = now_s
        self.served_since_s = now_s
        self.noticed_at_s = now_s
        self.back_at_s: float | None = None
        self._rng = rng
        # HAProxy's opinion of one that is away.
        self._down_from_s = now_s + rng.random() * CHECK_EVERY_S if is_up else now_s
        self._up_from_s = now_s  # and of one that is at work

    def leave(self, now_s: float, *, answers: bool, silently: bool) -> None:
        """The worker is no longer at work.

        Args:
            now_s: virtual time.
            answers: whether HAProxy hears at its next check that it is; else it waits for answers in vain.
            silently: whether siblings see it by the heartbeat alone.
        """
        down_from_s = now_s + (self._rng.random() * CHECK_EVERY_S if answers else self._rng.uniform(*CHECKS_FAIL_S))
        noticed_at_s = now_s + (SILENT_S if silently else 0)
        if self.away_since_s is not None:
            self._down_from_s = min(self._down_from_s, down_from_s)
            self.noticed_at_s = min(self.noticed_at_s, noticed_at_s)
            return
        self.away_since_s, self.noticed_at_s = now_s, noticed_at_s
        self._down_from_s = down_from_s if now_s >= self._up_from_s else now_s  # else it has not found out yet
        self.back_at_s = None

    def come_back(self, now_s: float) -> None:
        """The worker is at work, and reads."""
        if self.away_since_s is None:
            return
        if now_s >= self._down_from_s:
            self._up_from_s = now_s + self._rng.random() * RISES_WITHIN_S
        self.back_at_s = now_s if now_s - self.away_since_s >= LONG_AWAY_S else None
        self.away_since_s, self.served_since_s = None, now_s

    def is_up(self, now_s: float) -> bool:
        """Whether HAProxy sends it requests."""
        return now_s >= self._up_from_s if self.away_since_s is None else now_s < self._down_from_s

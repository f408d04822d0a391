"""The log's word on processors: when an outage began, with what, and when it ended (one that flickers is one outage);
and that one says it was asked wrongly.
"""

import logging
from collections.abc import Sequence

from server.circuit import Circuit, CircuitState
from server.clock import LONG_AGO_MS

WELL_LOOKS = 10  # in a row before an outage is over: 5 s of beats
MISUSE_LOGGED_EVERY_MS = 60_000  # it may be what every payment meets
_UNMET = "its health check says so"

_log = logging.getLogger(__name__)


class Outages:
    """What has been logged of the processors.

    Args:
        names: of the processors, by index.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._failures = [_UNMET] * len(names)  # the last one of each, since an outage was logged as over
        self._is_logged = [False] * len(names)
        self._well_looks = [0] * len(names)
        self._misuse_logged_at_ms = [LONG_AGO_MS] * len(names)

    def note(self, processor: int, failure: str) -> None:
        """Keeps a processor's last failure, in a few words, for the next outage's line."""
        self._failures[processor] = failure.removeprefix(f"{self._names[processor]}: ")

    def note_misuse(self, processor: int, status: int, now_ms: int) -> None:
        """Logs that a processor blames what was asked: at once, and once a minute."""
        if now_ms - self._misuse_logged_at_ms[processor] >= MISUSE_LOGGED_EVERY_MS:
            self._misuse_logged_at_ms[processor] = now_ms
            name = self._names[processor]
            _log.error("the processor says that it was asked wrongly: status %d of %s", status, name)

    def log_changes(self, circuits: Sequence[Circuit]) -> None:
        """Logs each outage that has begun, or ended, since the last beat; called with every beat."""
        for index, circuit in enumerate(circuits):
            is_well = circuit.state is CircuitState.CLOSED
            self._well_looks[index] = self._well_looks[index] + 1 if is_well else 0
            if not is_well and not self._is_logged[index]:
                self._is_logged[index] = True
                _log.warning("%s fails: %s", self._names[index], self._failures[index])
            elif self._is_logged[index] and self._well_looks[index] >= WELL_LOOKS:
                self._is_logged[index] = False
                self._failures[index] = _UNMET
                _log.warning("%s takes payments again", self._names[index])

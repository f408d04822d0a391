"""Logs the outages of processors: when one began, with which failure, and when it ended (short recoveries in between do
not end it). Also logs that a processor says it was asked wrongly.
"""

import logging
from collections.abc import Sequence

from server.circuit import Circuit, CircuitState
from server.clock import LONG_AGO_MS

WELL_BEATS = 10  # so many beats in a row find a processor well before its outage is over: 5 s
MISUSE_LOGGED_EVERY_MS = 60_000  # every payment may meet with it
_NO_REQUEST_FAILED = "its health check says so"

_log = logging.getLogger(__name__)


class Outages:
    """What has been logged of the processors.

    Args:
        names: of the processors, by index.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._failures = [_NO_REQUEST_FAILED] * len(names)  # the last of each since its last outage was logged as over
        self._is_logged = [False] * len(names)
        self._well_beats = [0] * len(names)
        self._misuse_logged_at_ms = [LONG_AGO_MS] * len(names)

    def note(self, processor: int, failure: str) -> None:
        """Keeps a processor's last failure, in a few words, for the log line of the next outage."""
        self._failures[processor] = failure.removeprefix(f"{self._names[processor]}: ")

    def note_misuse(self, processor: int, status: int, now_ms: int) -> None:
        """Logs that a processor says it was asked wrongly: at once, and at most once a minute."""
        if now_ms - self._misuse_logged_at_ms[processor] >= MISUSE_LOGGED_EVERY_MS:
            self._misuse_logged_at_ms[processor] = now_ms
            name = self._names[processor]
            _log.error("the processor says that it was asked wrongly: status %d of %s", status, name)

    def log_changes(self, circuits: Sequence[Circuit]) -> None:
        """Logs each outage that has begun, or ended, since the last beat; called with every beat."""
        for index, circuit in enumerate(circuits):
            is_well = circuit.state is CircuitState.CLOSED
            self._well_beats[index] = self._well_beats[index] + 1 if is_well else 0
            if not is_well and not self._is_logged[index]:
                self._is_logged[index] = True
                _log.warning("%s fails: %s", self._names[index], self._failures[index])
            elif self._is_logged[index] and self._well_beats[index] >= WELL_BEATS:
                self._is_logged[index] = False
                self._failures[index] = _NO_REQUEST_FAILED
                _log.warning("%s takes payments again", self._names[index])

"""Logs the outages of processors: when one began, with which failure, and when it ended (short recoveries in between do
not end it). Likewise that one is slow, as payments then go to the dearer one. Also logs that a processor says it was
asked wrongly, and that payments are refused for good.
"""

import logging
from collections.abc import Sequence
from enum import Enum, unique

from server.circuit import Circuit, CircuitState
from server.clock import LONG_AGO_MS
from server.notation import format_id
from shm import Kept

WELL_BEATS = 10  # so many beats in a row find it gone before a trouble is over: 5 s
LOGGED_EVERY_MS = 60_000  # misuse and refusals: every payment may meet with them
_NO_REQUEST_FAILED = "its health check says so"

_log = logging.getLogger(__name__)


@unique
class _Trouble(Enum):
    """What is wrong with a processor; the value is the log's text of its end."""

    SLOW = "is fast again"
    FAILS = "takes payments again"


class Outages:
    """What has been logged of the processors.

    Args:
        names: of the processors, by index.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._failures = [_NO_REQUEST_FAILED] * len(names)  # the last of each since its last outage was logged as over
        self._logged: list[_Trouble | None] = [None] * len(names)  # and not as over since
        self._well_beats = [0] * len(names)
        self._misuse_logged_at_ms = [LONG_AGO_MS] * len(names)
        self._refusal_logged_at_ms = LONG_AGO_MS

    def note(self, processor: int, failure: str) -> None:
        """Keeps a processor's last failure, in a few words, for the log line of the next outage."""
        self._failures[processor] = failure.removeprefix(f"{self._names[processor]}: ")

    def note_misuse(self, processor: int, status: int, now_ms: int) -> None:
        """Logs that a processor says it was asked wrongly: at once, and at most once a minute."""
        if now_ms - self._misuse_logged_at_ms[processor] >= LOGGED_EVERY_MS:
            self._misuse_logged_at_ms[processor] = now_ms
            name = self._names[processor]
            _log.error("the processor says that it was asked wrongly: status %d of %s", status, name)

    def note_refusal(self, kept: Kept, now_ms: int) -> None:
        """Logs a payment that is refused for good, though its client was told that it is accepted: at once, and of all
        such payments one a minute at most. The others are counted.
        """
        if now_ms - self._refusal_logged_at_ms >= LOGGED_EVERY_MS:
            self._refusal_logged_at_ms = now_ms
            shown_id = format_id(kept.correlation_id)
            _log.error("a payment is refused for good: %s (attempts: %d)", shown_id, kept.attempts)

    def log_changes(self, circuits: Sequence[Circuit], now_ms: int) -> None:
        """Logs each outage or slowness that has begun, or ended, since the last beat; called with every beat."""
        for index, circuit in enumerate(circuits):
            name, logged = self._names[index], self._logged[index]
            fails = circuit.state is not CircuitState.CLOSED
            is_slow = circuit.latency.is_slow(now_ms)
            is_over = not fails and (logged is _Trouble.FAILS or not is_slow)
            self._well_beats[index] = self._well_beats[index] + 1 if is_over else 0
            if fails and logged is not _Trouble.FAILS:
                self._logged[index] = _Trouble.FAILS
                _log.warning("%s fails: %s", name, self._failures[index])
            elif is_slow and logged is None:
                self._logged[index] = _Trouble.SLOW
                _log.warning("%s is slow: an answer takes %d ms or more", name, circuit.latency.expected_ms(now_ms))
            elif logged and self._well_beats[index] >= WELL_BEATS:
                self._logged[index] = None
                self._failures[index] = _NO_REQUEST_FAILED
                _log.warning("%s %s", name, logged.value)

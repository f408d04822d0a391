"""The log's word on processors: when an outage began, with what, and when it ended (one that flickers is one outage);
and that one says it was asked wrongly.
"""

import logging
from collections.abc import Sequence

from server.circuit import Circuit, CircuitState
from server.clock import LONG_AGO_MS

WELL_LOOKS = 10  # in a row before an outage is over: 5 s of beats
MISUSE_TOLD_EVERY_MS = 60_000  # it may be what every payment meets
_UNMET = "its health check says so"

_log = logging.getLogger(__name__)


class Outages:
    """What has been told of the processors.

    Args:
        names: of the processors, by index.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._failures = [_UNMET] * len(names)  # the last one of each, since an outage was told to be over
        self._is_told = [False] * len(names)
        self._well_looks = [0] * len(names)
        self._misuse_told_at_ms = [LONG_AGO_MS] * len(names)

    def note(self, processor: int, failure: str) -> None:
        """The last failure of a processor, in a few words."""
        self._failures[processor] = failure.removeprefix(f"{self._names[processor]}: ")

    def note_misuse(self, processor: int, status: int, now_ms: int) -> None:
        """A processor blames what was asked: told of at once, and once a minute."""
        if now_ms - self._misuse_told_at_ms[processor] >= MISUSE_TOLD_EVERY_MS:
            self._misuse_told_at_ms[processor] = now_ms
            name = self._names[processor]
            _log.error("the processor says that it was asked wrongly: status %d of %s", status, name)

    def tell(self, circuits: Sequence[Circuit]) -> None:
        """Called with every beat."""
        for index, circuit in enumerate(circuits):
            is_well = circuit.state is CircuitState.CLOSED
            self._well_looks[index] = self._well_looks[index] + 1 if is_well else 0
            if not is_well and not self._is_told[index]:
                self._is_told[index] = True
                _log.warning("%s fails: %s", self._names[index], self._failures[index])
            elif self._is_told[index] and self._well_looks[index] >= WELL_LOOKS:
                self._is_told[index] = False
                self._failures[index] = _UNMET
                _log.warning("%s takes payments again", self._names[index])

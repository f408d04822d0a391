"""The log's word on outages: when one began, with what, and when it ended. A processor that flickers is one outage."""

import logging
from collections.abc import Sequence

from server.circuit import Circuit, CircuitState

WELL_LOOKS = 10  # in a row before an outage is over: 5 s of beats
_UNMET = "its health check says so"

_log = logging.getLogger(__name__)


class Outages:
    """What has been told of the processors.

    Args:
        names: of the processors, by index.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """All are well."""
        self._names = names
        self._failures = [_UNMET] * len(names)  # the last one of each, since an outage was told to be over
        self._is_told = [False] * len(names)
        self._well_looks = [0] * len(names)

    def note(self, processor: int, failure: str) -> None:
        """The last failure of a processor, in a few words."""
        self._failures[processor] = failure.removeprefix(f"{self._names[processor]}: ")

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

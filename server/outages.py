"""The log's word on outages: when one began and with what, and when it ended; once each, however much fails."""

import logging
from collections.abc import Sequence

from server.routing import Circuit, CircuitState

_log = logging.getLogger(__name__)


class Outages:
    """What has been told of the processors.

    Args:
        names: of the processors, by index.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """All are well."""
        self._names = names
        self._failures = ["its health check says so"] * len(names)
        self._is_told = [False] * len(names)

    def note(self, processor: int, failure: str) -> None:
        """The last failure of a processor, in a few words."""
        self._failures[processor] = failure.removeprefix(f"{self._names[processor]}: ")

    def tell(self, circuits: Sequence[Circuit]) -> None:
        """Called now and then, so that a processor that comes and goes does not fill the log."""
        for index, circuit in enumerate(circuits):
            is_out = circuit.state is not CircuitState.CLOSED
            if is_out and not self._is_told[index]:
                _log.info("%s fails: %s", self._names[index], self._failures[index])
            elif not is_out and self._is_told[index]:
                _log.info("%s takes payments again", self._names[index])
            self._is_told[index] = is_out

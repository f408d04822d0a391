"""A volume on which something happens just before it is looked at."""

from collections.abc import Callable

from server.volume import Volume
from shm import Fingerprint, Segment


class DisturbedVolume(Volume):
    """The real one.

    Args:
        before: called with the name of each method and the instance's, and may raise what the method would.
    """

    def __init__(self, before: Callable[[str, str], None]) -> None:
        self._before = before

    def fingerprint(self, instance: str) -> Fingerprint | None:
        """What the real one says, after `before`."""
        self._before("fingerprint", instance)
        return super().fingerprint(instance)

    def attach(self, instance: str) -> Segment:
        """Maps the real one's, after `before`."""
        self._before("attach", instance)
        return super().attach(instance)

    def is_role_free(self, instance: str, role: str) -> bool:
        """What the real one says, after `before`."""
        self._before("is_role_free", instance)
        return super().is_role_free(instance, role)

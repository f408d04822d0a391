"""Notices when an instance's files in /dev/shm are removed under it: the segment's name and the lock files.

Its processes go on all the same, with the memory that they have mapped and the locks that they hold. But no later life
will find what is unpaid, or other instances take the living for dead. Only the log can tell: the supervisor looks.
"""

import logging

from shm import Segment, SegmentError, lock_paths, segment_name

_log = logging.getLogger(__name__)


class ShmFiles:
    """The files of an instance, as they are when this is made: with the segment and all lock files.

    Args:
        instance: its name.
    """

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._fingerprint = Segment.fingerprint(instance)
        self._locks = lock_paths(instance)
        self._is_nameless = False
        self._lacks_locks = False

    def look(self) -> None:
        """Logs, once each, that the segment has lost its name, and that lock files were removed."""
        if not self._is_nameless and not self._has_name():
            self._is_nameless = True
            _log.critical(
                "segment %s was removed or replaced while in use (RemoveIPC= of systemd?): what is unpaid when this"
                " instance stops is lost; keep clients away, wait until nothing is unpaid, then start it anew",
                segment_name(self._instance),
            )
        if not self._lacks_locks and not self._has_locks():
            self._lacks_locks = True
            _log.critical(
                "lock files of %s were removed while in use: its processes look dead to others, and summaries may"
                " be refused, until it is stopped and started again",
                self._instance,
            )

    def _has_name(self) -> bool:
        try:
            return Segment.fingerprint(self._instance) == self._fingerprint
        except SegmentError:
            return False
        except OSError:  # no descriptors to look with: nobody can tell
            return True

    def _has_locks(self) -> bool:
        try:
            return all(path.exists() for path in self._locks)
        except OSError:  # no memory to look with, or a folder that can't be read: nobody can tell
            return True

"""Reads what a program has written to its log since the last call."""

import os
from pathlib import Path

READ_BYTES_MAX = 65_536  # per look
LOG_BYTES_MAX = 1 << 20  # 1 MiB: a longer log is emptied once all of it has been read


class Tail:
    """The end of a log that others append to (opened with O_APPEND, so that it can be emptied meanwhile).

    Args:
        path: of the log; it may not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self._unfinished = b""

    def lines(self) -> list[str]:
        """Returns the lines written since the last call; an unfinished line comes with a later call."""
        try:
            with self._path.open("rb") as log:
                log.seek(self._position)
                new = log.read(READ_BYTES_MAX)
        except FileNotFoundError:
            return []
        self._position += len(new)
        if self._position > LOG_BYTES_MAX and len(new) < READ_BYTES_MAX:
            os.truncate(self._path, 0)
            self._position = 0
        *whole, self._unfinished = (self._unfinished + new).split(b"\n")
        self._unfinished = self._unfinished[-READ_BYTES_MAX:]
        return [line.decode(errors="replace").rstrip() for line in whole if line.strip()]

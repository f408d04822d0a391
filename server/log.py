"""Log lines to standard error, without ever waiting for whoever reads them.

A log driver that hangs, a paused terminal or a full pipe would stop the process that writes the next line: the
supervisor would replace nobody any more, a dispatcher would not pay, while web workers go on accepting. So what can't
be written at once is left out, and the next line that can be written is preceded by how many there were.
"""

import logging
import os
import socket
import stat
from contextlib import suppress

STDERR = 2


class PromptHandler(logging.Handler):
    """Writes each record to a descriptor at once, or not at all.

    Args:
        descriptor: an open file, pipe, terminal or socket; nothing is changed about it, as others may have it too.

    Attributes:
        lost: lines left out, or cut short, since the last one that was written.
    """

    def __init__(self, descriptor: int = STDERR) -> None:
        super().__init__()
        self.lost = 0
        self._way = _way_to(descriptor)

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a record, after a line on those that were lost."""
        try:
            text = f"{self.format(record)}\n"
        except Exception:  # noqa: BLE001  a bug in a call of the log: logging's own way with it
            self.handleError(record)
            return
        if self.lost:
            text = f"{self.lost} lines of the log are lost here: they could not be written\n{text}"
        left = text.encode(errors="backslashreplace")
        try:
            while left:
                left = left[self._way.write(left) :]
        except OSError:  # it would have to wait, there is no room, or nobody reads any more
            self.lost += 1
        else:
            self.lost = 0

    def close(self) -> None:
        """Closes what it has opened."""
        self._way.close()
        super().close()


class _Descriptor:
    """A descriptor as it is. Files never wait long; what others have to wait for, this one has to, too."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes) -> int:
        """Writes some of it; how many bytes."""
        return os.write(self._descriptor, data)

    def close(self) -> None:
        """It is not ours."""


class _Reopened(_Descriptor):
    """A pipe or terminal, opened once more: whether to wait is a matter of the opening, and that one is others' too."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY))

    def close(self) -> None:
        """This opening is."""
        os.close(self._descriptor)


class _Socket(_Descriptor):
    """What systemd gives for its journal. A socket can't be opened once more, but each call may say not to wait."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self._socket = socket.socket(fileno=os.dup(descriptor))

    def write(self, data: bytes) -> int:
        """Writes some of it, or raises BlockingIOError."""
        return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def close(self) -> None:
        """This copy is ours."""
        self._socket.close()


def _way_to(descriptor: int) -> _Descriptor:
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(mode):
        return _Socket(descriptor)
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        with suppress(OSError):  # another user's
            return _Reopened(descriptor)
    return _Descriptor(descriptor)

"""Log lines to standard error, without ever waiting for whoever reads them.

A log driver that hangs, a paused terminal or a full pipe would stop the process that writes the next line: the
supervisor would replace no child any more, or a dispatcher would not pay while web workers go on accepting. So a line
that can't be written at once is left out, and the next one that can be written is preceded by how many were.
"""

import logging
import os
import select
import socket
import stat
import time
import traceback
from contextlib import suppress

STDERR = 2


class UtcFormatter(logging.Formatter):
    """Writes a line's time in UTC as ISO 8601 has it, to the millisecond, as all other times of this program."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"


class NonBlockingHandler(logging.Handler):
    """Writes each record to a descriptor at once, or not at all.

    Args:
        descriptor: an open file, pipe, terminal or socket; its flags are left alone, as other processes may share it.

    Attributes:
        lost: lines left out, or cut short, since the last one that was written whole.
    """

    def __init__(self, descriptor: int = STDERR) -> None:
        super().__init__()
        self._output = _output_to(descriptor)
        self._forget_losses()
        os.register_at_fork(after_in_child=self._forget_losses)  # what a child writes tells nothing of its parent's

    def _forget_losses(self) -> None:
        self.lost = 0
        self._is_cut = False  # whether only a part of the last line was written

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a record, after a line on how many were lost before it."""
        try:
            text = f"{self.format(record)}\n"
        except Exception:  # noqa: BLE001  a bug in a logging call is logged like any other line
            text = f"a line of the log can't be written: {record.msg!r}, {record.args!r}\n{traceback.format_exc()}"
        if self.lost:
            text = f"{self.lost} lines of the log are lost here: they could not be written\n{text}"
        whole = left = ("\n" * self._is_cut + text).encode(errors="backslashreplace")
        try:
            while left:
                left = left[self._output.write(left) :]
        except OSError:  # it would have to wait, there is no room, or nobody reads any more
            self.lost += 1
            self._is_cut |= left != whole
        else:
            self._forget_losses()

    def close(self) -> None:
        """Closes what the handler has opened."""
        self._output.close()
        super().close()


class _Descriptor:
    """The descriptor itself: for a file, where a write never waits long."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes) -> int:
        """Writes some of the data; returns how many bytes."""
        return os.write(self._descriptor, data)

    def close(self) -> None:
        """Leaves the descriptor open: it is not ours."""


class _Reopened(_Descriptor):
    """A pipe or terminal, opened once more: O_NONBLOCK belongs to an opening, and others share the first one."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY))

    def close(self) -> None:
        """Closes this opening, which is ours."""
        os.close(self._descriptor)


class _Polled(_Descriptor):
    """A pipe or terminal that can't be opened once more, as it is another user's: polled before each piece is written.

    If two processes poll at the same time, one may still have to wait.
    """

    def write(self, data: bytes) -> int:
        """Writes some of the data, or raises BlockingIOError."""
        if not select.select([], [self._descriptor], [], 0)[1]:
            raise BlockingIOError
        return os.write(self._descriptor, data[: select.PIPE_BUF])


class _Socket(_Descriptor):
    """A socket, as systemd gives for its journal. It can't be opened once more, but each call can say not to wait."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self._socket = socket.socket(fileno=os.dup(descriptor))

    def write(self, data: bytes) -> int:
        """Writes some of the data, or raises BlockingIOError."""
        return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def close(self) -> None:
        """Closes this duplicate, which is ours."""
        self._socket.close()


def _output_to(descriptor: int) -> _Descriptor:
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:  # closed by whoever started this: the next file opened must not get this number and our lines
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        if nowhere != descriptor:
            os.close(nowhere)
        return _Descriptor(descriptor)
    if stat.S_ISSOCK(mode):
        return _Socket(descriptor)
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        with suppress(OSError):
            return _Reopened(descriptor)
        return _Polled(descriptor)
    return _Descriptor(descriptor)

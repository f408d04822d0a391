"""What the user sees: lines that stay, and under them a status line that is overwritten."""

import errno
import os
import shutil
import sys
from collections.abc import Callable
from typing import TextIO

from tools.launcher.errors import LaunchError, Stop

UNREAD = {errno.EPIPE, errno.EIO}  # a pipe without a reader, a terminal that is closed


class Screen:
    """A terminal, a file, or a pipe.

    Args:
        out: where to write.
        is_live: whether a line can be overwritten; if not, the status line is written only when it changes.
        columns: returns the present width.
    """

    def __init__(
        self, out: TextIO, *, is_live: bool, columns: Callable[[], int] = lambda: shutil.get_terminal_size().columns
    ) -> None:
        self._out = out
        self._is_live = is_live
        self._columns = columns
        self._status = ""
        self._is_gone = False
        self._reason: str | None = None  # why it can't be written; None also if nobody reads it

    def say(self, text: str) -> None:
        """Writes lines that stay."""
        over = "\r\033[K" if self._is_live and self._status else ""
        self._status = ""
        self._write(f"{over}{text}\n")

    def show(self, status: str) -> None:
        """Overwrites the status line, cut to the width."""
        if self._is_live:
            self._write(f"\r{status[: self._columns() - 1]}\033[K")
        elif status != self._status:
            self._write(f"{status}\n")
        self._status = status

    def check(self) -> None:
        """Raises Stop if nobody reads this any more (`tools/run | head`, a closed terminal), LaunchError if the disk is
        full.
        """
        if self._reason is not None:
            raise LaunchError(f"the output can't be written: {self._reason}")
        if self._is_gone:
            raise Stop

    def _write(self, text: str) -> None:
        if self._is_gone:
            return
        try:
            self._out.write(text)
            self._out.flush()
        except OSError as error:
            self._is_gone = True
            self._reason = None if error.errno in UNREAD else error.strerror or str(error)
            _silence(self._out)


def _silence(out: TextIO) -> None:
    """Redirects what the stream still holds to the null device, so that closing it at exit raises nothing."""
    try:
        descriptor = out.fileno()
    except OSError:  # not a real file
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def this_screen() -> Screen:
    """Makes the screen that is standard output."""
    return Screen(sys.stdout, is_live=sys.stdout.isatty())

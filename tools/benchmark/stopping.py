"""Handles Ctrl-C: the first signal interrupts the bench wherever it is; further ones don't interrupt the clean-up.

An interrupted clean-up would leave processors failing, or a generator or containers running. It takes bounded time;
SIGQUIT ends the bench at once.
"""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def listen() -> None:
    """Makes the first signal raise KeyboardInterrupt, and further ones do nothing; an ignored SIGHUP stays ignored."""
    for number in SIGNALS:
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _interrupt)


def _interrupt(_number: int = 0, _frame: FrameType | None = None) -> NoReturn:
    for number in _handled():
        signal.signal(number, _do_nothing)
    raise KeyboardInterrupt


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """Ignores the signal: unlike SIG_IGN this is not inherited by children."""


def _handled() -> list[signal.Signals]:
    return [number for number in SIGNALS if signal.getsignal(number) is _interrupt]


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Lets no signal interrupt the block: one meanwhile raises KeyboardInterrupt at its end, unless an error ends it.

    Does nothing where `listen` was not called, or once the bench is interrupted.
    """
    noted: list[int] = []
    handled = _handled()
    for number in handled:
        signal.signal(number, lambda number, _: noted.append(number))
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, _interrupt)
    if noted:
        _interrupt()

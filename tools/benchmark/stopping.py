"""How Ctrl-C is heeded: the first signal interrupts the bench wherever it is; what is put right then is left alone.

A second one would leave processors failing, a generator or containers running. All that is put right has bounds of its
own; whoever can't wait for them has SIGQUIT.
"""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def listen() -> None:
    """Have the first signal raise KeyboardInterrupt, and further ones do nothing; an ignored SIGHUP stays so."""
    for number in SIGNALS:
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _interrupt)


def _interrupt(_number: int = 0, _frame: FrameType | None = None) -> NoReturn:
    for number in _heeded():
        signal.signal(number, _do_nothing)
    raise KeyboardInterrupt


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """Leave the signal: unlike SIG_IGN this is not handed on to children."""


def _heeded() -> list[signal.Signals]:
    return [number for number in SIGNALS if signal.getsignal(number) is _interrupt]


@contextlib.contextmanager
def put_off() -> Iterator[None]:
    """Let nothing cut the block off: a signal meanwhile raises KeyboardInterrupt at its end, unless an error ends it.

    Does nothing where `listen` was not called, or once the bench is interrupted.
    """
    noted: list[int] = []
    heeded = _heeded()
    for number in heeded:
        signal.signal(number, lambda number, _: noted.append(number))
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, _interrupt)
    if noted:
        _interrupt()

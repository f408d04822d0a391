"""A timer that an event loop can watch like a socket: Linux's timerfd_create(2).

It wakes within some 50 µs of its time. The loops' own timers have whole milliseconds, which would show in every
latency. Python has timerfd from 3.13 on (`os.timerfd_create`); this works on 3.11 too.
"""

import ctypes
import os
import time

_TFD_TIMER_ABSTIME = 1  # timerfd_create(2)
_NS_PER_S = 1_000_000_000
_libc = ctypes.CDLL(None, use_errno=True)


class Ticker:
    """A timer whose `fd` is readable from the moment it was armed for, until it is armed again."""

    def __init__(self) -> None:
        flags = os.O_NONBLOCK | os.O_CLOEXEC  # TFD_NONBLOCK and TFD_CLOEXEC are the same numbers
        self.fd: int = _libc.timerfd_create(time.CLOCK_MONOTONIC, flags)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        # struct itimerspec: seconds and nanoseconds of the interval (0: once), then of the time
        self._setting = (ctypes.c_long * 4)()
        self._address = ctypes.c_void_p(ctypes.addressof(self._setting))

    def arm(self, at_ns: int) -> None:
        """Makes `fd` readable from `at_ns` on, by `time.monotonic_ns()`: at once if that is past."""
        self._setting[2], self._setting[3] = divmod(max(at_ns, 1), _NS_PER_S)  # 0 would disarm it
        if _libc.timerfd_settime(self.fd, _TFD_TIMER_ABSTIME, self._address, None):
            raise OSError(ctypes.get_errno(), "timerfd_settime failed")

    def close(self) -> None:
        """Closes the timer."""
        os.close(self.fd)

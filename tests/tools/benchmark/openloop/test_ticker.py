"""Tests of tools/benchmark/openloop/ticker.py."""

import ctypes
import select
import time

import pytest

from tools.benchmark.openloop import ticker
from tools.benchmark.openloop.ticker import Ticker

NS_PER_MS = 1_000_000


def is_readable(fd: int, timeout_s: float) -> bool:
    """Whether it is, within that time."""
    return bool(select.select([fd], [], [], timeout_s)[0])


class TestTicker:
    """The kernel's timer."""

    def test_is_readable_from_its_time_on(self) -> None:
        """Not before; armed anew, it is not until then."""
        timer = Ticker()
        begin_ns = time.monotonic_ns()
        timer.arm(begin_ns + 20 * NS_PER_MS)
        assert not is_readable(timer.fd, 0)
        assert is_readable(timer.fd, 5)
        assert time.monotonic_ns() >= begin_ns + 20 * NS_PER_MS
        timer.arm(time.monotonic_ns() + 10_000 * NS_PER_MS)
        assert not is_readable(timer.fd, 0)
        timer.close()

    @pytest.mark.parametrize("at_ns", [0, 1, -5])
    def test_a_time_past_is_now(self, at_ns: int) -> None:
        """Zero, which would disarm it, too."""
        timer = Ticker()
        timer.arm(at_ns)
        assert is_readable(timer.fd, 1)
        timer.close()

    def test_what_the_kernel_refuses_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A timer that is closed can't be armed; none can be made where there is no such thing."""
        timer = Ticker()
        timer.close()
        with pytest.raises(OSError, match="timerfd_settime failed"):
            timer.arm(5)

        class Without:
            """A C library that fails."""

            @staticmethod
            def timerfd_create(*_: object) -> int:
                """No."""
                return -1

        monkeypatch.setattr(ticker, "_libc", Without)
        with pytest.raises(OSError, match="timerfd_create failed"):
            Ticker()
        assert ctypes.sizeof(ctypes.c_long) == 8

"""Handles Ctrl-C: once there is something to stop, signals are only counted, and acted on where the run waits.

So no step is interrupted half-way, such as starting a process and noting its pid. Every wait goes through `pause`, so a
signal takes effect within `SLICE_S`.
"""

import signal
import time
from collections.abc import Callable
from types import FrameType

from tools.launcher.errors import Stop

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SLICE_S = 0.05
SAME_S = 0.5  # signals this close together count as one: `timeout` sends its own twice


class Stopping:
    """Whether the run is to end, and whether it was told so twice. A SIGHUP that was ignored stays ignored.

    Args:
        clock: monotonic, in seconds; tests pass their own.
        sleep: waits so many seconds; tests pass their own.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._received = 0
        self._acknowledged = 0
        self._noted_at_s = -SAME_S
        hung_up = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)  # nohup
        self._signals = (signal.SIGINT, signal.SIGTERM, *hung_up)

    def interrupt(self) -> None:
        """Makes a signal raise KeyboardInterrupt from now on, wherever the program is.

        The signal is counted too: Python drops an exception that is raised during its own clean-up (in a weak
        reference's callback, as imports have them). The first `check` finds the signal then.
        """
        for number in self._signals:
            signal.signal(number, self._note_and_interrupt)

    def _note_and_interrupt(self, number: int, frame: FrameType | None) -> None:
        self._note(number, frame)
        raise KeyboardInterrupt

    def listen(self) -> None:
        """Makes signals count from now on instead of ending the process."""
        for number in self._signals:
            signal.signal(number, self._note)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        now_s = self._clock()
        if now_s - self._noted_at_s >= SAME_S:
            self._received += 1
        self._noted_at_s = now_s

    def check(self) -> None:
        """Raises Stop if the run is to end."""
        if self._received > self._acknowledged:
            raise Stop

    def pause(self, seconds: float) -> None:
        """Waits so many seconds.

        Raises:
            Stop: the run is to end.
        """
        end_s = self._clock() + seconds
        self.check()
        while (left_s := end_s - self._clock()) > 0:
            self._sleep(min(left_s, SLICE_S))
            self.check()

    def acknowledge(self) -> None:
        """Acknowledges that the run is ending: from now on only a further signal raises Stop."""
        self._acknowledged = self._received

    @staticmethod
    def ignore() -> None:
        """Makes signals do nothing from now on: what is left to do takes bounded time."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

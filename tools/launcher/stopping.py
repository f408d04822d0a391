"""How Ctrl-C is heeded: once there is something to stop, signals are only counted, and noticed where the run waits.

So nothing is ever interrupted half-way, a process between its start and the note of its pid least of all; and since
every wait goes through `pause`, a signal is heeded within `SLICE_S`.
"""

import signal
import time
from collections.abc import Callable
from types import FrameType

from tools.launcher.errors import Stop

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SLICE_S = 0.05
SAME_S = 0.5  # signals this close together are one wish: `timeout` sends its own twice


class Stopping:
    """Whether somebody wants the run to end, and whether they said so twice; an ignored SIGHUP stays so.

    Args:
        clock: ticks, in seconds; tests give their own.
        sleep: waits so many seconds; tests give their own.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._wishes = 0
        self._heeded = 0
        self._noted_at_s = -SAME_S
        hung_up = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)  # nohup
        self._signals = (signal.SIGINT, signal.SIGTERM, *hung_up)

    def interrupt(self) -> None:
        """Has a signal raise KeyboardInterrupt from now on, wherever the program is.

        It is noted too: what is raised while the interpreter tidies up for itself (a weak reference's callback, as
        imports have them) is dropped by it, and is found by the first `check` then.
        """
        for number in self._signals:
            signal.signal(number, self._note_and_interrupt)

    def _note_and_interrupt(self, number: int, frame: FrameType | None) -> None:
        self._note(number, frame)
        raise KeyboardInterrupt

    def listen(self) -> None:
        """Has signals counted from now on instead of ending the process."""
        for number in self._signals:
            signal.signal(number, self._note)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        now_s = self._clock()
        if now_s - self._noted_at_s >= SAME_S:
            self._wishes += 1
        self._noted_at_s = now_s

    def check(self) -> None:
        """Raises Stop if somebody wants the run to end."""
        if self._wishes > self._heeded:
            raise Stop

    def pause(self, seconds: float) -> None:
        """Waits so many seconds.

        Raises:
            Stop: somebody wants the run to end.
        """
        end_s = self._clock() + seconds
        self.check()
        while (left_s := end_s - self._clock()) > 0:
            self._sleep(min(left_s, SLICE_S))
            self.check()

    def heed(self) -> None:
        """Notes that the run is ending: only a further signal raises Stop again."""
        self._heeded = self._wishes

    @staticmethod
    def ignore() -> None:
        """Has signals do nothing from now on: what is left to do has bounds of its own."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

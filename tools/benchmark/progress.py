"""The progress line of a run: rewritten each second on a terminal, written now and then into a file."""

import shutil
import time
from collections.abc import Callable
from typing import TextIO

from tools.benchmark.errors import UnreadError, UnwrittenError
from tools.benchmark.generator import Progress
from tools.benchmark.scenario import Scenario

REWRITE = "\r\x1b[K"  # back to the line's start, and clear it
APART_S = 10.0  # between two lines where they can't be rewritten


def line_of(scenario: Scenario, progress: Progress, *, since_start_s: float, stage: int | None, audits: str) -> str:
    """The line; `since_start_s` counts from the load's start, `stage` is the one in force."""
    now_s = min(max(since_start_s, 0.0), scenario.load.duration_s)
    shown = ""
    if stage is not None:
        condition = scenario.stages[stage]
        shown = f"  stage {stage + 1} ({condition.default} | {condition.fallback})"
    return (
        f"{scenario.name}  {now_s:.0f}/{scenario.load.duration_s} s{shown}  "
        f"accepted {progress.accepted:,}  failed {progress.failed:,}  {audits}"
    )


class Screen:
    """Writes lines that stay, and one that is replaced, to a stream.

    Raises UnreadError if nobody reads it any more, UnwrittenError if it can't be written.

    Args:
        stream: where to write.
        clock_s: the time, in seconds; tests pass their own.
        columns: returns the terminal's present width.
    """

    def __init__(
        self,
        stream: TextIO,
        clock_s: Callable[[], float] = time.monotonic,
        columns: Callable[[], int] = lambda: shutil.get_terminal_size().columns,
    ) -> None:
        self._stream = stream
        self._clock_s = clock_s
        self._columns = columns
        self._rewrites = stream.isatty()
        self._live = False
        self._next_s = clock_s()

    def live(self, line: str) -> None:
        """Shows a line that the next one replaces, cut to the width: of a wrapped line only the end is replaced."""
        if self._rewrites:
            self._write(REWRITE + line[: self._columns() - 1])
            self._live = True
        elif self._clock_s() >= self._next_s:
            self._next_s = self._clock_s() + APART_S
            self._write(line + "\n")

    def say(self, line: str) -> None:
        """Shows a line that stays."""
        self._write((REWRITE if self._live else "") + line + "\n")
        self._live = False

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except BrokenPipeError as error:
            raise UnreadError("nobody reads any more") from error
        except OSError as error:
            raise UnwrittenError(f"The output can't be written: {error.strerror or error}.") from error

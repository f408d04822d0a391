"""Several runs: targets in turn, each result shown and written at once, medians and ratios last."""

import errno
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from tools.benchmark.compare import Figures, medians, ratios
from tools.benchmark.errors import BenchError, OptionError
from tools.benchmark.progress import Screen
from tools.benchmark.report import medians_lines
from tools.benchmark.targets import Target

PAUSE_S = 5.0


class Result(NamedTuple):
    """The result of one run: as text, as figures worth a median, as JSON values; and its faults."""

    lines: Sequence[str]
    figures: Figures
    document: dict[str, Any]
    faults: Sequence[str]


def sit(
    in_turn: Sequence[Target], repeat: int, measure: Callable[[Target], Result], path: Path, screen: Screen
) -> bool:
    """Measures every target `repeat` times and returns whether nothing was wrong.

    Args:
        in_turn: one target, or two that take turns.
        repeat: how often.
        measure: runs one measurement on a target that is up.
        path: the results so far are written there after every run.
        screen: shows them.

    Raises:
        OptionError: `path` can't be written; this is checked before the first run.
        BenchError: a run could not be made. Earlier results stay in the file, and a line says so.
    """
    require_writable(path)
    started = datetime.now(UTC)
    results: dict[str, list[Result]] = {target.name: [] for target in in_turn}
    written = 0
    try:
        for number in range(repeat):
            for target in in_turn if number % 2 == 0 else reversed(in_turn):  # so that neither is always second
                if any(results.values()):
                    time.sleep(PAUSE_S)
                screen.say(f"run {number + 1} of {repeat} on {target.name} ({target.url})")
                with target.up(screen.say):
                    result = measure(target)
                    results[target.name].append(result)
                    try:
                        _write(path, document_of(started, results))
                        written += 1
                    finally:  # written first, as nobody may read the output any more; shown also if it can't be written
                        for line in result.lines:
                            screen.say(line)
    except (BenchError, KeyboardInterrupt):
        if written:
            screen.say(f"{written} of {repeat * len(in_turn)} runs are written to {path}")
        raise
    if repeat > 1 or len(in_turn) > 1:
        for line in medians_lines(*_together(results)):
            screen.say(line)
    screen.say(f"written to {path}")
    return not any(result.faults for runs in results.values() for result in runs)


def _together(results: dict[str, list[Result]]) -> tuple[dict[str, Figures], dict[str, float] | None]:
    by_target: dict[str, Figures] = {
        name: medians([result.figures for result in runs]) for name, runs in results.items() if runs
    }
    pair = list(by_target.values())
    return by_target, ratios(pair[0], pair[1]) if len(pair) > 1 else None


def document_of(started: datetime, results: dict[str, list[Result]]) -> dict[str, Any]:
    """Everything as JSON values: where and when, every run, medians and ratios."""
    by_target, to_other = _together(results)
    return {
        "started_at": started.isoformat(timespec="seconds"),
        "machine": {"cpus": os.cpu_count(), "kernel": platform.release(), "architecture": platform.machine()},
        "runs": {name: [result.document for result in runs] for name, runs in results.items()},
        "medians": by_target,
        "ratios": to_other,
    }


def require_writable(path: Path) -> None:
    """Raises OptionError unless a result can be written to `path`; makes its folder if it is missing."""
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        if _is_replaced(path):
            beside = _beside(path)
            beside.touch()
            beside.unlink()
    except OSError as error:
        raise OptionError(f"The result can't be written to {path}: {error.strerror}.") from error


def _write(path: Path, document: dict[str, Any]) -> None:
    """Writes the result; an earlier file stays complete until the new one is."""
    text = json.dumps(document, indent=2) + "\n"
    try:
        written = _beside(path) if _is_replaced(path) else path
        written.write_text(text, encoding="utf-8")
        if written != path:
            written.replace(path)
    except OSError as error:
        raise OptionError(f"The result can't be written to {path}: {error.strerror}.") from error


def _is_replaced(path: Path) -> bool:
    """Whether the file is replaced by a new one; links, pipes and devices (/dev/stdout) are written into."""
    return not path.is_symlink() and (path.is_file() or not path.exists())


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.tmp")

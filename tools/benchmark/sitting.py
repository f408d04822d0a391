"""Several runs in one sitting: targets in turn, each result shown and written at once, medians and ratios last."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from tools.benchmark.compare import Figures, medians, ratios
from tools.benchmark.errors import OptionError
from tools.benchmark.progress import Screen
from tools.benchmark.report import medians_lines
from tools.benchmark.targets import Target

PAUSE_S = 5.0


class Result(NamedTuple):
    """What came of one run: as text, as figures worth a median, as JSON values; and what was wrong."""

    lines: Sequence[str]
    figures: Figures
    document: dict[str, Any]
    faults: Sequence[str]


def sit(
    in_turn: Sequence[Target], repeat: int, measure: Callable[[Target], Result], path: Path, screen: Screen
) -> bool:
    """Measure every target `repeat` times and return whether nothing was wrong.

    Args:
        in_turn: one target, or two that take turns.
        repeat: how often.
        measure: runs one measurement on a target that is up.
        path: where the results so far are written after every run.
        screen: where they are shown.
    """
    started = datetime.now(UTC)
    results: dict[str, list[Result]] = {target.name: [] for target in in_turn}
    for number in range(repeat):
        for target in in_turn if number % 2 == 0 else reversed(in_turn):  # so that neither always comes second
            if any(results.values()):
                time.sleep(PAUSE_S)
            screen.say(f"run {number + 1} of {repeat} on {target.name} ({target.url})")
            with target.up(screen.say):
                result = measure(target)
            results[target.name].append(result)
            try:
                _write(path, document_of(started, results))
            finally:  # shown also if it can't be written, and written before, as there may be nobody to show it to
                for line in result.lines:
                    screen.say(line)
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
    """Return the whole sitting as JSON values: where and when, every run, medians and ratios."""
    by_target, to_other = _together(results)
    return {
        "started_at": started.isoformat(timespec="seconds"),
        "machine": {"cpus": os.cpu_count(), "kernel": platform.release(), "architecture": platform.machine()},
        "runs": {name: [result.document for result in runs] for name, runs in results.items()},
        "medians": by_target,
        "ratios": to_other,
    }


def _write(path: Path, document: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise OptionError(f"The result can't be written to {path}: {error.strerror}.") from error

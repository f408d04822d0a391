"""Checks that summaries are exactly what the processors have: windows to ask them for, and the comparison."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tools.benchmark.endpoints import Gateway, Processors
from tools.benchmark.errors import EndpointError
from tools.benchmark.events import Totals
from tools.benchmark.openloop.messages import Sample
from tools.benchmark.openloop.windows import CLOSED_MS, Window
from tools.benchmark.settling import totals_of

# For an end that is left out: a processor shows everything if only one end is given, so it is given both.
BEGINNING_MS = 946_684_800_000  # 2000
END_MS = 4_102_444_800_000  # 2100
NAMED_MAX = 10
_SECOND_MS = 1000


@dataclass(slots=True)
class Compared:
    """How many answers were compared, how many of them had a widened window, and which were wrong."""

    count: int = 0
    widened: int = 0
    open: int = 0  # not compared, as their windows could still change
    wrong: int = 0
    examples: list[str] = field(default_factory=list)


def windows_of(from_ms: int | None, to_ms: int | None, *, widened: bool) -> list[Window]:
    """The windows that an answer may cover: its own; if it says so, one widened to whole seconds."""
    starts = [BEGINNING_MS if from_ms is None else from_ms]
    ends = [END_MS if to_ms is None else to_ms]
    if widened and from_ms is not None:
        starts.append(from_ms - from_ms % _SECOND_MS)
    if widened and to_ms is not None:
        ends.append(to_ms - to_ms % _SECOND_MS + _SECOND_MS - 1)
    if widened:
        starts.append(BEGINNING_MS)  # what is older than all it keeps is one sum
    return [Window("", start_ms, end_ms) for start_ms in dict.fromkeys(starts) for end_ms in dict.fromkeys(ends)]


def compare(samples: Iterable[Sample], gateway: Gateway, processors: Processors, *, quiet: bool) -> Compared:
    """Compares answers with what the processors say now.

    Args:
        samples: the answers.
        gateway: parses them.
        processors: asked for the same windows.
        quiet: nothing was settled since they were given; else only windows that could no longer change are compared.
    """
    compared = Compared()
    for sample in samples:
        if not quiet and (sample.to_ms is None or sample.to_ms > sample.asked_at_ms - CLOSED_MS):
            compared.open += 1
            continue
        compared.count += 1
        try:
            ours = gateway.read_totals(sample.body.encode())
            said: Any = json.loads(sample.body)
        except EndpointError as error:
            _add(compared, f"{sample.kind}: {error}")
            continue
        widened = "resolution" in said
        compared.widened += widened
        windows = windows_of(sample.from_ms, sample.to_ms, widened=widened)
        theirs = [totals_of(processors, window.query) for window in windows]
        if ours not in theirs:
            _add(
                compared, f"{sample.kind} {windows[0].query}: the gateway said {_text(ours)}, it is {_text(theirs[0])}"
            )
    return compared


def _add(compared: Compared, example: str) -> None:
    compared.wrong += 1
    if len(compared.examples) < NAMED_MAX:
        compared.examples.append(example)


def _text(pair: tuple[Totals, Totals]) -> str:
    return " and ".join(f"{each.count:,} payments, {each.cents:,} cents" for each in pair)

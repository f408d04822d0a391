"""Several runs together: each target's medians, and their ratios. Pure."""

from collections.abc import Mapping, Sequence
from math import isinf
from statistics import median

Figures = Mapping[str, float | None]
"""Figures of one run or one target by name (units in the name); None where a run has none.

In a single run, the time of something that never came is infinite.
"""


def medians(by_run: Sequence[Figures]) -> dict[str, float | None]:
    """The median of every figure over the runs that have it; all runs are of one target.

    What never came counts as longer than anything. If that is the median, it is None, as JSON has no infinity.
    """
    names = dict.fromkeys(name for run in by_run for name in run)
    known = {name: [value for run in by_run if (value := run.get(name)) is not None] for name in names}
    middle = {name: median(values) if values else None for name, values in known.items()}
    return {name: None if value is None or isinf(value) else value for name, value in middle.items()}


def ratios(ours: Figures, theirs: Figures) -> dict[str, float]:
    """Ours / theirs for each figure that both have, above zero."""
    return {
        name: value / other
        for name, value in ours.items()
        if value is not None and (other := theirs.get(name)) is not None and other > 0
    }

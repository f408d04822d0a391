"""Numbers among a program's arguments: what argparse takes as the `type` of an option.

Standard library only: `tools/run` reads its arguments before `.venv` exists.
"""

from __future__ import annotations  # an older Python must get as far as the message that it is too old

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def whole_number(most: int | None = None) -> Callable[[str], int]:
    """The type of an option that takes whole numbers from 1, up to `most` if that is given."""
    wanted = "a whole number from 1" if most is None else f"a whole number from 1 to {most:,}"

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < 1 or (most is not None and int(text) > most):
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
        return int(text)

    return number


def seconds(least: float, most: float) -> Callable[[str], float]:
    """The type of an option that takes seconds, with or without a fraction; `least` 0 stands for anything above 0."""
    wanted = f"a number of seconds from {least} to {most:.0f}" if least else f"a number of seconds up to {most:.0f}"

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not least <= value <= most or value == 0:  # not a number fails the comparison
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
        return value

    return number

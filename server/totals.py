"""Totals over a time window: pure, in integer cents and integer milliseconds."""

from typing import NamedTuple


class Total(NamedTuple):
    """Payments settled at one processor: how many, and their sum in cents."""

    count: int
    amount_cents: int


class Summary(NamedTuple):
    """The answer to one window, over all instances.

    Args:
        default: settled at the default processor.
        fallback: settled at the fallback processor.
        unknown: payments whose outcome is unknown and whose requestedAt lies in the window.
        resolution: None when exact to the millisecond, else a sentence on what the window was widened to.
    """

    default: Total
    fallback: Total
    unknown: int = 0
    resolution: str | None = None

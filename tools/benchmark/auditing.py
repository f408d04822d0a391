"""The contest's audit, made by the bench: gateway and processors are asked for the same window during the load."""

from tools.benchmark.endpoints import Gateway, Processors
from tools.benchmark.errors import EndpointError
from tools.benchmark.events import Summaries, Totals
from tools.benchmark.openloop.windows import CLOSED_MS, RECENT_START_MS, Window

AUDIT_EVERY_S = 10.0  # as in the contest's final


def audit(gateway: Gateway, processors: Processors, now_ms: int) -> Summaries:
    """Compares the window that the contest's final asks for; None for a side that does not answer."""
    return compare(gateway, processors, Window("recent", now_ms - RECENT_START_MS, now_ms - CLOSED_MS), now_ms)


def compare(gateway: Gateway, processors: Processors, window: Window, now_ms: int) -> Summaries:
    """Asks both sides for one window, which must have both its ends."""
    sides: list[Totals | None] = []
    for processor in processors:
        try:
            sides.append(processor.totals(window.query))
        except EndpointError:
            sides.append(None)
    try:
        ours = gateway.totals(window.query)
    except EndpointError:
        ours = None
    return Summaries(now_ms, window.from_ms or 0, window.to_ms or 0, (sides[0], sides[1]), ours)

"""The load generator's messages: one console line of `load.js` becomes one of these events. Pure.

`parse` returns any other line as text, which is shown if the run fails.
"""

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

SIDES = ("default", "fallback")


@dataclass(frozen=True, slots=True)
class Totals:
    """The number of payments, and their sum in cents."""

    count: int
    cents: int


class Summaries(NamedTuple):
    """The totals for the window [from_ms, to_ms] (UTC), default first; None where there was no usable answer."""

    at_ms: int
    from_ms: int
    to_ms: int
    processors: tuple[Totals | None, Totals | None]
    gateway: tuple[Totals, Totals] | None


class Started(NamedTuple):
    """The load begins now."""

    at_ms: int


class Changed(NamedTuple):
    """The processors have been set to the stage of this index."""

    at_ms: int
    stage: int


class Failed(NamedTuple):
    """A payment was not answered with success; status 0 means not at all."""

    at_ms: int
    user: int
    turn: int
    status: int
    error: str


class Audited(NamedTuple):
    """Gateway and processors were asked for the same window during the load."""

    summaries: Summaries


class Ended(NamedTuple):
    """The load is over: what is settled by then counts as paid in time."""

    summaries: Summaries


Event = Started | Changed | Failed | Audited | Ended


def parse(line: str) -> Event | str | None:
    """The event in a line of k6's JSON log, else the line's message, or None for an empty line."""
    if not line.strip():
        return None
    try:
        entry = json.loads(line)
        message = str(entry["msg"])
    except (ValueError, KeyError, TypeError):
        return line.strip()
    if entry.get("source") == "console":
        try:
            return _event(json.loads(message))
        except (ValueError, KeyError, TypeError, IndexError):
            return message
    return f"{message}: {entry['error']}" if "error" in entry else message


def _event(said: dict[str, Any]) -> Event:
    """Builds the event; raises KeyError, TypeError, IndexError or ValueError if it is none."""
    at_ms = int(said["at_ms"])
    match said["event"]:
        case "started":
            return Started(at_ms)
        case "changed":
            return Changed(at_ms, int(said["stage"]))
        case "failed":
            return Failed(at_ms, int(said["user"]), int(said["turn"]), int(said["status"]), str(said["error"]))
        case "audited":
            return Audited(_summaries(at_ms, said))
        case "ended":
            return Ended(_summaries(at_ms, said))
        case other:
            raise ValueError(f"unknown event {other}")


def _summaries(at_ms: int, said: dict[str, Any]) -> Summaries:
    default, fallback = (None if shown is None else _totals(shown) for shown in said["processors"])
    ours = said["gateway"]
    gateway = None if ours is None else (_totals(ours[0]), _totals(ours[1]))
    return Summaries(at_ms, int(said["from_ms"]), int(said["to_ms"]), (default, fallback), gateway)


def _totals(shown: dict[str, Any]) -> Totals:
    return Totals(int(shown["count"]), int(shown["cents"]))


def differs(summaries: Summaries) -> bool:
    """Whether the gateway's summary differs from the processors' in counts or cents; no answer also differs."""
    return summaries.gateway is None or summaries.processors != summaries.gateway

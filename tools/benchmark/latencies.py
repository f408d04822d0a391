"""Latencies of a run as k6 reports them: exact percentiles over all requests of a kind, in milliseconds. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_DURATION = "http_req_duration"
KINDS = ("payment", "summary", "admin")


@dataclass(frozen=True, slots=True)
class Latency:
    """Distribution of `count` answers, ms."""

    count: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True)
class Latencies:
    """Of all requests; of those that count for the score (answered with success); per kind; of payments per stage."""

    every: Latency
    successful: Latency
    kinds: dict[str, Latency]
    stages: list[Latency]


NONE = Latency(0, 0.0, 0.0, 0.0, 0.0, 0.0)


def of_metrics(metrics: Mapping[str, Any], stages: int) -> Latencies:
    """Takes the latencies from k6's metrics, for a load of that many stages; `NONE` where there were no requests."""
    return Latencies(
        every=_latency(metrics, _DURATION),
        successful=_latency(metrics, f"{_DURATION}{{expected_response:true}}"),
        kinds={kind: _latency(metrics, f"{_DURATION}{{kind:{kind}}}") for kind in KINDS},
        stages=[_latency(metrics, f"{_DURATION}{{stage:{index}}}") for index in range(stages)],
    )


def count_of(metrics: Mapping[str, Any], counter: str) -> int:
    """A counter's value; a counter that is absent from k6's metrics was never added to, so 0."""
    return int(metrics[counter]["values"]["count"]) if counter in metrics else 0


def _latency(metrics: Mapping[str, Any], name: str) -> Latency:
    values = metrics[name]["values"] if name in metrics else {"count": 0}
    if not values["count"]:
        return NONE
    return Latency(
        count=int(values["count"]),
        p50_ms=values["p(50)"],
        p90_ms=values["p(90)"],
        p99_ms=values["p(99)"],
        p999_ms=values["p(99.9)"],
        max_ms=values["max"],
    )

"""What the results of all runs have in common: use, audits, faults, figures; and the conversion to JSON. Pure.

`card` is the outcome of the contest's load, `sheet` that of an open-loop command.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tools.benchmark.events import Summaries, differs
from tools.benchmark.latencies import Latency
from tools.benchmark.meters import Metered
from tools.benchmark.reconcile import Findings

NS_PER_US = 1000
MACHINE_BOUND_BELOW_PERCENT = 10.0  # with less than this idle, the machine was the limit, not the gateway


@dataclass(frozen=True, slots=True)
class Used:
    """CPU and memory during the load: the target's containers, the processors', the generator, the whole machine.

    `metered_s` is how long the meters ran.
    """

    containers: list[Metered]
    processors: list[Metered]
    generator_cpu_s: float
    machine_idle_percent: float
    metered_s: float

    @property
    def cpu_ns(self) -> int | None:
        """CPU time of all of the target's containers; None without containers, or if one ended or can't be read."""
        usages = [each.usage for each in self.containers]
        return sum(usage.cpu_ns for usage in usages if usage) if usages and all(usages) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(ABC):
    """One run; `used` is about the time in which the meters ran."""

    target: str
    run: str
    seed: int
    started_at_ms: int
    used: Used
    audits: Sequence[Summaries]
    notes: Sequence[str] = ()

    @property
    @abstractmethod
    def cpu_us_per_payment(self) -> float | None:
        """CPU of all of the target's containers per payment accepted meanwhile, in microseconds."""

    @abstractmethod
    def faults(self) -> list[str]:
        """A message for everything that must not happen in any run; none for a good one."""

    @abstractmethod
    def figures(self) -> dict[str, float | None]:
        """The figures that are worth a median."""

    @property
    def differences(self) -> list[Summaries]:
        """The audits in which gateway and processors differ."""
        return [audit for audit in self.audits if differs(audit)]

    def load_faults(self) -> list[str]:
        """The faults of any load: audits that differ, and containers that ended during it."""
        wrong = [f"{len(self.differences)} of {len(self.audits)} audits differ."] if self.differences else []
        return wrong + [
            f"{each.service} ended during the load, and was started anew or is gone."
            for each in (*self.used.containers, *self.used.processors)
            if each.ended
        ]

    def throttled_periods(self) -> dict[str, float | None]:
        """The throttled periods of each of the target's containers, under the name of the figure."""
        return {
            f"{each.service} throttled periods": each.usage.throttled_periods if each.usage else None
            for each in self.used.containers
        }

    def to_document(self) -> dict[str, Any]:
        """Its JSON values, with the verdict and the figures made of others."""
        document: dict[str, Any] = plain(self)
        document["cpu_us_per_payment"] = self.cpu_us_per_payment
        document["differences"] = plain(self.differences)
        document["faults"] = self.faults()
        return document


def settlement_faults(quiet_s: float | None, findings: Findings | None) -> list[str]:
    """The faults in settling after a load, and in the money."""
    late = [] if quiet_s is not None else ["Not everything accepted was settled in the time allowed."]
    return late + money_faults(findings)


def money_faults(findings: Findings | None) -> list[str]:
    """A message for everything that is wrong with the money; None: it could not be checked."""
    if findings is None:
        return ["The books could not be compared."]
    wrong = [
        f"{count:,} payments {what}."
        for count, what in (
            (findings.twice.count, "charged more than once"),
            (findings.lost.count, "accepted and never paid"),
            (findings.unasked.count, "paid though not accepted"),
            (findings.altered.count, "paid with another amount"),
        )
        if count
    ]
    return wrong + [f"Books: {each}." for each in findings.disagreements]


def latency_figures(latency: Latency) -> dict[str, float | None]:
    """A distribution under the names of the figures."""
    return {
        "p50 ms": latency.p50_ms,
        "p90 ms": latency.p90_ms,
        "p99 ms": latency.p99_ms,
        "p99.9 ms": latency.p999_ms,
        "max ms": latency.max_ms,
    }


def per_payment_us(cpu_ns: int | None, payments: int) -> float | None:
    """Microseconds of CPU per payment; None if either is not known."""
    return None if cpu_ns is None or not payments else cpu_ns / NS_PER_US / payments


def plain(value: Any) -> Any:
    """Dataclasses, named tuples and Decimals as dicts, lists, numbers and strings (exact money), for JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: plain(each) for name, each in value._asdict().items()}
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, Decimal):
        return str(value)
    return value

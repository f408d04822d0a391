"""The score card of one run: everything measured, what was wrong with it, and both as plain JSON values. Pure."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tools.benchmark.events import Summaries, Totals, differs
from tools.benchmark.latencies import Latencies
from tools.benchmark.meters import Metered
from tools.benchmark.oracle import Oracle
from tools.benchmark.reconcile import Answered, Findings
from tools.benchmark.scenario import Scenario
from tools.benchmark.score import Score

NS_PER_US = 1000
MACHINE_BOUND_BELOW_PERCENT = 10.0  # with less than this idle, the machine was measured, not the gateway


@dataclass(frozen=True, slots=True)
class Settled:
    """What was paid, (default, fallback): when the load ended, and once all was quiet.

    Attributes:
        at_end: by the side that the scenario's rules take the money from.
        waiting_at_end: accepted and not yet at a processor when the load ended.
        quiet_s: seconds from the end of the load until everything accepted was settled; None if it never was.
        findings: what is wrong with the money; None if the two sides could not be compared.
    """

    at_end: tuple[Totals, Totals]
    waiting_at_end: int
    quiet_s: float | None
    findings: Findings | None


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


@dataclass(frozen=True, slots=True)
class Card:
    """One run. `settled`, `score` and `oracle` are None for the floor, which pays nothing."""

    target: str
    scenario: Scenario
    run: str
    seed: int
    started_at_ms: int
    latencies: Latencies
    answered: Answered
    settled: Settled | None
    score: Score | None
    oracle: Oracle | None
    audits: list[Summaries]
    used: Used
    notes: list[str]

    @property
    def differences(self) -> list[Summaries]:
        """The audits in which the two sides did not show the same."""
        return [audit for audit in self.audits if differs(audit)]

    @property
    def cpu_us_per_payment(self) -> float | None:
        """CPU of all containers together per accepted payment, in microseconds."""
        return per_payment_us(self.used.cpu_ns, self.answered.accepted)


def per_payment_us(cpu_ns: int | None, payments: int) -> float | None:
    """Return microseconds of CPU per payment; None if either is not known."""
    return None if cpu_ns is None or not payments else cpu_ns / NS_PER_US / payments


def faults(card: Card) -> list[str]:
    """Return a sentence for everything that must not happen in any run; none for a good one."""
    told = []
    if card.answered.refused or card.answered.unanswered:
        told.append(f"{card.answered.refused:,} payments refused, {card.answered.unanswered:,} not answered.")
    if card.differences:
        told.append(f"{len(card.differences)} of {len(card.audits)} audits differ.")
    told += ended_faults(card.used)
    if card.settled is None:
        return told
    if not card.audits:
        told.append("There was no audit.")
    if card.settled.quiet_s is None:
        told.append("Not everything accepted was settled in the time allowed.")
    return told + money_faults(card.settled.findings)


def ended_faults(used: Used) -> list[str]:
    """Return a sentence for every container that did not live through the load."""
    return [
        f"{each.service} ended during the load, and was started anew or is gone."
        for each in (*used.containers, *used.processors)
        if each.ended
    ]


def money_faults(findings: Findings | None) -> list[str]:
    """Return a sentence for everything that is wrong with the money; None: it could not be looked at."""
    if findings is None:
        return ["The books could not be compared."]
    told = [
        f"{count:,} payments {what}."
        for count, what in (
            (findings.twice.count, "charged more than once"),
            (findings.lost.count, "accepted and never paid"),
            (findings.unasked.count, "paid though not accepted"),
            (findings.altered.count, "paid with another amount"),
        )
        if count
    ]
    return told + [f"Books: {each}." for each in findings.disagreements]


def plain(value: Any) -> Any:
    """Return dataclasses, named tuples and Decimals as dicts, lists, numbers and strings (exact money), for JSON."""
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


def to_document(card: Card) -> dict[str, Any]:
    """Return the card as JSON values, with the verdict and the figures made of others."""
    document: dict[str, Any] = plain(card)
    document["differences"] = plain(card.differences)
    document["cpu_us_per_payment"] = card.cpu_us_per_payment
    document["faults"] = faults(card)
    return document

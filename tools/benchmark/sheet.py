"""The result of an open-loop command: phases, goals, costs, and what was wrong. Pure."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, NamedTuple

from tools.benchmark.latencies import Latency
from tools.benchmark.meters import Metered
from tools.benchmark.outcome import Outcome, Used, latency_figures, per_payment_us, settlement_faults
from tools.benchmark.reconcile import Findings

MEMORY_PERCENT_MAX = 70.0
_PERCENT = 100


class Goal(NamedTuple):
    """A figure with an upper or lower limit.

    Its value is None if it could not be measured; with `never`, because it is the time of something that never came.
    """

    name: str
    value: float | None
    at_most: float | None = None
    at_least: float | None = None
    never: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the value is known and within its limits."""
        if self.value is None:
            return False
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )


@dataclass(frozen=True, slots=True)
class PhaseRow:
    """One phase of the load.

    Attributes:
        held: payments that were due and never sent, as no connection was free.
        settled: payments stored by the processors during the phase.
        waiting: payments accepted and not stored when it ended.
        cpu_us_per_payment: of all of the target's containers, per payment accepted during the phase.
        late: how late the generator itself sent.
        None: not known.
    """

    name: str
    rate_per_s: int
    duration_s: float
    sent: int
    accepted: int
    refused: int
    unanswered: int
    held: int
    by_status: dict[int, int]
    settled: int | None
    waiting: int | None
    answers: Latency
    late: Latency
    cpu_us_per_payment: float | None
    machine_idle_percent: float

    @property
    def failed(self) -> int:
        """How many were due and had no success: refused, not answered or not sent."""
        return self.refused + self.unanswered + self.held


@dataclass(frozen=True, slots=True)
class Sheet(Outcome):
    """One run of one command.

    Attributes:
        main: the index of the phase whose latencies are compared between runs.
        metered_payments: accepted while the meters of `used` ran.
        quiet_s: seconds from the load's end until everything was settled; None if it never was.
        settles: whether the target pays what it accepts; floor and hop do not.
        may_refuse: phases in which a 503 is a right answer, and a request may stay unsent.
        lines: additional lines of the command.
        more: additional figures of the command, for the JSON.
    """

    command: str
    phases: Sequence[PhaseRow]
    main: int
    metered_payments: int
    settles: bool
    quiet_s: float | None
    findings: Findings | None
    goals: Sequence[Goal]
    may_refuse: Collection[str] = ()
    lines: Sequence[str] = ()
    more: dict[str, Any] = field(default_factory=dict)
    more_faults: Sequence[str] = ()

    @property
    def cpu_us_per_payment(self) -> float | None:
        """CPU of all of the target's containers per payment accepted meanwhile, in microseconds."""
        return per_payment_us(self.used.cpu_ns, self.metered_payments)

    def faults(self) -> list[str]:
        """A message for everything that must not happen in any run; a missed goal is no fault."""
        faults = []
        for phase in self.phases:
            right = phase.by_status.get(503, 0) + phase.held if phase.name in self.may_refuse else 0
            if phase.failed > right:
                faults.append(
                    f"{phase.name}: {phase.refused:,} payments refused, {phase.unanswered:,} not answered, "
                    f"{phase.held:,} not sent because no connection was free."
                )
        faults += self.load_faults()
        if self.settles:
            faults += settlement_faults(self.quiet_s, self.findings)
        return faults + list(self.more_faults)

    def figures(self) -> dict[str, float | None]:
        """The figures that are worth a median."""
        main = self.phases[self.main]
        found: dict[str, float | None] = {
            "accepted/s": main.accepted / main.duration_s,
            "settled/s": None if main.settled is None else main.settled / main.duration_s,
            **latency_figures(main.answers),
            "refused": float(sum(each.failed for each in self.phases)),
            "audits differing": float(len(self.differences)),
            "CPU µs/payment": self.cpu_us_per_payment,
            "machine idle %": main.machine_idle_percent,
        }
        goals = {goal.name: inf if goal.never else goal.value for goal in self.goals if goal.name not in found}
        return found | goals | self.throttled_periods()

    def to_document(self) -> dict[str, Any]:
        """Its JSON values, with the verdict and the figures made of others."""
        document = Outcome.to_document(self)
        document["told"] = document.pop("lines")  # the name in all earlier results
        document["goals_missed"] = [goal.name for goal in self.goals if not goal.is_met]
        return document


def memory_percent(metered: Iterable[Metered]) -> float | None:
    """The memory in use at the end in percent of its limit, for the container where that is greatest."""
    shares = [
        each.usage.memory_bytes / each.usage.memory_limit_bytes * _PERCENT
        for each in metered
        if each.usage and each.usage.memory_limit_bytes
    ]
    return max(shares, default=None)


def memory_goal(used: Used) -> Goal:
    """The goal that every command has."""
    return Goal("memory at the end, % of cap", memory_percent(used.containers), at_most=MEMORY_PERCENT_MAX)

"""The generator's plan, used at both ends of its pipe. Pure."""

import dataclasses
import json
from dataclasses import dataclass

from tools.benchmark.documents import between, build
from tools.benchmark.scenario import Amount

# Bounds that only catch typing mistakes.
RATE_PER_S_MAX = 100_000
DURATION_MS_MAX = 24 * 3600 * 1000
CONNECTIONS_MAX = 1000  # the gateway's HAProxy takes 1,200
_MS_PER_S = 1000


@dataclass(frozen=True, slots=True)
class Phase:
    """For `duration_ms`, payments and summaries are sent at these rates per second, evenly spread."""

    name: str
    duration_ms: int
    payments_per_s: int
    summaries_per_s: int = 0

    @property
    def payments(self) -> int:
        """How many payments are due in the phase."""
        return self.payments_per_s * self.duration_ms // _MS_PER_S


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """One load.

    Attributes:
        host, port: of the target.
        phases: one after the other.
        connections: at most, for each kind of request.
        run, seed: determine ids and amounts (`tools.benchmark.payments`, always user 1).
        first_turn: the number of the first payment; further loads of the same run go on where the last one ended.
        amount: range of the amounts.
        history_from_ms: windows of summaries begin there at the earliest, UTC.
    """

    host: str
    port: int
    phases: tuple[Phase, ...]
    connections: int
    run: str
    seed: int
    first_turn: int
    amount: Amount
    history_from_ms: int

    @property
    def duration_s(self) -> float:
        """How long all phases take together."""
        return sum(phase.duration_ms for phase in self.phases) / _MS_PER_S


def encode(plan: LoadPlan) -> str:
    """The plan as JSON."""
    return json.dumps(dataclasses.asdict(plan))


def decode(text: str) -> LoadPlan:
    """Returns the plan that `encode` wrote; raises ScenarioError, or ValueError if it is no JSON."""
    plan: LoadPlan = build(LoadPlan, json.loads(text), "plan")
    check(plan)
    return plan


def check(plan: LoadPlan) -> None:
    """Raises ScenarioError if a number makes no sense."""
    between("connections", plan.connections, 1, CONNECTIONS_MAX)
    between("phases", len(plan.phases), 1, CONNECTIONS_MAX)
    for phase in plan.phases:
        between(f"{phase.name}.duration_ms", phase.duration_ms, 1, DURATION_MS_MAX)
        between(f"{phase.name}.payments_per_s", phase.payments_per_s, 0, RATE_PER_S_MAX)
        between(f"{phase.name}.summaries_per_s", phase.summaries_per_s, 0, RATE_PER_S_MAX)

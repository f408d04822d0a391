"""The score card of one run under the contest's load: everything measured, and what was wrong with it. Pure."""

from dataclasses import dataclass
from decimal import Decimal

from tools.benchmark.events import Totals
from tools.benchmark.latencies import Latencies
from tools.benchmark.oracle import Oracle
from tools.benchmark.outcome import Outcome, latency_figures, per_payment_us, settlement_faults
from tools.benchmark.reconcile import Answered, Findings
from tools.benchmark.scenario import Scenario
from tools.benchmark.score import Score


@dataclass(frozen=True, slots=True)
class Settled:
    """What was paid, (default, fallback): when the load ended, and once everything was settled.

    Attributes:
        at_end: as told by the side that the scenario's rules take the money from.
        waiting_at_end: accepted and not yet at a processor when the load ended.
        quiet_s: seconds from the end of the load until everything accepted was settled; None if it never was.
        findings: what is wrong with the money; None if the two sides could not be compared.
    """

    at_end: tuple[Totals, Totals]
    waiting_at_end: int
    quiet_s: float | None
    findings: Findings | None


@dataclass(frozen=True, slots=True)
class Card(Outcome):
    """One run. `settled`, `score` and `oracle` are None for the floor, which pays nothing."""

    scenario: Scenario
    latencies: Latencies
    answered: Answered
    settled: Settled | None
    score: Score | None
    oracle: Oracle | None

    @property
    def cpu_us_per_payment(self) -> float | None:
        """CPU of all of the target's containers per accepted payment, in microseconds."""
        return per_payment_us(self.used.cpu_ns, self.answered.accepted)

    def faults(self) -> list[str]:
        """A message for everything that must not happen in any run; none for a good one."""
        answered, wrong = self.answered, []
        if answered.refused or answered.unanswered:
            wrong.append(f"{answered.refused:,} payments refused, {answered.unanswered:,} not answered.")
        wrong += self.load_faults()
        if self.settled is None:
            return wrong
        if not self.audits:
            wrong.append("There was no audit.")
        return wrong + settlement_faults(self.settled.quiet_s, self.settled.findings)

    def figures(self) -> dict[str, float | None]:
        """The figures that are worth a median."""
        score = self.score
        of_oracle = self.oracle.share_of(score.profit_cents) if self.oracle and score else None
        return {
            **latency_figures(self.latencies.every),
            "payments p99 ms": self.latencies.kinds["payment"].p99_ms,
            "CPU µs/payment": self.cpu_us_per_payment,
            "accepted": self.answered.accepted,
            "refused": self.answered.refused + self.answered.unanswered,
            "audits differing": len(self.differences),
            "waiting at end": self.settled.waiting_at_end if self.settled else None,
            "score": float(score.score_cents) / 100 if score else None,
            "% of ceiling": _percent(score.of_ceiling if score else None),
            "profit % of oracle": _percent(of_oracle),
            "machine idle %": self.used.machine_idle_percent,
            **self.throttled_periods(),
        }


def _percent(share: Decimal | None) -> float | None:
    return None if share is None else float(share) * 100

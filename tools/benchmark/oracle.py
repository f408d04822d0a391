"""The best possible profit if all stages are known beforehand and routing is perfect. Pure.

All payments are worth the same, may wait for any time, and must be stored when the load ends. A payment is stored if
the delay that is set when it is sent is over before the end, and the processor is not failing *then* (the processors
sleep first and read the flag afterwards). A processor runs at most `RUNNING_MAX` payments at a time, so with a delay of
d seconds it takes `RUNNING_MAX` / d a second; without a delay, any number.

Payments are due as the users grow. Default takes most if it is given all waiting payments at every moment from which
they are stored; the most that both take together follows in the same way. Both can be had at once (payments matched to
places form a transversal matroid: a best set of places at default can be extended to a best set of all places), so
fallback gets the difference.

Audits are ignored: a payment under way for longer than an audit looks back may cost the fine, and an oracle that
avoided this would earn a little less.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from tools.benchmark.scenario import Condition, Load, Scenario, Stage

RUNNING_MAX = 800  # the contest's processor: Endpoints.cs, AddConcurrencyLimiter
STEP_MS = 5  # the step of time
_MS_PER_S = 1000


@dataclass(frozen=True, slots=True)
class Oracle:
    """How many payments it has stored at each processor when the load ends, and what that earns, in cents."""

    default: int
    fallback: int
    unpaid: int
    profit_cents: Decimal

    def share_of(self, profit_cents: Decimal) -> Decimal | None:
        """Another profit as a fraction of this one; None if this one is 0."""
        return profit_cents / self.profit_cents if self.profit_cents else None


def oracle_of(scenario: Scenario, accepted: int, accepted_cents: int) -> Oracle:
    """The best for so many payments, accepted while the scenario's users grew as planned."""
    rules = scenario.rules
    default = stored_most(scenario, accepted, [lambda stage: stage.default])
    both = stored_most(scenario, accepted, [lambda stage: stage.default, lambda stage: stage.fallback])
    fallback = both - default
    kept_percents = default * (100 - rules.fee_default_percent) + fallback * (100 - rules.fee_fallback_percent)
    each_cents = Decimal(accepted_cents) / accepted if accepted else Decimal(0)
    return Oracle(default, fallback, accepted - both, kept_percents * each_cents / 100)


def stored_most(scenario: Scenario, accepted: int, sides: list[Callable[[Stage], Condition]]) -> int:
    """How many payments these processors together can have stored when the load ends."""
    stored = waiting = Fraction(0)
    rates = [rates_per_step(scenario, side) for side in sides]
    for arriving, *takes in zip(_arriving(scenario.load, accepted), *rates, strict=True):
        waiting += arriving
        taken = waiting if None in takes else min(waiting, sum(each for each in takes if each is not None))
        waiting -= taken
        stored += taken
    return min(int(stored + Fraction(1, 2)), accepted)


def rates_per_step(scenario: Scenario, side: Callable[[Stage], Condition]) -> Iterator[Fraction | None]:
    """Yields for each step how many payments sent in it one processor stores in time; None for any number."""
    end_ms = scenario.load.duration_s * _MS_PER_S
    stages = [(stage.at_s * _MS_PER_S, side(stage)) for stage in scenario.stages]

    def in_force(at_ms: int) -> Condition:
        found = stages[0][1]  # the first stage is set before the load starts
        for begins_ms, condition in stages:
            if begins_ms <= at_ms:
                found = condition
        return found

    for at_ms in range(0, end_ms, STEP_MS):
        delay_ms = in_force(at_ms).delay_ms
        stored_at_ms = at_ms + delay_ms
        if stored_at_ms > end_ms or in_force(stored_at_ms).failing:
            yield Fraction(0)
        elif not delay_ms:
            yield None
        else:
            yield Fraction(RUNNING_MAX * STEP_MS, delay_ms)


def _arriving(load: Load, accepted: int) -> Iterator[Fraction]:
    """Yields how many payments come in each step: in proportion to the users there are."""
    steps = load.duration_s * _MS_PER_S // STEP_MS
    growth = load.users_end - load.users_start
    weights = [load.users_start * 2 * steps + growth * (2 * step + 1) for step in range(steps)]
    whole = sum(weights)
    for weight in weights:
        yield Fraction(accepted * weight, whole)

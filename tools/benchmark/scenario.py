"""What a load consists of: users, amounts, stages, audits, the rules of its score. Read from JSON, checked, changed.

A scenario file (`scenarios/*.json`) has the members of `Scenario`, and its parts those of the classes below. Lengths
are in the unit that their name ends with, money in cents.
"""

import dataclasses
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tools.benchmark.documents import between, build, refuse
from tools.benchmark.errors import ScenarioError

SCENARIOS = Path(__file__).parent / "scenarios"

# Bounds that only catch typing mistakes; the contest's numbers are far inside.
DURATION_S_MAX = 3600
USERS_MAX = 5000
DELAY_MS_MAX = 60_000
AMOUNT_CENTS_MAX = 100_000_000  # 1,000,000.00, the most the gateway takes by default
PERCENT_MAX = 100

# A range with small amounts, the contest's prices and large sums.
RANDOM_AMOUNTS_CENTS = (1, 1_000_000)
RANDOM_STAGES = (4, 10)
RANDOM_DELAYS_MS = ((0, 20), (20, 200), (200, 1000), (1000, 5000))
RANDOM_FAILING_CHANCE = 0.25
CALM_DELAY_MS_MAX = 100


@dataclass(frozen=True, slots=True)
class Condition:
    """A processor's behaviour: it sleeps `delay_ms` before it answers, and refuses every payment while `failing`."""

    delay_ms: int
    failing: bool

    def __str__(self) -> str:
        """The short form for tables: `100 ms`, or `100 ms failing`."""
        return f"{self.delay_ms} ms failing" if self.failing else f"{self.delay_ms} ms"


CALM = Condition(0, failing=False)


@dataclass(frozen=True, slots=True)
class Stage:
    """The processors' behaviour from second `at_s` of the load until the next stage."""

    at_s: int
    default: Condition
    fallback: Condition


@dataclass(frozen=True, slots=True)
class Load:
    """`users_start` users growing evenly to `users_end` over `duration_s`; each pays once, then pauses `pause_s`."""

    duration_s: int
    users_start: int
    users_end: int
    pause_s: int


@dataclass(frozen=True, slots=True)
class Amount:
    """Cents of one payment: in this range, both ends included."""

    cents_min: int
    cents_max: int


@dataclass(frozen=True, slots=True)
class Audit:
    """Every `every_s`, summaries are compared over [now - window_start_ms, now - window_end_ms]."""

    every_s: int
    window_start_ms: int
    window_end_ms: int


@dataclass(frozen=True, slots=True)
class Rules:
    """How the score is made; the money is what `money_from` reports for the last `money_window_s` at the load's end."""

    fee_default_percent: int
    fee_fallback_percent: int
    money_from: Literal["gateway", "processors"]
    money_window_s: int


@dataclass(frozen=True, slots=True)
class Scenario:
    """One load; `about` says where it comes from, `size` how large it is."""

    name: str
    about: str
    load: Load
    amount: Amount
    audit: Audit
    rules: Rules
    stages: tuple[Stage, ...]

    @property
    def size(self) -> str:
        """Length, users, stages, and who reports the money, as text."""
        load = self.load
        stages = "1 stage" if len(self.stages) == 1 else f"{len(self.stages)} stages"
        return (
            f"{load.duration_s} s, {load.users_start} to {load.users_end} users, {stages}, "
            f"money as told by the {self.rules.money_from}."
        )

    @property
    def delay_ms_max(self) -> int:
        """The longest that a processor sleeps over a payment, in any stage."""
        return max(side.delay_ms for stage in self.stages for side in (stage.default, stage.fallback))


def read(name_or_path: str) -> Scenario:
    """Returns the scenario of that name in `scenarios/`, or of that file; raises ScenarioError."""
    path = Path(name_or_path) if name_or_path.endswith(".json") else SCENARIOS / f"{name_or_path}.json"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ScenarioError(f"The scenario {path} can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ScenarioError(f"The scenario {path} is not JSON, but {error.object[:20]!r} and so on.") from error
    try:
        return parse(json.loads(text))
    except ValueError as error:
        raise ScenarioError(f"The scenario {path} is not JSON: {error}.") from error


def parse(document: object) -> Scenario:
    """Makes a checked scenario from a decoded JSON document; raises ScenarioError."""
    scenario: Scenario = build(Scenario, document, "scenario")
    check(scenario)
    return scenario


def to_document(scenario: Scenario) -> dict[str, Any]:
    """The scenario as `parse` takes it, ready for JSON."""
    return dataclasses.asdict(scenario)


def check(scenario: Scenario) -> None:
    """Raises ScenarioError if the scenario's numbers don't fit together."""
    load, audit, rules = scenario.load, scenario.audit, scenario.rules
    between("load.duration_s", load.duration_s, 1, DURATION_S_MAX)
    between("load.users_start", load.users_start, 1, USERS_MAX)
    between("load.users_end", load.users_end, load.users_start, USERS_MAX)
    between("load.pause_s", load.pause_s, 1, DURATION_S_MAX)
    between("amount.cents_min", scenario.amount.cents_min, 1, AMOUNT_CENTS_MAX)
    between("amount.cents_max", scenario.amount.cents_max, scenario.amount.cents_min, AMOUNT_CENTS_MAX)
    between("audit.every_s", audit.every_s, 1, DURATION_S_MAX)
    between("audit.window_end_ms", audit.window_end_ms, 0, DURATION_S_MAX * 1000)
    between("audit.window_start_ms", audit.window_start_ms, audit.window_end_ms, DURATION_S_MAX * 1000)
    between("rules.fee_default_percent", rules.fee_default_percent, 0, PERCENT_MAX)
    between("rules.fee_fallback_percent", rules.fee_fallback_percent, 0, PERCENT_MAX)
    between("rules.money_window_s", rules.money_window_s, load.duration_s, DURATION_S_MAX * 2)
    if not scenario.stages:
        refuse("stages", "a list with at least one stage")
    earliest_s = 0
    for index, stage in enumerate(scenario.stages):
        between(f"stages[{index}].at_s", stage.at_s, earliest_s, load.duration_s)
        between(f"stages[{index}].default.delay_ms", stage.default.delay_ms, 0, DELAY_MS_MAX)
        between(f"stages[{index}].fallback.delay_ms", stage.fallback.delay_ms, 0, DELAY_MS_MAX)
        earliest_s = stage.at_s + 1


def with_random_amounts(scenario: Scenario) -> Scenario:
    """The scenario with a different amount for every payment, determined by the run's seed."""
    return dataclasses.replace(scenario, amount=Amount(*RANDOM_AMOUNTS_CENTS))


def with_random_stages(scenario: Scenario, seed: int) -> Scenario:
    """The scenario with random stages, the same ones for the same seed.

    In the last stage one processor is calm, so that everything accepted can be settled.
    """
    chance = random.Random(seed)
    duration_s = scenario.load.duration_s
    count = min(chance.randint(*RANDOM_STAGES), max(duration_s - 1, 1))
    later_s = sorted(chance.sample(range(2, duration_s + 1), count - 1))
    starts_s = [1, *later_s]
    stages = [Stage(at_s, _random_condition(chance), _random_condition(chance)) for at_s in starts_s]
    calm = Condition(chance.randint(0, CALM_DELAY_MS_MAX), failing=False)
    last = stages[-1]
    either = (dataclasses.replace(last, default=calm), dataclasses.replace(last, fallback=calm))
    stages[-1] = chance.choice(either)
    return dataclasses.replace(scenario, stages=tuple(stages))


def _random_condition(chance: random.Random) -> Condition:
    delay_ms = chance.randint(*chance.choice(RANDOM_DELAYS_MS))
    return Condition(delay_ms, failing=chance.random() < RANDOM_FAILING_CHANCE)


def resized(scenario: Scenario, *, duration_s: int | None = None, users_end: int | None = None) -> Scenario:
    """A shorter, longer, smaller or larger copy for trials.

    Stages move in proportion, at least 1 s apart. In a shorter load audits are closer together, so that there are some.
    Raises ScenarioError.
    """
    old = scenario.load
    new = dataclasses.replace(old, duration_s=duration_s or old.duration_s, users_end=users_end or old.users_end)
    stages = _moved(scenario, new.duration_s)
    if stages[-1].at_s > new.duration_s:
        lengths = range(new.duration_s, old.duration_s)
        least_s = next((each for each in lengths if _moved(scenario, each)[-1].at_s <= each), old.duration_s)
        raise ScenarioError(f"{scenario.name} takes at least {least_s} s: its {len(stages)} stages are 1 s apart then.")
    window_s = max(scenario.rules.money_window_s, new.duration_s + 10)
    rules = dataclasses.replace(scenario.rules, money_window_s=window_s)
    every_s = scenario.audit.every_s * min(new.duration_s, old.duration_s) // old.duration_s
    audit = dataclasses.replace(scenario.audit, every_s=max(every_s, 1))
    changed = dataclasses.replace(scenario, load=new, audit=audit, rules=rules, stages=stages)
    check(changed)
    return changed


def _moved(scenario: Scenario, duration_s: int) -> tuple[Stage, ...]:
    """The stages for a load of that length; stages that don't fit are beyond its end."""
    stages: list[Stage] = []
    for stage in scenario.stages:
        at_s = stage.at_s * duration_s // scenario.load.duration_s
        earliest_s = stages[-1].at_s + 1 if stages else min(stage.at_s, 1)
        stages.append(dataclasses.replace(stage, at_s=max(at_s, earliest_s)))
    return tuple(stages)

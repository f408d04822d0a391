"""Carries out one run under the contest's load: prepare, meter, load, settle, check. Returns its score card."""

import dataclasses
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tools.benchmark import meters, payments, settling
from tools.benchmark.card import Card, Settled
from tools.benchmark.containers import Container
from tools.benchmark.endpoints import Gateway, Processors
from tools.benchmark.errors import GeneratorError
from tools.benchmark.events import Audited, Changed, Ended, Event, Failed, Started, Summaries, Totals, differs
from tools.benchmark.generator import Generated, Plan, Progress, generate
from tools.benchmark.latencies import count_of, of_metrics
from tools.benchmark.meters import Snapshot
from tools.benchmark.oracle import oracle_of
from tools.benchmark.outcome import Used
from tools.benchmark.preparing import Found, calm, metered, prepare
from tools.benchmark.progress import Screen, line_of
from tools.benchmark.reconcile import Answered, Books, Findings
from tools.benchmark.scenario import Scenario
from tools.benchmark.score import score_of
from tools.benchmark.settling import SETTLE_S
from tools.benchmark.targets import Target
from tools.benchmark.text import alarm_lines

_RUN_BYTES = 4
_MS_PER_S = 1000
_NONE = Totals(0, 0)


@dataclass(frozen=True, slots=True)
class Order:
    """A run to be carried out: the load and the target. The same order can be carried out again."""

    target: Target
    processors: Processors
    scenario: Scenario
    seed: int
    token: str


@dataclass(slots=True)
class Recorder:
    """Keeps the generator's events, reads the meters when the load starts and ends, and shows the progress."""

    scenario: Scenario
    metered: list[Container]
    screen: Screen
    started_at_ms: int | None = None
    stage: int | None = None
    start: Snapshot | None = None
    end: Snapshot | None = None
    ended: Summaries | None = None
    audits: list[Summaries] = dataclasses.field(default_factory=list)
    failures: list[Failed] = dataclasses.field(default_factory=list)

    def on_event(self, event: Event) -> None:
        """Process one event, as soon as it comes."""
        match event:
            case Started(at_ms):
                self.started_at_ms, self.start = at_ms, meters.snapshot(self.metered)
            case Changed(_, stage):
                self.stage = stage
            case Failed():
                self.failures.append(event)
            case Audited(summaries):
                self.audits.append(summaries)
                for line in alarm_lines(summaries):
                    self.screen.say(line)
            case Ended(summaries):
                self.ended, self.end = summaries, meters.snapshot(self.metered)

    def on_tick(self, progress: Progress) -> None:
        """Shows the live line."""
        since_s = 0.0 if self.started_at_ms is None else time.time() - self.started_at_ms / _MS_PER_S
        different = sum(map(differs, self.audits))
        audits = f"audits {len(self.audits)}, different {different}"
        self.screen.live(line_of(self.scenario, progress, since_start_s=since_s, stage=self.stage, audits=audits))


def carry_out(order: Order, screen: Screen, settle_s: float = SETTLE_S) -> Card:
    """Runs the load once and returns its card; the processors are calm afterwards, whatever happens.

    Raises BenchError if the load could not be run. The gateway's faults are in the card.
    """
    found = metered(order.target, order.processors)
    first = order.scenario.stages[0]
    recorder = Recorder(order.scenario, found.ours + found.theirs, screen)
    run = secrets.token_hex(_RUN_BYTES)
    default, fallback = order.processors
    plan = Plan(order.scenario, run, order.seed, order.target.url, (default.url, fallback.url), order.token)
    try:
        prepare(order.target, order.processors, (first.default, first.fallback))
        generated = generate(plan, recorder.on_event, recorder.on_tick)
        calm(order.processors)  # so that waiting payments get settled; `finally` is for a run that failed
        return _card(order, run, recorder, generated, found, screen, settle_s)
    finally:
        calm(order.processors)


def _card(
    order: Order,
    run: str,
    recorder: Recorder,
    generated: Generated,
    found: Found,
    screen: Screen,
    settle_s: float,
) -> Card:
    """Waits until all is settled, checks the money, and makes the card."""
    start, end, ended, started_at_ms = recorder.start, recorder.end, recorder.ended, recorder.started_at_ms
    if start is None or end is None or ended is None or started_at_ms is None:
        raise GeneratorError("The load never started, or never ended. " + " | ".join(generated.remarks))
    answered = _answered(recorder, generated)
    latencies = of_metrics(generated.metrics, len(order.scenario.stages))
    notes = [*found.notes, *(f"k6 said: {remark}" for remark in generated.remarks)]
    settled = score = oracle = None
    if order.target.settles:
        at_end, missing = money_of(order.scenario, ended)
        notes += [missing] if missing else []
        notes += list(_fee_notes(order))
        settled = settle(order, run, recorder, answered, at_end, screen, settle_s)
        fined = any(map(differs, recorder.audits))
        score = score_of(order.scenario.rules, at_end, answered.cents, latencies.successful.p99_ms, fined=fined)
        oracle = oracle_of(order.scenario, answered.accepted, answered.cents)
    return Card(
        target=order.target.name,
        scenario=order.scenario,
        run=run,
        seed=order.seed,
        started_at_ms=started_at_ms,
        latencies=latencies,
        answered=answered,
        settled=settled,
        score=score,
        oracle=oracle,
        audits=recorder.audits,
        used=Used(
            containers=meters.between(found.ours, start, end),
            processors=meters.between(found.theirs, start, end),
            generator_cpu_s=generated.cpu_s,
            machine_idle_percent=meters.idle_percent(start, end),
            metered_s=end.at_s - start.at_s,
        ),
        notes=notes,
    )


def _answered(recorder: Recorder, generated: Generated) -> Answered:
    names = ("accepted", "accepted_cents", "refused", "unanswered")
    accepted, cents, refused, unanswered = (count_of(generated.metrics, name) for name in names)
    by_status = Counter(failure.status for failure in recorder.failures)
    return Answered(accepted, cents, refused, unanswered, dict(by_status))


def money_of(scenario: Scenario, ended: Summaries) -> tuple[tuple[Totals, Totals], str | None]:
    """What was settled at the load's end, as told by the side in the rules, and a note if it did not answer."""
    by_gateway = scenario.rules.money_from == "gateway"
    default, fallback = (ended.gateway or (None, None)) if by_gateway else ended.processors
    missing = None
    if default is None or fallback is None:
        who = "The gateway" if by_gateway else "A processor"
        missing = f"{who} gave no summary at the end of the load: the contest counts nothing then."
    return (default or _NONE, fallback or _NONE), missing


def _fee_notes(order: Order) -> Iterator[str]:
    rules = order.scenario.rules
    expected = (rules.fee_default_percent, rules.fee_fallback_percent)
    for processor, percent in zip(order.processors, expected, strict=True):
        shown = processor.fee_percent()
        if shown is not None and shown != percent:
            yield f"{processor.name} says that it takes {shown.normalize():f} %; the score's rules say {percent} %."


def settle(
    order: Order,
    run: str,
    recorder: Recorder,
    answered: Answered,
    at_end: tuple[Totals, Totals],
    screen: Screen,
    settle_s: float,
) -> Settled:
    """Waits until everything accepted is settled and both sides agree, `settle_s` at the most; then checks the money.

    The totals are read again once no payment can sleep in a processor any more; `quiet_s` excludes that wait.
    """
    ended_s = (recorder.ended.at_ms if recorder.ended else 0) / _MS_PER_S
    gateway = Gateway(order.target.url)
    books, quiet = settling.wait_until_quiet(gateway, order.processors, answered, screen, settle_s)
    quiet_s = time.time() - ended_s if quiet else None
    if books is not None:
        delay_s = order.scenario.delay_ms_max / _MS_PER_S
        books = settling.wait_until_awake(gateway, order.processors, answered, screen, ended_s, delay_s)
    return Settled(
        at_end=at_end,
        waiting_at_end=max(answered.accepted - sum(each.count for each in at_end), 0),
        quiet_s=quiet_s,
        findings=None if books is None else _check(order, run, recorder, answered, books),
    )


def _check(order: Order, run: str, recorder: Recorder, answered: Answered, books: Books) -> Findings:
    """Compares the totals with everything that this load could have sent."""
    load, stages = order.scenario.load, order.scenario.stages
    failed = {payments.correlation_id(run, each.user, each.turn): each.status for each in recorder.failures}
    users = load.users_end + 1 + len(stages)  # k6 numbers all its users, including those for audits and stages
    turns = load.duration_s // load.pause_s + 2
    possible = payments.possible(run, order.seed, order.scenario.amount, users=users, turns=turns)
    return settling.check(order.processors, answered, failed, books, lambda: dict(possible))

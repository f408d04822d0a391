"""Open-loop loads on one target, one after the other: prepared, metered, audited, settled and checked."""

import dataclasses
import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from tools.benchmark import containers, meters, payments, settling
from tools.benchmark.auditing import AUDIT_EVERY_S, audit
from tools.benchmark.containers import Container
from tools.benchmark.endpoints import Gateway, Processors
from tools.benchmark.errors import EndpointError, GeneratorError
from tools.benchmark.events import Summaries
from tools.benchmark.meters import Snapshot
from tools.benchmark.openload import run_load
from tools.benchmark.openloop.messages import SUCCESS, Began, Message
from tools.benchmark.openloop.plan import LoadPlan, Phase
from tools.benchmark.openloop.requests import USER
from tools.benchmark.outcome import Used
from tools.benchmark.payments import Sent
from tools.benchmark.preparing import calm, metered, prepare
from tools.benchmark.progress import Screen
from tools.benchmark.reconcile import Answered, Findings
from tools.benchmark.scenario import Amount
from tools.benchmark.tally import Tally
from tools.benchmark.targets import Target
from tools.benchmark.text import alarm_lines

AMOUNT = Amount(100, 9999)  # every payment has another amount, so that a sum tells more about which payments are in it
ROWS_MAX = 400_000  # payments that are compared one by one at the end; if there are more, only counts and sums are
TICK_S = 1.0
_RUN_BYTES = 4
_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Setup:
    """The target and the options that every command has."""

    target: Target
    processors: Processors
    seed: int
    connections: int
    settle_s: float


class Poll(NamedTuple):
    """How many payments each processor had stored at a moment of `time.monotonic_ns()`."""

    at_ns: int
    default: int
    fallback: int

    @property
    def stored(self) -> int:
        """How many payments both processors together had stored."""
        return self.default + self.fallback


@dataclass(slots=True)
class Observed:
    """What was observed of one load. Snapshots and polls are taken when a phase begins and when all is sent.

    Further polls are taken in between. `at_edges` are the polls at the beginnings and the end, None where the
    processors did not answer. `accepted_before` payments were accepted by earlier loads of the same run.
    """

    phases: Sequence[Phase]
    tally: Tally
    started_at_ms: int = 0
    accepted_before: int = 0
    snapshots: list[Snapshot] = dataclasses.field(default_factory=list)
    at_edges: list[Poll | None] = dataclasses.field(default_factory=list)
    polls: list[Poll] = dataclasses.field(default_factory=list)
    audits: list[Summaries] = dataclasses.field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Hooks:
    """Callbacks of a command while its load runs: when a phase of that name begins, and at every tick."""

    on_phase: Callable[[str], None] = lambda _: None
    on_tick: Callable[[], None] = lambda: None


class Settlement(NamedTuple):
    """Seconds until all was settled (None: not in the time allowed), and what is wrong with the money, if known."""

    quiet_s: float | None
    findings: Findings | None


class OpenRun:
    """A context manager: it begins with calm processors and no payments anywhere, and ends with calm processors.

    Attributes:
        ours, theirs: the containers of the target and of the processors.
        run: determines its payments' ids.
        first_at_ms: no payment was made before this moment, UTC.
        answered, audits: of all its loads together.
    """

    def __init__(self, setup: Setup, screen: Screen) -> None:
        self.setup = setup
        self.screen = screen
        self.run = secrets.token_hex(_RUN_BYTES)
        self.ours: list[Container] = []
        self.theirs: list[Container] = []
        self.answered = Answered(0, 0, 0, 0, {})
        self.audits: list[Summaries] = []
        self.notes: list[str] = []
        self._start = Snapshot({}, (0, 0), 0.0)
        self._ended: set[str] = set()  # in any load, as some phases are not metered
        self._address = ("", 0)
        self._next_turn = 0
        self._failed: dict[str, int] = {}
        self.first_at_ms = 0

    def __enter__(self) -> Self:
        setup = self.setup
        self.ours, self.theirs, notes = metered(setup.target, setup.processors)
        self.notes += notes
        self._start = meters.snapshot(self.ours + self.theirs)
        self._address = self._find_address()
        self.first_at_ms = time.time_ns() // _NS_PER_MS
        try:
            prepare(setup.target, setup.processors)
        except BaseException:
            calm(setup.processors)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        calm(self.setup.processors)

    def _find_address(self) -> tuple[str, int]:
        """Where to send: to the container itself, not to docker's proxy for localhost, whose CPU nobody counts.

        Requests from another machine don't go through that proxy either: the kernel forwards them.
        """
        target = self.setup.target
        direct = containers.address_of(self.ours, target.local_port) if target.local_port else None
        if direct is not None:
            self.notes.append(f"sent to {direct[0]}:{direct[1]}, bypassing docker's proxy for localhost")
            return direct
        parts = urlsplit(target.url)
        host = parts.hostname or ""
        return "127.0.0.1" if host == "localhost" else host, parts.port or 80

    def load(
        self,
        phases: Sequence[Phase],
        hooks: Hooks | None = None,
        *,
        tick_s: float = TICK_S,
        audit_every_s: float = AUDIT_EVERY_S,
    ) -> Observed:
        """Runs a load of these phases to its end; its payments' numbers continue those of the load before."""
        setup = self.setup
        observed = Observed(phases, Tally(len(phases)), time.time_ns() // _NS_PER_MS, self.answered.accepted)
        observer = _Observer(self, observed, hooks or Hooks(), audit_every_s)
        plan = LoadPlan(
            *self._address,
            phases=tuple(phases),
            connections=setup.connections,
            run=self.run,
            seed=setup.seed,
            first_turn=self._next_turn,
            amount=AMOUNT,
            history_from_ms=self.first_at_ms,
        )
        self.notes += run_load(plan, observer.on_message, observer.on_tick, tick_s)
        if len(observed.tally.began) != len(phases) + 1:
            raise GeneratorError("The generator ended before its load did. " + " | ".join(self.notes))
        self._add(observed)
        return observed

    def _add(self, observed: Observed) -> None:
        """Counts the answers of a load, keeps its audits, and finds the containers that ended during it."""
        self.audits += observed.audits
        self._ended |= meters.ended_between(self.ours + self.theirs, self._start, observed.snapshots[-1])
        whole, last = observed.tally.whole(), self.answered
        statuses = Counter(last.by_status)
        statuses.update({status: n for status, n in whole.statuses.items() if status not in SUCCESS})
        self.answered = Answered(
            last.accepted + whole.accepted,
            last.cents + whole.cents,
            last.refused + whole.refused,
            last.unanswered + whole.unanswered,
            dict(statuses),
        )
        self._next_turn = max(self._next_turn, observed.tally.began[-1].first_turn)
        self._failed |= {self.correlation_id(turn): status for turn, status in observed.tally.failed.items()}

    def correlation_id(self, turn: int) -> str:
        """The id of this payment of the run."""
        return payments.correlation_id(self.run, USER, turn)

    def settle(self) -> Settlement:
        """Waits until everything accepted is settled, then checks the money; processors must be calm."""
        setup, answered = self.setup, self.answered
        if not setup.target.settles:
            return Settlement(None, None)
        since_s = time.monotonic()
        gateway = Gateway(setup.target.url)
        books, quiet = settling.wait_until_quiet(gateway, setup.processors, answered, self.screen, setup.settle_s)
        quiet_s = time.monotonic() - since_s if quiet else None
        if books is None:
            return Settlement(quiet_s, None)
        by_rows = self._sent if self._next_turn <= ROWS_MAX else None
        return Settlement(quiet_s, settling.check(setup.processors, answered, self._failed, books, by_rows))

    def _sent(self) -> dict[str, Sent]:
        """Everything that was sent so far, by id."""
        turns = range(self._next_turn)
        cents = (payments.spread_cents(self.setup.seed, AMOUNT, turn) for turn in turns)
        return {self.correlation_id(turn): Sent(USER, turn, each) for turn, each in zip(turns, cents, strict=True)}

    def used(self, observed: Observed, first: int = 0, last: int = -2) -> Used:
        """What was used from the beginning of phase `first` to the end of phase `last` (-2: of the last one)."""
        start, end = observed.snapshots[first], observed.snapshots[last + 1]
        began, ended = observed.tally.began[first], observed.tally.began[last + 1]
        return Used(
            containers=meters.between(self.ours, start, end, ended=self._ended),
            processors=meters.between(self.theirs, start, end, ended=self._ended),
            generator_cpu_s=ended.cpu_s - began.cpu_s,
            machine_idle_percent=meters.idle_percent(start, end),
            metered_s=end.at_s - start.at_s,
        )


class _Observer:
    """Takes snapshots and polls, audits, and shows where a load is."""

    def __init__(self, run: OpenRun, observed: Observed, hooks: Hooks, audit_every_s: float) -> None:
        self._run = run
        self._observed = observed
        self._hooks = hooks
        self._audit_every_s = audit_every_s
        self._next_audit_s = time.monotonic() + audit_every_s
        self._phase = 0

    def on_message(self, message: Message) -> None:
        """Process one message, as soon as it comes."""
        self._observed.tally.on_message(message)
        if isinstance(message, Began):
            self._phase = message.phase
            self._observed.snapshots.append(meters.snapshot(self._run.ours + self._run.theirs))
            self._observed.at_edges.append(self._poll())
            if message.phase < len(self._observed.phases):
                self._hooks.on_phase(self._observed.phases[message.phase].name)

    def on_tick(self) -> None:
        """Polls, audits if it is time, shows the live line."""
        if not self._observed.snapshots:
            return
        poll = self._poll()
        if poll is not None:
            self._observed.polls.append(poll)
        if self._run.setup.target.settles and time.monotonic() >= self._next_audit_s:
            self._next_audit_s += self._audit_every_s
            self._audit()
        self._hooks.on_tick()
        self._run.screen.live(self._line(poll))

    def _poll(self) -> Poll | None:
        """How many payments are stored now; None if the target pays nothing or a processor does not answer."""
        if not self._run.setup.target.settles:
            return None
        try:
            default, fallback = settling.totals_of(self._run.setup.processors)
        except EndpointError:
            return None
        return Poll(time.monotonic_ns(), default.count, fallback.count)

    def _audit(self) -> None:
        setup, screen = self._run.setup, self._run.screen
        summaries = audit(Gateway(setup.target.url), setup.processors, time.time_ns() // _NS_PER_MS)
        self._observed.audits.append(summaries)
        for line in alarm_lines(summaries):
            screen.say(line)

    def _line(self, poll: Poll | None) -> str:
        phases, tally = self._observed.phases, self._observed.tally
        phase, whole = phases[min(self._phase, len(phases) - 1)], tally.whole()
        last = tally.intervals[-1] if tally.intervals else None
        p99 = "" if last is None else f"  p99 {tally.between(last.at_ns - 1, last.at_ns).latency().p99_ms:.1f} ms"
        stored = "" if poll is None else f"  stored {poll.stored:,}"
        counts = f"accepted {whole.accepted:,}  failed {whole.failed:,}"
        return f"{phase.name} at {phase.payments_per_s:,}/s  {counts}{stored}{p99}"

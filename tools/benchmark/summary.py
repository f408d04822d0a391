"""`bench summary`: a million settled payments, then summaries of all kinds of windows during a load of payments."""

import random
import time
from dataclasses import dataclass
from typing import Any

from tools.benchmark import settling
from tools.benchmark.endpoints import Gateway
from tools.benchmark.errors import EndpointError, GeneratorError
from tools.benchmark.exactness import Compared, compare
from tools.benchmark.histogram import Histogram
from tools.benchmark.openloop.messages import LATE, REFUSED, Sample
from tools.benchmark.openloop.plan import Phase
from tools.benchmark.openloop.windows import KINDS, draw
from tools.benchmark.openrun import Observed, OpenRun, Setup
from tools.benchmark.progress import Screen
from tools.benchmark.rows import Own, rows_of, sheet_of
from tools.benchmark.saturate import WARM_UP_MS
from tools.benchmark.sheet import Goal, Sheet
from tools.benchmark.tally import Counts
from tools.benchmark.text import LATENCY_COLUMNS, latency_cells, table

SUMMARIES = "summaries"
P99_MS_MAX = 5.0
PAYMENTS_RATIO_MAX = 1.25  # two phases without summaries in the same run differ by as much
CHUNK_MS = 20_000
CHUNKS_MAX = 1_000
SLOWER = 0.8  # the rate of the fill is multiplied by this after a chunk that was too fast
LAG_S_MAX = 5.0
QUIET_PER_KIND = 10
RATE_MIN = 10
_CALM, _ASKED = 1, 2
_MS_PER_S = 1000
_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Ask:
    """`fill` settled payments, sent at `fill_per_s`; then `duration_s` of payments with and without summaries."""

    fill: int
    fill_per_s: int
    rate_per_s: int
    summaries_per_s: int
    duration_s: int


def fill(run: OpenRun, payments: int, per_s: int) -> None:
    """Has payments settled, in chunks; each is slower if the last was too fast. Raises GeneratorError."""
    rate = per_s
    since_s = time.monotonic()
    for _ in range(CHUNKS_MAX):
        left = payments - run.answered.accepted
        if left <= 0:
            break
        chunk_ms = min(CHUNK_MS, -(-left * _MS_PER_S // rate))
        observed = run.load([Phase("fill", chunk_ms, rate)])
        began_s = time.monotonic()
        settling.wait_until_quiet(
            Gateway(run.setup.target.url), run.setup.processors, run.answered, run.screen, run.setup.settle_s
        )
        failed = observed.tally.counts(0).failed
        lag_s = time.monotonic() - began_s
        if failed or lag_s > LAG_S_MAX:
            rate = max(int(rate * SLOWER), RATE_MIN)
            why = f"{failed:,} payments of the fill were not taken" if failed else f"settling was {lag_s:.0f} s behind"
            run.screen.say(f"  {why}: going on at {rate:,}/s")
    if run.answered.accepted < payments:
        raise GeneratorError(f"Only {run.answered.accepted:,} payments were accepted in {CHUNKS_MAX} chunks.")
    run.notes.append(f"filled with {run.answered.accepted:,} payments in {time.monotonic() - since_s:.0f} s")


def phases_of(ask: Ask) -> list[Phase]:
    """The phases after the fill: payments alone, then with summaries."""
    duration_ms = ask.duration_s * _MS_PER_S
    return [
        # with summaries: HAProxy closes a connection that says nothing for 2 s at its start
        Phase("warm-up", WARM_UP_MS, ask.rate_per_s, ask.summaries_per_s),
        Phase("calm", duration_ms, ask.rate_per_s),
        Phase("asked", duration_ms, ask.rate_per_s, ask.summaries_per_s),
    ]


def measure(setup: Setup, ask: Ask, screen: Screen) -> Sheet:
    """Runs it once; raises BenchError if the load could not be run."""
    with OpenRun(setup, screen) as run:
        fill(run, ask.fill, ask.fill_per_s)
        observed = run.load(phases_of(ask))
        settlement = run.settle()
        gateway = Gateway(setup.target.url)
        under_load = compare(observed.tally.samples, gateway, setup.processors, quiet=False)
        at_rest = compare(_ask(run, gateway), gateway, setup.processors, quiet=True)
    rows = rows_of(run, observed)
    asked = observed.tally.counts(_ASKED, SUMMARIES)
    worst_ms = max((histogram.latency().p99_ms for _, histogram in _by_kind(asked)), default=None)
    calm_ms, asked_ms = rows[_CALM].answers.p99_ms, rows[_ASKED].answers.p99_ms
    own = Own(
        command=f"summary over {ask.fill:,} payments",
        main=_ASKED,
        metered=(_ASKED, _ASKED),
        goals=[
            Goal("summary p99 ms", asked.answers.latency().p99_ms, at_most=P99_MS_MAX),
            Goal("summary p99 ms, slowest kind of window", worst_ms, at_most=P99_MS_MAX),
            Goal("payments p99 with summaries to without", _ratio(asked_ms, calm_ms), at_most=PAYMENTS_RATIO_MAX),
        ],
        lines=[*_table(asked), _line("under load", under_load), _line("at rest", at_rest)],
        more={"under_load": under_load, "at_rest": at_rest, "summaries": _document(asked)},
        faults=_faults(observed, under_load, at_rest),
    )
    return sheet_of(run, observed, rows, settlement, own)


def _ratio(value: float, other: float) -> float | None:
    return value / other if other else None


def _ask(run: OpenRun, gateway: Gateway) -> list[Sample]:
    """Asks the gateway for windows of all kinds, now that everything is settled."""
    chance = random.Random(run.setup.seed)
    samples = []
    for kind in KINDS * QUIET_PER_KIND:
        now_ms = time.time_ns() // _NS_PER_MS
        window = draw(chance, kind, run.first_at_ms, now_ms)
        try:
            body = gateway.ask("GET", f"/payments-summary{window.query}").decode(errors="replace")
        except EndpointError as error:
            body = str(error)  # the comparison finds that it is no summary
        samples.append(Sample(kind, window.from_ms, window.to_ms, now_ms, body))
    return samples


def _by_kind(counts: Counts) -> list[tuple[str, Histogram]]:
    return [(label, counts.latencies[label]) for label in counts.latencies if label not in {LATE, REFUSED}]


def _table(counts: Counts) -> list[str]:
    rows = [["summaries of the window, ms", "answers", *LATENCY_COLUMNS]]
    rows.append(["all kinds", f"{counts.accepted:,}", *latency_cells(counts.answers.latency())])
    for label, histogram in sorted(_by_kind(counts)):
        latency = histogram.latency()
        rows.append([f"  {label}", f"{latency.count:,}", *latency_cells(latency)])
    return list(table(rows))


def _line(when: str, compared: Compared) -> str:
    return (
        f"compared with the processors {when}: {compared.count:,} answers ({compared.widened:,} of widened windows), "
        f"wrong {compared.wrong:,}; {compared.open:,} could not be compared, their windows being open"
    )


def _document(counts: Counts) -> dict[str, Any]:
    return {
        "statuses": dict(counts.statuses),
        "every": counts.answers.latency(),
        "kinds": {label: histogram.latency() for label, histogram in _by_kind(counts)},
    }


def _faults(observed: Observed, *compared: Compared) -> list[str]:
    whole = observed.tally.whole(SUMMARIES)
    wrong = []
    if whole.failed:
        wrong.append(
            f"{whole.refused:,} summaries refused, {whole.unanswered:,} not answered, {whole.held:,} not sent."
        )
    return wrong + [
        f"{each.wrong:,} summaries were wrong: {'; '.join(each.examples)}" for each in compared if each.wrong
    ]

"""Score cards and comparisons as text for a terminal. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from tools.benchmark.card import MACHINE_BOUND_BELOW_PERCENT, Card, Settled, faults, per_payment_us
from tools.benchmark.compare import Figures
from tools.benchmark.events import SIDES, Summaries, Totals
from tools.benchmark.latencies import Latency
from tools.benchmark.meters import Metered
from tools.benchmark.reconcile import Finding, Findings
from tools.benchmark.score import Score

NS_PER_S = 1e9
NS_PER_MS = 1e6
BYTES_PER_MB = 1e6
NOT_KNOWN = "–"


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the rows as aligned lines: the first column to the left, all others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for first, *others in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        yield "  " + "  ".join(cells).rstrip()


def money(cents: int | Decimal) -> str:
    """Return an amount with thousands separators and two decimals."""
    return f"{Decimal(cents) / 100:,.2f}"


def number(value: float | None, digits: int = 1) -> str:
    """Return a figure with that many decimals, or a dash for one that is not known."""
    return NOT_KNOWN if value is None else f"{value:,.{digits}f}"


def moment(at_ms: int) -> str:
    """Return a time of day in UTC with milliseconds."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]


def card_lines(card: Card) -> Iterator[str]:
    """Yield the whole score card."""
    at = datetime.fromtimestamp(card.started_at_ms // 1000, UTC)
    yield f"{card.scenario.name} on {card.target}, {at:%Y-%m-%d %H:%M:%S} UTC, run {card.run}, seed {card.seed}"
    yield from _latency_lines(card)
    yield from _answer_lines(card)
    if card.settled is not None:
        yield from _settled_lines(card.settled)
    if card.score is not None:
        yield from _score_lines(card.score)
    yield from _audit_lines(card)
    yield from _usage_lines(card)
    yield from (f"note: {note}" for note in card.notes)
    wrong = faults(card)
    yield from (f"WRONG: {fault}" for fault in wrong)
    if not wrong:
        yield "Nothing wrong."


def _latency_lines(card: Card) -> Iterator[str]:
    rows = [["latency, ms", "requests", "p50", "p90", "p99", "p99.9", "max"]]
    rows.append(_latency_row("all", card.latencies.every))
    rows += [_latency_row(kind, latency) for kind, latency in card.latencies.kinds.items()]
    for stage, latency in zip(card.scenario.stages, card.latencies.stages, strict=True):
        rows.append(_latency_row(f"  from {stage.at_s} s ({stage.default} | {stage.fallback})", latency))
    yield from table(rows)


def _latency_row(name: str, latency: Latency) -> list[str]:
    values = (latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.p999_ms, latency.max_ms)
    return [name, f"{latency.count:,}", *(number(value, 2) if latency.count else NOT_KNOWN for value in values)]


def _answer_lines(card: Card) -> Iterator[str]:
    answered = card.answered
    by_status = ", ".join(f"{status or 'none'}: {count:,}" for status, count in sorted(answered.by_status.items()))
    told = f" (by status {by_status})" if by_status else ""
    yield (
        f"accepted {answered.accepted:,} ({money(answered.cents)}), refused {answered.refused:,}, "
        f"unanswered {answered.unanswered:,}{told}"
    )


def _settled_lines(settled: Settled) -> Iterator[str]:
    at_end = ", ".join(_totals(side, totals) for side, totals in zip(SIDES, settled.at_end, strict=True))
    yield f"settled at the end: {at_end}; waiting {settled.waiting_at_end:,}"
    if settled.quiet_s is not None:
        yield f"all settled {settled.quiet_s:.1f} s after the end"
    if settled.findings is not None:
        yield from _finding_lines(settled.findings)


def _totals(name: str, totals: Totals | None) -> str:
    return f"{name} no answer" if totals is None else f"{name} {totals.count:,} ({money(totals.cents)})"


def _finding_lines(findings: Findings) -> Iterator[str]:
    how = "row by row" if findings.by_row else "by totals only: the processors list no rows"
    agree = "no" if findings.disagreements else "yes"
    yield (
        f"books, {how}: charged twice {findings.twice.count:,}, lost {findings.lost.count:,}, "
        f"not asked for {findings.unasked.count:,}, altered {findings.altered.count:,}; both sides agree: {agree}"
    )
    named: Mapping[str, Finding] = {
        "charged twice": findings.twice,
        "lost": findings.lost,
        "not asked for": findings.unasked,
        "altered": findings.altered,
    }
    for what, finding in named.items():
        if finding.ids:
            yield f"  {what}: {' '.join(finding.ids)}"


def _score_lines(score: Score) -> Iterator[str]:
    of_ceiling = NOT_KNOWN if score.of_ceiling is None else f"{score.of_ceiling:.2%}"
    yield (
        f"amount {money(score.amount_cents)} - fees {money(score.fees_cents)} = profit {money(score.profit_cents)}; "
        f"bonus {score.bonus:.2%}, fine {score.fine:.0%}"
    )
    yield f"score {money(score.score_cents)}, {of_ceiling} of {money(score.ceiling_cents)}, the most this p99 allows"


def _audit_lines(card: Card) -> Iterator[str]:
    yield f"audits {len(card.audits)}, different {len(card.differences)}"
    for audit in card.differences:
        yield from difference_lines(audit)


def difference_lines(audit: Summaries) -> Iterator[str]:
    """Yield what each side showed in one audit."""
    yield f"  at {moment(audit.at_ms)}, window {moment(audit.from_ms)} to {moment(audit.to_ms)}:"
    ours = audit.gateway or (None, None)
    for side, mine, theirs in zip(SIDES, ours, audit.processors, strict=True):
        yield f"    {side}: {_totals('gateway', mine)}, {_totals('processor', theirs)}"


def _usage_lines(card: Card) -> Iterator[str]:
    used, payments = card.used, card.answered.accepted
    if used.containers:
        rows = [["container", "CPU s", "µs/payment", "of its CPU", "throttled", "ms", "peak MB", "of its memory"]]
        rows += [_usage_row(each, payments, card.scenario.load.duration_s) for each in used.containers]
        if used.cpu_ns is not None:
            total = [number(used.cpu_ns / NS_PER_S, 2), number(card.cpu_us_per_payment, 0)]
            rows.append(["together", *total, "", "", "", "", ""])
        yield from table(rows)
    else:
        yield "containers: none found behind the target, so no meters"
    processors_ns = sum(each.usage.cpu_ns for each in used.processors if each.usage)
    shown = f"{processors_ns / NS_PER_S:.2f}" if used.processors else NOT_KNOWN
    bound = ": machine-bound" if used.machine_idle_percent < MACHINE_BOUND_BELOW_PERCENT else ""
    yield (
        f"beside it, CPU s: generator {used.generator_cpu_s:.2f}, processors {shown}; "
        f"machine idle {used.machine_idle_percent:.0f} %{bound}"
    )


def _usage_row(metered: Metered, payments: int, duration_s: int) -> list[str]:
    usage = metered.usage
    if usage is None:
        return [metered.service, "started anew", *[NOT_KNOWN] * 6]
    of_cpu = None if usage.cpus_limit is None else usage.cpu_ns / NS_PER_S / duration_s / usage.cpus_limit
    of_memory = usage.memory_peak_bytes / usage.memory_limit_bytes if usage.memory_limit_bytes else None
    return [
        metered.service,
        number(usage.cpu_ns / NS_PER_S, 2),
        number(per_payment_us(usage.cpu_ns, payments), 0),
        NOT_KNOWN if of_cpu is None else f"{of_cpu:.0%}",
        f"{usage.throttled_periods:,} of {usage.periods:,}",
        number(usage.throttled_ns / NS_PER_MS, 0),
        number(usage.memory_peak_bytes / BYTES_PER_MB),
        NOT_KNOWN if of_memory is None else f"{of_memory:.0%}",
    ]


def medians_lines(medians: Mapping[str, Figures], ratios: Mapping[str, float] | None) -> Iterator[str]:
    """Yield a table of each target's medians; with two targets, `ratios` is first to second."""
    targets = list(medians)
    header = ["median", *targets] + (["ratio"] if ratios is not None else [])
    names = dict.fromkeys(name for figures in medians.values() for name in figures)
    rows = [header]
    for name in names:
        row = [name, *(number(medians[target].get(name), 2) for target in targets)]
        rows.append(row + ([number(ratios.get(name), 2)] if ratios is not None else []))
    yield from table(rows)

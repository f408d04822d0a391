"""Pieces of reports, as text for a terminal: tables, numbers, money, latencies, findings, audits, faults. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from tools.benchmark.events import SIDES, Summaries, Totals, differs
from tools.benchmark.latencies import Latency
from tools.benchmark.reconcile import Finding, Findings

NOT_KNOWN = "–"
LATENCY_COLUMNS = ("p50", "p90", "p99", "p99.9", "max")


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yields the rows as lines with the first column aligned left and all others right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for first, *others in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        yield "  " + "  ".join(cells).rstrip()


def money(cents: int | Decimal) -> str:
    """An amount with thousands separators and two decimals."""
    return f"{Decimal(cents) / 100:,.2f}"


def number(value: float | None, digits: int = 1) -> str:
    """A figure with that many decimals, or a dash if it is not known."""
    return NOT_KNOWN if value is None else f"{value:,.{digits}f}"


def moment(at_ms: int) -> str:
    """A time of day in UTC with milliseconds."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]


def latency_cells(latency: Latency) -> list[str]:
    """The cells under `LATENCY_COLUMNS`, in milliseconds."""
    values = (latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.p999_ms, latency.max_ms)
    return [number(value, 2) if latency.count else NOT_KNOWN for value in values]


def totals(name: str, shown: Totals | None) -> str:
    """A count and a sum under a name."""
    return f"{name} no answer" if shown is None else f"{name} {shown.count:,} ({money(shown.cents)})"


def finding_lines(findings: Findings) -> Iterator[str]:
    """Yields what is wrong with the money, with some ids."""
    how = "row by row" if findings.by_row else "by totals only"
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


def audit_lines(audits: Sequence[Summaries]) -> Iterator[str]:
    """Yields how many audits there were, and every one that differs."""
    different = [each for each in audits if differs(each)]
    yield f"audits {len(audits)}, different {len(different)}"
    for audit in different:
        yield from difference_lines(audit)


def verdict_lines(faults: Sequence[str]) -> Iterator[str]:
    """Yields every fault, or a line that there is none."""
    yield from (f"WRONG: {fault}" for fault in faults)
    if not faults:
        yield "Nothing wrong."


def alarm_lines(audit: Summaries) -> list[str]:
    """The lines that are shown at once for an audit; none if both sides agree."""
    return ["an audit differs", *difference_lines(audit)] if differs(audit) else []


def difference_lines(audit: Summaries) -> Iterator[str]:
    """Yields what each side showed in one audit."""
    yield f"  at {moment(audit.at_ms)}, window {moment(audit.from_ms)} to {moment(audit.to_ms)}:"
    ours = audit.gateway or (None, None)
    for side, mine, theirs in zip(SIDES, ours, audit.processors, strict=True):
        yield f"    {side}: {totals('gateway', mine)}, {totals('processor', theirs)}"

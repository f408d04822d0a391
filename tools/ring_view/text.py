"""A view as lines of text. Pure: nothing is read here."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from shm import EPOCH_TIMES_FROM
from tools.ring_view.alarms import ALARMING
from tools.ring_view.as_json import decimal_text
from tools.ring_view.snapshot import Area, LaneView, Listed, Money, Process, Search, Snapshot

INDENT = "  "
ALARM_MARK = "!"
NOT_SEEN = "not seen"
IN_DOCKER = """\
In Docker the segments are in the instances' volume:
  docker compose run --rm --no-deps --entrypoint python app1 -m tools.ring_view app1"""
COUNTS_WIDTH_MAX = 110  # columns a line of counts may fill before it is wrapped
SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS = 1_000, 60_000, 3_600_000, 86_400_000
KIB, MIB = 1 << 10, 1 << 20

Row = Sequence[str]


def age_text(age_ms: int | None) -> str:
    """An age in its two largest units: `0.4 s`, `3 min 20 s`, `2 d 5 h`; `-` for None."""
    if age_ms is None:
        return "-"
    if age_ms < MINUTE_MS:
        return f"{age_ms // SECOND_MS}.{age_ms % SECOND_MS // 100} s"
    if age_ms < HOUR_MS:
        return f"{age_ms // MINUTE_MS} min {age_ms % MINUTE_MS // SECOND_MS} s"
    if age_ms < DAY_MS:
        return f"{age_ms // HOUR_MS} h {age_ms % HOUR_MS // MINUTE_MS} min"
    return f"{age_ms // DAY_MS} d {age_ms % DAY_MS // HOUR_MS} h"


def time_text(at_ms: int | None) -> str:
    """A moment, ms UTC, as ISO 8601; `-` for None, and for 0, which means none in memory."""
    if not at_ms:
        return "-"
    try:
        second = datetime.fromtimestamp(at_ms // SECOND_MS, UTC)
    except (ValueError, OverflowError, OSError):
        return f"impossible ({at_ms} ms)"
    return f"{second:%Y-%m-%dT%H:%M:%S}.{at_ms % SECOND_MS:03d}Z"


def epoch_text(epoch: int) -> str:
    """The number of a purge and, if it is a time, that time."""
    return f"{epoch} ({time_text(epoch)})" if epoch >= EPOCH_TIMES_FROM else str(epoch)


def size_text(size_bytes: int) -> str:
    """A size in KiB or MiB."""
    return f"{size_bytes / MIB:.1f} MiB" if size_bytes >= MIB else f"{size_bytes / KIB:.1f} KiB"


def amount_text(amount_cents: int) -> str:
    """An amount with thousands separators."""
    whole, fraction = decimal_text(amount_cents).split(".")
    return f"{int(whole):,}.{fraction}"


def columns(head: Row, rows: Iterable[Row], left: int = 1) -> Iterator[str]:
    """Lines of a table: the first `left` columns are aligned left, the others, numbers, right."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        cells = (
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        yield f"{INDENT}{INDENT.join(cells)}".rstrip()


def snapshot_text(view: Snapshot) -> str:
    """Shows a whole look."""
    sections = [
        _head(view),
        _alarms(view.alarms),
        _processes(view.processes),
        *(_counts(process) for process in view.processes),
        _lanes(view.lanes),
        *(section for area in view.areas for section in (_table(area), _journal(area))),
        _totals(view),
    ]
    return "\n".join(line for section in sections for line in section)


def _head(view: Snapshot) -> Iterator[str]:
    header, geometry = view.header, view.header.geometry
    yield (
        f"segment of {header.instance}: id {header.segment_id}, version {header.version},"
        f" {size_text(header.size_bytes)}, created {time_text(header.created_at_ms)}"
    )
    yield (
        f"{INDENT}workers {geometry['workers']}, dispatchers {geometry['dispatchers']};"
        f" slots: {geometry['lane_slots']:,} a lane, {geometry['table_slots']:,} a table"
        f" ({geometry['waiting_slots']:,} for what waits); {geometry['journal_records']:,} records a journal"
    )
    changing = f"; slots that changed while they were read: {view.changed:,}" if view.changed else ""
    yield f"{INDENT}taken at {time_text(view.taken_at_ms)} in {view.took_ms:,} ms{changing}"
    status = "running" if view.running else "left over: nobody is seen running it"
    yield f"{INDENT}{status}; payments accepted and not ended: {view.unsettled:,}"


def _alarms(alarms: Sequence[str]) -> Iterator[str]:
    if alarms:
        yield ""
        yield "ALARMS"
        yield from (f"{ALARM_MARK} {alarm}" for alarm in alarms)


def _processes(processes: Iterable[Process]) -> Iterator[str]:
    yield ""
    yield "PROCESSES"
    head = ("role", "pid", "phase", "alive", "lock held by", "heartbeat", "started at")
    yield from columns(head, (_process_row(process) for process in processes))


def _process_row(process: Process) -> Row:
    return (
        process.role,
        str(process.pid or "-"),
        process.phase or "damaged",
        "yes" if process.alive else "no",
        str(process.lock_pid or (NOT_SEEN if process.alive else "-")),
        age_text(process.heartbeat_age_ms) + (", asleep" if process.sleeping and process.alive else ""),
        time_text(process.started_at_ms),
    )


def _counts(process: Process) -> Iterator[str]:
    """The counts by name, wrapped; those that are an alarm are marked."""
    yield ""
    yield f"COUNTS of {process.role}"
    line = ""
    for name, value in process.counts.items():
        mark = ALARM_MARK if value and name in ALARMING else ""
        shown = time_text(value) if name.endswith("_ms") else f"{value:,}"
        item = f"{mark}{name} {shown}"
        if line and len(line) + len(item) > COUNTS_WIDTH_MAX:
            yield f"{INDENT}{line}"
            line = ""
        line = f"{line}{INDENT if line else ''}{item}"
    yield f"{INDENT}{line}"


def _lanes(lanes: Iterable[LaneView]) -> Iterator[str]:
    yield ""
    yield "LANES"
    head = ("from", "to", "head", "tail", "depth", "of", "oldest")
    rows = (
        (
            f"worker-{lane.worker}",
            f"dispatcher-{lane.dispatcher}",
            f"{lane.head:,}",
            f"{lane.tail:,}",
            f"{lane.depth:,}",
            f"{lane.slots:,}",
            age_text(lane.oldest_age_ms),
        )
        for lane in lanes
    )
    yield from columns(head, rows, left=2)


def _table(area: Area) -> Iterator[str]:
    table = area.table
    yield ""
    damaged = f", {table.damaged:,} damaged" if table.damaged else ""
    yield f"TABLE of dispatcher-{area.dispatcher}: {table.free:,} of {table.slots:,} slots free{damaged}"
    if table.states:
        rows = (
            (
                state,
                f"{tally.count:,}",
                amount_text(tally.amount_cents),
                age_text(tally.oldest_age_ms),
                age_text(tally.newest_age_ms),
            )
            for state, tally in table.states.items()
        )
        yield from columns(("state", "payments", "amount", "oldest", "newest"), rows)


def _journal(area: Area) -> Iterator[str]:
    journal = area.journal
    yield ""
    yield f"JOURNAL of dispatcher-{area.dispatcher}: life {journal.life:,}"
    if journal.problem:
        yield f"{ALARM_MARK} not readable: {journal.problem}; head {journal.head:,}"
        return
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in journal.kinds.items())
    yield (
        f"{INDENT}head {journal.head:,}, tail {journal.tail:,}: {journal.head - journal.tail:,} of"
        f" {journal.records:,} records ({kinds})"
    )
    yield (
        f"{INDENT}epoch {epoch_text(journal.epoch)} from position {journal.epoch_start:,};"
        f" folded until {time_text(journal.folded_until_ms)}"
    )
    yield f"{INDENT}base: {_money_line(journal.base)}"
    yield f"{INDENT}totals of this epoch: {_money_line(journal.totals)}"
    yield f"{INDENT}roster: {', '.join(area.roster) or 'empty'}"


def _money_line(by_name: Mapping[str, Money]) -> str:
    return ", ".join(f"{name} {money.count:,} = {amount_text(money.amount_cents)}" for name, money in by_name.items())


def _totals(view: Snapshot) -> Iterator[str]:
    yield ""
    yield "TOTALS since the epoch, base and journal together"
    if view.totals is None:
        yield f"{ALARM_MARK} not known: a journal is not readable"
        return
    rows = ((name, f"{money.count:,}", amount_text(money.amount_cents)) for name, money in view.totals.items())
    yield from columns(("processor", "payments", "amount"), rows)


def search_text(view: Search) -> str:
    """The payments found, and how many there are in all."""
    found = f"payments shown {len(view.payments):,} of {view.matching:,}"
    unread = f", slots not readable: {view.unreadable:,}" if view.unreadable else ""
    lines = [f"{view.header.instance}: {found}, taken at {time_text(view.taken_at_ms)} in {view.took_ms:,} ms{unread}"]
    if view.payments:
        head = ("id", "state", "processor", "where", "amount", "age", "requestedAt", "attempts", "conflicts")
        rows = (
            (
                payment.correlation_id,
                payment.state,
                payment.processor or "-",
                payment.where,
                amount_text(payment.amount_cents),
                age_text(payment.age_ms),
                time_text(payment.requested_at_ms),
                f"{payment.attempts:,}",
                f"{payment.conflicts:,}",
            )
            for payment in view.payments
        )
        lines += columns(head, rows, left=4)
    return "\n".join(lines)


def list_text(listed: Sequence[Listed]) -> str:
    """The list of segments, one per line."""
    if not listed:
        return f"There is no segment of a gateway in /dev/shm. {IN_DOCKER}"
    head = ("instance", "alive", "id", "size", "created at", "supervisor", "not ended")
    rows = [_listed_row(row) for row in listed if row.problem is None]
    lines = list(columns(head, rows, left=2)) if rows else []
    lines += [f"{ALARM_MARK} {row.instance}: {row.problem}" for row in listed if row.problem is not None]
    return "\n".join(lines)


def _listed_row(row: Listed) -> Row:
    return (
        row.instance,
        ", ".join(row.alive) or "nobody (left over)",
        row.segment_id or "-",
        size_text(row.size_bytes or 0),
        time_text(row.created_at_ms),
        "-" if row.supervisor_pid is None else f"pid {row.supervisor_pid}",
        f"{'~' if row.alive else ''}{row.unsettled or 0:,}",
    )

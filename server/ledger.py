"""One member's settled payments at the three levels of `server/totals.py`, kept up to date settlement by settlement.

Pure bookkeeping in memory. The publisher adds to it and sends what changed; web workers that read journals directly
(`local_totals`, `shared_totals`) add to theirs and only count. Each level is bounded; what is dropped from one is still
in the coarser ones.
"""

from heapq import heapify, heappop, heappush
from typing import NamedTuple

from server.totals import Levels, Reach, UnknownRange
from server.totals_fields import (
    CELL,
    LONE_MINUTE_LENGTH,
    MINUTE_S,
    PROCESSORS,
    SECOND_MS,
    add_to_minute,
    cell_offsets,
    minute_name,
    second_name,
)
from shm import AllTime

DETAIL_BYTES_MAX = 1 << 20  # over three minutes of the contest's peak per instance; an audit's window begins 15 s ago
FIELD_OVERHEAD_BYTES = 112  # counted beside a field's bytes: its name, the hash entry, the allocator's rounding
PIECE_BYTES = 128 * 1024  # sent at once, or less than a field more: a few ms of Redis and little of its memory
CELL_SECONDS_MAX = 32  # seconds with an index, which takes ten times its field; of others it is made anew when needed
MINUTES_MAX = 2 * 24 * 60  # two days; 2 MB if every minute has payments at one processor, 4 MB if at both

NO_UNKNOWNS = UnknownRange(0, 0, 0)


class Changes(NamedTuple):
    """What is to be sent: minutes and seconds whose fields changed, and names of fields to be removed."""

    minutes: set[int]
    seconds: set[int]
    dropped: set[str]


class Ledger:
    """The totals of one member since the last purge.

    Args:
        all_time: totals of what was folded before the first payment that will be added.
        exact_from_ms: payments with an earlier requestedAt count in `all_time` only.

    Attributes:
        minutes, details: as in `Levels`.
        exact_from_ms, minutes_from, detail_from_s, first_minute, latest_minute: as in `Reach`.
    """

    def __init__(self, all_time: AllTime = (0, 0, 0, 0), exact_from_ms: int = 0) -> None:
        """Starts with nothing but `all_time`."""
        self._all_time = list(all_time)
        self.exact_from_ms = exact_from_ms
        self.minutes: dict[int, bytearray] = {}
        self.details: dict[int, bytearray] = {}
        self.minutes_from = 0
        self.first_minute = 0
        self.detail_from_s = 0
        self.latest_minute = 0
        self._oldest_minutes: list[int] = []  # heaps of the keys of `minutes` and `details`
        self._oldest_seconds: list[int] = []
        self._cells: dict[int, dict[int, int]] = {}  # of recent seconds: (millisecond, processor) -> offset of its cell
        self._detail_bytes = 0
        self._changed = Changes(set(), set(), set())

    @property
    def all_time(self) -> AllTime:
        """The totals of all payments added, and of what was folded before them."""
        default_payments, default_cents, fallback_payments, fallback_cents = self._all_time
        return default_payments, default_cents, fallback_payments, fallback_cents

    def add(self, processor: int, requested_at_ms: int, amount_cents: int) -> None:
        """Counts a settled payment, at every level that is still kept whole for its requestedAt."""
        self._all_time[2 * processor] += 1
        self._all_time[2 * processor + 1] += amount_cents
        if requested_at_ms < self.exact_from_ms:
            return
        second, millisecond = divmod(requested_at_ms, SECOND_MS)
        minute, within = divmod(second, MINUTE_S)
        if minute < self.minutes_from:
            return
        field = self.minutes.get(minute)
        if field is None and (field := self._open_minute(minute)) is None:
            return
        self.minutes[minute] = add_to_minute(field, within, processor, amount_cents)
        self._changed.minutes.add(minute)
        if second >= self.detail_from_s:
            self._add_to_detail(second, millisecond, processor, amount_cents)

    def _open_minute(self, minute: int) -> bytearray | None:
        """A field for a minute that has none; None if it is too old to be kept."""
        if minute <= self.latest_minute - MINUTES_MAX:
            self.minutes_from = minute + 1
            return None
        self.latest_minute = max(self.latest_minute, minute)
        while self._oldest_minutes and self._oldest_minutes[0] <= self.latest_minute - MINUTES_MAX:
            self._drop_oldest_minute()
        field = self.minutes[minute] = bytearray(LONE_MINUTE_LENGTH)
        heappush(self._oldest_minutes, minute)
        self.first_minute = self._oldest_minutes[0]
        return field

    def _drop_oldest_minute(self) -> None:
        minute = heappop(self._oldest_minutes)
        del self.minutes[minute]
        self._changed.minutes.discard(minute)
        self._changed.dropped.add(minute_name(minute))
        self.minutes_from = max(self.minutes_from, minute + 1)
        while self._oldest_seconds and self._oldest_seconds[0] < self.minutes_from * MINUTE_S:
            self._drop_oldest_second()

    def _add_to_detail(self, second: int, millisecond: int, processor: int, amount_cents: int) -> None:
        field = self.details.get(second)
        if field is None:
            field = self.details[second] = bytearray()
            heappush(self._oldest_seconds, second)
            self._detail_bytes += FIELD_OVERHEAD_BYTES
        cells = self._cells.get(second)
        if cells is None:
            cells = self._cells[second] = cell_offsets(field)
            if len(self._cells) > CELL_SECONDS_MAX:
                del self._cells[min(self._cells)]
        key = millisecond * PROCESSORS + processor
        offset = cells.get(key)
        if offset is None:
            cells[key] = len(field)
            field += CELL.pack(millisecond, processor, 1, amount_cents)
            self._detail_bytes += CELL.size
        else:
            _, _, count, cents = CELL.unpack_from(field, offset)
            CELL.pack_into(field, offset, millisecond, processor, count + 1, cents + amount_cents)
        self._changed.seconds.add(second)
        while self._detail_bytes > DETAIL_BYTES_MAX:
            self._drop_oldest_second()

    def _drop_oldest_second(self) -> None:
        second = heappop(self._oldest_seconds)
        self._detail_bytes -= FIELD_OVERHEAD_BYTES + len(self.details.pop(second))
        self._cells.pop(second, None)
        self._changed.seconds.discard(second)
        self._changed.dropped.add(second_name(second))
        self.detail_from_s = max(self.detail_from_s, second + 1)

    def resume(self, levels: Levels) -> None:
        """Goes on from the totals that a predecessor published, instead of from nothing."""
        self._all_time = list(levels.all_time)
        self.minutes = {minute: bytearray(field) for minute, field in levels.minutes.items()}
        self.details = {second: bytearray(field) for second, field in levels.details.items()}
        self.exact_from_ms, self.minutes_from, self.detail_from_s, self.first_minute, self.latest_minute = levels.reach
        self._detail_bytes = sum(FIELD_OVERHEAD_BYTES + len(field) for field in self.details.values())
        self._oldest_minutes, self._oldest_seconds = list(self.minutes), list(self.details)
        heapify(self._oldest_minutes)
        heapify(self._oldest_seconds)
        self._cells = {}

    def levels(self, unknowns: UnknownRange = NO_UNKNOWNS) -> Levels:
        """The ledger as a reader of totals sees it. To be used at once: it shares the ledger's memory."""
        reach = Reach(self.exact_from_ms, self.minutes_from, self.detail_from_s, self.first_minute, self.latest_minute)
        return Levels(self.all_time, self.minutes, self.details, reach, unknowns)

    def everything_changed(self) -> None:
        """All fields must be sent again."""
        self._changed = Changes(set(self.minutes), set(self.details), set())

    @property
    def has_changes(self) -> bool:
        """Whether fields are still to be sent."""
        return bool(self._changed.minutes or self._changed.seconds)

    def forget_changes(self) -> None:
        """Called on a ledger whose changes nobody sends; else their names would be kept for ever."""
        self._changed = Changes(set(), set(), set())

    def take_changes(self) -> Changes:
        """Takes what has changed, of its fields about `PIECE_BYTES` at most; to be given back if it is not sent."""
        changed = self._changed
        taken = Changes(set(), set(), set(changed.dropped))
        changed.dropped.clear()
        room = PIECE_BYTES
        for names, fields, into in (
            (changed.minutes, self.minutes, taken.minutes),
            (changed.seconds, self.details, taken.seconds),
        ):
            while names and room > 0:
                name = names.pop()
                room -= FIELD_OVERHEAD_BYTES + len(fields[name])
                into.add(name)
        return taken

    def give_back(self, changes: Changes) -> None:
        """Takes back changes that were not sent, or perhaps not: they are still to be sent."""
        self._changed.minutes.update(changes.minutes & self.minutes.keys())
        self._changed.seconds.update(changes.seconds & self.details.keys())
        self._changed.dropped.update(changes.dropped)

    def fields(self, changes: Changes) -> dict[str, bytes]:
        """The changed fields by name, copied."""
        fields = {minute_name(minute): bytes(self.minutes[minute]) for minute in changes.minutes}
        fields.update({second_name(second): bytes(self.details[second]) for second in changes.seconds})
        return fields

"""The look for people: pure formatting."""

from pathlib import Path

import pytest

from tools.ring_view.snapshot import (
    Area,
    Header,
    JournalView,
    LaneView,
    Listed,
    Money,
    Payment,
    Process,
    Search,
    Snapshot,
    StateTally,
    TableView,
)
from tools.ring_view.text import (
    COUNTS_WIDTH_MAX,
    age_text,
    amount_text,
    columns,
    epoch_text,
    list_text,
    search_text,
    size_text,
    snapshot_text,
    time_text,
)

ROOT = Path(__file__).resolve().parents[3]
GEOMETRY = {
    "workers": 1,
    "dispatchers": 1,
    "lane_slots": 1024,
    "table_slots": 3072,
    "waiting_slots": 1024,
    "journal_records": 2048,
}
HEADER = Header("app1", "00000000000000ff", 1, 1_000, 3 << 20, GEOMETRY)
TOTALS = {"default": Money(2, 3980), "fallback": Money(0, 0)}


def snapshot(**changes: object) -> Snapshot:
    """A look with one of everything, or other things as said."""
    journal = JournalView(
        head=12,
        life=3,
        records=2048,
        problem=None,
        tail=10,
        epoch=1,
        epoch_start=4,
        folded_until_ms=1_000,
        kinds={"settled": 2, "duplicate": 0},
        base={"default": Money(0, 0)},
        totals=TOTALS,
    )
    table = TableView(3072, 3070, {"waiting": StateTally(1, 1990, 200_000, 400)}, 1, (7,))
    given = {
        "header": HEADER,
        "taken_at_ms": 61_000,
        "took_ms": 1234,
        "changed": 0,
        "processes": (
            Process("supervisor", 7, "ready", 1_000, 7, 200, sleeping=False, counts={"forks": 2}),
            Process("dispatcher-0", 8, None, 0, None, None, sleeping=True, counts={"set_aside": 1, "waiting": 0}),
        ),
        "lanes": (LaneView(0, 0, 1200, 1199, 1, 1024, 3_600_000, None),),
        "areas": (Area(0, table, journal, ("00000000000000ff.0",)),),
        "totals": TOTALS,
        "alarms": (),
    }
    return Snapshot(**(given | changes))  # type: ignore[arg-type]


SEARCH_TABLE = """\
  id   state    processor  where                  amount        age               requestedAt  attempts  conflicts
  one  waiting  -          dispatcher-0 slot 3     19.90      0.2 s                         -         0          0
  two  unknown  fallback   dispatcher-0 slot 4  1,000.00  1 min 1 s  1970-01-01T00:00:01.000Z         2          1
"""


class TestUnits:
    """Ages, times, sizes, amounts."""

    @pytest.mark.parametrize(
        ("age_ms", "text"),
        [
            (None, "-"),
            (0, "0.0 s"),
            (459, "0.4 s"),
            (59_999, "59.9 s"),
            (200_000, "3 min 20 s"),
            (3_600_000, "1 h 0 min"),
            (90_000_000, "1 d 1 h"),
        ],
    )
    def test_ages(self, age_ms: int | None, text: str) -> None:
        """An age is said in the two units that matter."""
        assert age_text(age_ms) == text

    @pytest.mark.parametrize(
        ("at_ms", "text"),
        [
            (None, "-"),
            (0, "-"),
            (1_752_582_896_789, "2025-07-15T12:34:56.789Z"),
            (2**64 - 1, "impossible (18446744073709551615 ms)"),
        ],
    )
    def test_times(self, at_ms: int | None, text: str) -> None:
        """A moment is UTC to the millisecond; what no calendar has, as in damaged memory, is shown as a number."""
        assert time_text(at_ms) == text

    @pytest.mark.parametrize(
        ("epoch", "text"),
        [(0, "0"), (10**12 - 1, "999999999999"), (1_752_582_896_789, "1752582896789 (2025-07-15T12:34:56.789Z)")],
    )
    def test_epochs(self, epoch: int, text: str) -> None:
        """A purge that Redis was told of bears its time; one that was counted does not."""
        assert epoch_text(epoch) == text

    @pytest.mark.parametrize(("size_bytes", "text"), [(512, "0.5 KiB"), (1 << 20, "1.0 MiB"), (3 << 29, "1536.0 MiB")])
    def test_sizes(self, size_bytes: int, text: str) -> None:
        """A size has one decimal."""
        assert size_text(size_bytes) == text

    @pytest.mark.parametrize(("cents", "text"), [(0, "0.00"), (1990, "19.90"), (123456789, "1,234,567.89")])
    def test_amounts(self, cents: int, text: str) -> None:
        """Thousands are set apart, cents are exact."""
        assert amount_text(cents) == text


class TestColumns:
    """`columns`."""

    def test_words_left_numbers_right(self) -> None:
        """Columns are as wide as their widest cell."""
        assert list(columns(("a", "number"), [("long", "1"), ("b", "1,000,000")])) == [
            "  a        number",
            "  long          1",
            "  b     1,000,000",
        ]


class TestSnapshotText:
    """`snapshot_text`."""

    def test_whole(self) -> None:
        """Everything there is to see stands under its title."""
        assert snapshot_text(snapshot()).splitlines() == [
            "segment of app1: id 00000000000000ff, version 1, 3.0 MiB, created 1970-01-01T00:00:01.000Z",
            (
                "  workers 1, dispatchers 1; slots: 1,024 a lane, 3,072 a table (1,024 for what waits);"
                " 2,048 records a journal"
            ),
            "  taken at 1970-01-01T00:01:01.000Z in 1,234 ms",
            "  running; payments accepted and not ended: 2",
            "",
            "PROCESSES",
            "  role          pid    phase  alive  lock held by  heartbeat                started at",
            "  supervisor      7    ready    yes             7      0.2 s  1970-01-01T00:00:01.000Z",
            "  dispatcher-0    8  damaged     no             -          -                         -",
            "",
            "COUNTS of supervisor",
            "  forks 2",
            "",
            "COUNTS of dispatcher-0",
            "  !set_aside 1  waiting 0",
            "",
            "LANES",
            "  from      to             head   tail  depth     of     oldest",
            "  worker-0  dispatcher-0  1,200  1,199      1  1,024  1 h 0 min",
            "",
            "TABLE of dispatcher-0: 3,070 of 3,072 slots free, 1 damaged",
            "  state    payments  amount      oldest  newest",
            "  waiting         1   19.90  3 min 20 s   0.4 s",
            "",
            "JOURNAL of dispatcher-0: life 3",
            "  head 12, tail 10: 2 of 2,048 records (2 settled, 0 duplicate)",
            "  epoch 1 from position 4; folded until 1970-01-01T00:00:01.000Z",
            "  base: default 0 = 0.00",
            "  totals of this epoch: default 2 = 39.80, fallback 0 = 0.00",
            "  roster: 00000000000000ff.0",
            "",
            "TOTALS since the epoch, base and journal together",
            "  processor  payments  amount",
            "  default           2   39.80",
            "  fallback          0    0.00",
        ]

    @pytest.mark.parametrize(("age_ms", "shown"), [(0, "not seen"), (None, "-")])
    def test_a_holder_that_can_not_be_seen(self, age_ms: int | None, shown: str) -> None:
        """From another container a process that lives does not look as if it held no lock."""
        process = Process("worker-0", 9, "ready", 1, None, age_ms, sleeping=False, counts={})
        head, row = snapshot_text(snapshot(processes=(process,))).split("PROCESSES\n")[1].splitlines()[:2]
        end = head.index("lock held by") + len("lock held by")
        assert row[:end].endswith(f"  {shown}")

    def test_alarms_come_before_the_rest(self) -> None:
        """Alarms are marked and can't be overlooked."""
        lines = snapshot_text(snapshot(alarms=("something is wrong",))).splitlines()
        assert lines[4:7] == ["", "ALARMS", "! something is wrong"]

    def test_an_empty_left_over_segment(self) -> None:
        """A segment that nobody runs says so, and an empty table has no rows."""
        table = TableView(16, 16, {}, 0, ())
        area = Area(0, table, JournalView(0, 0, 8, None), ())
        text = snapshot_text(snapshot(processes=(), lanes=(), areas=(area,)))
        assert "  left over: nobody is seen running it; payments accepted and not ended: 0" in text
        assert "TABLE of dispatcher-0: 16 of 16 slots free\n\nJOURNAL" in text
        assert "  roster: empty" in text

    def test_changes_while_reading_are_told(self) -> None:
        """A look that met moving slots says how many."""
        assert "in 1,234 ms; slots that changed while they were read: 2" in snapshot_text(snapshot(changed=2))

    def test_an_unreadable_journal_has_no_totals(self) -> None:
        """What is not known exactly is not shown."""
        area = Area(0, TableView(16, 16, {}, 0, ()), JournalView(9, 1, 8, "record 0 is damaged"), ())
        text = snapshot_text(snapshot(areas=(area,), totals=None))
        assert "! not readable: record 0 is damaged; head 9" in text
        assert "! not known: a journal is not readable" in text

    def test_many_counts_are_wrapped(self) -> None:
        """However many counts a process has, lines stay readable and each count is there."""
        counts = {f"count_number_{number}": number for number in range(30)}
        process = Process("worker-0", 1, "ready", 1, None, None, sleeping=False, counts=counts)
        lines = snapshot_text(snapshot(processes=(process,))).splitlines()
        assert max(len(line) for line in lines) < COUNTS_WIDTH_MAX + 40
        assert [line for line in lines if "count_number_29 29" in line]

    def test_moments_among_the_gauges_are_shown_as_such(self) -> None:
        """A gauge that holds a time is a time."""
        counts = {"oldest_remembered_ms": 1_000}
        process = Process("dispatcher-0", 1, "ready", 1, None, 0, sleeping=True, counts=counts)
        text = snapshot_text(snapshot(processes=(process,)))
        assert "oldest_remembered_ms 1970-01-01T00:00:01.000Z" in text
        assert "0.0 s, asleep" in text


class TestSearchText:
    """`search_text`."""

    def test_payments_found(self) -> None:
        """Each payment is a line, and it is said how many more there are."""
        waiting = Payment("one", "waiting", 1990, None, 0, None, 1, 200, 0, "dispatcher-0 slot 3")
        unknown = Payment("two", "unknown", 100000, "fallback", 2, 1_000, 1, 61_000, 1, "dispatcher-0 slot 4")
        assert search_text(Search(HEADER, 61_000, 5, (waiting, unknown), 7, 1)).splitlines() == [
            "app1: payments shown 2 of 7, taken at 1970-01-01T00:01:01.000Z in 5 ms, slots not readable: 1",
            *SEARCH_TABLE.splitlines(),
        ]

    def test_nothing_found(self) -> None:
        """Without payments there is no table."""
        text = search_text(Search(HEADER, 61_000, 5, (), 0, 0))
        assert text == "app1: payments shown 0 of 0, taken at 1970-01-01T00:01:01.000Z in 5 ms"


class TestListText:
    """`list_text`."""

    def test_segments(self) -> None:
        """Readable segments are a table, the others a sentence each; of one that runs the number is approximate."""
        rows = [
            Listed("app1", None, "00ff", 1 << 20, 1_000, 7, ("supervisor", "worker-0"), 12),
            Listed("app2", None, "00fe", 1 << 20, 1_000, None, (), 1200),
            Listed("app3", "segment /gateway-app3 has no magic"),
        ]
        assert list_text(rows).splitlines() == [
            "  instance  alive                   id     size                created at  supervisor  not ended",
            "  app1      supervisor, worker-0  00ff  1.0 MiB  1970-01-01T00:00:01.000Z       pid 7        ~12",
            "  app2      nobody (left over)    00fe  1.0 MiB  1970-01-01T00:00:01.000Z           -      1,200",
            "! app3: segment /gateway-app3 has no magic",
        ]

    def test_only_unreadable_segments(self) -> None:
        """Without a readable one there is no empty table."""
        assert list_text([Listed("app3", "a reason")]) == "! app3: a reason"

    def test_none(self) -> None:
        """An empty list is a sentence, and the command that docs/operating.md names for Docker: they may be there."""
        first, command = list_text([]).splitlines()
        assert first.startswith("There is no segment of a gateway in /dev/shm. In Docker the segments are in ")
        assert f"\n{command.strip()} " in (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")

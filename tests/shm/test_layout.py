"""shm/layout.py: no two things of a segment share a byte, whatever its geometry."""

from itertools import pairwise

import pytest
from hypothesis import given

from shm import layout
from shm.counters import DispatcherCount, Phase, WorkerCount
from shm.layout import Geometry
from shm.record import EMPTY_BASE, Accepted, Base, Ended, Kept
from shm.roster import Member
from shm.segment import Segment
from shm.states import State
from tests.shm.segments import segment_path
from tests.shm.strategies import geometries

GOOD = Geometry(workers=2, dispatchers=1, lane_slots=64, waiting_slots=100, journal_records=128)

SEGMENT_ID = 0x1122334455667788
TAKEN = Accepted(bytes(range(16)), 1990, 1_752_581_696_789_000)
IN_LANE = Accepted(bytes(range(16, 32)), 250, 1_752_581_696_790_000)
SETTLED = Accepted(bytes(range(32, 48)), 100, 1_752_581_696_000_000)
VERSION_1 = """
        0 4741544557415901 0100000000000000 0031000000000000 0100000000000000
       32 0100000000000000 0200000000000000 0300000000000000 0200000000000000
       64 156d020e98010000 8877665544332211 7840adb300000000 0000000000000000
     4096 47420f0000000000 0700000000000000 0200000000000000 9752020e98010000
     4608 48420f0000000000 0800000000000000 0200000000000000 9852020e98010000
     4704 0000000000000000 0500000000000000 0000000000000000 0000000000000000
     5120 49420f0000000000 0900000000000000 0200000000000000 9952020e98010000
     5152 0100000000000000 0000000000000000 0000000000000000 0000000000000000
     5344 0000000000000000 0000000000000000 0000000000000000 9752020e98010000
     5632 0200000000000000 0000000000000000 0000000000000000 0000000000000000
     5696 0100000000000000 0000000000000000 0000000000000000 0000000000000000
     5760 0100000000000000 0001020304050607 08090a0b0c0d0e0f c607000000000000
     5792 081a7ab9f6390600 06e3431500000000 0000000000000000 0000000000000000
     5824 0200000000000000 1011121314151617 18191a1b1c1d1e1f fa00000000000000
     5856 f01d7ab9f6390600 355bfcff00000000 0000000000000000 0000000000000000
     8192 0200000000000000 0100000000000000 0000000000000000 0000000000000000
     8256 0200000000000000 0000000000000000 0000000000000000 0000000000000000
     8320 0600000000000000 0100000000000000 0000000000000000 1966020e98010000
     8352 0100000000000000 2c01000000000000 0000000000000000 0000000000000000
     8384 180ea4b600000000 0000000000000000 0000000000000000 0000000000000000
     8448 0600000000000000 0000000000000000 0000000000000000 0000000000000000
     8512 ca82d1e100000000 0000000000000000 0000000000000000 0000000000000000
     8704 0200000000000000 0000000000000000 0000000000000000 0000000000000000
     8768 8877665544332211 0000000000000000 0500000000000000 0100000000000000
    12288 0100000000000000 1866020e98010001 2c01000000000000 02000000233a6095
    12320 0200000000000000 646a020e98010101 6400000000000000 0200000008b46d01
    12352 0300010001000000 da9d0462ff69643a 0001020304050607 08090a0b0c0d0e0f
    12384 c607000000000000 081a7ab9f6390600 176d020e98010000 0100000000000000
    12480 0401010001000000 bcec5ca0ff69643a 2021222324252627 28292a2b2c2d2e2f
    12512 6400000000000000 00106eb9f6390600 646a020e98010000 0000000000000000
"""
"""A segment as version 1 left it: where 32 bytes begin, and they; all else is zero. Never to be changed."""


def regions(geometry: Geometry) -> list[tuple[int, int]]:
    """Every region of a segment as (start, end), in the order of the map."""
    found = [(0, layout.HEADER_LENGTH)]
    for index in range(1 + geometry.workers + geometry.dispatchers):
        start = geometry.counters_offset(index)
        found.append((start, start + layout.COUNTERS_LENGTH))
    for worker in range(geometry.workers):
        for dispatcher in range(geometry.dispatchers):
            start = geometry.lane_offset(worker, dispatcher)
            found.append((start, start + geometry.lane_length))
    for dispatcher in range(geometry.dispatchers):
        page = geometry.area_offset(dispatcher)
        journal = page + layout.BASE_PAGE_LENGTH
        table = journal + geometry.journal_length
        found += [(page, journal), (journal, table), (table, table + geometry.table_length)]
    return found


class TestGeometry:
    """Geometry: where things are."""

    @given(geometries)
    def test_regions_do_not_overlap(self, geometry: Geometry) -> None:
        """Header, counters, lanes, base pages, journals and tables follow one another, and the size holds them all."""
        found = regions(geometry)
        for (_, end), (start, _) in pairwise(found):
            assert end <= start
        assert found[-1][1] == geometry.size

    @given(geometries)
    def test_regions_begin_on_cache_lines(self, geometry: Geometry) -> None:
        """Each region begins on a cache line, so that its words are aligned and two writers never share a line."""
        assert not [start for start, _ in regions(geometry) if start % layout.CACHE_LINE]

    @given(geometries)
    def test_areas_begin_on_a_page(self, geometry: Geometry) -> None:
        """The dispatchers' areas begin on a page."""
        assert geometry.areas_offset % layout.PAGE == 0

    @given(geometries)
    def test_table_holds_all_waiting_and_all_remembered(self, geometry: Geometry) -> None:
        """A table has a slot for every waiting payment and every record of the journal, and its index fits a u32."""
        assert geometry.table_slots == geometry.waiting_slots + geometry.journal_records
        assert geometry.table_slots < 2**32

    def test_an_id_belongs_to_the_same_dispatcher_for_ever(self) -> None:
        """A segment that was made by an earlier version has its payments there."""
        ids = [number.to_bytes(16, "big") for number in range(6)]
        found = {count: [GOOD._replace(dispatchers=count).dispatcher_of(one) for one in ids] for count in (1, 2, 8)}
        assert found == {1: [0, 0, 0, 0, 0, 0], 2: [1, 1, 1, 1, 0, 0], 8: [5, 3, 1, 7, 4, 2]}

    @given(geometries)
    def test_possible_geometries_have_no_problem(self, geometry: Geometry) -> None:
        """Numbers within the bounds are fine."""
        assert geometry.problem() is None

    @pytest.mark.parametrize(
        ("name", "value", "sentence"),
        [
            ("workers", 0, "workers must be 1 to 16, not 0"),
            ("workers", 17, "workers must be 1 to 16, not 17"),
            ("dispatchers", 0, "dispatchers must be 1 to 8, not 0"),
            ("dispatchers", 9, "dispatchers must be 1 to 8, not 9"),
            ("waiting_slots", 0, "waiting_slots must be 1 to 16777216, not 0"),
            ("waiting_slots", -5, "waiting_slots must be 1 to 16777216, not -5"),
            ("lane_slots", 1, "lane_slots must be a power of two from 2 to 16777216, not 1"),
            ("lane_slots", 100, "lane_slots must be a power of two from 2 to 16777216, not 100"),
            ("journal_records", 0, "journal_records must be a power of two from 2 to 16777216, not 0"),
            ("journal_records", 1 << 25, "journal_records must be a power of two from 2 to 16777216, not 33554432"),
        ],
    )
    def test_each_impossible_number_has_its_sentence(self, name: str, value: int, sentence: str) -> None:
        """The sentence names the setting, its bounds and the value."""
        assert GOOD._replace(**{name: value}).problem() == sentence


class TestWords:
    """The words that are stored alone."""

    def test_words_are_aligned(self) -> None:
        """Whatever is stored as one word is 8-byte aligned in its region, or it would not be one store."""
        words = [
            layout.HEADER_MAGIC,
            layout.COUNTERS_HEARTBEAT,
            layout.COUNTERS_PID,
            layout.COUNTERS_PHASE,
            layout.COUNTERS_STARTED_AT,
            layout.COUNTERS_SLEEPING,
            layout.COUNTERS_COUNTS,
            layout.LANE_HEAD,
            layout.LANE_TAIL,
            layout.LANE_SLOTS_OFFSET,
            layout.TABLE_STATE,
            layout.TABLE_REQUESTED_AT,
            layout.TABLE_CONFLICTS,
            layout.BASE_SELECTOR,
            layout.BASE_LIFE,
            layout.BASE_JOURNAL_HEAD,
            layout.ROSTER_LENGTH_OFFSET,
        ]
        assert not [word for word in words if word % layout.WORD]

    def test_base_page_fields_do_not_overlap(self) -> None:
        """Selector, life, journal head, the two base copies and the roster share no byte."""
        copy = layout.BASE_COPY.size
        fields = [
            (layout.BASE_SELECTOR, layout.WORD),
            (layout.BASE_LIFE, layout.WORD),
            (layout.BASE_JOURNAL_HEAD, layout.WORD),
            (layout.BASE_COPIES[0], copy),
            (layout.BASE_COPIES[1], copy),
            (layout.ROSTER_LENGTH_OFFSET, layout.WORD),
            (layout.ROSTER_MEMBERS, layout.ROSTER_MEMBERS_MAX * layout.ROSTER_MEMBER.size),
            (layout.BASE_PAGE_LENGTH, 0),
        ]
        assert all(start + length <= after for (start, length), (after, _) in pairwise(fields))

    def test_magic_is_never_zero(self) -> None:
        """Zeroed memory is never taken for a segment."""
        assert layout.MAGIC != 0


class TestVersion:
    """What the version stands for."""

    def test_a_segment_of_version_1_is_read_as_it_was_written(self, instance: str) -> None:
        """A program that finds an older one's segment goes on with it: whoever moves a byte raises `VERSION`."""
        geometry = Geometry(workers=1, dispatchers=1, lane_slots=2, waiting_slots=1, journal_records=2)
        content = bytearray(geometry.size)
        for start, *words in map(str.split, VERSION_1.strip().splitlines()):
            content[int(start) : int(start) + 32] = bytes.fromhex("".join(words))
        segment_path(instance).write_bytes(content)
        segment = Segment.attach(instance)
        assert layout.VERSION == 1
        assert (segment.geometry, segment.segment_id, segment.created_at_ms) == (
            geometry,
            SEGMENT_ID,
            1_752_581_696_789,
        )
        rows = [segment.supervisor_counters(), segment.worker_counters(0), segment.dispatcher_counters(0)]
        assert [(row.heartbeat_us, row.pid, row.phase, row.started_at_ms, row.sleeping) for row in rows] == [
            (1_000_007, 7, Phase.READY, 1_752_581_690_007, False),
            (1_000_008, 8, Phase.READY, 1_752_581_690_008, False),
            (1_000_009, 9, Phase.READY, 1_752_581_690_009, True),
        ]
        assert rows[1].get(WorkerCount.PURGE_EPOCH) == 5
        assert rows[2].get(DispatcherCount.VERIFIED_FOR_MS) == 1_752_581_690_007
        lane, journal = segment.lane(0, 0), segment.journal(0)
        assert (lane.tail, lane.head, lane.peek(0), lane.peek(1)) == (1, 2, TAKEN, IN_LANE)
        assert list(segment.table(0).scan()) == [
            (0, Kept(State.UNKNOWN, 0, 1, *TAKEN, 1_752_581_696_791, 1)),
            (2, Kept(State.SETTLED, 1, 1, *SETTLED, 1_752_581_696_100, 0)),
        ]
        assert (journal.life, journal.base) == (1, Base(6, 1, 0, 1_752_581_695_001, 1, 300, 0, 0))
        assert list(journal.unfolded()) == [1]
        assert [journal.read(position) for position in range(2)] == [
            Ended(State.SETTLED, 0, 1_752_581_695_000, 300, 2),
            Ended(State.SETTLED, 1, 1_752_581_696_100, 100, 2),
        ]
        assert segment.roster(0).members() == [Member(SEGMENT_ID, 0), Member(5, 1)]
        segment.base_page(0)[layout.BASE_SELECTOR] = 1
        assert journal.base == EMPTY_BASE._replace(epoch=6)  # the one before

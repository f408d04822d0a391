"""shm/layout.py: no two things of a segment share a byte, whatever its geometry."""

from itertools import pairwise

import pytest
from hypothesis import given

from shm import layout
from shm.layout import Geometry
from tests.shm.strategies import geometries

GOOD = Geometry(workers=2, dispatchers=1, lane_slots=64, waiting_slots=100, journal_records=128)


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

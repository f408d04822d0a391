"""server/totals_fields.py: names and bytes, written out by hand. What they add up to is in test_totals.py."""

import struct

import pytest

from server.totals import Window, count_window
from server.totals_fields import (
    CELL,
    LONE_MINUTE_LENGTH,
    MINUTE_LENGTH,
    MINUTE_MS,
    MINUTE_TOTALS_LENGTH,
    TOTAL,
    are_whole,
    by_number,
    minute_name,
    second_name,
    widened_minute,
)
from tests.server.naive_totals import ORIGINS_MS, Settled, ledger_of

NOON_MS = ORIGINS_MS[1]


class TestNames:
    """minute_name, second_name and back."""

    def test_names(self) -> None:
        """Fields are named by their minute or second since 1970."""
        assert (minute_name(29_209_714), second_name(1_752_582_840)) == ("m29209714", "s1752582840")

    def test_by_number(self) -> None:
        """What a name stands for is found again; what else a member has is neither minute nor detail."""
        fields = {minute_name(7).encode(): b"minute", second_name(420).encode(): b"second", b"h": b"1 2", b"seen": b"9"}
        assert by_number(fields) == ({7: b"minute"}, {420: b"second"})

    @pytest.mark.parametrize(
        "name",
        [
            *(b"", b"m", b"s", b"minutes", b"m-1", b"m 1", b"m1.5", b"sum", b"s\xb2", b"7", b"m7\n"),
            *(b"m07", b"s00", b"m" + b"1" * 5000),  # the last is more than int() reads
        ],
    )
    def test_foreign_names(self, name: bytes) -> None:
        """What another program has put under a member's name is neither; it must not end whoever reads it."""
        assert by_number({name: b"1"}) == ({}, {})


class TestAreWhole:
    """are_whole."""

    def test_each_field_has_a_length_of_its_kind(self) -> None:
        """One that has not is enough, whatever the others are."""
        minutes, details = {7: bytes(LONE_MINUTE_LENGTH), 8: bytes(MINUTE_LENGTH)}, {420: bytes(CELL.size), 421: b""}
        assert are_whole(minutes, details)
        assert not are_whole({**minutes, 9: b"x"}, details)
        assert not are_whole(minutes, {**details, 422: b"x"})

    def test_a_minute_cut_after_its_totals(self) -> None:
        """Whole only for those who have asked for no more of it."""
        cut = {7: bytes(MINUTE_TOTALS_LENGTH)}
        assert are_whole(cut, {}, may_be_cut=True)
        assert not are_whole(cut, {})


class TestBytes:
    """How the fields are packed: programs of other versions read them too."""

    def test_sizes(self) -> None:
        """A total is 12 bytes, a cell 16, and a minute 61 pairs of totals, or one pair and 60 of one processor."""
        assert TOTAL.size == 12
        assert CELL.size == 16
        assert MINUTE_LENGTH == 2 * 12 * 61
        assert LONE_MINUTE_LENGTH == 2 * 12 + 60 * 12

    def test_a_minute_by_hand(self) -> None:
        """A minute's own totals come first, then those of its 60 seconds, each default before fallback."""
        ledger = ledger_of([Settled(0, NOON_MS + 59_999, 1990), Settled(1, NOON_MS, 5)])
        field = ledger.minutes[NOON_MS // MINUTE_MS]
        assert field[:24] == struct.pack("<IQIQ", 1, 1990, 1, 5)
        assert field[24:48] == struct.pack("<IQIQ", 0, 0, 1, 5)
        assert field[24 + 59 * 24 :] == struct.pack("<IQIQ", 1, 1990, 0, 0)
        assert len(field) == MINUTE_LENGTH

    @pytest.mark.parametrize(("processor", "minute"), [(0, (2, 12, 0, 0)), (1, (0, 0, 2, 12))])
    def test_a_minute_of_one_processor_by_hand(self, processor: int, minute: tuple[int, ...]) -> None:
        """Its seconds have one total each; whose they are is told by those of the minute."""
        ledger = ledger_of([Settled(processor, NOON_MS + 59_999, 5), Settled(processor, NOON_MS + 59_000, 7)])
        field = ledger.minutes[NOON_MS // MINUTE_MS]
        assert field[:24] == struct.pack("<IQIQ", *minute)
        assert field[24 : 24 + 59 * 12] == bytes(59 * 12)
        assert field[24 + 59 * 12 :] == struct.pack("<IQ", 2, 12)
        assert len(field) == LONE_MINUTE_LENGTH

    @pytest.mark.parametrize("processor", [0, 1])
    def test_room_for_both_changes_no_answer(self, processor: int) -> None:
        """A field's length alone says how it is packed."""
        ledger = ledger_of([Settled(processor, NOON_MS, 5), Settled(processor, NOON_MS + 59_000, 7)])
        wide = {NOON_MS // MINUTE_MS: widened_minute(ledger.minutes[NOON_MS // MINUTE_MS])}
        levels = ledger.levels()
        for window in (Window(NOON_MS, NOON_MS + 999), Window(NOON_MS + 1_000), Window(NOON_MS)):
            assert count_window([levels._replace(minutes=wide)], window) == count_window([levels], window)

    def test_a_detail_by_hand(self) -> None:
        """A second has a cell per millisecond and processor, in order of arrival."""
        at_ms = NOON_MS + 1_007
        ledger = ledger_of([Settled(1, at_ms, 5), Settled(0, at_ms, 7), Settled(1, at_ms, 6)])
        expected = struct.pack("<HBxIQ", 7, 1, 2, 11) + struct.pack("<HBxIQ", 7, 0, 1, 7)
        assert ledger.details == {at_ms // 1000: expected}

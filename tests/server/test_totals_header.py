"""server/totals_header.py: a header is one line that a person and the scripts can read, and comes back as it went."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.totals import Levels, UnknownRange
from server.totals_header import Header

numbers = st.integers(0, 2**64 - 1)
headers = st.builds(Header, *[numbers] * len(Header._fields))
FIRST = Header(*range(1, 19))


class TestText:
    """To text and back."""

    @given(headers)
    def test_round_trip(self, header: Header) -> None:
        """What was written is what is read."""
        assert Header.from_text(header.to_text()) == header

    def test_order(self) -> None:
        """The scripts take epoch, life and flush from places 1 to 3, first and latest minute from places 8 and 9.

        The format comes last, where the scripts do not look.
        """
        assert FIRST.to_text() == "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 2"
        assert (FIRST.epoch, FIRST.life, FIRST.flush) == (1, 2, 3)
        assert (FIRST.first_minute, FIRST.latest_minute) == (8, 9)

    @pytest.mark.parametrize("text", ["", "1 2 3", FIRST.to_text() + " 2", "a" + " 1" * 16 + " 2"])
    def test_anything_else_is_no_header(self, text: str) -> None:
        """Another program's line is told, not guessed at."""
        with pytest.raises(ValueError, match="a header has 18 numbers|invalid literal"):
            Header.from_text(text)

    @pytest.mark.parametrize("text", ["1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17", FIRST.to_text()[:-1] + "3"])
    def test_another_format_is_no_header(self, text: str) -> None:
        """Version 0.1.0 wrote the numbers alone, and packed minutes in another way."""
        with pytest.raises(ValueError, match="a header has 18 numbers|the format is 2 here, not 3"):
            Header.from_text(text)


class TestLevels:
    """From a member's levels to its header, and back with its fields."""

    LEVELS = Levels((1, 2, 3, 4), {7: b"minute"}, {420: b"second"}, 5, 6, 7, 8, 9, UnknownRange(10, 11, 12))

    @pytest.mark.parametrize("flag", [False, True])
    def test_each_number_has_its_place(self, flag: bool) -> None:  # noqa: FBT001
        """Those of the levels, and those of the flush."""
        header = Header.of(self.LEVELS, epoch=13, life=14, flush=15, position=16, is_whole=flag, said_goodbye=not flag)
        assert header == Header(
            epoch=13,
            life=14,
            flush=15,
            position=16,
            exact_from_ms=5,
            minutes_from=6,
            detail_from_s=7,
            first_minute=8,
            latest_minute=9,
            default_payments=1,
            default_cents=2,
            fallback_payments=3,
            fallback_cents=4,
            unknown_payments=10,
            unknown_least_ms=11,
            unknown_greatest_ms=12,
            is_whole=int(flag),
            said_goodbye=int(not flag),
        )
        assert (type(header.is_whole), type(header.said_goodbye)) == (int, int)  # as text they are 0 or 1

    def test_there_and_back(self) -> None:
        """With the fields that were read beside the header; what else a member has is passed over."""
        header = Header.of(self.LEVELS, epoch=0, life=1, flush=1, position=0, is_whole=True, said_goodbye=False)
        assert header.levels({b"h": b"", b"seen": b"1", b"m7": b"minute", b"s420": b"second"}) == self.LEVELS


class TestVersion:
    """Which of two headers is the newer."""

    @pytest.mark.parametrize(
        "newer",
        [FIRST._replace(epoch=2, life=1, flush=1), FIRST._replace(life=3, flush=1), FIRST._replace(flush=4)],
    )
    def test_epoch_before_life_before_flush(self, newer: Header) -> None:
        """A purge beats everything, a new life all flushes of the one before."""
        assert newer.version > FIRST.version

    def test_the_rest_does_not_matter(self) -> None:
        """Two headers of one flush are of the same version."""
        assert FIRST._replace(position=99, said_goodbye=0).version == FIRST.version

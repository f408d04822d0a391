"""server/totals_header.py: a header is one line that a person and the scripts can read, and comes back as it went."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.totals import Levels, Reach, UnknownRange
from server.totals_header import NUMBER_NAMES, Header, Version

numbers = st.integers(0, 2**64 - 1)
headers = st.builds(
    Header,
    st.builds(Version, *[numbers] * 3),
    numbers,
    st.builds(Reach, *[numbers] * 5),
    st.tuples(*[numbers] * 4),
    st.builds(UnknownRange, *[numbers] * 3),
    numbers,
    numbers,
)
FIRST = Header(Version(1, 2, 3), 4, Reach(5, 6, 7, 8, 9), (10, 11, 12, 13), UnknownRange(14, 15, 16), 17, 18)


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
        assert (FIRST.version.epoch, FIRST.version.life, FIRST.version.flush) == (1, 2, 3)
        assert (FIRST.reach.first_minute, FIRST.reach.latest_minute) == (8, 9)

    def test_names(self) -> None:
        """Each number has one, at its place."""
        places = dict(zip(NUMBER_NAMES, FIRST.to_text().split(" "), strict=False))
        assert len(places) == len(NUMBER_NAMES) == 18
        assert (places["position"], places["exact_from_ms"], places["latest_minute"]) == ("4", "5", "9")
        assert (places["default_payments"], places["fallback_cents"]) == ("10", "13")
        assert (places["unknown_payments"], places["unknown_greatest_ms"]) == ("14", "16")
        assert (places["is_whole"], places["said_goodbye"]) == ("17", "18")

    @pytest.mark.parametrize("flag", [False, True])
    def test_flags(self, flag: bool) -> None:  # noqa: FBT001
        """They are written as 0 or 1."""
        header = FIRST._replace(is_whole=flag, said_goodbye=not flag)
        assert header.to_text().split(" ")[16:18] == [str(int(flag)), str(int(not flag))]

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
    """Header.levels."""

    def test_with_the_fields(self) -> None:
        """Those that were read beside the header; what else a member has is passed over."""
        fields = {b"h": b"", b"seen": b"1", b"m7": b"minute", b"s420": b"second"}
        assert FIRST.levels(fields) == Levels(
            (10, 11, 12, 13), {7: b"minute"}, {420: b"second"}, Reach(5, 6, 7, 8, 9), UnknownRange(14, 15, 16)
        )


class TestVersion:
    """Which of two headers is the newer."""

    @pytest.mark.parametrize("newer", [Version(2, 1, 1), Version(1, 3, 1), Version(1, 2, 4)])
    def test_epoch_before_life_before_flush(self, newer: Version) -> None:
        """A purge beats everything, a new life all flushes of the one before."""
        assert newer > FIRST.version

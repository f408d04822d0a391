"""server/published.py: which members can be counted, and what is to be counted of them."""

from typing import Any

import pytest

from server.errors import TotalsUnavailable
from server.published import (
    SEEN_WITHIN_MS,
    PublishedMember,
    Purge,
    member_levels,
    parse_header,
    parse_members,
)
from server.totals import ALL_TIME, Reach, Summary, Total, UnknownRange, Window, count_window
from server.totals_fields import CELL, LONE_MINUTE_LENGTH, MINUTE_LENGTH, MINUTE_TOTALS_LENGTH
from server.totals_header import RETIRED, Header, Version
from tests.fakes import NOON_MS

HEADER = Header(Version(4, 1, 2), 3, Reach(4, 5, 6, 7, 8), (9, 10, 11, 12), UnknownRange(13, 14, 15), 1, 0)
LATER = HEADER._replace(version=Version(5, 1, 2))
FIELDS = {b"m7": bytes(MINUTE_TOTALS_LENGTH), b"s420": bytes(CELL.size)}


def member(header: Header | None = HEADER, *, silent_ms: int = 0) -> PublishedMember:
    """A member in a summary."""
    return PublishedMember("aa.0", header, silent_ms, FIELDS)


class TestMemberLevels:
    """member_levels."""

    @pytest.mark.parametrize("silent_ms", [0, SEEN_WITHIN_MS])
    def test_who_lives(self, silent_ms: int) -> None:
        """Its levels as they are."""
        levels = member_levels(member(silent_ms=silent_ms), Purge(4, 4))
        assert levels == HEADER.levels(FIELDS)

    @pytest.mark.parametrize("length", [MINUTE_TOTALS_LENGTH, LONE_MINUTE_LENGTH, MINUTE_LENGTH])
    def test_whose_minutes_are_cut_or_whole(self, length: int) -> None:
        """Both are what the member has written."""
        fields = {b"m7": bytes(length)}
        assert member_levels(member()._replace(fields=fields), Purge(4, 4)) == HEADER.levels(fields)

    @pytest.mark.parametrize("name", FIELDS)
    def test_whose_field_was_overwritten(self, name: bytes) -> None:
        """What another program has written there can't be counted."""
        with pytest.raises(TotalsUnavailable, match="another program has written to the totals of instance aa"):
            member_levels(member()._replace(fields={**FIELDS, name: b"x"}), Purge(4, 4))

    def test_who_said_goodbye(self) -> None:
        """Its silence is no reason for doubt."""
        header = HEADER._replace(said_goodbye=1)
        for silent_ms in (10**9, -1):
            assert member_levels(member(header, silent_ms=silent_ms), Purge(4, 0)) == header.levels(FIELDS)

    @pytest.mark.parametrize("is_whole", [0, 1])
    def test_who_said_goodbye_before_a_purge(self, is_whole: int) -> None:
        """It has nothing that counts, whole or not; only what it left unknown may count when it is back."""
        header = HEADER._replace(said_goodbye=1, is_whole=is_whole)
        levels = member_levels(member(header), Purge(5, 5))
        assert count_window([levels], ALL_TIME) == Summary(Total(0, 0), Total(0, 0), header.unknowns.payments)
        assert count_window([levels], Window(1, header.unknowns.least_ms - 1)).unknown == 0
        retired = member_levels(member(header._replace(said_goodbye=RETIRED)), Purge(5, 5))
        assert count_window([retired], ALL_TIME).unknown == 0

    @pytest.mark.parametrize(
        ("found", "purge", "reason"),
        [
            (member(None), Purge(4, 4), "are not there"),
            (member(HEADER._replace(is_whole=0)), Purge(4, 4), "are being written"),
            (member(HEADER._replace(is_whole=0, said_goodbye=1)), Purge(4, 4), "are being written"),
            (member(HEADER._replace(said_goodbye=1)), Purge(5, 4), "has not taken up the last purge yet"),
            (member(silent_ms=SEEN_WITHIN_MS + 1), Purge(4, 4), f"has not been heard of for {SEEN_WITHIN_MS + 1} ms"),
            (member(silent_ms=-1), Purge(4, 4), "Redis's clock was set back"),
            (member(), Purge(5, 5), "has not taken up the last purge yet"),
        ],
    )
    def test_doubt(self, found: PublishedMember, purge: Purge, reason: str) -> None:
        """Each with its reason, by name."""
        with pytest.raises(TotalsUnavailable) as caught:
            member_levels(found, purge)
        assert "instance aa.0" in str(caught.value)
        assert reason in str(caught.value)


class TestIsBehind:
    """PublishedMember.is_behind and left_before."""

    def test_of_no_header_nothing_is_known(self) -> None:
        """Neither holds."""
        assert not member(None).is_behind(Purge(5, 5))
        assert not member(None).left_before(Purge(5, 5))


class TestHasTakenUp:
    """PublishedMember.has_taken_up."""

    @pytest.mark.parametrize(
        ("found", "taken_up"),
        [
            (member(), False),
            (member(LATER), True),
            (member(LATER, silent_ms=10**6), True),
            (member(silent_ms=10**6), False),
            (member(HEADER._replace(said_goodbye=1)), True),
            (member(None), False),
        ],
    )
    def test_a_purge_waits_for_whoever_may_be_there(self, found: PublishedMember, taken_up: bool) -> None:  # noqa: FBT001
        """Silent is not gone."""
        assert found.has_taken_up(Purge(5, 5)) is taken_up

    def test_a_goodbye_before_a_purge_of_another_hash(self) -> None:
        """This one was told of it by a member, and may have taken that goodbye after it."""
        assert not member(HEADER._replace(said_goodbye=1)).has_taken_up(Purge(5, 4))


class TestParseMembers:
    """parse_members."""

    def test_a_member(self) -> None:
        """Its silence by Redis's clock, its fields by name, and no header that this program did not write."""
        text = HEADER.to_text().encode()
        pairs = [part for pair in FIELDS.items() for part in pair]
        answer = [b"%d" % NOON_MS, b"5", b"3", [b"aa.0", text, b"%d" % (NOON_MS - 7), pairs], [b"bb.1", b"", b"0", []]]
        assert parse_members(answer) == (Purge(5, 3), [member(silent_ms=7), PublishedMember("bb.1", None, NOON_MS, {})])

    def test_a_foreign_name(self) -> None:
        """What another program put on the roster need not be text: it is a member of which nothing is known."""
        _, members = parse_members([b"7", b"5", b"5", [b"\xff.1", b"", b"0", []]])
        with pytest.raises(TotalsUnavailable, match="the totals of instance .* are not there"):
            member_levels(members[0], Purge(5, 5))

    @pytest.mark.parametrize(
        "answer", [[b"7", b"x", b"5"], [b"7", b"5", b"\xff"], [b"7", b"5", b"5", [b"", b"", b"x", []]]]
    )
    def test_no_number(self, answer: list[Any]) -> None:
        """Another program may have overwritten the epoch, or when a member was last seen."""
        with pytest.raises(TotalsUnavailable, match="another program has written to the totals in Redis: "):
            parse_members(answer)


class TestParseHeader:
    """parse_header."""

    def test_what_is_none(self) -> None:
        """Nothing, and what another program wrote."""
        assert (parse_header(b""), parse_header(b"gibberish")) == (None, None)
        assert parse_header(HEADER.to_text().encode()) == HEADER

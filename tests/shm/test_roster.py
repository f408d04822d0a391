"""shm/roster.py: who belongs to the summary is never half known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shm import layout
from shm.roster import Member, Roster
from tests.shm.memory import TEARS, Died, Memory

MEMBERS = [Member(0xFEED_0000_0000_0000 + number, number % 8) for number in range(layout.ROSTER_MEMBERS_MAX + 1)]


def fresh_roster() -> tuple[Roster, Memory]:
    """An empty roster and its base page."""
    memory = Memory(layout.BASE_PAGE_LENGTH)
    return Roster(memory.view()), memory


class TestMember:
    """Member: the name of a dispatcher's fields."""

    @given(st.integers(1, 2**64 - 1), st.integers(0, 7))
    def test_round_trip(self, segment_id: int, dispatcher: int) -> None:
        """A member's name gives the member back."""
        assert Member.parse(str(Member(segment_id, dispatcher))) == Member(segment_id, dispatcher)

    def test_name_has_a_fixed_length(self) -> None:
        """A small id is padded, so that names sort and line up."""
        assert str(Member(0xAB, 3)) == "00000000000000ab.3"

    @pytest.mark.parametrize(
        "text",
        [
            *("", "ab", "xyz.1", "ab.c", "ab.1.2"),
            *("ab.1", "-00000000000000a.1", "00000000000000_a.1", "00000000000000AB.1", "00000000000000ab.-1"),
            *("feedfeedfeedfeedf.1", f"00000000000000ab.{2**64}", "00000000000000ab.01", "00000000000000ab. 1"),
        ],
    )
    def test_other_texts_are_refused(self, text: str) -> None:
        """What is no member's name is a ValueError."""
        with pytest.raises(ValueError, match=r"."):
            Member.parse(text)


class TestRoster:
    """Roster: grows, one member at a time."""

    def test_a_new_roster_is_empty(self) -> None:
        """Zeroed memory has no members."""
        assert fresh_roster()[0].members() == []

    def test_keeps_everyone_in_order(self) -> None:
        """Members are listed oldest first, and each only once however often it is added."""
        roster, memory = fresh_roster()
        for member in [*MEMBERS[:3], *MEMBERS[:4]]:
            assert roster.add(member)
        assert Roster(memory.view()).members() == MEMBERS[:4]

    def test_the_same_segment_has_a_member_per_dispatcher(self) -> None:
        """Segment id and dispatcher together make a member."""
        roster, _ = fresh_roster()
        roster.add(Member(1, 0))
        roster.add(Member(1, 1))
        assert roster.members() == [Member(1, 0), Member(1, 1)]

    def test_a_full_roster_says_so(self) -> None:
        """One member too many is turned away, a known one is not, and the page keeps its size."""
        roster, memory = fresh_roster()
        assert all(roster.add(member) for member in MEMBERS[:-1])
        assert not roster.add(MEMBERS[-1])
        assert roster.add(MEMBERS[0])
        assert roster.members() == MEMBERS[:-1]
        assert len(memory.data) == layout.BASE_PAGE_LENGTH

    @pytest.mark.parametrize("tear", TEARS)
    @pytest.mark.parametrize("stores", [0, 1])
    def test_a_death_adds_nobody(self, stores: int, tear: str) -> None:
        """Dying while the member or the length is stored leaves the members there were; the next addition works."""
        roster, memory = fresh_roster()
        roster.add(MEMBERS[0])
        memory.die_at(stores, tear)
        with pytest.raises(Died):
            roster.add(MEMBERS[1])
        memory.live()
        assert roster.members() == MEMBERS[:1]
        roster.add(MEMBERS[2])
        assert roster.members() == [MEMBERS[0], MEMBERS[2]]

    def test_a_damaged_length_reads_no_further_than_the_page(self) -> None:
        """A length beyond all bounds gives at most as many members as there is room for."""
        roster, memory = fresh_roster()
        memory.data[layout.ROSTER_LENGTH_OFFSET + 7] = 0xFF
        assert len(roster.members()) == layout.ROSTER_MEMBERS_MAX

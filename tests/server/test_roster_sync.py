"""server/roster_sync.py: whoever is on one roster comes to the other, and what is no member is told of, once."""

import pytest

from server.roster_sync import RosterSync
from shm import Member, Roster, Segment

OTHER = Member(77, 1)


class Meeting:
    """A dispatcher's roster, and whom it met through the hash's."""

    def __init__(self, segment: Segment) -> None:
        self.me = Member(segment.segment_id, 0)
        self.roster: Roster = segment.roster(0)
        self.met: list[Member] = []
        self.sync = RosterSync(self.roster, self.me, self.met.append)


@pytest.fixture
def meeting(segment: Segment) -> Meeting:
    """One that nobody has come to yet."""
    return Meeting(segment)


class TestMerge:
    """RosterSync.merge."""

    def test_alone(self, meeting: Meeting) -> None:
        """A dispatcher is on its roster before it knows of anybody."""
        meeting.sync.merge((str(meeting.me),))
        assert (meeting.roster.members(), meeting.sync.names) == ([meeting.me], (str(meeting.me),))
        assert meeting.met == []

    def test_another(self, meeting: Meeting, caplog: pytest.LogCaptureFixture) -> None:
        """It is added and told of once, and goes to a hash that has forgotten it; that is no reason for an alarm."""
        for _ in range(2):
            meeting.sync.merge((str(OTHER),))
        meeting.sync.merge(())
        assert (meeting.roster.members(), meeting.met) == ([meeting.me, OTHER], [OTHER])
        assert meeting.sync.names == (str(meeting.me), str(OTHER))
        assert caplog.messages == []

    def test_of_the_same_segment(self, meeting: Meeting) -> None:
        """Another dispatcher of this instance is added, but no news."""
        fellow = Member(meeting.me.segment_id, 1)
        meeting.sync.merge((str(fellow),))
        assert (meeting.roster.members(), meeting.met) == ([meeting.me, fellow], [])

    def test_full(self, meeting: Meeting, caplog: pytest.LogCaptureFixture) -> None:
        """Whoever finds no place is told of, once."""
        for _ in range(3):
            meeting.sync.merge(tuple(str(Member(number, 0)) for number in range(1, 70)))
        assert caplog.text.count("not put on the roster: it is full") == 6
        assert (len(meeting.sync.names), len(meeting.met)) == (64, 63)

    def test_foreign_names(self, meeting: Meeting, caplog: pytest.LogCaptureFixture) -> None:
        """What another program put on the hash's roster is told of, once, and ends nothing."""
        for _ in range(3):
            meeting.sync.merge(("", "elsewhere", "feedfeedfeedfeedf.1", str(OTHER)))
        assert (meeting.roster.members(), meeting.met) == ([meeting.me, OTHER], [OTHER])
        assert caplog.text.count("that is no member's name") == 3

"""The roster: every member (a dispatcher of an instance) whose totals belong to the summary.

Kept in each dispatcher's area beside the Redis hash, so that a Redis that comes back empty can be told who is missing
and an instance that is down is never silently left out. Grows only: nobody can vouch for a member whose segment is
gone, so nothing takes it off.
"""

from typing import NamedTuple

from shm import layout

_LENGTH = layout.ROSTER_LENGTH_OFFSET // layout.WORD


class Member(NamedTuple):
    """One dispatcher of one instance.

    Args:
        segment_id: the random id of its segment.
        dispatcher: its index there.
    """

    segment_id: int
    dispatcher: int

    def __str__(self) -> str:
        """As in the names of the Redis hash's fields: 16 hexadecimal digits, a dot, the index."""
        return f"{self.segment_id:016x}.{self.dispatcher}"

    @classmethod
    def parse(cls, text: str) -> "Member":
        """The reverse of `str`.

        Raises:
            ValueError: not a member's name.
        """
        segment_id, dispatcher = text.split(".")
        return cls(int(segment_id, 16), int(dispatcher))


class Roster:
    """The roster over a dispatcher's base page; written by that dispatcher alone. Making one stores nothing."""

    def __init__(self, page: memoryview) -> None:
        self._page = page
        self._words = page.cast("Q")

    def members(self) -> list[Member]:
        """Everyone on it, oldest first."""
        length = min(self._words[_LENGTH], layout.ROSTER_MEMBERS_MAX)
        page = bytes(self._page[layout.ROSTER_MEMBERS : _offset(length)])
        return [Member(*numbers) for numbers in layout.ROSTER_MEMBER.iter_unpack(page)]

    def add(self, member: Member) -> bool:
        """Adds a member unless it is there; False if the roster is full. The length's store is the commit."""
        members = self.members()
        if member in members:
            return True
        if len(members) == layout.ROSTER_MEMBERS_MAX:
            return False
        start = _offset(len(members))
        self._page[start : start + layout.ROSTER_MEMBER.size] = layout.ROSTER_MEMBER.pack(*member)
        self._words[_LENGTH] = len(members) + 1
        return True


def _offset(index: int) -> int:
    return layout.ROSTER_MEMBERS + index * layout.ROSTER_MEMBER.size

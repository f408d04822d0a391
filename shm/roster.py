"""The roster: every member (a dispatcher of an instance) whose totals belong to the summary.

Redis has it too. Each dispatcher keeps it in its area, so that a Redis that comes back empty can be told who is
missing, and the totals of an instance that is down are never silently left out. It only grows: if a member's segment is
gone, nobody knows whether its totals still count, so no member is ever removed from it.
"""

from typing import NamedTuple

from shm import layout

_LENGTH = layout.ROSTER_LENGTH_OFFSET // layout.WORD
_NUMBER_MAX = 2**64 - 1  # in a word


class Member(NamedTuple):
    """One dispatcher of one instance.

    Args:
        segment_id: the random id of its segment.
        dispatcher: its number there.
    """

    segment_id: int
    dispatcher: int

    def __str__(self) -> str:
        """Its name, as in the fields of the Redis hash: 16 hexadecimal digits, a dot, the number."""
        return f"{self.segment_id:016x}.{self.dispatcher}"

    @classmethod
    def parse(cls, text: str) -> "Member":
        """The member with this name, the inverse of `str`.

        Raises:
            ValueError: it is no member's name.
        """
        segment_id, dispatcher = text.split(".")
        member = cls(int(segment_id, 16), int(dispatcher))
        if str(member) != text or not all(0 <= number <= _NUMBER_MAX for number in member):
            raise ValueError(f"{text!r} is no member's name")
        return member


class Roster:
    """The roster in a dispatcher's base page of 4,096 bytes, written by that dispatcher alone.

    Making one stores nothing. Over a read-only page, reading works and a store is a TypeError.
    """

    def __init__(self, page: memoryview) -> None:
        self._page = page
        self._words = page.cast("Q")

    def members(self) -> list[Member]:
        """All members, in the order in which they were added."""
        length = min(self._words[_LENGTH], layout.ROSTER_MEMBERS_MAX)
        page = bytes(self._page[layout.ROSTER_MEMBERS : _offset(length)])
        return [Member(*numbers) for numbers in layout.ROSTER_MEMBER.iter_unpack(page)]

    def add(self, member: Member) -> bool:
        """Adds a member unless it is there. The member is stored first, then the length, which is the commit.

        Returns:
            Whether it is on the roster now. False: the roster is full, with 64 members.
        """
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

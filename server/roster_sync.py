"""Keeps a dispatcher's roster and the hash's equal: whoever is on one of them comes to the other. Runs in the
dispatcher's process, as a part of its publisher.
"""

import logging
from collections.abc import Callable

from shm import Member, Roster

_log = logging.getLogger(__name__)


class RosterSync:
    """The roster of one dispatcher, and what the hash's adds to it.

    Args:
        roster: of this dispatcher.
        member: this dispatcher, which is put on it.
        hear_member: called with each member of another segment that is on the hash's roster, and was not on this
            dispatcher's before.

    Attributes:
        names: of all members on the roster: what the next flush is to put on the hash's.
    """

    def __init__(self, roster: Roster, member: Member, hear_member: Callable[[Member], None]) -> None:
        self._roster = roster
        self._member = member
        self._hear_member = hear_member
        self._left_out = set[str]()  # names that the roster did not take; each is logged once
        roster.add(member)
        self.names = self._names()

    def merge(self, names: tuple[str, ...]) -> None:
        """Adds the members on the hash's roster."""
        if set(names) <= set(self.names):
            return
        for name in names:
            try:
                reason = None if self._add(Member.parse(name)) else "it is full"
            except ValueError:
                reason = "that is no member's name"
            if reason and name not in self._left_out:
                self._left_out.add(name)
                _log.critical("%r is not put on the roster: %s", name, reason)
        self.names = self._names()

    def _add(self, member: Member) -> bool:
        is_new = member not in self._roster.members()
        is_there = self._roster.add(member)
        if is_new and is_there and member.segment_id != self._member.segment_id:
            self._hear_member(member)
        return is_there

    def _names(self) -> tuple[str, ...]:
        return tuple(map(str, self._roster.members()))

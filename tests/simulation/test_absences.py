"""What the simulator demands to be known: too little would make it blind, too much would make it cry wolf."""

import pytest

from tests.simulation.absences import MISSED_S_MAX, Absences, Returns

R_S = 10.0
AWAY_S, BACK_S = 100.0, 120.0  # an absence, and its end
NEVER = Returns(R_S)


@pytest.fixture
def absences() -> Absences:
    """Of one that was away once, for long."""
    absences = Absences(R_S)
    absences.begin(AWAY_S)
    absences.end(BACK_S, is_noticed=True)
    return absences


def returned(*at_s: float, is_sure: bool = True) -> Returns:
    """A dispatcher's returns."""
    returns = Returns(R_S)
    for one_s in at_s:
        returns.note(one_s, is_sure=is_sure)
    return returns


class TestAbsences:
    """What a sibling of one that was away must know."""

    def test_nothing_before_the_first(self) -> None:
        """Who never was away answers for its own ids."""
        assert Absences(R_S).bound_s(NEVER, AWAY_S, is_seen=False) is None

    def test_while_it_is_away(self) -> None:
        """All that it had taken before, as soon as it can be seen."""
        absences = Absences(R_S)
        absences.begin(AWAY_S)
        assert absences.bound_s(NEVER, AWAY_S + 1, is_seen=False) is None
        assert absences.bound_s(NEVER, AWAY_S + 1, is_seen=True) == AWAY_S

    def test_after_its_return(self, absences: Absences) -> None:
        """The same, for R less what a sibling may have missed."""
        until_s = BACK_S + R_S - MISSED_S_MAX
        assert absences.bound_s(NEVER, until_s - 0.1, is_seen=False) == AWAY_S
        assert absences.bound_s(NEVER, until_s, is_seen=False) is None

    def test_one_that_may_have_been_missed(self) -> None:
        """Once it is over, nothing was demanded."""
        absences = Absences(R_S)
        absences.begin(AWAY_S)
        absences.end(AWAY_S + 1, is_noticed=False)
        assert absences.bound_s(NEVER, AWAY_S + 2, is_seen=False) is None

    def test_another_one_soon(self, absences: Absences) -> None:
        """It may not have been read again: what it had taken before the first."""
        absences.begin(BACK_S + R_S)
        assert absences.bound_s(NEVER, BACK_S + R_S, is_seen=True) == AWAY_S

    def test_another_one_later(self, absences: Absences) -> None:
        """What was read for the first was dropped: all that it had taken before the second."""
        later_s = BACK_S + R_S + MISSED_S_MAX + 0.1
        absences.begin(later_s)
        assert absences.bound_s(NEVER, later_s, is_seen=True) == later_s

    def test_another_worker_of_it(self) -> None:
        """It has served since it was read last: while it is away it is read again, as soon as that is R ago."""
        absences, left_s = Absences(R_S), AWAY_S + 50
        absences.begin(AWAY_S)
        absences.leave(1, left_s, left_s + 2)
        assert absences.bound_s(NEVER, left_s + 1, is_seen=True) == AWAY_S
        assert absences.bound_s(NEVER, left_s + 2, is_seen=True) == left_s + 2 - R_S
        assert absences.bound_s(NEVER, left_s + 20, is_seen=True) == left_s - MISSED_S_MAX
        absences.come_back(1, left_s + 5, is_noticed=True)
        assert absences.bound_s(NEVER, left_s + 20, is_seen=True) == left_s + 5 - MISSED_S_MAX - R_S

    def test_another_worker_that_may_have_been_missed(self) -> None:
        """It changes nothing."""
        absences = Absences(R_S)
        absences.begin(AWAY_S)
        absences.leave(1, AWAY_S + 50, AWAY_S + 50)
        absences.come_back(1, AWAY_S + 51, is_noticed=False)
        assert absences.bound_s(NEVER, AWAY_S + 52, is_seen=True) == AWAY_S

    def test_who_has_just_read(self, absences: Absences) -> None:
        """A dispatcher that read everything shortly before it went away does not do so again."""
        assert absences.bound_s(returned(AWAY_S - 5), BACK_S, is_seen=False) == AWAY_S - 5
        assert absences.bound_s(returned(AWAY_S - 5, is_sure=False), BACK_S, is_seen=False) == AWAY_S - 5
        assert absences.bound_s(returned(AWAY_S - 50), BACK_S, is_seen=False) == AWAY_S
        assert absences.bound_s(returned(AWAY_S + 5), BACK_S, is_seen=False) == AWAY_S


class TestReturns:
    """What a dispatcher that was away must know."""

    def test_nothing_without_one(self) -> None:
        """Nor if it may not have been long enough."""
        assert NEVER.bound_s(BACK_S) is None
        assert returned(BACK_S, is_sure=False).bound_s(BACK_S) is None

    def test_for_a_while(self) -> None:
        """All that was taken until shortly before, for R less what it may have missed; the last return counts."""
        returns, until_s = returned(BACK_S, AWAY_S), BACK_S + R_S - MISSED_S_MAX
        assert returns.bound_s(until_s - 0.1) == BACK_S - MISSED_S_MAX
        assert returns.bound_s(until_s) is None

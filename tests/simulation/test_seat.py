"""What HAProxy thinks of a simulated web worker."""

from random import Random

from tests.simulation.seat import CHECK_EVERY_S, CHECKS_FAIL_S, LONG_AWAY_S, RISES_WITHIN_S, SILENT_S, Seat

NOON_S = 100.0


def taken() -> Seat:
    """One whose worker has been at work for long."""
    seat = Seat(Random(1), 0, is_up=True)
    seat.come_back(0)
    return seat


class TestSeat:
    """Seat."""

    def test_empty_at_first(self) -> None:
        """HAProxy looks, and nobody is there; once somebody is, it finds out."""
        seat = Seat(Random(1), 0, is_up=True)
        assert seat.is_up(0)
        assert not seat.is_up(CHECK_EVERY_S)
        seat.come_back(NOON_S)
        assert not seat.is_up(NOON_S)
        assert seat.is_up(NOON_S + RISES_WITHIN_S)

    def test_taken_before_the_first_look(self) -> None:
        """It never was down."""
        seat = Seat(Random(1), NOON_S, is_up=True)
        seat.come_back(NOON_S)
        assert seat.is_up(NOON_S)

    def test_one_that_hangs(self) -> None:
        """HAProxy waits for three answers; siblings see that its heartbeat is old."""
        seat = taken()
        seat.leave(NOON_S, answers=False, silently=True)
        assert seat.is_up(NOON_S + CHECKS_FAIL_S[0] - 0.1)
        assert not seat.is_up(NOON_S + CHECKS_FAIL_S[1])
        assert seat.noticed_at_s == NOON_S + SILENT_S

    def test_one_that_says_so(self) -> None:
        """The next check tells, and its row at once."""
        seat = taken()
        seat.leave(NOON_S, answers=True, silently=False)
        assert not seat.is_up(NOON_S + CHECK_EVERY_S)
        assert seat.noticed_at_s == NOON_S

    def test_one_that_hangs_and_then_dies(self) -> None:
        """What is found out first counts."""
        seat = taken()
        seat.leave(NOON_S, answers=False, silently=True)
        seat.leave(NOON_S + 1, answers=True, silently=False)
        assert not seat.is_up(NOON_S + 1 + CHECK_EVERY_S)
        assert (seat.away_since_s, seat.noticed_at_s) == (NOON_S, NOON_S + 1)

    def test_one_that_is_back_at_once(self) -> None:
        """HAProxy has not noticed, and it was not away for long."""
        seat = taken()
        seat.leave(NOON_S, answers=False, silently=False)
        seat.come_back(NOON_S + 1)
        assert seat.is_up(NOON_S + 1)
        assert seat.back_at_s is None

    def test_one_that_is_back_after_long(self) -> None:
        """HAProxy sends it requests a moment later."""
        seat, back_s = taken(), NOON_S + LONG_AWAY_S + 0.1
        seat.leave(NOON_S, answers=False, silently=False)
        seat.come_back(back_s)
        assert not seat.is_up(back_s)
        assert seat.is_up(back_s + RISES_WITHIN_S)
        assert seat.back_at_s == back_s

    def test_one_that_goes_before_it_was_found_again(self) -> None:
        """It never was up."""
        seat, back_s = taken(), NOON_S + LONG_AWAY_S + 0.1
        seat.leave(NOON_S, answers=False, silently=False)
        seat.come_back(back_s)
        seat.leave(back_s, answers=False, silently=False)
        assert not seat.is_up(back_s)

"""server/copies.py: two instances never both pay a payment, and never leave it to each other."""

import pytest

from server.siblings import Siblings
from shm import DispatcherCount, Event, Kept, State
from tests.fakes import NOON_MS, FakeClock
from tests.server.other_instance import OtherInstance, copy_of, other_instance, sibling_of

LATER_MS = NOON_MS + 1
EARLIER_MS = NOON_MS - 1


class TestWaitingCopies:
    """What a returning instance leaves to its siblings."""

    def found(
        self, other: OtherInstance, clock: FakeClock, *, accepted_ms: int = NOON_MS, known: int = 99
    ) -> dict[int, bool | None]:
        """Which of the payments up to `known` are there as well, and whether copies accepted then are left to them."""
        copies = Siblings([sibling_of(other.name, clock)], clock, [], []).copies(
            lambda key: int.from_bytes(key, "big") <= known
        )
        return {int.from_bytes(key, "big"): copy.wins_over(accepted_ms * 1000) for key, (copy,) in copies.items()}

    def test_what_is_or_will_be_paid(self, other: OtherInstance, clock: FakeClock) -> None:
        """Settled, sent and waiting copies; not what ended otherwise, unpaid, nor what lies in lanes, not taken."""
        other.start()
        other.has_verified()
        for number, state in enumerate(State):
            if state is not State.FREE:
                other.take(copy_of(number, accepted_ms=LATER_MS), state)
        other.publish(copy_of(99))
        certain = {State.WAITING, State.SENDING, State.UNKNOWN, State.SETTLED}
        assert self.found(other, clock) == {list(State).index(state): True for state in certain}

    def test_only_what_is_known_here(self, other: OtherInstance, clock: FakeClock) -> None:
        """Ids that are not known here are passed over: a full table there takes no memory here."""
        other.take(copy_of(1), State.SETTLED)
        other.take(copy_of(2), State.SETTLED)
        assert self.found(other, clock, known=1) == {1: True}

    @pytest.mark.parametrize("absent", [True, False])
    def test_what_it_may_yet_leave_to_us(self, other: OtherInstance, clock: FakeClock, absent: bool) -> None:  # noqa: FBT001
        """A copy unverified there wins only over later ones, and only once it can't be left to us any more."""
        other.start()
        other.take(copy_of(1))
        other.take(copy_of(2), State.SETTLED)
        if absent:
            other.has_verified()
            other.kill()
        assert self.found(other, clock, accepted_ms=LATER_MS) == {1: True if absent else None, 2: True}
        assert self.found(other, clock, accepted_ms=EARLIER_MS) == {1: False, 2: True}

    def test_one_dispatcher_has_verified_and_another_has_not(self, other: OtherInstance, clock: FakeClock) -> None:
        """What waits there is certain to be paid only once all its dispatchers have verified."""
        other.start()
        other.take(copy_of(1))
        since_ms = other.segment.supervisor_counters().started_at_ms
        other.segment.dispatcher_counters(0).put(DispatcherCount.VERIFIED_FOR_MS, since_ms)
        assert self.found(other, clock, accepted_ms=EARLIER_MS) == {1: False}
        assert self.found(other, clock, accepted_ms=LATER_MS) == {1: None}

    def test_the_same_microsecond(self, other: OtherInstance, clock: FakeClock) -> None:
        """The copy of the instance whose name sorts first is paid; both sides come to the same answer."""
        other.start()
        other.take(copy_of(1))
        found = {ours: next(sibling_of(other.name, clock, ours=ours).copies(lambda _: True)) for ours in ("", "~")}
        assert {ours: copy.wins_over(NOON_MS * 1000) for ours, copy in found.items()} == {"": False, "~": None}
        other.kill()
        assert {ours: copy.wins_over(NOON_MS * 1000) for ours, copy in found.items()} == {"": False, "~": True}

    def test_between_two_lives(self, other: OtherInstance, clock: FakeClock) -> None:
        """A new supervisor has not begun its row yet: what the row says is of an earlier life, and means nothing."""
        other.start()
        other.has_verified()
        other.take(copy_of(1))
        other.take(copy_of(2), State.SETTLED)
        other.kill()
        other.start(begun=False)
        assert self.found(other, clock) == {1: None, 2: True}

    def test_is_looked_at_as_it_is_now(self, other: OtherInstance, clock: FakeClock) -> None:
        """The answer is what holds when it is asked for, not when the copies were gathered."""
        other.start()
        other.has_verified()
        other.take(copy_of(1, accepted_ms=LATER_MS))
        copies = Siblings([sibling_of(other.name, clock)], clock, [], []).copies(lambda _: True)
        (copy,) = copies[copy_of(1).correlation_id]
        assert copy.wins_over(NOON_MS * 1000) is True
        other.kill()
        other.start(NOON_MS)
        assert copy.wins_over(NOON_MS * 1000) is False
        table = other.segment.table(1)
        table.apply(0, Event.FOUND_ELSEWHERE)
        assert copy.wins_over(LATER_MS * 1000 + 1) is False
        table.apply(0, Event.FOLDED)
        table.insert(0, copy_of(7))
        assert copy.wins_over(LATER_MS * 1000 + 1) is False

    def test_whether_it_pays_is_asked_before_its_slot_is_read(self, other: OtherInstance, clock: FakeClock) -> None:
        """Else it might be read as waiting, then be sent, and its instance die: it would be paid here as well."""
        other.start()
        other.has_verified()
        other.take(copy_of(1))
        (copy,) = sibling_of(other.name, clock).copies(lambda _: True)
        read = copy.table.read

        def read_and_die(slot: int) -> Kept | None:
            kept = read(slot)
            other.segment.table(1).begin(slot, 0, NOON_MS)
            other.kill()
            return kept

        copy.table.read = read_and_die  # type: ignore[method-assign]
        assert copy.wins_over(0) is True

    def test_whether_it_is_down_is_asked_before_its_slot_is_read(self, other: OtherInstance, clock: FakeClock) -> None:
        """Else it might be read as waiting, then be left to an earlier life of ours, and its instance die: nobody would
        pay it.
        """
        other.start()
        other.take(copy_of(1))
        (copy,) = sibling_of(other.name, clock).copies(lambda _: True)
        read = copy.table.read

        def read_and_die(slot: int) -> Kept | None:
            kept = read(slot)
            other.segment.table(1).apply(slot, Event.FOUND_ELSEWHERE)
            other.kill()
            return kept

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(copy.table, "read", read_and_die)
            assert copy.wins_over(LATER_MS * 1000) is None
        assert copy.wins_over(LATER_MS * 1000) is False

    def test_nobody(self, clock: FakeClock) -> None:
        """A sibling without a segment has nothing."""
        assert Siblings([sibling_of("test-never-was", clock)], clock, [], []).copies(lambda _: True) == {}

    def test_of_several(self, other: OtherInstance, clock: FakeClock) -> None:
        """The copies of all siblings are found."""
        with other_instance() as third:
            other.take(copy_of(1), State.SETTLED)
            third.take(copy_of(1))
            copies = Siblings([sibling_of(third.name, clock), sibling_of(other.name, clock)], clock, [], []).copies(
                lambda _: True
            )
            found = [copy.wins_over(EARLIER_MS * 1000) for copy in copies[copy_of(1).correlation_id]]
            assert found == [False, True]

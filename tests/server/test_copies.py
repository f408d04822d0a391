"""server/copies.py: two instances never both pay a payment, and never leave it to each other."""

from collections.abc import Sequence
from itertools import product
from types import SimpleNamespace

import pytest

from server.copies import Copy, Payer
from server.siblings import Siblings
from shm import SUPERVISOR, DispatcherCount, Event, Kept, State, dispatcher_role
from tests.fakes import NOON_MS, FakeClock
from tests.server.other_instance import OtherInstance, copy_of, other_instance, sibling_of

LATER_MS = NOON_MS + 1
EARLIER_MS = NOON_MS - 1


class TestWaitingCopies:
    """What a returning instance leaves to its siblings."""

    def found(
        self, other: OtherInstance, clock: FakeClock, *, accepted_ms: int = NOON_MS, known: int = 99
    ) -> dict[int, Payer]:
        """Which of the payments up to `known` are there as well, and whether copies accepted then are left to them."""
        copies = Siblings([sibling_of(other.name, clock)], clock, [], []).copies(
            lambda key: int.from_bytes(key, "big") <= known
        )
        return {int.from_bytes(key, "big"): copy.who_pays(accepted_ms * 1000) for key, (copy,) in copies.items()}

    def test_what_is_or_will_be_paid(self, other: OtherInstance, clock: FakeClock) -> None:
        """Settled, sent and waiting copies; not what ended otherwise, unpaid, nor what lies in lanes, not taken."""
        other.start()
        other.has_verified()
        for number, state in enumerate(State):
            if state is not State.FREE:
                other.take(copy_of(number, accepted_ms=LATER_MS), state)
        other.publish(copy_of(99))
        certain = {State.WAITING, State.SENDING, State.UNKNOWN, State.SETTLED}
        assert self.found(other, clock) == dict.fromkeys((list(State).index(state) for state in certain), Payer.SIBLING)

    def test_only_what_is_known_here(self, other: OtherInstance, clock: FakeClock) -> None:
        """Ids that are not known here are passed over: a full table there takes no memory here."""
        other.take(copy_of(1), State.SETTLED)
        other.take(copy_of(2), State.SETTLED)
        assert self.found(other, clock, known=1) == {1: Payer.SIBLING}

    @pytest.mark.parametrize("absent", [True, False])
    def test_what_it_may_yet_leave_to_us(self, other: OtherInstance, clock: FakeClock, absent: bool) -> None:  # noqa: FBT001
        """A copy unverified there wins only over later ones, and only once it can't be left to us any more."""
        other.start()
        other.take(copy_of(1))
        other.take(copy_of(2), State.SETTLED)
        if absent:
            other.has_verified()
            other.kill()
        later = Payer.SIBLING if absent else Payer.UNDECIDED
        assert self.found(other, clock, accepted_ms=LATER_MS) == {1: later, 2: Payer.SIBLING}
        assert self.found(other, clock, accepted_ms=EARLIER_MS) == {1: Payer.US, 2: Payer.SIBLING}

    def test_one_dispatcher_has_verified_and_another_has_not(self, other: OtherInstance, clock: FakeClock) -> None:
        """What waits there is certain to be paid only once all its dispatchers have verified."""
        other.start()
        other.take(copy_of(1))
        since_ms = other.segment.supervisor_counters().started_at_ms
        other.segment.dispatcher_counters(0).put(DispatcherCount.VERIFIED_FOR_MS, since_ms)
        assert self.found(other, clock, accepted_ms=EARLIER_MS) == {1: Payer.US}
        assert self.found(other, clock, accepted_ms=LATER_MS) == {1: Payer.UNDECIDED}

    def test_the_same_microsecond(self, other: OtherInstance, clock: FakeClock) -> None:
        """The copy of the instance whose name sorts first is paid; both sides come to the same answer."""
        other.start()
        other.take(copy_of(1))
        found = {ours: next(sibling_of(other.name, clock, ours=ours).copies(lambda _: True)) for ours in ("", "~")}
        assert {ours: copy.who_pays(NOON_MS * 1000) for ours, copy in found.items()} == {
            "": Payer.US,
            "~": Payer.UNDECIDED,
        }
        other.kill()
        assert {ours: copy.who_pays(NOON_MS * 1000) for ours, copy in found.items()} == {
            "": Payer.US,
            "~": Payer.SIBLING,
        }

    def test_between_two_lives(self, other: OtherInstance, clock: FakeClock) -> None:
        """A new supervisor has not begun its row yet: what the row says is of an earlier life, and means nothing."""
        other.start()
        other.has_verified()
        other.take(copy_of(1))
        other.take(copy_of(2), State.SETTLED)
        other.kill()
        other.start(begun=False)
        assert self.found(other, clock) == {1: Payer.UNDECIDED, 2: Payer.SIBLING}

    def test_is_looked_at_as_it_is_now(self, other: OtherInstance, clock: FakeClock) -> None:
        """The answer is what holds when it is asked for, not when the copies were gathered."""
        other.start()
        other.has_verified()
        other.take(copy_of(1, accepted_ms=LATER_MS))
        copies = Siblings([sibling_of(other.name, clock)], clock, [], []).copies(lambda _: True)
        (copy,) = copies[copy_of(1).correlation_id]
        assert copy.who_pays(NOON_MS * 1000) is Payer.SIBLING
        other.kill()
        other.start(NOON_MS)
        assert copy.who_pays(NOON_MS * 1000) is Payer.US
        table = other.segment.table(1)
        table.apply(0, Event.FOUND_ELSEWHERE)
        assert copy.who_pays(LATER_MS * 1000 + 1) is Payer.US
        table.apply(0, Event.FOLDED)
        table.insert(0, copy_of(7))
        assert copy.who_pays(LATER_MS * 1000 + 1) is Payer.US

    def test_that_is_damaged_now(self, other: OtherInstance, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its own dispatcher can't pay it either."""
        other.start()
        other.take(copy_of(1))
        (copy,) = sibling_of(other.name, clock).copies(lambda _: True)
        monkeypatch.setattr(copy.table, "read", lambda _: None)
        assert copy.who_pays(LATER_MS * 1000) is Payer.US

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
        assert copy.who_pays(0) is Payer.SIBLING

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
            assert copy.who_pays(LATER_MS * 1000) is Payer.UNDECIDED
        assert copy.who_pays(LATER_MS * 1000) is Payer.US

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
            found = [copy.who_pays(EARLIER_MS * 1000) for copy in copies[copy_of(1).correlation_id]]
            assert found == [Payer.US, Payer.SIBLING]


STATES = (None, *State)  # None: the slot has another payment by now
OURS_US = 1000
THEIRS_US = (999, 1000, 1001)
FREE = tuple(product((False, True), repeat=2))  # whether nobody holds the lock of each dispatcher
VERIFIED = FREE  # whether each dispatcher has verified for this life
LIFE_MS = 7


def scripted_copy(
    state: State | None,
    *,
    is_down: bool,
    free: Sequence[bool],
    verified: Sequence[bool],
    theirs_us: int,
    ties: bool,
) -> Copy:
    """A copy in a sibling that is as told."""
    downs = iter([is_down])  # a second look may show something else
    roles = {dispatcher_role(number): is_free for number, is_free in enumerate(free)}
    rows = [SimpleNamespace(get=lambda _, life_ms=LIFE_MS if done else 0: life_ms) for done in verified]
    segment = SimpleNamespace(
        geometry=SimpleNamespace(dispatchers=len(free)),
        supervisor_counters=lambda: SimpleNamespace(started_at_ms=LIFE_MS),
        dispatcher_counters=rows.__getitem__,
    )
    shown = copy_of(2 if state is None else 1)._replace(accepted_at_us=theirs_us)
    kept = SimpleNamespace(
        correlation_id=shown.correlation_id,
        state=State.SETTLED if state is None else state,
        accepted_at_us=shown.accepted_at_us,
    )
    return Copy(
        lambda role: next(downs) if role == SUPERVISOR else roles[role],
        segment,  # type: ignore[arg-type]  # what a copy looks at, and no more
        SimpleNamespace(read=lambda _: kept),  # type: ignore[arg-type]  # the same
        0,
        copy_of(1).correlation_id,
        ties,
    )


def reference(state: State | None, *, is_down: bool, starts: bool, verified: bool, is_first: bool) -> bool | None:
    """Whether ours is left to the sibling, in three truth values: None, if nobody can tell yet."""
    pays_what_waits = False if is_down else None if starts else verified
    if state in {State.SENDING, State.UNKNOWN, State.SETTLED}:
        return True
    if state is not State.WAITING:
        return False
    if pays_what_waits or pays_what_waits is None:
        return pays_what_waits
    if not is_first:
        return False
    return True if is_down else None


class TestEveryCase:
    """Copy.who_pays, in all that it looks at."""

    @pytest.mark.parametrize("state", STATES)
    def test_is_as_the_reference_says(self, state: State | None) -> None:
        """The reference is the same decision, written in another way."""
        says = {True: Payer.SIBLING, False: Payer.US, None: Payer.UNDECIDED}
        both = (False, True)
        for is_down, free, verified, theirs_us, ties in product(both, FREE, VERIFIED, THEIRS_US, both):
            copy = scripted_copy(state, is_down=is_down, free=free, verified=verified, theirs_us=theirs_us, ties=ties)
            expected = reference(
                state,
                is_down=is_down,
                starts=any(free),
                verified=all(verified),
                is_first=theirs_us < OURS_US or (ties and theirs_us == OURS_US),
            )
            assert copy.who_pays(OURS_US) is says[expected]

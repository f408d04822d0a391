"""server/lookup.py: where a payment stands, over the segment of an instance that other processes write."""

import errno
from collections.abc import Callable

import pytest

from server.errors import LookupUnavailable
from server.lookup import Lookup, SiblingLookup
from server.payments import PaymentStatus
from shm import Accepted, Event, Kept, Segment, SegmentForbidden, State, Table
from tests.fakes import NOON_MS
from tests.server.disturbed_volume import DisturbedVolume
from tests.server.other_instance import GEOMETRY, OtherInstance, copy_of, other_instance

AT_US = NOON_MS * 1000


@pytest.fixture
def lookup(other: OtherInstance) -> Lookup:
    """What another process sees of it."""
    return Lookup(Segment.attach(other.name, read_only=True))


def payment_for(dispatcher: int) -> Accepted:
    """A payment that belongs to a dispatcher."""
    numbers = range(64)
    return next(
        copy_of(number) for number in numbers if GEOMETRY.dispatcher_of(copy_of(number).correlation_id) == dispatcher
    )


class TestLookup:
    """Lookup.find."""

    @pytest.mark.parametrize("worker", [0, 1])
    @pytest.mark.parametrize("dispatcher", [0, 1])
    def test_in_a_lane(self, other: OtherInstance, lookup: Lookup, worker: int, dispatcher: int) -> None:
        """Accepted, whichever worker accepted it and whichever dispatcher it is for."""
        payment = payment_for(dispatcher)
        other.publish(payment, worker=worker, dispatcher=dispatcher)
        assert lookup.find(payment.correlation_id) == PaymentStatus("accepted", 1990, None, None, AT_US, 0)

    def test_nowhere(self, other: OtherInstance, lookup: Lookup) -> None:
        """Never seen, or forgotten."""
        other.publish(copy_of(1))
        other.take(copy_of(2))
        assert lookup.find(copy_of(3).correlation_id) is None

    def test_in_the_table(self, other: OtherInstance, lookup: Lookup) -> None:
        """Where it stands; processor and requestedAt once it has been sent and until it waits again."""
        payment = payment_for(1)
        other.take(payment)
        table = other.segment.table(1)
        table.count_conflict(0)
        found = []
        moves: list[Callable[[], object]] = [
            lambda: None,
            lambda: table.begin(0, 1, NOON_MS + 7),
            lambda: table.apply(0, Event.SURE_NO),
            lambda: table.begin(0, 1, NOON_MS + 9),
            lambda: table.apply(0, Event.UNCLEAR),
            lambda: table.apply(0, Event.SHOWN_OURS),
        ]
        for move in moves:
            move()
            found.append(lookup.find(payment.correlation_id))
        assert found == [
            PaymentStatus("waiting", 1990, None, None, AT_US, 1),
            PaymentStatus("sending", 1990, "fallback", NOON_MS + 7, AT_US, 1),
            PaymentStatus("waiting", 1990, None, None, AT_US, 1),
            PaymentStatus("sending", 1990, "fallback", NOON_MS + 9, AT_US, 1),
            PaymentStatus("unknown", 1990, "fallback", NOON_MS + 9, AT_US, 1),
            PaymentStatus("settled", 1990, "fallback", NOON_MS + 9, AT_US, 1),
        ]
        table.apply(0, Event.FOLDED)
        assert lookup.find(payment.correlation_id) is None

    def test_a_duplicate_that_was_never_sent_has_no_processor(self, other: OtherInstance, lookup: Lookup) -> None:
        """Found elsewhere after an absence: nothing of it is known here."""
        payment = payment_for(1)
        other.take(payment, State.DUPLICATE)
        assert lookup.find(payment.correlation_id) == PaymentStatus("duplicate", 1990, None, None, AT_US, 0)

    def test_a_duplicate_has_no_time(self, other: OtherInstance, lookup: Lookup) -> None:
        """Sent to the one, found at the other: when that one was asked for it is not known here."""
        payment = payment_for(1)
        other.take(payment)
        table = other.segment.table(1)
        table.begin(0, 0, NOON_MS)
        table.apply(0, Event.SURE_NO)
        table.apply(0, Event.FOUND_ELSEWHERE, 1)
        assert lookup.find(payment.correlation_id) == PaymentStatus("duplicate", 1990, "fallback", None, AT_US, 0)

    def test_one_that_is_being_taken_is_found(
        self, other: OtherInstance, lookup: Lookup, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is in its lane until it is in its table, so lanes are searched first."""
        payment = payment_for(1)
        other.publish(payment)
        find = Table.find

        def take_and_find(table: Table, correlation_id: bytes) -> Kept | None:
            other.take(payment)
            other.skip()
            return find(table, correlation_id)

        monkeypatch.setattr(Table, "find", take_and_find)
        assert lookup.find(payment.correlation_id) == PaymentStatus("waiting", 1990, None, None, AT_US, 0)

    def test_a_table_full_of_remains_is_no_hit(self, other: OtherInstance, lookup: Lookup) -> None:
        """Freed slots still hold their ids; they are not found."""
        payment = payment_for(1)
        other.take(payment, State.REFUSED)
        other.segment.table(1).apply(0, Event.FOLDED)
        assert lookup.find(payment.correlation_id) is None


class TestSiblings:
    """SiblingLookup.find."""

    def test_the_one_that_has_it(self, other: OtherInstance) -> None:
        """Whether it runs or not; others, and some that were never started, are passed over."""
        payment = payment_for(1)
        other.take(payment, State.SETTLED)
        with other_instance() as empty:
            found = SiblingLookup(("none", empty.name, other.name)).find(payment.correlation_id)
            assert found == PaymentStatus("settled", 1990, "default", NOON_MS, AT_US, 0)
            assert SiblingLookup(("none", empty.name)).find(payment.correlation_id) is None

    @pytest.mark.parametrize("look", ["fingerprint", "attach"])
    @pytest.mark.parametrize("reason", [OSError(errno.EMFILE, "no descriptors"), SegmentForbidden("no descriptors")])
    def test_one_that_cannot_be_looked_at(self, other: OtherInstance, look: str, reason: Exception) -> None:
        """A payment may be where nobody can look: only one that is found is known to stand. Until it can be looked."""
        payment = payment_for(1)
        other.take(payment)
        with other_instance() as unseen:
            reasons = [reason] * 2

            def refuse(what: str, instance: str) -> None:
                if (what, instance) == (look, unseen.name) and reasons:
                    raise reasons.pop()

            lookup = SiblingLookup((unseen.name, other.name), volume=DisturbedVolume(refuse))
            assert lookup.find(payment.correlation_id) is not None
            with pytest.raises(LookupUnavailable, match=r"can be looked at now: no descriptors\."):
                lookup.find(payment_for(0).correlation_id)
            assert lookup.find(payment_for(0).correlation_id) is None

    def test_a_segment_made_anew(self, other: OtherInstance) -> None:
        """What is mapped is looked at again only if it is the same still."""
        payment = payment_for(1)
        lookup = SiblingLookup((other.name,))
        other.take(payment)
        assert lookup.find(payment.correlation_id) is not None
        Segment.unlink(other.name)
        assert lookup.find(payment.correlation_id) is None
        other.segment = Segment.create(other.name, GEOMETRY)
        assert lookup.find(payment.correlation_id) is None
        other.take(payment)
        assert lookup.find(payment.correlation_id) is not None

"""Where a payment stands, found by searching an instance's shared memory. A miss takes milliseconds."""

from collections.abc import Iterable

from server.errors import LookupUnavailable
from server.payments import PaymentStatus
from server.volume import THIS_VOLUME, Volume
from shm import (
    PROCESSOR_NAMES,
    Accepted,
    Fingerprint,
    Kept,
    Segment,
    SegmentError,
    SegmentMissing,
    SegmentNotReady,
    State,
)


class Lookup:
    """All lanes and tables of one instance.

    Args:
        segment: of that instance; it may be mapped for reading only.
    """

    def __init__(self, segment: Segment) -> None:
        dispatchers = range(segment.geometry.dispatchers)
        self._dispatcher_of = segment.geometry.dispatcher_of
        self._lanes = [segment.lanes_to(dispatcher) for dispatcher in dispatchers]
        self._tables = [segment.table(dispatcher) for dispatcher in dispatchers]

    def find(self, correlation_id: bytes) -> PaymentStatus | None:
        """Where a payment stands, by that instance's lanes and tables; None if it is in none of them."""
        dispatcher = self._dispatcher_of(correlation_id)
        accepted = self._find_in_lanes(dispatcher, correlation_id)  # first: if taken meanwhile, it is in the table
        kept = self._tables[dispatcher].find(correlation_id)
        if kept is not None:
            return _status(kept)
        if accepted is not None:
            return PaymentStatus("accepted", accepted.amount_cents, None, None, accepted.accepted_at_us, 0)
        return None

    def _find_in_lanes(self, dispatcher: int, correlation_id: bytes) -> Accepted | None:
        found = (lane.find(correlation_id) for lane in self._lanes[dispatcher])
        return next((accepted for accepted in found if accepted is not None), None)


class SiblingLookup:
    """The lanes and tables of the other instances on this volume, running or not.

    Args:
        siblings: their names.
        volume: where their segments are.
    """

    def __init__(self, siblings: Iterable[str], *, volume: Volume = THIS_VOLUME) -> None:
        self._siblings = tuple(siblings)
        self._volume = volume
        self._mapped: dict[str, tuple[Fingerprint | None, Lookup]] = {}  # by sibling; the fingerprint of its segment

    def find(self, correlation_id: bytes) -> PaymentStatus | None:
        """Where a payment stands at the first sibling that has it; None if no sibling has it.

        Raises:
            LookupUnavailable: it was not found, and a sibling could not be looked at: its segment is another version's
                or another user's, or this process has no file descriptor left.
        """
        reason: str | None = None
        for instance in self._siblings:
            try:
                lookup = self._lookup_of(instance)
            except (SegmentMissing, SegmentNotReady):
                continue  # without a segment it has accepted nothing
            except SegmentError as error:
                reason = str(error)
                continue
            except OSError as error:
                reason = error.strerror or str(error)
                continue
            found = lookup.find(correlation_id)
            if found is not None:
                return found
        if reason is not None:
            raise LookupUnavailable(f"This payment was not found; not every instance can be looked at now: {reason}.")
        return None

    def _lookup_of(self, instance: str) -> Lookup:
        """Maps each segment once: mapping it and touching its pages for the first time take as long as a search."""
        fingerprint = self._volume.fingerprint(instance)  # before mapping: a change in between is noticed next time
        known, lookup = self._mapped.get(instance, (None, None))
        if lookup is None or known != fingerprint:
            self._mapped.pop(instance, None)
            lookup = Lookup(self._volume.attach(instance))
            self._mapped[instance] = fingerprint, lookup
        return lookup


def _status(kept: Kept) -> PaymentStatus:
    """What a client is told of a payment in the table. No processor before the first attempt and while it waits for
    another; no requestedAt of a duplicate, as the time stored at the processor is another payment's.
    """
    has_processor = kept.state is not State.WAITING and kept.attempts > 0
    return PaymentStatus(
        kept.state.name.lower(),
        kept.amount_cents,
        PROCESSOR_NAMES[kept.processor] if has_processor else None,
        kept.requested_at_ms if has_processor and kept.state is not State.DUPLICATE else None,
        kept.accepted_at_us,
        kept.conflicts,
    )

"""Everything that can go wrong with shared memory.

* ShmError
  * SegmentError            the segment as a whole
    * SegmentMissing        no segment of that name
    * SegmentExists         asked to create one that is there
    * SegmentNotReady       being created right now, or its creator died half-way
    * SegmentIncompatible   another magic, version or size; an impossible geometry; a damaged header; not a plain file;
                            or it can't be copied into the geometry wanted (unsettled payments, damage, or another
                            number of dispatchers)
    * SegmentFull           no room in /dev/shm for a segment of that size
    * SegmentForbidden      another user's, or no right to make one
  * RoleTaken               another living process holds the role's lock
  * IllegalTransition       the state table has no such row: a bug
  * BrokenInvariant         memory says what no correct writer can have written: a bug, or damage

A full lane and a full roster are return values, not errors. Whoever appends to a journal asks first whether it is full.
"""


class ShmError(Exception):
    """Base of all errors of this package; never raised itself."""


class SegmentError(ShmError):
    """Base of the errors about a segment as a whole; never raised itself."""


class SegmentMissing(SegmentError):
    """There is no segment of that name."""


class SegmentExists(SegmentError):
    """A segment of that name exists already, so it was not created."""


class SegmentNotReady(SegmentError):
    """The segment has no magic yet: it is being created now, or whoever created it died before the last store."""


class SegmentIncompatible(SegmentError):
    """The segment is another version's, damaged or not ours at all, or the geometry wanted is impossible for it."""


class SegmentFull(SegmentError):
    """/dev/shm has no room for a segment of that size."""


class SegmentForbidden(SegmentError):
    """The segment belongs to another user, or no segment may be made in /dev/shm."""


class RoleTaken(ShmError):
    """Another living process holds the role's lock, so this one must not write."""


class IllegalTransition(ShmError):
    """An event that the state table does not know for this state."""

    def __init__(self, state: str, event: str) -> None:
        """Names the state and the event, so that the log line alone is enough."""
        super().__init__(f"no transition from {state} on {event}")


class BrokenInvariant(ShmError):
    """Memory says what no correct writer can have written."""

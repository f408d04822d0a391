"""What an instance's process sees of other instances on its volume: the only way by which it looks at them.

A name may lead to another segment than the one that is mapped. What to do then differs, so each user decides by itself:
`siblings` must miss nothing that a sibling accepted, `volume_members` nothing that one settled; `lookup` only looks.
"""

from typing import Final

from shm import Fingerprint, Segment, is_role_free


class Volume:
    """What can be seen of other instances in /dev/shm. Keeps nothing; the simulation puts its own in its place."""

    def fingerprint(self, instance: str) -> Fingerprint | None:
        """What tells the segment that has an instance's name now from all others that ever had it; None: there is none.

        To be called before `attach`: then a change in between shows the next time.

        Raises:
            SegmentError: what has that name can't be read.
            OSError: this process has no descriptors left.
        """
        return Segment.fingerprint(instance)

    def attach(self, instance: str) -> Segment:
        """Maps the segment of an instance, for reading only.

        Raises:
            SegmentError: there is none, or none that can be read.
            OSError: this process has no descriptors left.
        """
        return Segment.attach(instance, read_only=True)

    def is_role_free(self, instance: str, role: str) -> bool:
        """Whether nobody plays a role in an instance: its lock is free.

        Raises:
            OSError: this process has no descriptors left.
        """
        return is_role_free(instance, role)


THIS_VOLUME: Final = Volume()
"""The volume in /dev/shm."""

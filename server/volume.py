"""What a process sees of the instances on its volume: the one way in for those who look at others.

Whether a segment is still the one that is mapped, and what to do if it is not, each of them decides by itself:
`siblings` must not miss what one accepted, `neighbours` what one settled, and `lookup` only looks.
"""

from typing import Final

from shm import Fingerprint, Segment, is_role_free


class Volume:
    """What can be seen of other instances in /dev/shm. It remembers nothing; a simulation has its own."""

    def fingerprint(self, instance: str) -> Fingerprint | None:
        """What tells the segment that has an instance's name now from any other that had it; None if there is none.

        To be asked before `attach`: what changes in between then shows the next time.

        Raises:
            SegmentError: what has the name can't be read.
            OSError: this process has no descriptors left.
        """
        return Segment.fingerprint(instance)

    def attach(self, instance: str) -> Segment:
        """Maps the segment of an instance, to be read only.

        Raises:
            SegmentError: there is none, or none that can be read.
            OSError: this process has no descriptors left.
        """
        return Segment.attach(instance, read_only=True)

    def is_role_free(self, instance: str, role: str) -> bool:
        """Whether nobody plays a role in an instance.

        Raises:
            OSError: this process has no descriptors left.
        """
        return is_role_free(instance, role)


THIS_VOLUME: Final = Volume()
"""The one in /dev/shm."""

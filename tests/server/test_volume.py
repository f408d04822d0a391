"""server/volume.py: what is seen of a real instance's segment and locks."""

import pytest

from server.volume import THIS_VOLUME
from shm import Segment, SegmentMissing
from tests.server.other_instance import GEOMETRY, OtherInstance


class TestVolume:
    """The one in /dev/shm."""

    def test_fingerprint(self, other: OtherInstance) -> None:
        """Another one with another segment, and none without."""
        first = THIS_VOLUME.fingerprint(other.name)
        assert first == Segment.fingerprint(other.name) is not None
        Segment.unlink(other.name)
        assert THIS_VOLUME.fingerprint(other.name) is None
        other.segment = Segment.create(other.name, GEOMETRY)
        assert THIS_VOLUME.fingerprint(other.name) not in {None, first}

    def test_attach(self, other: OtherInstance) -> None:
        """What is another's can be read and not be written."""
        seen = THIS_VOLUME.attach(other.name)
        assert seen.segment_id == other.segment.segment_id
        with pytest.raises(TypeError):
            seen.supervisor_counters().beat()
        Segment.unlink(other.name)
        with pytest.raises(SegmentMissing):
            THIS_VOLUME.attach(other.name)

    def test_is_role_free(self, other: OtherInstance) -> None:
        """Each role by itself, and as long as its holder lives."""
        assert THIS_VOLUME.is_role_free(other.name, "supervisor")
        other.start()
        assert not THIS_VOLUME.is_role_free(other.name, "supervisor")
        assert THIS_VOLUME.is_role_free(other.name, "worker-0")
        other.kill()
        assert THIS_VOLUME.is_role_free(other.name, "supervisor")

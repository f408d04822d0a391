"""server/shm_files.py, on the files of an instance that is not running."""

import errno
from pathlib import Path

import pytest

from server.shm_files import ShmFiles
from shm import Geometry, Segment, lock_path, make_lock_file
from tests.shm.segments import refuse, segment_path

GEOMETRY = Geometry(workers=1, dispatchers=1, lane_slots=2, waiting_slots=2, journal_records=4)


class TestName:
    """Whether a later life will find the segment."""

    @pytest.mark.parametrize("successor", ["none", "segment", "folder"])
    def test_removed_while_in_use(self, instance: str, caplog: pytest.LogCaptureFixture, successor: str) -> None:
        """It is told, and only once; and not by one who can't look."""
        Segment.create(instance, GEOMETRY)
        watched = ShmFiles(instance)
        with pytest.MonkeyPatch.context() as patch:
            watched.look()
            patch.setattr(Segment, "fingerprint", refuse(OSError(errno.EMFILE, "no descriptors")))
            watched.look()
        assert caplog.records == []
        Segment.unlink(instance)
        if successor == "segment":
            Segment.create(instance, GEOMETRY)
        elif successor == "folder":
            segment_path(instance).mkdir()
        for _ in range(2):
            watched.look()
        if successor == "folder":
            segment_path(instance).rmdir()
        assert [record.levelname for record in caplog.records] == ["CRITICAL"]
        assert f"segment /gateway-{instance} was removed or replaced while in use" in caplog.text


class TestLocks:
    """Whether its processes can be seen to live."""

    def test_removed_while_in_use(self, instance: str, caplog: pytest.LogCaptureFixture) -> None:
        """It is told, and only once."""
        Segment.create(instance, GEOMETRY)
        for role in ("supervisor", "dispatcher-0"):
            make_lock_file(instance, role)
        watched = ShmFiles(instance)
        watched.look()
        assert caplog.records == []
        lock_path(instance, "dispatcher-0").unlink()
        for _ in range(2):
            watched.look()
        assert [record.levelname for record in caplog.records] == ["CRITICAL"]
        assert f"lock files of {instance} were removed while in use" in caplog.text

    def test_can_not_be_looked_at(
        self, instance: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nobody can tell, and nothing follows from it: least of all the end of the instance."""
        Segment.create(instance, GEOMETRY)
        make_lock_file(instance, "supervisor")
        watched = ShmFiles(instance)
        monkeypatch.setattr(Path, "stat", refuse(OSError(errno.ENOMEM, "no memory")))
        watched.look()
        monkeypatch.undo()
        assert caplog.records == []

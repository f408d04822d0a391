"""Who holds a role, told without touching its lock."""

import os
from pathlib import Path

import pytest

from shm import take_role
from tests.tools.ring_view.segments import Filled
from tools.ring_view import locks
from tools.ring_view.locks import FileKey, Lock, parse_locks, read_lock, read_locks

KERNEL_TEXT = """\
1: OFDLCK ADVISORY  READ -1 00:06:3 0 EOF
2: FLOCK  ADVISORY  WRITE 6852 fe:00:1458358 0 EOF
2: -> FLOCK  ADVISORY  WRITE 7000 fe:00:1458358 0 EOF
3: POSIX  ADVISORY  WRITE 6853 fe:00:1458359 0 EOF
4: FLOCK  ADVISORY  READ  6854 fe:00:1458360 0 EOF
"""


class TestParseLocks:
    """`parse_locks`."""

    def test_exclusive_flocks_are_found_by_device_and_inode(self) -> None:
        """Only a held, exclusive flock counts; those of other kinds and those waited for do not."""
        assert parse_locks(KERNEL_TEXT) == {FileKey(0xFE, 0, 1458358): 6852}

    def test_no_locks(self) -> None:
        """An empty list has no holders."""
        assert parse_locks("") == {}


class TestReadLocks:
    """`read_locks`."""

    def test_a_kernel_without_the_list_shows_no_holders(self, tmp_path: Path) -> None:
        """Where /proc/locks is missing, nobody is seen."""
        assert read_locks(tmp_path / "locks") == {}


class TestReadLock:
    """`read_lock`."""

    def test_a_held_role_names_its_process(self, filled: Filled) -> None:
        """The pid that holds a role's lock is found."""
        with take_role(filled.instance, "dispatcher-0"):
            assert read_lock(read_locks(), filled.instance, "dispatcher-0") == Lock(os.getpid(), is_missing=False)

    def test_a_released_role_has_no_holder(self, filled: Filled) -> None:
        """The lock file stays when a role is given up, and nobody holds it."""
        take_role(filled.instance, "dispatcher-0").release()
        assert read_lock(read_locks(), filled.instance, "dispatcher-0") == Lock(None, is_missing=False)

    def test_a_role_never_played_has_no_holder(self, filled: Filled) -> None:
        """Without a lock file nobody holds the role, and none is made by asking."""
        assert read_lock(read_locks(), filled.instance, "worker-1") == Lock(None, is_missing=True)
        assert not list(filled.file.parent.glob(f"gateway-{filled.instance}.*"))

    def test_a_file_that_can_not_be_looked_at_is_not_missing(
        self, filled: Filled, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Only what is known to be gone is an alarm."""
        monkeypatch.setattr(locks, "lock_path", lambda *_: filled.file / "below a file")
        assert read_lock(read_locks(), filled.instance, "worker-1") == Lock(None, is_missing=False)

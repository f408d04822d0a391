"""Tests of tools/launcher/folder.py."""

import os
import time
from pathlib import Path

import pytest

from tools.launcher.folder import NEW_S, PREFIX, own_folder, remove_stale


def age(folder: Path) -> None:
    """Makes a folder older than any run that has not locked it yet."""
    long_ago_s = time.time() - 2 * NEW_S
    os.utime(folder, (long_ago_s, long_ago_s))


@pytest.fixture
def stale(tmp_path: Path) -> Path:
    """What a killed run has left."""
    folder = tmp_path / f"{PREFIX}stale"
    folder.mkdir()
    (folder / "redis.log").touch()
    age(folder)
    return folder


class TestOwnFolder:
    """own_folder."""

    def test_it_is_there_and_gone(self, tmp_path: Path) -> None:
        """With what was put into it, and for its owner alone."""
        with own_folder(tmp_path) as folder:
            (folder / "haproxy.log").touch()
            assert folder.parent == tmp_path
            assert folder.stat().st_mode & 0o777 == 0o700
        assert list(tmp_path.iterdir()) == []

    def test_a_killed_run_is_cleaned_up_after(self, tmp_path: Path, stale: Path) -> None:
        """By the next one."""
        with own_folder(tmp_path) as folder:
            assert list(tmp_path.iterdir()) == [folder]
        assert not stale.exists()

    def test_a_living_run_keeps_its_folder(self, tmp_path: Path) -> None:
        """However old it is."""
        with own_folder(tmp_path) as first:
            age(first)
            with own_folder(tmp_path):
                assert first.exists()


class TestRemoveStale:
    """remove_stale."""

    def test_a_new_folder_may_not_be_locked_yet(self, tmp_path: Path) -> None:
        """It stays."""
        folder = tmp_path / f"{PREFIX}new"
        folder.mkdir()
        remove_stale(tmp_path)
        assert folder.exists()

    def test_others_are_left_alone(self, tmp_path: Path, stale: Path) -> None:
        """Folders of another name, files, and links to elsewhere."""
        other = tmp_path / "gateway"
        other.mkdir()
        age(other)
        file = tmp_path / f"{PREFIX}file"
        file.touch()
        link = tmp_path / f"{PREFIX}link"
        link.symlink_to(other)
        remove_stale(tmp_path)
        assert not stale.exists()
        assert other.exists()
        assert file.exists()
        assert link.is_symlink()

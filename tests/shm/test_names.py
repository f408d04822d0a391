"""shm/names.py: names of segments and lock files in /dev/shm."""

from pathlib import Path

import pytest

from shm import names


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of /dev/shm."""
    monkeypatch.setattr(names, "SHM_FOLDER", tmp_path)
    return tmp_path


class TestInstancePattern:
    """INSTANCE_PATTERN: what an instance may be called."""

    @pytest.mark.parametrize("name", ["app1", "a", "7", "test-12-3", "x" * 32])
    def test_good_names(self, name: str) -> None:
        """Lower-case letters, digits and dashes, 32 at most."""
        assert names.INSTANCE_PATTERN.fullmatch(name)

    @pytest.mark.parametrize("name", ["", "-app", "App", "app.1", "app/1", "../x", "x" * 33, "app1\n", "ä"])
    def test_bad_names(self, name: str) -> None:
        """No dot, slash or upper case: a name never leaves /dev/shm nor looks like a lock."""
        assert not names.INSTANCE_PATTERN.fullmatch(name)


class TestNames:
    """segment_name, segment_path, roles, lock_path, lock_paths and instances_present."""

    def test_a_segment_is_named_after_its_instance(self) -> None:
        """Segments are named after their instance, for posix_ipc with a slash."""
        assert names.segment_name("app1") == "/gateway-app1"

    def test_a_segment_is_a_file_of_the_folder(self, folder: Path) -> None:
        """Its file is in the folder of shared memory."""
        assert names.segment_path("named-here-alone") == folder / "gateway-named-here-alone"

    def test_each_role_has_a_lock_file(self, folder: Path) -> None:
        """Each role has a file of its own beside the segment."""
        assert names.lock_path("app1", "worker-0") == folder / "gateway-app1.worker-0.lock"

    def test_roles_are_named_the_same_in_every_version(self) -> None:
        """They are in the names of lock files, which instances of several versions look at."""
        roles = (names.SUPERVISOR, names.worker_role(0), names.dispatcher_role(12))
        assert roles == ("supervisor", "worker-0", "dispatcher-12")

    def test_lock_paths_are_the_instances_own(self, folder: Path) -> None:
        """Neither the segment nor the locks of an instance with a longer name belong to it."""
        for name in ("app1", "app1.worker-0.lock", "app1.supervisor.lock", "app12.worker-0.lock", "app1-b.x.lock"):
            (folder / f"gateway-{name}").touch()
        assert sorted(path.name for path in names.lock_paths("app1")) == [
            "gateway-app1.supervisor.lock",
            "gateway-app1.worker-0.lock",
        ]

    def test_instances_present_are_those_with_a_segment(self, folder: Path) -> None:
        """Segments are listed by instance in order; locks and strangers' files are not."""
        for name in ("gateway-b", "gateway-a", "gateway-a.supervisor.lock", "gateway-", "sem.x", "gateway-UPPER"):
            (folder / name).touch()
        assert names.instances_present() == ["a", "b"]

"""shm/role.py: one process per role, and a role is free as soon as its process is dead."""

import fcntl
import os
from pathlib import Path

import pytest

from shm.errors import RoleTaken
from shm.layout import Geometry
from shm.names import lock_path, segment_path
from shm.role import RETRY_S, is_role_free, make_lock_file, take_role, take_segment
from shm.segment import Segment
from tests.shm.processes import end, forked
from tests.shm.segments import open_descriptors, refuse


class TestTakeRole:
    """take_role: the right to write."""

    def test_a_taken_role_is_refused(self, instance: str) -> None:
        """A role has one holder at a time; the sentence names role and instance."""
        with (
            take_role(instance, "worker-0"),
            pytest.raises(RoleTaken, match=f"^another process is worker-0 of {instance}$"),
        ):
            take_role(instance, "worker-0", within_s=0)

    def test_a_refusal_leaves_no_descriptor_open(self, instance: str) -> None:
        """Being refused again and again uses nothing up."""
        with take_role(instance, "worker-0"):
            before = open_descriptors()
            for _ in range(3):
                with pytest.raises(RoleTaken):
                    take_role(instance, "worker-0", within_s=0)
            assert open_descriptors() == before

    def test_a_role_given_up_can_be_taken(self, instance: str) -> None:
        """Leaving the `with` frees the role."""
        for _ in range(2):
            with take_role(instance, "worker-0", within_s=0):
                pass

    @pytest.mark.parametrize("made_again", [False, True])
    def test_a_file_removed_before_it_was_locked_is_made_anew(
        self,
        instance: str,
        made_again: bool,  # noqa: FBT001
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Somebody may remove it just then, and a third process make it again. The role is held on the file that others
        find, and on no other.
        """
        path, lock, before = lock_path(instance, "worker-0"), fcntl.flock, open_descriptors()

        def flock(descriptor: int, how: int) -> None:
            monkeypatch.setattr(fcntl, "flock", lock)
            path.unlink()
            if made_again:
                path.touch()
            lock(descriptor, how)

        monkeypatch.setattr(fcntl, "flock", flock)
        with take_role(instance, "worker-0"):
            assert not is_role_free(instance, "worker-0")
            with pytest.raises(RoleTaken):
                take_role(instance, "worker-0", within_s=0)
        assert open_descriptors() == before

    def test_giving_up_twice_closes_nobody_elses_file(self, instance: str) -> None:
        """A second release does nothing, even if the descriptor's number is in use again."""
        lock = take_role(instance, "worker-0")
        lock.release()
        reader, writer = os.pipe()
        lock.release()
        os.close(reader)
        os.close(writer)

    def test_roles_and_instances_are_apart(self, instance: str) -> None:
        """Another role, or the same role of another instance, is free."""
        with (
            take_role(instance, "worker-0", within_s=0),
            take_role(instance, "worker-1", within_s=0),
            take_role(instance, "dispatcher-0", within_s=0),
            take_role(f"{instance}-b", "worker-0", within_s=0),
        ):
            pass
        lock_path(f"{instance}-b", "worker-0").unlink()

    def test_the_file_is_empty_and_private(self, instance: str) -> None:
        """The lock's file holds nothing and is for its user alone."""
        with take_role(instance, "worker-0"):
            found = lock_path(instance, "worker-0").stat()
            assert (found.st_size, found.st_mode & 0o777) == (0, 0o600)

    def test_a_folder_that_is_not_there_is_named(
        self, instance: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A file that can't be opened is an OSError with its path."""
        monkeypatch.setattr("shm.names.SHM_FOLDER", tmp_path / "gone")
        with pytest.raises(OSError, match="gone/gateway-"):
            take_role(instance, "worker-0")


@pytest.mark.slow
class TestTakeRoleAcrossProcesses:
    """take_role between real processes."""

    def test_is_freed_when_its_holder_is_killed(self, instance: str) -> None:
        """While the holder lives nobody else gets the role; the moment it is dead and reaped, the next one does."""
        with forked(lambda: take_role(instance, "dispatcher-0")) as holder:
            with pytest.raises(RoleTaken):
                take_role(instance, "dispatcher-0", within_s=0)
            end(holder)
            take_role(instance, "dispatcher-0", within_s=0).release()

    def test_taken_after_the_fork_it_is_the_childs_alone(self, instance: str) -> None:
        """Of two siblings each holds its own lock, and the death of one frees just that one."""
        with (
            forked(lambda: take_role(instance, "worker-0")) as first,
            forked(lambda: take_role(instance, "worker-1")),
        ):
            end(first)
            take_role(instance, "worker-0", within_s=0).release()
            with pytest.raises(RoleTaken):
                take_role(instance, "worker-1", within_s=0)

    def test_inherited_it_would_outlive_its_taker(self, instance: str) -> None:
        """A descriptor copied by a fork keeps the lock when its taker gave it up: why it is taken after the fork."""
        lock = take_role(instance, "supervisor")
        with forked(lambda: None) as child:
            lock.release()
            with pytest.raises(RoleTaken):
                take_role(instance, "supervisor", within_s=0)
            end(child)
            take_role(instance, "supervisor", within_s=0).release()

    def test_a_child_that_gives_up_an_inherited_lock_does_not_free_it(self, instance: str) -> None:
        """A forked child may close its copy of the supervisor's lock; the supervisor keeps it."""
        with take_role(instance, "supervisor") as lock, forked(lock.release), pytest.raises(RoleTaken):
            take_role(instance, "supervisor", within_s=0)


class TestTakeSegment:
    """take_segment: one instance at a segment, whatever becomes of lock files."""

    def test_one_holder_at_a_time(self, instance: str) -> None:
        """The second is refused, and told what to do."""
        Segment.create(instance, Geometry(1, 1, 2, 2, 2))
        with (
            take_segment(instance),
            pytest.raises(RoleTaken, match=f"uses segment /gateway-{instance}.*: stop it first"),
        ):
            take_segment(instance, within_s=0)
        take_segment(instance, within_s=0).release()

    def test_it_is_of_the_segment_that_has_the_name(self, instance: str) -> None:
        """A new one in its place is nobody's."""
        Segment.create(instance, Geometry(1, 1, 2, 2, 2))
        with take_segment(instance):
            Segment.unlink(instance)
            Segment.create(instance, Geometry(1, 1, 2, 2, 2))
            take_segment(instance, within_s=0).release()

    def test_freed_meanwhile(self, instance: str) -> None:
        """It is waited for as a role is: those that inherited it end after the supervisor."""
        Segment.create(instance, Geometry(1, 1, 2, 2, 2))
        held = take_segment(instance)
        take_segment(instance, sleep=lambda _: held.release()).release()

    def test_without_a_segment(self, instance: str) -> None:
        """It makes none."""
        with pytest.raises(FileNotFoundError, match=f"gateway-{instance}"):
            take_segment(instance)
        assert not segment_path(instance).exists()


class TestWaiting:
    """take_role: the right to write, for a successor."""

    def test_a_free_role_is_taken_at_once(self, instance: str) -> None:
        """A free role is taken at once, and nobody else has it."""
        with take_role(instance, "worker-0", sleep=refuse(AssertionError())), pytest.raises(RoleTaken):
            take_role(instance, "worker-0", within_s=0)

    def test_without_time_it_is_tried_once(self, instance: str) -> None:
        """Then nobody waits."""
        with take_role(instance, "worker-0"), pytest.raises(RoleTaken):
            take_role(instance, "worker-0", within_s=0, sleep=refuse(AssertionError()))

    def test_a_role_that_stays_taken_is_refused_in_the_end(self, instance: str) -> None:
        """A role that stays taken is given up after the time given."""
        slept: list[float] = []
        with take_role(instance, "worker-0"), pytest.raises(RoleTaken):
            take_role(instance, "worker-0", within_s=1.0, sleep=slept.append)
        assert sum(slept) == pytest.approx(1.0)
        assert max(slept) == RETRY_S

    def test_a_role_freed_meanwhile_is_taken(self, instance: str) -> None:
        """A predecessor's lock that goes while it is waited for is taken."""
        held = take_role(instance, "worker-0")
        take_role(instance, "worker-0", sleep=lambda _: held.release()).release()


class TestIsRoleFree:
    """is_role_free."""

    def test_a_role_is_free_while_nobody_holds_its_lock(self, instance: str) -> None:
        """Free before and after it is held, and asking leaves no descriptor open."""
        before = open_descriptors()
        assert is_role_free(instance, "worker-0")
        with take_role(instance, "worker-0"):
            assert not is_role_free(instance, "worker-0")
        assert is_role_free(instance, "worker-0")
        assert open_descriptors() == before

    def test_another_users_role_is_not_free(self, instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nobody can tell from here whether it is played, so it is not taken for free."""
        monkeypatch.setattr(os, "open", refuse(PermissionError("not yours")))
        assert not is_role_free(instance, "worker-0")

    def test_a_pipe_in_the_place_of_its_lock_file(self, instance: str) -> None:
        """Any user may make one where nothing is yet. Opening it as a file would wait for ever for its other end."""
        os.mkfifo(lock_path(instance, "supervisor"))
        with forked(lambda: is_role_free(instance, "supervisor")):
            assert is_role_free(instance, "supervisor")


class TestMakeLockFile:
    """make_lock_file."""

    def test_making_the_file_leaves_the_lock_alone(self, instance: str) -> None:
        """The file is made whether somebody holds the lock or not. Taking it would make a dead process look alive."""
        make_lock_file(instance, "worker-0")
        assert lock_path(instance, "worker-0").stat().st_size == 0
        with take_role(instance, "worker-0"):
            make_lock_file(instance, "worker-0")

    def test_a_file_that_can_not_be_opened_is_named(self, instance: str) -> None:
        """The error has its path."""
        path = lock_path(instance, "worker-0")
        path.mkdir()
        try:
            with pytest.raises(IsADirectoryError, match=str(path)):
                make_lock_file(instance, "worker-0")
        finally:
            path.rmdir()

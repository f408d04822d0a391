"""Who may write: one lock per role of an instance, and one on its segment, freed by the kernel when the holder dies."""

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from shm.errors import RoleTaken
from shm.names import MODE, lock_path, segment_name, segment_path

TAKEN_WITHIN_S = 2.0  # who was killed is reaped by then, and who only looks (`is_role_free`) has long let go
RETRY_S = 0.05
OPENINGS_MAX = 8  # a file that is removed that often is not our business
_NONE = -1  # no descriptor


class _FileLock:
    """A lock on a file, freed by the kernel when its holder dies.

    Taken on a descriptor opened *after* the fork: an inherited one would outlive its owner.
    """

    def __init__(self, path: Path, flags: int, taken: str) -> None:
        """Takes it without waiting; `taken` is what RoleTaken says."""
        for _ in range(OPENINGS_MAX):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, MODE)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                break
            if _is_at(path, self._descriptor):
                return
            self.release()  # it was removed between opening and locking, and the next one would get another file
        self.release()
        raise RoleTaken(taken)

    def release(self) -> None:
        """Gives the role up, once; dying does the same."""
        descriptor, self._descriptor = self._descriptor, _NONE
        if descriptor != _NONE:
            os.close(descriptor)

    def __enter__(self) -> Self:
        """Holds the role."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Gives the role up."""
        self.release()


class RoleLock(_FileLock):
    """The right to write what a role writes: a lock on an empty file beside the segment.

    Raises:
        RoleTaken: another living process holds it.
        OSError: the file can't be opened; names it.
    """

    def __init__(self, instance: str, role: str) -> None:
        """Takes the lock of `role` (`supervisor`, `worker-0`, `dispatcher-0`) without waiting."""
        super().__init__(lock_path(instance, role), os.O_CREAT, f"another process is {role} of {instance}")


class SegmentLock(_FileLock):
    """A lock on the segment itself, held by its supervisor and, inherited, by all children.

    The lock files of roles are empty, and somebody may remove them as rubbish under a running instance. This one can't
    be lost without the segment, so a second instance still can't write to it.

    Raises:
        RoleTaken: another living instance has it.
        OSError: the segment's file can't be opened; names it.
    """

    def __init__(self, instance: str) -> None:
        """Takes it without waiting: whoever died has freed the supervisor's role no sooner."""
        super().__init__(
            segment_path(instance),
            0,
            f"another process uses segment {segment_name(instance)}, though its lock files were removed: stop it first",
        )


def make_lock_file(instance: str, role: str) -> None:
    """Makes the file of a role's lock, if there is none, and leaves the lock alone: whoever takes it for a moment makes
    a dead process look alive to its siblings.

    Raises:
        OSError: the file can't be opened for writing; names it.
    """
    os.close(os.open(lock_path(instance, role), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE))


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether a path still leads to an open file."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))


def take_role(
    instance: str, role: str, *, within_s: float = TAKEN_WITHIN_S, sleep: Callable[[float], None] = time.sleep
) -> RoleLock:
    """The lock of a role, waiting a little for whoever has just died or only looks.

    Raises:
        RoleTaken: another living process holds it.
        OSError: the file can't be opened; names it.
    """
    for _ in range(round(within_s / RETRY_S)):
        try:
            return RoleLock(instance, role)
        except RoleTaken:
            sleep(RETRY_S)
    return RoleLock(instance, role)


def is_role_free(instance: str, role: str) -> bool:
    """Whether nobody plays a role now, in any container that mounts the same /dev/shm.

    It holds the lock, shared, for a few microseconds to find out: `take_role` tries again for a moment.

    Raises:
        OSError: this process has no descriptors left.
    """
    try:
        descriptor = os.open(lock_path(instance, role), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except PermissionError:
        return False  # another user's: whoever plays it can't be told from here, and must not be taken for dead
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)

"""Which process may write: a file lock (flock(2)) per role of an instance, and one on its segment, freed by the kernel
when the holder dies.

Whoever plays a role takes its lock before its first store, so a word never has two writers. flock locks belong to an
open file description: a descriptor that a child inherits keeps the lock after the parent has closed its own or died.
So every process opens the file of its role itself, after the fork.
"""

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from shm.errors import RoleTaken
from shm.names import MODE, lock_path, segment_name, segment_path

TAKEN_WITHIN_S = 2.0  # by then a killed predecessor is gone, and `is_role_free` of others has long let go
RETRY_S = 0.05
OPENINGS_MAX = 8  # a clean-up may remove the file between opening and locking it, but not this often
_NONE = -1  # no descriptor


class FileLock:
    """The exclusive lock of a file, held until `release`, the end of a `with`, or the process's end.

    Args:
        path: of the file.
        flags: further ones for `open`.
        taken: the message of RoleTaken.

    Raises:
        RoleTaken: another living process holds it.
        OSError: the file can't be opened; names it.
    """

    def __init__(self, path: Path, flags: int, taken: str) -> None:
        """Takes it, without waiting."""
        for _ in range(OPENINGS_MAX):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, MODE)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                break
            if _is_at(path, self._descriptor):
                return
            self.release()  # removed between opening and locking: the next process would lock another file
        self.release()
        raise RoleTaken(taken)

    def release(self) -> None:
        """Gives the lock up. A second call does nothing."""
        descriptor, self._descriptor = self._descriptor, _NONE
        if descriptor != _NONE:
            os.close(descriptor)

    def __enter__(self) -> Self:
        """Holds the lock."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Gives the lock up."""
        self.release()


def make_lock_file(instance: str, role: str) -> None:
    """Makes the file of a role's lock if there is none, without taking the lock.

    To take it even for a moment would make a dead process look alive to other instances.

    Raises:
        OSError: the file can't be opened for writing; names it.
    """
    os.close(os.open(lock_path(instance, role), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE))


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether a path still leads to the file that a descriptor has open."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))


def take_role(
    instance: str, role: str, *, within_s: float = TAKEN_WITHIN_S, sleep: Callable[[float], None] = time.sleep
) -> FileLock:
    """The lock of a role, on an empty file beside the segment: who holds it may write what that role writes.

    It is waited for a little: its holder may have just been killed, or may only be looking.

    Args:
        instance: of which the role is.
        role: `supervisor`, `worker-0`, `dispatcher-0`, …
        within_s: how long to try, in seconds; 0: once.
        sleep: waits so many seconds.

    Raises:
        RoleTaken: another living process held it all the time.
        OSError: the file can't be opened; names it.
    """
    taken = f"another process is {role} of {instance}"
    return _take(lock_path(instance, role), os.O_CREAT, taken, within_s, sleep)


def take_segment(
    instance: str, *, within_s: float = TAKEN_WITHIN_S, sleep: Callable[[float], None] = time.sleep
) -> FileLock:
    """The lock of the segment's own file, held by its supervisor and by the children that inherit it.

    The lock files of roles are empty, and somebody may remove them as rubbish under a running instance. This lock can't
    be lost without the segment, so a second instance still can't write to it. It is waited for as a role's is: children
    of a supervisor that was killed may hold it a little longer.

    Args:
        instance: whose segment it is.
        within_s: as for `take_role`.
        sleep: as for `take_role`.

    Raises:
        RoleTaken: another living instance had it all the time.
        OSError: the segment's file can't be opened; names it.
    """
    taken = f"another process uses segment {segment_name(instance)}, though its lock files were removed: stop it first"
    return _take(segment_path(instance), 0, taken, within_s, sleep)


def _take(path: Path, flags: int, taken: str, within_s: float, sleep: Callable[[float], None]) -> FileLock:
    for _ in range(round(within_s / RETRY_S)):
        try:
            return FileLock(path, flags, taken)
        except RoleTaken:
            sleep(RETRY_S)
    return FileLock(path, flags, taken)


def is_role_free(instance: str, role: str) -> bool:
    """Whether nobody plays a role now, in any container that mounts the same /dev/shm.

    To find out it takes the lock, shared, for a few microseconds. Whoever tries to take it just then is refused;
    `take_role` tries again. False, too, if the file is another user's: who can't be looked at must not be taken for
    dead.

    Raises:
        OSError: the file can't be opened, as when this process has no descriptors left.
    """
    try:
        # O_NONBLOCK: if somebody has put a pipe there, opening it would wait for its other end, for ever.
        descriptor = os.open(lock_path(instance, role), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return True
    except PermissionError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)

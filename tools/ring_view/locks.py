"""Finds the holder of a role's lock in the kernel's list, without trying the lock.

Trying a lock means holding it for a moment, in which the process that needs it could be turned away. The list (proc(5),
/proc/locks) shows only the locks of processes that can be seen from here: not those of another container.
"""

import os
from pathlib import Path
from typing import NamedTuple

from shm import lock_path

KERNEL_LIST = Path("/proc/locks")


class FileKey(NamedTuple):
    """A file as the kernel's list identifies it."""

    major: int
    minor: int
    inode: int


Holders = dict[FileKey, int]
"""From a locked file to the pid that holds it."""


def parse_locks(text: str) -> Holders:
    """Parses the exclusive flocks in the kernel's list: `1: FLOCK  ADVISORY  WRITE 6852 fe:00:1458358 0 EOF`.

    Lines of other kinds, and of processes that wait for a lock (`1: -> FLOCK …`), are passed over.
    """
    holders: Holders = {}
    for line in text.splitlines():
        match line.split():
            case [_, "FLOCK", _, "WRITE", pid, place, *_]:
                major, minor, inode = place.split(":")
                holders[FileKey(int(major, 16), int(minor, 16), int(inode))] = int(pid)
            case _:
                continue
    return holders


def read_locks(path: Path = KERNEL_LIST) -> Holders:
    """Reads the locks held now, as far as they can be seen from here; none if the kernel shows no list."""
    try:
        return parse_locks(path.read_text("ascii"))
    except OSError:
        return {}


class Lock(NamedTuple):
    """The lock of a role.

    Args:
        pid: the process that holds it and so has the role; None if none has, as far as can be seen from here.
        is_missing: whether its file does not exist. A process that has a role has made the file, and it stays when the
            process ends: the gateway and its tools remove it only together with the segment, once nothing runs.
    """

    pid: int | None
    is_missing: bool


def read_lock(holders: Holders, instance: str, role: str) -> Lock:
    """Returns the lock of `role` in an instance."""
    try:
        status = lock_path(instance, role).stat()
    except OSError as error:
        return Lock(None, isinstance(error, FileNotFoundError))
    return Lock(holders.get(FileKey(os.major(status.st_dev), os.minor(status.st_dev), status.st_ino)), is_missing=False)

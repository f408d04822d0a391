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


def role_holder(holders: Holders, instance: str, role: str) -> int | None:
    """Returns the pid that has `role` in an instance; None if none has, as far as can be seen from here."""
    try:
        status = lock_path(instance, role).stat()
    except OSError:
        return None
    return holders.get(FileKey(os.major(status.st_dev), os.minor(status.st_dev), status.st_ino))

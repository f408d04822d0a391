"""A run's own folder, for sockets and logs; removed when the run ends, or by a later run if it was killed."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "gateway-run-"
NEW_S = 60.0  # a younger folder may not be locked by its run yet


@contextmanager
def own_folder(parent: Path | None = None) -> Iterator[Path]:
    """Makes a folder, after removing those that killed runs have left, and removes it at the end.

    Args:
        parent: where; None: the system's place for temporary files.
    """
    parent = parent or Path(tempfile.gettempdir())
    remove_stale(parent)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    lock = _try_lock(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def remove_stale(parent: Path) -> None:
    """Removes the folders whose runs are dead; another user's folders stay."""
    for folder in parent.glob(f"{PREFIX}*"):
        lock = _try_lock(folder)
        if lock is None:
            continue
        if time.time() - os.fstat(lock).st_mtime > NEW_S:
            shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _try_lock(folder: Path) -> int | None:
    """Takes the folder's lock, which shows that its run lives; returns its descriptor, or None if it can't be had."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # gone, no folder, or another user's
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor

"""Real segments for tests: their names, and their end."""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from shm.names import SHM_FOLDER, lock_paths
from shm.segment import Segment

_numbers = itertools.count()


@contextmanager
def fresh_instance() -> Iterator[str]:
    """Gives an instance's name that no other test and no gateway uses; removes all it left in /dev/shm."""
    name = f"test-{os.getpid()}-{next(_numbers)}"
    try:
        yield name
    finally:
        for path in (segment_path(name), *SHM_FOLDER.glob(f"gateway-{name}.*")):
            path.unlink(missing_ok=True)


def remove(instance: str) -> None:
    """Removes an instance's segment, which must be there, and its lock files."""
    Segment.unlink(instance)
    for path in lock_paths(instance):
        path.unlink(missing_ok=True)


def open_descriptors() -> list[str]:
    """The numbers of this process's open descriptors."""
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def segment_path(instance: str) -> Path:
    """Where Linux shows an instance's segment as a file."""
    return SHM_FOLDER / f"gateway-{instance}"


def refuse(error: BaseException) -> Callable[..., NoReturn]:
    """A function that raises `error`, whatever it is given."""

    def refusal(*_: object, **__: object) -> NoReturn:
        raise error

    return refusal

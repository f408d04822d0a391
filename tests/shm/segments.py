"""Real segments for tests: their names, and their end."""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from shm import layout
from shm.lane import Lane
from shm.names import SHM_FOLDER, lock_paths
from shm.record import Accepted
from shm.segment import Segment

LOOKS_MAX = 100  # more than all slots of a small segment's lanes

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


@contextmanager
def damaged_head(lane: Lane) -> Iterator[None]:
    """Lets a lane's head promise more payments than anybody could look at. Who looks at many of them fails."""
    lane._view[layout.LANE_HEAD + layout.WORD - 1] = 1  # noqa: SLF001  no process of ours would do this
    peek, looks = Lane.peek, itertools.count()

    def peek_at_few(lane: Lane, position: int) -> Accepted | None:
        assert next(looks) < LOOKS_MAX, "this would never end"
        return peek(lane, position)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lane, "peek", peek_at_few)
        yield


def refuse(error: BaseException) -> Callable[..., NoReturn]:
    """A function that raises `error`, whatever it is given."""

    def refusal(*_: object, **__: object) -> NoReturn:
        raise error

    return refusal

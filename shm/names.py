"""What things are called in /dev/shm, and which of them are there. No memory is mapped."""

import re
from functools import lru_cache
from pathlib import Path

SHM_FOLDER = Path("/dev/shm")  # where Linux keeps POSIX shared memory (shm_overview(7))
MODE = 0o600
INSTANCE_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
SUPERVISOR = "supervisor"  # a role, as are those below
_PREFIX = "gateway-"


def worker_role(number: int) -> str:
    """The role of a web worker, `worker-0`."""
    return f"worker-{number}"


def dispatcher_role(number: int) -> str:
    """The role of a dispatcher, `dispatcher-0`."""
    return f"dispatcher-{number}"


def segment_name(instance: str) -> str:
    """The name of an instance's segment for posix_ipc, `/gateway-<instance>`."""
    return f"/{_PREFIX}{instance}"


@lru_cache(maxsize=64)  # each summary looks whether it is still the same segment
def segment_path(instance: str) -> Path:
    """Where Linux keeps that segment."""
    return SHM_FOLDER / f"{_PREFIX}{instance}"


@lru_cache(maxsize=64)  # siblings are looked at many times a second
def lock_path(instance: str, role: str) -> Path:
    """The empty file whose lock is the right to play `role` (`supervisor`, `worker-0`, `dispatcher-0`)."""
    return SHM_FOLDER / f"{_PREFIX}{instance}.{role}.lock"


def lock_paths(instance: str) -> list[Path]:
    """The lock files that an instance has left or holds."""
    return list(SHM_FOLDER.glob(f"{_PREFIX}{instance}.*.lock"))


def instances_present() -> list[str]:
    """The instances whose segments are in /dev/shm now, sorted."""
    found = (path.name.removeprefix(_PREFIX) for path in SHM_FOLDER.glob(f"{_PREFIX}*"))
    return sorted(name for name in found if INSTANCE_PATTERN.fullmatch(name))

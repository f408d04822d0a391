"""Names of segments and lock files in /dev/shm, and which of them are there. No memory is mapped."""

import re
from functools import lru_cache
from pathlib import Path

SHM_FOLDER = Path("/dev/shm")  # where Linux keeps POSIX shared memory (shm_overview(7))
MODE = 0o600  # of segments and lock files: nobody else may read or write payments
INSTANCE_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")  # no slash, which would lead elsewhere; no dot, as locks have
SUPERVISOR = "supervisor"  # its role; those of workers and dispatchers have a number
_PREFIX = "gateway-"


def worker_role(number: int) -> str:
    """The role of a web worker, `worker-0`."""
    return f"worker-{number}"


def dispatcher_role(number: int) -> str:
    """The role of a dispatcher, `dispatcher-0`."""
    return f"dispatcher-{number}"


def segment_name(instance: str) -> str:
    """The name of an instance's segment as shm_open(3) wants it: `/gateway-<instance>`."""
    return f"/{_PREFIX}{instance}"


@lru_cache(maxsize=64)  # each summary checks that the segment is still the same file
def segment_path(instance: str) -> Path:
    """The file as which Linux shows an instance's segment."""
    return SHM_FOLDER / f"{_PREFIX}{instance}"


@lru_cache(maxsize=64)  # the locks of other instances are tried many times a second
def lock_path(instance: str, role: str) -> Path:
    """The empty file whose lock is the right to play `role` (`supervisor`, `worker-0`, `dispatcher-0`, …)."""
    return SHM_FOLDER / f"{_PREFIX}{instance}.{role}.lock"


def lock_paths(instance: str) -> list[Path]:
    """The lock files of an instance, held or left behind."""
    return list(SHM_FOLDER.glob(f"{_PREFIX}{instance}.*.lock"))


def instances_present() -> list[str]:
    """The instances whose segments are in /dev/shm now, sorted."""
    found = (path.name.removeprefix(_PREFIX) for path in SHM_FOLDER.glob(f"{_PREFIX}*"))
    return sorted(name for name in found if INSTANCE_PATTERN.fullmatch(name))

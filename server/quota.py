"""How often the container has been frozen for having used up its CPU quota, cgroup v1 and v2.

The kernel gives a cgroup a new quota every 100 ms, and stops all its processes until then if they use it up earlier
(CFS bandwidth control). A freeze costs a request up to 100 ms; after each the dispatcher halves the rate of a backlog.
"""

import os
from pathlib import Path

STAT_FILES = (
    Path("/sys/fs/cgroup/cpu.stat"),  # v2, seen from inside the container
    Path("/sys/fs/cgroup/cpu/cpu.stat"),  # v1
)
_STAT_BYTES_MAX = 1024
_THROTTLED = b"nr_throttled "


class CpuQuota:
    """The throttling of this process's own cgroup.

    Args:
        files: where to look; the first that tells of throttling is used.
    """

    def __init__(self, files: tuple[Path, ...] = STAT_FILES) -> None:
        """Opens the file once, for as long as the process lives; asking costs one system call."""
        self._descriptor: int | None = None
        for path in files:
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue
            if _throttled_periods(descriptor) is not None:
                self._descriptor = descriptor
                return
            os.close(descriptor)

    def throttled_periods(self) -> int:
        """In how many periods the cgroup has been frozen since it exists; always 0 where no quota can be seen."""
        if self._descriptor is None:
            return 0
        return _throttled_periods(self._descriptor) or 0


def _throttled_periods(descriptor: int) -> int | None:
    for line in os.pread(descriptor, _STAT_BYTES_MAX, 0).splitlines():
        if line.startswith(_THROTTLED):
            return int(line.removeprefix(_THROTTLED))
    return None

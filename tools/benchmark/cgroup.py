"""What a container used, from its cgroup's files, version 1 and version 2. Pure: the files' texts are arguments.

Sources, in Linux's Documentation: scheduler/sched-bwc.rst, admin-guide/cgroup-v1/{cpuacct,memory}.rst and
admin-guide/cgroup-v2.rst. Version 1 gives nanoseconds, version 2 microseconds; here it is all
nanoseconds and bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

ROOT = "/sys/fs/cgroup"
_NO_LIMIT_V1 = 1 << 62  # version 1 shows "no limit" as the largest whole number of pages
_NS_PER_US = 1000

ReadText = Callable[[str], str]
"""Return a file's text by its path; raises OSError."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters since the container's start, and its limits; None where there is no limit.

    `memory_peak_bytes` is the highest charge ever, cached file pages included. `memory_bytes` is what is in use now,
    without the file pages that the kernel would drop first. It is the sum of its parts, because the charge itself is
    ahead by up to 64 pages per core: 7 % of a small container on two cores (cgroup-v1/memory.rst, 5.5: "a fuzz value").
    """

    cpu_ns: int
    periods: int
    throttled_periods: int
    throttled_ns: int
    memory_bytes: int
    memory_peak_bytes: int
    memory_limit_bytes: int | None
    cpus_limit: float | None


@dataclass(frozen=True, slots=True)
class Usage(Reading):
    """What was used between two readings; memory and limits are those of the later one."""


def used(start: Reading, end: Reading) -> Usage | None:
    """What was used in between, or None if the counters began anew (the container was restarted)."""
    if end.cpu_ns < start.cpu_ns or end.periods < start.periods:
        return None
    return Usage(
        cpu_ns=end.cpu_ns - start.cpu_ns,
        periods=end.periods - start.periods,
        throttled_periods=end.throttled_periods - start.throttled_periods,
        throttled_ns=end.throttled_ns - start.throttled_ns,
        memory_bytes=end.memory_bytes,
        memory_peak_bytes=end.memory_peak_bytes,
        memory_limit_bytes=end.memory_limit_bytes,
        cpus_limit=end.cpus_limit,
    )


def paths_of(proc_cgroup: str) -> dict[str, str]:
    """Reads /proc/PID/cgroup: controller to the cgroup's path, from the root of its tree; "" is version 2's tree."""
    paths: dict[str, str] = {}
    for line in proc_cgroup.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path
    return paths


def read(proc_cgroup: str, read_text: ReadText, root: str = ROOT) -> Reading:
    """Returns the reading of the cgroup that a process with this /proc/PID/cgroup is in; raises OSError, ValueError."""
    paths = paths_of(proc_cgroup)
    if "cpuacct" in paths:
        return _read_v1(paths, read_text, root)
    if "" not in paths:
        raise ValueError("the process is in no cgroup that counts CPU")
    return _read_v2(f"{root}{paths['']}", read_text)


def _read_v1(paths: dict[str, str], read_text: ReadText, root: str) -> Reading:
    def value(controller: str, name: str) -> str:
        return read_text(str(PurePosixPath(f"{root}/{controller}{paths[controller]}") / name))

    cpu = _pairs(value("cpu", "cpu.stat"))
    memory = _pairs(value("memory", "memory.stat"))
    quota_us, period_us = int(value("cpu", "cpu.cfs_quota_us")), int(value("cpu", "cpu.cfs_period_us"))
    limit_bytes = int(value("memory", "memory.limit_in_bytes"))
    return Reading(
        cpu_ns=int(value("cpuacct", "cpuacct.usage")),
        periods=cpu["nr_periods"],
        throttled_periods=cpu["nr_throttled"],
        throttled_ns=cpu["throttled_time"],
        memory_bytes=(
            memory["total_rss"]
            + memory["total_cache"]
            - memory["total_inactive_file"]
            + int(value("memory", "memory.kmem.usage_in_bytes"))
        ),
        memory_peak_bytes=int(value("memory", "memory.max_usage_in_bytes")),
        memory_limit_bytes=None if limit_bytes >= _NO_LIMIT_V1 else limit_bytes,
        cpus_limit=None if quota_us < 0 else quota_us / period_us,
    )


def _read_v2(folder: str, read_text: ReadText) -> Reading:
    def value(name: str) -> str:
        return read_text(f"{folder}/{name}")

    cpu = _pairs(value("cpu.stat"))
    memory = _pairs(value("memory.stat"))
    try:
        peak_bytes = int(value("memory.peak"))
    except FileNotFoundError:  # Linux before 5.19
        peak_bytes = int(value("memory.current"))
    quota_us, period_us = value("cpu.max").split()
    limit = value("memory.max").strip()
    return Reading(
        cpu_ns=cpu["usage_usec"] * _NS_PER_US,
        periods=cpu.get("nr_periods", 0),
        throttled_periods=cpu.get("nr_throttled", 0),
        throttled_ns=cpu.get("throttled_usec", 0) * _NS_PER_US,
        memory_bytes=memory["anon"] + memory["file"] - memory["inactive_file"] + _kernel_bytes(memory),
        memory_peak_bytes=peak_bytes,
        memory_limit_bytes=None if limit == "max" else int(limit),
        cpus_limit=None if quota_us == "max" else int(quota_us) / int(period_us),
    )


def _kernel_bytes(memory: dict[str, int]) -> int:
    """The kernel's own memory in a cgroup of version 2; before Linux 5.18 there is no sum of its parts."""
    if "kernel" in memory:
        return memory["kernel"]
    return sum(memory.get(part, 0) for part in ("kernel_stack", "pagetables", "percpu", "slab"))


def _pairs(text: str) -> dict[str, int]:
    """Reads lines of `name number`."""
    return {name: int(number) for name, number in (line.split() for line in text.splitlines() if line)}

"""Reads what containers and the machine have used so far; this is done when the load starts and when it ends."""

import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tools.benchmark import cgroup
from tools.benchmark.containers import Container

_IDLE_COLUMNS = slice(3, 5)  # idle and iowait of /proc/stat's first line (proc(5))
_SHARED_COLUMNS = 8  # user to steal; user and nice include the guest columns after them


@dataclass(frozen=True, slots=True)
class Metered:
    """One container's use of CPU and memory between two readings; None if either of them is missing.

    `ended`: only the first reading succeeded, or the container was restarted in between.
    """

    service: str
    usage: cgroup.Usage | None
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All meters at one moment, `at_s` by `time.monotonic()`: readings by container id, and the machine's CPU time."""

    readings: dict[str, cgroup.Reading]
    machine: tuple[int, int]  # (idle, all) in ticks
    at_s: float


def _read_text(path: str) -> str:
    return Path(path).read_text(encoding="ascii")


def snapshot(containers: list[Container]) -> Snapshot:
    """Reads all meters now; a container that can't be read (gone, or without permission) is left out."""
    readings = {}
    for container in containers:
        try:
            of_process = _read_text(f"/proc/{container.pid}/cgroup")
            readings[container.container_id] = cgroup.read(of_process, _read_text)
        except (OSError, ValueError, KeyError):
            continue
    return Snapshot(readings, machine_ticks(_read_text("/proc/stat")), time.monotonic())


def machine_ticks(proc_stat: str) -> tuple[int, int]:
    """Returns (idle, all) ticks of all CPUs together, from /proc/stat."""
    columns = [int(number) for number in proc_stat.splitlines()[0].split()[1:]]
    return sum(columns[_IDLE_COLUMNS]), sum(columns[:_SHARED_COLUMNS])


def between(
    containers: list[Container], start: Snapshot, end: Snapshot, *, ended: Collection[str] = ()
) -> list[Metered]:
    """Each container's use between two snapshots; `ended`: those known to have ended before or after."""
    metered = []
    for container in containers:
        first, last = (each.readings.get(container.container_id) for each in (start, end))
        usage = cgroup.used(first, last) if first and last else None
        has_ended = container.container_id in ended or (first is not None and usage is None)
        metered.append(Metered(container.service, usage, has_ended))
    return metered


def ended_between(containers: list[Container], start: Snapshot, end: Snapshot) -> set[str]:
    """The ids of the containers that ended or were restarted between two snapshots."""
    whole = between(containers, start, end)
    return {each.container_id for each, metered in zip(containers, whole, strict=True) if metered.ended}


def idle_percent(start: Snapshot, end: Snapshot) -> float:
    """The idle share of the machine between two snapshots, in percent; 0 if they are the same moment."""
    idle, whole = (later - earlier for earlier, later in zip(start.machine, end.machine, strict=True))
    return 100 * idle / whole if whole else 0.0

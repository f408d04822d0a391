"""Tests of tools/benchmark/cgroup.py."""

import dataclasses

import pytest

from tools.benchmark.cgroup import Reading, ReadText, paths_of, read, used

PROC_V1 = "9:name=systemd:/docker/abc\n4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/docker/abc\n"
FILES_V1 = {
    "/sys/fs/cgroup/cpu/docker/abc/cpu.stat": "nr_periods 20\nnr_throttled 3\nthrottled_time 43060850\nnr_bursts 0\n",
    "/sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us": "35000\n",
    "/sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us": "100000\n",
    "/sys/fs/cgroup/cpuacct/docker/abc/cpuacct.usage": "25354072\n",
    "/sys/fs/cgroup/memory/docker/abc/memory.kmem.usage_in_bytes": "600000\n",
    "/sys/fs/cgroup/memory/docker/abc/memory.stat": (
        "cache 5\ntotal_cache 1400000\ntotal_rss 1000000\ntotal_inactive_file 1000000\n"
    ),
    "/sys/fs/cgroup/memory/docker/abc/memory.max_usage_in_bytes": "3821568\n",
    "/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "33554432\n",
}
PROC_V2 = "0::/system.slice/docker-abc.scope\n"
FOLDER_V2 = "/sys/fs/cgroup/system.slice/docker-abc.scope"
FILES_V2 = {
    f"{FOLDER_V2}/cpu.stat": "usage_usec 25354\nuser_usec 9\nnr_periods 20\nnr_throttled 3\nthrottled_usec 43060\n",
    f"{FOLDER_V2}/cpu.max": "35000 100000\n",
    f"{FOLDER_V2}/memory.current": "3000000\n",
    f"{FOLDER_V2}/memory.stat": "anon 1000000\nfile 1400000\nkernel 600000\nslab 7\ninactive_file 1000000\n",
    f"{FOLDER_V2}/memory.peak": "3821568\n",
    f"{FOLDER_V2}/memory.max": "33554432\n",
}
READING = Reading(
    cpu_ns=25_354_072,
    periods=20,
    throttled_periods=3,
    throttled_ns=43_060_850,
    memory_bytes=2_000_000,
    memory_peak_bytes=3_821_568,
    memory_limit_bytes=33_554_432,
    cpus_limit=0.35,
)


def reader(files: dict[str, str]) -> ReadText:
    """Read from a dict instead of a disk."""

    def read_text(path: str) -> str:
        if path not in files:
            raise FileNotFoundError(path)
        return files[path]

    return read_text


class TestPathsOf:
    """/proc/PID/cgroup."""

    def test_each_controller_has_its_path(self) -> None:
        """Controllers that share a tree are told apart, version 2's tree has the empty name."""
        assert paths_of("3:cpu,cpuacct:/a\n0::/b:c\n") == {"cpu": "/a", "cpuacct": "/a", "": "/b:c"}


class TestRead:
    """Both versions of the files."""

    def test_version_1(self) -> None:
        """Version 1 counts in nanoseconds already."""
        assert read(PROC_V1, reader(FILES_V1)) == READING

    def test_version_2(self) -> None:
        """Version 2 counts in microseconds."""
        expected = dataclasses.replace(READING, cpu_ns=25_354_000, throttled_ns=43_060_000)
        assert read(PROC_V2, reader(FILES_V2)) == expected

    def test_no_limits_in_version_1(self) -> None:
        """A quota of -1 and the largest number of pages are no limit."""
        files = FILES_V1 | {
            "/sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us": "-1\n",
            "/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "9223372036854771712\n",
        }
        reading = read(PROC_V1, reader(files))
        assert (reading.cpus_limit, reading.memory_limit_bytes) == (None, None)

    def test_no_limits_in_version_2(self) -> None:
        """The word max is no limit; without a quota the kernel shows no periods."""
        files = FILES_V2 | {
            f"{FOLDER_V2}/cpu.max": "max 100000\n",
            f"{FOLDER_V2}/memory.max": "max\n",
            f"{FOLDER_V2}/cpu.stat": "usage_usec 25354\n",
        }
        reading = read(PROC_V2, reader(files))
        assert (reading.cpus_limit, reading.memory_limit_bytes, reading.periods) == (None, None, 0)

    def test_a_kernel_without_a_peak_shows_the_present(self) -> None:
        """Linux before 5.19 has no memory.peak."""
        files = {path: text for path, text in FILES_V2.items() if not path.endswith("peak")}
        assert read(PROC_V2, reader(files)).memory_peak_bytes == 3_000_000

    def test_a_kernel_without_the_sum_of_its_own_memory_shows_the_parts(self) -> None:
        """Linux before 5.18 has no `kernel` in memory.stat."""
        parts = "anon 1000000\nfile 1400000\nkernel_stack 100000\nslab 500000\ninactive_file 1000000\n"
        files = FILES_V2 | {f"{FOLDER_V2}/memory.stat": parts}
        assert read(PROC_V2, reader(files)).memory_bytes == 2_000_000

    def test_a_process_in_no_cgroup_is_an_error(self) -> None:
        """There is nothing to read then."""
        with pytest.raises(ValueError, match="no cgroup that counts CPU"):
            read("2:cpuset:/\n", reader({}))


class TestUsed:
    """The difference of two readings."""

    def test_counters_are_subtracted_and_memory_is_the_later_one(self) -> None:
        """CPU and throttling are what happened in between."""
        end = dataclasses.replace(
            READING, cpu_ns=26_000_000, periods=25, throttled_periods=4, throttled_ns=50_000_000, memory_bytes=7
        )
        usage = used(READING, end)
        assert usage is not None
        assert (usage.cpu_ns, usage.periods, usage.throttled_periods) == (645_928, 5, 1)
        assert (usage.throttled_ns, usage.memory_bytes) == (6_939_150, 7)

    def test_a_container_started_anew_has_no_usage(self) -> None:
        """Counters that went back say that what was used is not known."""
        assert used(READING, dataclasses.replace(READING, cpu_ns=1)) is None

"""Reading how often the container was frozen."""

from pathlib import Path

import pytest

from server.quota import CpuQuota

V1 = "nr_periods 610\nnr_throttled 12\nthrottled_time 565000000\n"
V2 = (
    "usage_usec 5510000\nuser_usec 5000000\nsystem_usec 510000\n"
    "nr_periods 606\nnr_throttled 3\nthrottled_usec 41000\nnr_bursts 0\nburst_usec 0\n"
)


class TestThrottledPeriods:
    """CpuQuota.throttled_periods."""

    @pytest.mark.parametrize(("text", "periods"), [(V1, 12), (V2, 3)], ids=["v1", "v2"])
    def test_both_versions(self, tmp_path: Path, text: str, periods: int) -> None:
        """Both cgroup versions call it the same."""
        stat = tmp_path / "cpu.stat"
        stat.write_text(text)
        quota = CpuQuota((tmp_path / "missing", stat))
        assert quota.throttled_periods() == periods

    def test_the_first_that_tells_of_throttling(self, tmp_path: Path) -> None:
        """A root cgroup has a file, too, but no quota."""
        root, stat = tmp_path / "root.stat", tmp_path / "cpu.stat"
        root.write_text("usage_usec 1\n")
        stat.write_text(V1)
        assert CpuQuota((root, stat)).throttled_periods() == 12

    def test_is_read_anew(self, tmp_path: Path) -> None:
        """Each call tells what the file says now."""
        stat = tmp_path / "cpu.stat"
        stat.write_text(V1)
        quota = CpuQuota((stat,))
        stat.write_text(V1.replace("12", "13"))
        assert quota.throttled_periods() == 13

    def test_without_a_quota(self, tmp_path: Path) -> None:
        """Where nothing tells of throttling there is none."""
        root = tmp_path / "cpu.stat"
        root.write_text("usage_usec 1\n")
        quota = CpuQuota((root, tmp_path / "missing"))
        assert quota.throttled_periods() == 0

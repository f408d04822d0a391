"""Tests of tools/benchmark/latencies.py."""

from tests.tools.benchmark.samples import LATENCY
from tools.benchmark.latencies import NONE, count_of, of_metrics

VALUES = {"count": 10, "p(50)": 1.0, "p(90)": 2.0, "p(99)": 3.0, "p(99.9)": 4.0, "max": 5.0, "avg": 1.5, "min": 0.5}


class TestOfMetrics:
    """Latencies out of k6's metrics."""

    def test_each_subset_is_found_by_its_name(self) -> None:
        """All, the successful, each kind and each stage have their place."""
        names = ("", "{expected_response:true}", "{kind:payment}", "{stage:1}")
        found = of_metrics({f"http_req_duration{name}": {"values": VALUES} for name in names}, 2)
        assert (found.every, found.successful, found.kinds["payment"], found.stages[1]) == (LATENCY,) * 4

    def test_what_had_no_requests_is_none(self) -> None:
        """A kind that is absent, or was asked for and never met, has no latency."""
        found = of_metrics({"http_req_duration{kind:admin}": {"values": {"count": 0, "p(50)": 0}}}, 1)
        assert (found.every, found.kinds["admin"], found.stages[0]) == (NONE, NONE, NONE)


class TestCountOf:
    """Counters out of k6's metrics."""

    def test_reads_a_counter(self) -> None:
        """Its count is a whole number."""
        assert count_of({"accepted": {"values": {"count": 12.0, "rate": 1.0}}}, "accepted") == 12

    def test_an_unused_counter_is_zero(self) -> None:
        """k6 leaves out what was never added to."""
        assert count_of({}, "refused") == 0

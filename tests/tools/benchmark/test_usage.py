"""Tests of tools/benchmark/usage.py."""

import dataclasses

from tests.tools.benchmark.samples import USAGE
from tools.benchmark.meters import Metered
from tools.benchmark.outcome import Used
from tools.benchmark.usage import usage_lines


def shown(used: Used) -> str:
    """The text for ten payments."""
    return "\n".join(usage_lines(used, 10))


class TestUsageLines:
    """Containers, and what is beside them."""

    def test_a_container_is_a_line_and_all_are_summed(self) -> None:
        """Its CPU, throttling, memory now and at its peak, each beside its limit: 2 ms in 40 ms, of a quarter."""
        assert list(usage_lines(Used([Metered("app1", USAGE)], [], 1.5, 42.0, 0.04), 10)) == [
            "  container  CPU s  µs/payment  of its CPU  throttled  ms    MB  of cap  peak MB  of cap",
            "  app1        0.00         200         20%    2 of 30   5  10.0     25%     20.0     50%",
            "  together    0.00         200",
            "beside it, CPU s: generator 1.50, processors –; machine idle 42 %",
        ]

    def test_without_containers_there_are_no_meters(self) -> None:
        """Said in words rather than as an empty table."""
        assert "containers: none found behind the target" in shown(Used([], [], 1.0, 50.0, 3.0))

    def test_what_is_not_known_is_a_dash(self) -> None:
        """No limits have no shares, and a container that can't be read has no figures."""
        unlimited = dataclasses.replace(USAGE, cpus_limit=None, memory_limit_bytes=None)
        used = Used([Metered("app1", unlimited), Metered("app2", None)], [Metered("default", USAGE)], 1.0, 50.0, 3.0)
        text = shown(used)
        assert "  app1               0.00         200           –    2 of 30   5  10.0       –     20.0       –" in text
        assert "  app2       not readable           –           –          –   –     –       –        –       –" in text
        assert "together" not in text
        assert "processors 0.00" in text

    def test_a_container_that_ended_is_called_so(self) -> None:
        """Its figures are not known either, and that is no fault of the meters."""
        assert "  app2       ended  " in shown(Used([Metered("app2", None, ended=True)], [], 1.0, 50.0, 3.0))

    def test_a_busy_machine_is_called_so(self) -> None:
        """With less than a tenth idle the machine was measured, not the gateway."""
        assert "machine idle 9 %: machine-bound" in shown(Used([], [], 1.0, 9.0, 3.0))

"""The program `tools/simulate`, as people start it."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parent.parent.parent / "tools" / "simulate"
STOPS_WITHIN_S = 20


def simulate(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Runs the program to its end."""
    return subprocess.run(
        [sys.executable, PROGRAM, *arguments], capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.slow
class TestSimulate:
    """The executable."""

    def test_replays_a_seed(self) -> None:
        """All that happened, and the verdict."""
        result = simulate("--seed", "3")
        assert result.returncode == 0, result.stderr
        assert "instance 0 starts" in result.stdout
        assert result.stdout.splitlines()[-1].startswith("seed 3: all invariants held")

    def test_counts_what_many_seeds_met(self) -> None:
        """A line per fault and transition; too few seeds to meet everything are not enough."""
        result = simulate("--seeds", "30", "--jobs", "2")
        assert "SENDING on PAID" in result.stdout
        assert "30 seeds in" in result.stdout
        assert "0 seeds failed" in result.stdout
        assert "never met" in result.stdout
        assert "chance with so few seeds" in result.stdout
        assert result.returncode == 1

    def test_a_failing_seed_is_named_with_its_end(self) -> None:
        """With a rule broken on purpose."""
        result = simulate("--seeds", "40", "--jobs", "2", "--mutation", "stamp-anew")
        assert result.returncode == 1
        assert "tools/simulate --seed" in result.stdout
        assert "FAILED" in result.stdout

    def test_stops_on_interrupt(self) -> None:
        """Ctrl-C ends it soon, without a traceback, and its processes too."""
        process = subprocess.Popen(
            [sys.executable, PROGRAM, "--seeds", "100000", "--jobs", "2"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        time.sleep(3)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=STOPS_WITHIN_S)
        assert process.returncode == 130
        assert "Traceback" not in errors

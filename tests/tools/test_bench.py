"""Tests of tools/bench."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "tools" / "bench"


@pytest.mark.slow
class TestBench:
    """The program as a person starts it."""

    def test_help_names_every_command(self, tmp_path: Path) -> None:
        """From any folder, it says what it does."""
        done = subprocess.run([BENCH, "--help"], cwd=tmp_path, check=True, capture_output=True, text=True)
        for command in ("preview", "final", "load", "floor", "saturate", "drain", "summary", "soak", "hop"):
            assert f"  {command}" in done.stdout

    def test_a_wrong_option_is_a_sentence(self) -> None:
        """And exit status 2, without a traceback."""
        words = ["preview", "--target", "nonsense"]
        done = subprocess.run([sys.executable, BENCH, *words], check=False, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (2, "")
        assert done.stdout.endswith("bench: nonsense is not an http:// address.\n")

    def test_a_full_disk(self) -> None:
        """One sentence and exit status 2, no traceback, also as the process ends."""
        with Path("/dev/full").open("w") as full:
            words = ["saturate", "--target", "http://127.0.0.1:1"]
            done = subprocess.run(
                [sys.executable, BENCH, *words], check=False, stdout=full, stderr=subprocess.PIPE, text=True
            )
        assert (done.returncode, done.stderr) == (2, "bench: The output can't be written: No space left on device.\n")

"""The program `tools/simulate`, as people start it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parent.parent.parent / "tools" / "simulate"
STOPS_WITHIN_S = 20
SESSION = 2  # column of /proc/PID/stat after the state, proc(5)


def simulate(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Runs the program to its end."""
    return subprocess.run(
        [sys.executable, PROGRAM, *arguments], capture_output=True, text=True, check=False, timeout=120
    )


def of_session(leader: int) -> list[int]:
    """The processes of a session that live, its leader among them."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            state, *columns = stat.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
            if columns[SESSION] == str(leader) and state != "Z":
                found.append(int(stat.parent.name))
    return found


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

    def test_is_quiet_when_its_reader_goes_away(self) -> None:
        """`--seed 3 | head -1`."""
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write) as unread:
            result = subprocess.run(
                [sys.executable, PROGRAM, "--seed", "3"],
                stdout=unread,
                stderr=subprocess.PIPE,
                check=False,
                timeout=120,
            )
        assert (result.returncode, result.stderr) == (-signal.SIGPIPE, b"")

    @pytest.mark.parametrize("arguments", [["--seed", "3"], ["--seeds", "2"]])
    def test_a_full_disk(self, arguments: list[str]) -> None:
        """One sentence and exit status 2, no traceback, also as the process ends; 1 would mean a broken rule."""
        with Path("/dev/full").open("w") as full:
            result = subprocess.run(
                [sys.executable, PROGRAM, *arguments],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
                timeout=120,
            )
        said = "simulate: The output can't be written: No space left on device.\n"
        assert (result.returncode, result.stderr) == (2, said)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    def test_stops_when_told(self, number: signal.Signals) -> None:
        """Ctrl-C ends it soon, without a traceback, and its processes too; so does SIGTERM. Killed, it leaves none."""
        process = subprocess.Popen(
            [sys.executable, PROGRAM, "--seeds", "100000", "--jobs", "2"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            deadline_s = time.monotonic() + STOPS_WITHIN_S
            while len(of_session(process.pid)) <= 2:
                assert time.monotonic() < deadline_s, "its processes do not start"
                time.sleep(0.1)
            time.sleep(2)  # they are at work
            process.send_signal(number)
            _, errors = process.communicate(timeout=STOPS_WITHIN_S)
            assert process.returncode == (-number if number == signal.SIGKILL else 130)
            assert "Traceback" not in errors
            deadline_s = time.monotonic() + STOPS_WITHIN_S  # what keeps shared things for Python ends after the rest
            while of_session(process.pid) and time.monotonic() < deadline_s:
                time.sleep(0.1)
            assert of_session(process.pid) == []
        finally:
            for pid in of_session(process.pid):
                os.kill(pid, signal.SIGKILL)

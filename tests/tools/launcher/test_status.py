"""Tests of tools/launcher/status.py."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shm import DispatcherCount, WorkerCount
from tests.tools.ring_view.segments import Filled, unique_instance
from tools.launcher import status
from tools.launcher.status import Status, Watch

ROOT = Path(__file__).resolve().parents[3]
DEADLINE_S = 20


@pytest.fixture
def filled() -> Iterator[Filled]:
    """A segment whose processes have counted."""
    segment = Filled()
    segment.publish(1)
    for worker in range(2):
        segment.segment.worker_counters(worker).add(WorkerCount.ACCEPTED, 10 + worker)
    row = segment.segment.dispatcher_counters(0)
    row.add(DispatcherCount.SETTLED_DEFAULT, 8)
    row.add(DispatcherCount.SETTLED_FALLBACK, 4)
    row.put(DispatcherCount.WAITING, 5)
    row.put(DispatcherCount.SENDING, 2)
    row.put(DispatcherCount.UNKNOWN, 1)
    yield segment
    segment.close()


class TestStatus:
    """Status."""

    def test_for_people(self) -> None:
        """Unknown outcomes only where there are some."""
        assert str(Status(1234, 1000, 200, 34, 0)) == "accepted 1,234  settled: default 1,000, fallback 200  waiting 34"
        assert str(Status(1, 0, 0, 1, 1)).endswith("waiting 1 (1 unknown)")


class TestWatch:
    """Watch."""

    def test_adds_up_all_that_is_there(self, filled: Filled) -> None:
        """Over workers, lanes, dispatchers and instances; one without a segment counts nothing yet."""
        watch = Watch([filled.instance, unique_instance()])
        assert watch.look() == Status(accepted=21, default=8, fallback=4, waiting=9, unknown=1)

    def test_later_looks_see_what_has_changed(self, filled: Filled) -> None:
        """In the same mapping."""
        watch = Watch([filled.instance])
        watch.look()
        filled.segment.worker_counters(0).add(WorkerCount.ACCEPTED)
        assert watch.look().accepted == 22


@pytest.mark.slow
class TestProgram:
    """status.py by itself, as it runs in a container."""

    def test_prints_numbers_until_told_to_stop(self, filled: Filled) -> None:
        """A line a second in the order of `Status`, from its text alone; SIGTERM ends it."""
        command = [sys.executable, "-c", Path(status.__file__).read_text(encoding="utf-8"), filled.instance]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as program:
            assert program.stdout is not None
            assert program.stdout.readline() == "21 8 4 9 1\n"
            assert program.stdout.readline() == "21 8 4 9 1\n"
            program.send_signal(signal.SIGTERM)
            assert program.wait(DEADLINE_S) == 0

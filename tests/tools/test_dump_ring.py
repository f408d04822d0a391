"""`tools/dump_ring` as its user runs it: a process of its own beside a running instance, or a left-over segment."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing.synchronize import Event as Signal
from pathlib import Path

import pytest

from shm import Accepted, Ended, Event, Geometry, Segment, State, take_role
from tests.shm.segments import remove
from tests.tools.ring_view.segments import Filled, payment_id, unique_instance
from tools.ring_view.locks import read_locks
from tools.ring_view.reading import take_snapshot
from tools.ring_view.snapshot import Moment

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "tools" / "dump_ring"
LIMIT_S = 60
LARGE = Geometry(workers=2, dispatchers=1, lane_slots=1024, waiting_slots=65_536, journal_records=131_072)
BUSY = Geometry(workers=1, dispatchers=1, lane_slots=16, waiting_slots=64, journal_records=1024)
LOOKS = 60
AMOUNT_CENTS = 1990

pytestmark = pytest.mark.slow


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the program to its end."""
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=LIMIT_S, check=False)


class TestDumpRing:
    """The executable."""

    def test_help(self) -> None:
        """--help says what it does, and how to use it in Docker."""
        shown = run("--help")
        assert (shown.returncode, shown.stderr) == (0, "")
        assert "running or left over" in shown.stdout
        assert "docker compose run --rm --no-deps" in shown.stdout

    def test_a_left_over_segment(self, filled: Filled) -> None:
        """What a dead instance left is shown, with what waits in it."""
        filled.wait(1)
        filled.settle(2, 1, amount_cents=123_456)
        shown = run(filled.instance)
        assert (shown.returncode, shown.stderr) == (0, "")
        assert "left over: nobody is seen running it; payments accepted and not ended: 1" in shown.stdout
        assert "\n  fallback          1  1,234.56\n" in shown.stdout

    def test_a_running_instance_is_not_disturbed(self, filled: Filled) -> None:
        """Beside one who holds the role, the holder is named, and not a byte of the segment changes."""
        filled.publish(1)
        with take_role(filled.instance, "supervisor"):
            before = filled.file.read_bytes()
            seen = json.loads(run(filled.instance, "--json").stdout)
            assert filled.file.read_bytes() == before
        assert seen["processes"][0]["lock_pid"] == os.getpid()
        assert seen["lanes"][0]["depth"] == 1

    def test_list(self, filled: Filled) -> None:
        """Without arguments, the segments there are."""
        shown = run()
        assert shown.returncode == 0
        assert filled.instance in shown.stdout

    def test_a_missing_segment(self) -> None:
        """A missing segment is a sentence, no traceback."""
        instance = unique_instance()
        shown = run(instance)
        assert (shown.returncode, shown.stdout) == (3, "")
        assert shown.stderr.startswith(f"dump_ring: there is no segment /gateway-{instance}")
        assert "Traceback" not in shown.stderr

    def test_an_unknown_id(self, filled: Filled) -> None:
        """Scripts can tell an unknown id by the exit code."""
        assert run(filled.instance, "--id", str(payment_id(1))).returncode == 1

    def test_ctrl_c_ends_a_watch(self, filled: Filled) -> None:
        """Ctrl-C is how a watch ends: in order, at once, without a word."""
        command = [str(PROGRAM), filled.instance, "--watch", "30", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watch:
            assert watch.stdout is not None
            assert json.loads(watch.stdout.readline())["unsettled"] == 0
            watch.send_signal(signal.SIGINT)
            rest, errors = watch.communicate(timeout=LIMIT_S)
        assert (watch.returncode, rest, errors) == (0, "", "")

    def test_a_reader_that_goes_away(self, filled: Filled) -> None:
        """Piped into a program that reads one line, it ends without a traceback."""
        command = f"{PROGRAM} {filled.instance} | head -n 1"
        shown = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=LIMIT_S, check=True)
        assert (shown.stdout.count("\n"), shown.stderr) == (1, "")

    @pytest.mark.parametrize("further", [[], ["--watch", "30"]])
    def test_a_full_disk(self, filled: Filled, further: list[str]) -> None:
        """One sentence, no traceback, also as the process ends."""
        command = [str(PROGRAM), filled.instance, *further]
        with Path("/dev/full").open("w") as full:
            shown = subprocess.run(
                command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=LIMIT_S, check=False
            )
        assert (shown.returncode, shown.stderr) == (4, "dump_ring: No space left on device\n")


class TestModule:
    """`python -m tools.ring_view`, the way in where there is no `.venv`."""

    def test_needs_posix_ipc_and_nothing_else(self, filled: Filled) -> None:
        """Of all packages, only posix_ipc is loaded: the image has no tools for development."""
        code = (
            "import runpy, sys; from pathlib import Path\n"
            f"sys.argv = ['ring_view', {filled.instance!r}]\n"
            "try: runpy.run_module('tools.ring_view', run_name='__main__')\n"
            "except SystemExit: pass\n"
            "print({name.split('.')[0] for name, module in sys.modules.items()"
            " if 'site-packages' in str(getattr(module, '__file__', ''))})"
        )
        command = [sys.executable, "-c", code]
        shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=True)
        loaded = shown.stdout.splitlines()[-1]
        assert "posix_ipc" in loaded
        assert not {"httpx", "starlette", "redis", "uvicorn", "orjson"} & set(
            loaded.strip("{}").replace("'", "").split(", ")
        )


class TestLargeSegment:
    """A segment with 200,000 slots, all taken."""

    def test_takes_little_cpu_time(self) -> None:
        """A whole look is quick enough to be taken beside a running instance: a quarter of what filling it takes."""
        large = Filled(LARGE)
        try:
            filling_since_s = time.process_time()
            for number in range(LARGE.journal_records):
                large.settle(number, number % 2)
            for number in range(LARGE.waiting_slots):
                large.wait(number)
            began_s = time.process_time()
            filling_s = began_s - filling_since_s
            view = take_snapshot(large.attach(), large.instance, read_locks(), Moment.now)
            took_s = time.process_time() - began_s
        finally:
            large.close()
        assert view.areas[0].table.free == 0
        assert view.unsettled == LARGE.waiting_slots
        assert took_s < filling_s / 2


class TestBusySegment:
    """A segment whose dispatcher works as fast as it can while it is looked at."""

    def test_every_look_is_exact(self) -> None:
        """Each total is a whole number of payments, no look goes back, and nothing looks damaged."""
        instance = unique_instance()
        Segment.create(instance, BUSY)
        context = multiprocessing.get_context("spawn")
        enough = context.Event()
        writer = context.Process(target=work, args=(instance, enough))
        writer.start()
        try:
            deadline_s = time.monotonic() + LIMIT_S
            segment = Segment.attach(instance, read_only=True)
            while not segment.journal(0).base.journal_tail:  # until it folds
                assert time.monotonic() < deadline_s, "the writer did not start"
                time.sleep(0.01)
            looks = [take_snapshot(segment, instance, read_locks(), Moment.now) for _ in range(LOOKS)]
        finally:
            enough.set()
            writer.join(LIMIT_S)
            remove(instance)
        assert writer.exitcode == 0
        assert {alarm for view in looks for alarm in view.alarms if "damaged" in alarm or "torn" in alarm} == set()
        totals = [view.totals["default"] for view in looks if view.totals is not None]
        assert len(totals) > LOOKS // 2  # the others were overtaken, and said so
        assert [total.amount_cents for total in totals] == [AMOUNT_CENTS * total.count for total in totals]
        counts = [total.count for total in totals]
        assert counts == sorted(counts)
        heads = {view.areas[0].journal.head: view.totals["default"].count for view in looks if view.totals is not None}
        assert all(head == count for head, count in heads.items())


def work(instance: str, enough: Signal) -> None:
    """Runs in a child: is worker and dispatcher at once, and settles payment after payment."""
    segment = Segment.attach(instance)
    lane, table, journal = segment.lane(0, 0), segment.table(0), segment.journal(0)
    free = list(range(len(table)))
    number = 0
    while not enough.is_set():
        for _ in range(BUSY.lane_slots):
            number += 1
            assert lane.try_publish(Accepted(payment_id(number).bytes, AMOUNT_CENTS, time.time_ns() // 1000))
        for _ in range(BUSY.lane_slots):
            accepted = lane.peek(lane.tail)
            assert accepted is not None
            slot = free.pop()
            table.insert(slot, accepted)
            lane.advance(lane.tail + 1)
            table.begin(slot, 0, accepted.accepted_at_us // 1000)
            if journal.is_full():
                for old in journal.fold(BUSY.lane_slots):
                    table.apply(old, Event.FOLDED)
                    free.append(old)
            journal.append(Ended(State.SETTLED, 0, accepted.accepted_at_us // 1000, AMOUNT_CENTS, slot))
            table.apply(slot, Event.PAID)

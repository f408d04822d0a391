"""Time slices, with the kernel that the tests run on."""

import ctypes
import errno
import logging
import os
import re
import subprocess
import sys

import pytest

from server import time_slice
from server.time_slice import LONGEST_US, SHORTEST_US, set_time_slice

HEEDED_SINCE = (6, 12)
IN_A_PROCESS_OF_ITS_OWN = """
import ctypes, logging, os, sys
from server import time_slice
logging.basicConfig(level=logging.WARNING)
os.nice(3)
time_slice.set_time_slice(int(sys.argv[1]))
buffer = ctypes.create_string_buffer(48)
time_slice._call(time_slice._CALLS[os.uname().machine][1], 0, buffer, 48, 0)
_, policy, _, nice, _, runtime, _, _ = time_slice._ATTRIBUTES.unpack(buffer.raw)
print(policy, nice, runtime)
"""


class Refusing:
    """A C library whose system calls a filter refuses."""

    @staticmethod
    def syscall(*_: object) -> int:
        """Not permitted."""
        ctypes.set_errno(errno.EPERM)
        return -1


class TestSetTimeSlice:
    """set_time_slice."""

    @pytest.mark.parametrize("slice_us", [SHORTEST_US, LONGEST_US])
    def test_the_kernel_knows_it(self, slice_us: int) -> None:
        """The process has the slice, is as ordinary as before and as nice; an older kernel says nothing of slices."""
        run = subprocess.run(
            [sys.executable, "-c", IN_A_PROCESS_OF_ITS_OWN, str(slice_us)],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        policy, nice, runtime_ns = map(int, run.stdout.split())
        release = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
        assert runtime_ns == (slice_us * 1000 if release >= HEEDED_SINCE else 0)
        assert (policy, nice, run.stderr) == (os.SCHED_OTHER, 3, "")

    def test_a_refusal_is_told(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        """What the kernel refuses is no reason not to work."""
        monkeypatch.setattr(time_slice, "_libc", Refusing)
        set_time_slice(SHORTEST_US)
        (record,) = caplog.records
        assert (record.levelno, os.strerror(errno.EPERM) in record.message) == (logging.WARNING, True)

    def test_an_unknown_machine_is_told(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Numbers of system calls are not guessed."""
        monkeypatch.setattr(time_slice, "_CALLS", {})
        monkeypatch.setattr(time_slice, "_libc", None)
        set_time_slice(SHORTEST_US)
        assert os.uname().machine in caplog.text

"""Tests of tools/launcher/screen.py."""

import errno
import io
import os
from pathlib import Path
from typing import NoReturn

import pytest

from tools.launcher.errors import LaunchError, Stop
from tools.launcher.screen import Screen, this_screen


class Gone(io.StringIO):
    """A pipe whose reader has gone."""

    def flush(self) -> NoReturn:
        """As the system says it."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


class TestScreen:
    """Screen."""

    def test_a_status_is_written_over(self) -> None:
        """On a terminal: by the next one, and by a line that stays."""
        out = io.StringIO()
        screen = Screen(out, is_live=True, columns=lambda: 80)
        screen.show("waiting 1")
        screen.show("waiting 2")
        screen.say("stopping")
        screen.say("stopped")
        assert out.getvalue() == "\rwaiting 1\033[K\rwaiting 2\033[K\r\033[Kstopping\nstopped\n"

    def test_a_status_fits_on_one_line(self) -> None:
        """Or it could not be written over."""
        out = io.StringIO()
        Screen(out, is_live=True, columns=lambda: 8).show("waiting 1")
        assert out.getvalue() == "\rwaiting\033[K"

    def test_in_a_file_a_status_is_a_line(self) -> None:
        """When it changes; and again after something else was said."""
        out = io.StringIO()
        screen = Screen(out, is_live=False)
        for status in ("waiting 1", "waiting 1", "waiting 2"):
            screen.show(status)
        screen.say("haproxy ended")
        screen.show("waiting 2")
        assert out.getvalue() == "waiting 1\nwaiting 2\nhaproxy ended\nwaiting 2\n"

    def test_nobody_reads(self) -> None:
        """That ends the run, and what is said while it stops is lost without an error."""
        screen = Screen(Gone(), is_live=False)
        screen.check()
        screen.say("Ctrl-C stops everything.")
        screen.say("stopping")
        with pytest.raises(Stop):
            screen.check()

    def test_a_full_disk(self) -> None:
        """That ends the run with a sentence, not as if somebody had wanted it to end."""
        with Path("/dev/full").open("w") as full:
            screen = Screen(full, is_live=False)
            screen.say("hello")
            with pytest.raises(LaunchError, match="the output can't be written: No space left on device"):
                screen.check()

    def test_a_real_stream_is_silenced(self, tmp_path: Path) -> None:
        """What it still holds is not tried again when the process ends."""
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "w") as out:
            screen = Screen(out, is_live=False)
            screen.say("hello")
            with pytest.raises(Stop):
                screen.check()
            out.flush()

    def test_standard_output(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Is what `tools/run` writes to."""
        this_screen().say("hello")
        assert capsys.readouterr().out == "hello\n"

"""server/log.py: no line of the log ever holds up whoever writes it."""

import logging
import os
import pty
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from server.log import NonBlockingHandler, UtcFormatter

PIPE_BYTES = 65_536  # Linux's, by default
CUT_SHORT = b"lines of the log are lost here: they could not be written\n"


def record(text: str) -> logging.LogRecord:
    """A record of the log."""
    return logging.LogRecord("server", logging.INFO, __file__, 1, text, None, None)


def drain(reader: int) -> None:
    """Reads whatever is there."""
    os.set_blocking(reader, False)
    with suppress(BlockingIOError):
        while os.read(reader, PIPE_BYTES):
            pass


@contextmanager
def handler_of(writer: int) -> Iterator[NonBlockingHandler]:
    """A handler, closed in the end."""
    made = NonBlockingHandler(writer)
    yield made
    made.close()
    os.fstat(writer)  # which stays open


class TestTimes:
    """When something was logged."""

    def test_in_utc(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Wherever the machine is, and said so."""
        logged = record("one")
        logged.created, logged.msecs = 1_796_090_503.0, 7.0
        with monkeypatch.context() as patch:
            patch.setenv("TZ", "WEST+3")
            time.tzset()
            text = UtcFormatter("%(asctime)s %(message)s").format(logged)
        time.tzset()
        assert text == "2026-12-01T02:01:43.007Z one"


class TestWritten:
    """A reader who reads."""

    @pytest.mark.parametrize("make", [os.pipe, pty.openpty, lambda: tuple(end.detach() for end in socket.socketpair())])
    def test_lines(self, make: Callable[[], tuple[int, int]]) -> None:
        """A pipe, a terminal, a socket: as they come, and whatever characters are in them."""
        reader, writer = make()
        with handler_of(writer) as handler:
            for text in ("one", "zwei ä €", "half a \ud800 pair"):
                handler.emit(record(text))
        expected = "one\nzwei ä €\nhalf a \\ud800 pair\n".encode()
        written = b""
        while len(written) < len(expected):  # a terminal hands it over in pieces
            written += os.read(reader, 1000).replace(b"\r", b"")
        assert written == expected
        assert os.get_blocking(writer), "what others write there may wait as before"

    def test_a_file(self, tmp_path: Path) -> None:
        """Behind what others write to the same opening."""
        path = tmp_path / "log"
        with path.open("wb", buffering=0) as file, handler_of(file.fileno()) as handler:
            handler.emit(record("one"))
            file.write(b"another\n")
            handler.emit(record("two"))
        assert path.read_bytes() == b"one\nanother\ntwo\n"

    def test_a_bug_in_a_call(self) -> None:
        """Is told like any other line."""
        reader, writer = os.pipe()
        with handler_of(writer) as handler:
            handler.emit(logging.LogRecord("server", logging.INFO, __file__, 1, "%d", ("no number",), None))
        told = os.read(reader, 10_000).decode()
        assert told.startswith("a line of the log can't be written: '%d', ('no number',)\n")
        assert "TypeError" in told

    def test_a_descriptor_that_is_closed(self) -> None:
        """Its number is kept from the next file that is opened, which would get the lines."""
        number = os.dup(2)
        os.close(number)
        handler = NonBlockingHandler(number)
        handler.emit(record("one"))
        assert Path(f"/proc/self/fd/{number}").readlink() == Path(os.devnull)
        handler.close()
        os.close(number)


class TestNotWritten:
    """A reader who has stopped."""

    @pytest.mark.parametrize("make", [os.pipe, lambda: tuple(end.detach() for end in socket.socketpair())])
    def test_a_reader_who_comes_back(self, make: Callable[[], tuple[int, int]]) -> None:
        """What had no room is left out, and the next line says how much."""
        reader, writer = make()
        with handler_of(writer) as handler:
            while not handler.lost:
                handler.emit(record("x" * 1000))
            for _ in range(2):
                handler.emit(record("y" * 100_000))
            drain(reader)
            handler.emit(record("again"))
            assert os.read(reader, PIPE_BYTES).lstrip(b"\n") == b"3 " + CUT_SHORT + b"again\n"
            handler.emit(record("and again"))
            assert os.read(reader, PIPE_BYTES) == b"and again\n"

    def test_a_line_that_was_cut_short(self) -> None:
        """The next one begins a line of its own."""
        reader, writer = os.pipe()
        with handler_of(writer) as handler:
            handler.emit(record("x" * 2 * PIPE_BYTES))
            drain(reader)
            handler.emit(record("again"))
            assert os.read(reader, PIPE_BYTES) == b"\n1 " + CUT_SHORT + b"again\n"

    def test_a_child_begins_anew(self) -> None:
        """What its parent has lost the parent tells."""
        reader, writer = os.pipe()
        with handler_of(writer) as handler:
            while not handler.lost:
                handler.emit(record("x" * 1000))
            drain(reader)
            pid = os.fork()
            if pid == 0:
                handler.emit(record("born"))
                os._exit(0)
            os.waitpid(pid, 0)
            assert os.read(reader, PIPE_BYTES) == b"born\n"
            handler.emit(record("again"))
            assert CUT_SHORT in os.read(reader, PIPE_BYTES)

    def test_nobody_reads_any_more(self) -> None:
        """A closed pipe is no error of the one who writes."""
        reader, writer = os.pipe()
        with handler_of(writer) as handler:
            os.close(reader)
            handler.emit(record("one"))
            assert handler.lost == 1

    def test_a_full_disk(self) -> None:
        """Nor is a full disk."""
        with Path("/dev/full").open("wb") as full, handler_of(full.fileno()) as handler:
            handler.emit(record("one"))
            assert handler.lost == 1

    def test_an_opening_of_another_user(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What can't be opened once more is written to as it is."""
        reader, writer = os.pipe()

        def refuse(*_: object) -> int:
            raise PermissionError

        monkeypatch.setattr(os, "open", refuse)
        with handler_of(writer) as handler:
            handler.emit(record("one"))
            assert os.read(reader, 100) == b"one\n"
            for _ in range(100):
                handler.emit(record("x" * 1000))
            assert handler.lost > 30
            drain(reader)
            handler.emit(record("again"))
            assert os.read(reader, PIPE_BYTES).endswith(CUT_SHORT + b"again\n")


class TestInstance:
    """`python -m server`."""

    @pytest.mark.slow
    def test_goes_on_without_a_reader(self, instance: str) -> None:
        """Its log is set up with this handler: more lines than a pipe holds do not stop the process."""
        program = (
            "import logging, sys\nfrom server import __main__ as main\n"
            "main._run = lambda config: [logging.getLogger('server').info('x' * 1000) for _ in range(200)] and 0\n"
            "sys.argv[1:] = []\nsys.exit(main.main())"
        )
        reader, writer = os.pipe()
        root = Path(__file__).resolve().parents[2]
        environment = {**os.environ, "INSTANCE": instance}
        done = subprocess.run(
            [sys.executable, "-c", program], check=False, cwd=root, env=environment, stderr=writer, timeout=30
        )
        os.close(reader)
        assert done.returncode == 0

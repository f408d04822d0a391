"""A child process that prints lines: started, read, and ended whatever happens.

It is started in a session of its own, so that a Ctrl-C reaches only the bench, which then ends the child.
"""

import contextlib
import os
import selectors
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from tools.benchmark import stopping
from tools.benchmark.errors import GeneratorError

STOP_S = 3.0
_READ_BYTES = 65_536


@contextlib.contextmanager
def started(
    command: Sequence[str], *, stdout: int, stderr: int, stdin: int = subprocess.DEVNULL, folder: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Starts a command, and makes sure that it has ended when the block is left."""
    process = subprocess.Popen(
        command, stdin=stdin, stdout=stdout, stderr=stderr, cwd=folder, start_new_session=True, bufsize=0
    )
    with process:
        try:
            yield process
        finally:
            with stopping.uninterrupted():
                if process.poll() is None:
                    process.send_signal(signal.SIGINT)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(timeout=STOP_S)
                process.kill()  # does nothing if it has ended


def lines(stream: IO[bytes], tick_s: float) -> Iterator[str]:
    """Yields whole lines as they come, and an empty one for each tick without a line, until the stream ends."""
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            if not selector.select(tick_s):
                yield ""
                continue
            chunk = os.read(stream.fileno(), _READ_BYTES)
            if not chunk:
                break
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")


def status(process: subprocess.Popen[bytes], name: str) -> int:
    """Returns the exit status of a process that has closed its output; raises GeneratorError if it stays."""
    try:
        return process.wait(timeout=STOP_S)
    except subprocess.TimeoutExpired as error:
        raise GeneratorError(f"{name} closed its output and did not end.") from error

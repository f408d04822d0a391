"""A real `redis-server` for one test: on a unix socket, in a folder of its own, without persistence."""

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import pytest

READY_WITHIN_S = 10.0


class RedisServer:
    """A server process that tests start and kill; as a context manager it runs inside the block only."""

    def __init__(self) -> None:
        """Does not start it yet."""
        self.folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self.path = self.folder / "redis.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For REDIS_URL."""
        return f"unix://{self.path}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder)

    def start(self) -> None:
        """Starts it, empty, and waits until it answers."""
        program = shutil.which("redis-server")
        if program is None:
            pytest.fail("redis-server is missing: ./tools/test installs it (Debian package redis-server)")
        command = [program, "--port", "0", "--unixsocket", str(self.path), "--save", "", "--loglevel", "warning"]
        self._process = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.DEVNULL)
        deadline_s = time.monotonic() + READY_WITHIN_S
        while self.ask("PING") != b"+PONG\r\n":
            assert time.monotonic() < deadline_s, "redis-server did not answer in time"
            time.sleep(0.005)

    def kill(self) -> None:
        """Kills it, with all its data; does nothing if it is not running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self.path.unlink(missing_ok=True)

    def freeze(self) -> None:
        """Stops the process: it accepts connections and does not answer."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Continues the process."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def ask(self, line: str) -> bytes:
        """Returns the raw answer to one command, up to 64 kB of it; empty if it can't be reached."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(READY_WITHIN_S)
            try:
                connection.connect(str(self.path))
            except OSError:
                return b""
            connection.sendall(line.encode() + b"\r\n")
            return connection.recv(1 << 16)

    def calls(self, command: str) -> int:
        """Counts how often a command has run, including calls from scripts."""
        for line in self.ask("INFO commandstats").decode().splitlines():
            if line.startswith(f"cmdstat_{command}:calls="):
                return int(line.partition("calls=")[2].partition(",")[0])
        return 0

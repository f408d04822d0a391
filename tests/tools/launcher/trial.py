"""`tools/run` as a person starts it: a process whose lines are read, and everything it leaves behind."""

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from uuid import uuid4

from tests.ports import free_ports

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = ROOT / "tools" / "run"
DEADLINE_S = 60.0
MARK = "GATEWAY_TRIAL"
SEGMENTS = ("app1", "app2", "local")
READY = "Ctrl-C stops everything."


def wait_until(fact: Callable[[], bool], what: str, within_s: float = DEADLINE_S) -> None:
    """Looks until something is so; fails with what it is that never came."""
    deadline_s = time.monotonic() + within_s
    while not fact():
        assert time.monotonic() < deadline_s, f"not within {within_s} s: {what}"
        time.sleep(0.05)


def segments_present() -> list[str]:
    """What the instances of `tools/run` have in /dev/shm."""
    return sorted(path.name for name in SEGMENTS for path in Path("/dev/shm").glob(f"gateway-{name}*"))


class Trial:
    """One run. All processes that come of it are told by a mark in their environment.

    Args:
        arguments: of `tools/run`, beside its ports.
        ports: for payments, statistics and the two processors; None: free ones.
    """

    def __init__(self, *arguments: str, ports: Sequence[int] | None = None) -> None:
        self.mark = uuid4().hex
        self.ports = list(ports or free_ports(4))
        self.port = self.ports[0]
        self.lines: list[str] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        words = ["--port", self.ports[0], "--stats-port", self.ports[1], "--processor-ports", *self.ports[2:]]
        self.folder = Path(tempfile.mkdtemp(prefix="trial-"))
        # As `reexec` starts it: a measuring coverage, loaded before the program, would lose an early Ctrl-C.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process = subprocess.Popen(
                [sys.executable, PROGRAM, *map(str, words), *arguments],
                env={**os.environ, MARK: self.mark, "TMPDIR": str(self.folder)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(line.rstrip("\n"))
        self._queue.put(None)

    def __enter__(self) -> Self:
        """Runs."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends what is left of it, if the test has failed."""
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        if error is not None:
            error.add_note("\n".join(self.lines))
        self.process.stdout.close() if self.process.stdout else None
        subprocess.run(["rm", "-rf", self.folder], check=True)

    def wait_for(self, words: str, within_s: float = DEADLINE_S) -> str:
        """The next line that has these words in it."""
        deadline_s = time.monotonic() + within_s
        while True:
            try:
                line = self._queue.get(timeout=max(deadline_s - time.monotonic(), 0.01))
            except queue.Empty:
                line = None
            assert line is not None, f"no line with {words!r} came"
            self.lines.append(line)
            if words in line:
                return line

    def ready(self, within_s: float = DEADLINE_S) -> Self:
        """Waits until payments are taken."""
        self.wait_for(READY, within_s)
        return self

    def end(self, number: signal.Signals | None = signal.SIGINT) -> int:
        """Tells it to stop, or waits for it to stop by itself; its exit status, once all it said is in `lines`."""
        if number is not None:
            self.process.send_signal(number)
        status = self.process.wait(DEADLINE_S)
        while (line := self._queue.get(timeout=DEADLINE_S)) is not None:
            self.lines.append(line)
        return status

    def pids(self) -> list[int]:
        """All living processes of this run, the launcher itself among them."""
        return [
            int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdecimal() and self._is_ours(folder)
        ]

    def _is_ours(self, process: Path) -> bool:
        try:
            if b") Z " in (process / "stat").read_bytes():
                return False
            # Redis writes its title over its environment, but works in the run's folder.
            in_folder = str((process / "cwd").readlink()).startswith(str(self.folder))
            return in_folder or f"{MARK}={self.mark}".encode() in (process / "environ").read_bytes()
        except OSError:
            return False

    def services(self) -> dict[str, int]:
        """The processes that the launcher itself has started, by a name each."""
        found = {}
        for pid in self.pids():
            try:
                parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
                environment = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
            except OSError:
                continue
            if parent == self.process.pid:
                found[_name_of(words, environment)] = pid
        return found

    def post(self, correlation_id: str | None = None) -> int:
        """Sends one payment; the status of the answer."""
        body = f'{{"correlationId":"{correlation_id or uuid4()}","amount":19.90}}'.encode()
        return self._ask(Request(f"http://127.0.0.1:{self.port}/payments", body, {"Content-Type": "application/json"}))

    def fail_processors(self) -> None:
        """Makes both processors refuse every payment."""
        for port in self.ports[2:]:
            url = f"http://127.0.0.1:{port}/admin/configurations/failure"
            headers = {"X-Rinha-Token": "123", "Content-Type": "application/json"}
            assert self._ask(Request(url, b'{"failure":true}', headers, method="PUT")) == 200

    def has_settled(self, count: int) -> bool:
        """Whether the summary counts exactly so many; not while it waits for an instance that has not published yet."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/payments-summary", timeout=DEADLINE_S) as answer:
                return b'"totalRequests":%d,' % count in answer.read()
        except HTTPError as error:
            error.close()
            if error.code != HTTPStatus.SERVICE_UNAVAILABLE:
                raise
            return False

    @staticmethod
    def _ask(request: Request) -> int:
        with urlopen(request, timeout=DEADLINE_S) as answer:
            status: int = answer.status
            return status

    def left(self) -> list[str]:
        """What is left of the run: processes, segments, folders."""
        processes = [Path(f"/proc/{pid}/cmdline").read_bytes().decode() for pid in self.pids()]
        return processes + segments_present() + [path.name for path in self.folder.iterdir()]


def _name_of(words: list[str], environment: list[str]) -> str:
    """What a service is called: an instance or a processor by its own name, another by its program's."""
    if "--name" in words:
        return words[words.index("--name") + 1]
    if "server" in words:
        return next(pair.partition("=")[2] for pair in environment if pair.startswith("INSTANCE="))
    return Path(words[0].split()[0]).name

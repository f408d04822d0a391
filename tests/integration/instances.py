"""Whole instances for tests: `python -m server` as a process, its clients, and the processors it pays at."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self
from uuid import UUID

from shm import Counters, Phase, Segment, SegmentError
from tests.shm.segments import fresh_instance
from tools.processor.api import Settings
from tools.processor.server import ProcessorServer

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE_S = 15.0
SMALL = {"LANE_SLOTS": "1024", "WAITING_SLOTS": "4096", "JOURNAL_RECORDS": "4096", "LEAVE_S": "0.2", "DRAIN_S": "1"}


async def wait_for(condition: Callable[[], bool], message: str, within_s: float = PATIENCE_S) -> float:
    """Waits until something holds; how long that took, in seconds."""
    begun_s = time.monotonic()
    while not condition():
        assert time.monotonic() - begun_s < within_s, f"{message} within {within_s} s"
        await asyncio.sleep(0.005)
    return time.monotonic() - begun_s


def id_of(number: int) -> str:
    """A correlation id, the numbers' order hidden as in real ones."""
    return str(UUID(int=(number * 0x9E3779B97F4A7C15F39CC0605CEDC835) & ((1 << 128) - 1)))


class Client:
    """One keep-alive connection to a worker's socket."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, method: str, target: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and body of an answer.

        Raises:
            OSError, EOFError: the connection broke; it is made anew by the next call.
        """
        try:
            if self._writer is None or self._reader is None:
                self._reader, self._writer = await asyncio.open_unix_connection(str(self._path))
            head = f"{method} {target} HTTP/1.1\r\nHost: gateway\r\nContent-Length: {len(body)}\r\n\r\n"
            self._writer.write(head.encode() + body)
            async with asyncio.timeout(PATIENCE_S):
                head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length: ")[2].partition("\r\n")[0] or "0")
                content = await self._reader.readexactly(length)
            return int(head.split(" ", 2)[1]), content
        except (OSError, EOFError):
            self.close()
            raise

    async def pay(self, number: int, amount: str = "19.90") -> int:
        """Status of the answer to a payment; a client whose connection breaks sends it again."""
        body = f'{{"correlationId":"{id_of(number)}","amount":{amount}}}'.encode()
        for _ in range(100):
            with suppress(OSError, EOFError):
                return (await self.ask("POST", "/payments", body))[0]
            await asyncio.sleep(0.01)
        raise AssertionError(f"payment {number} could not be sent")

    def close(self) -> None:
        """Hangs up."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


class Instance:
    """One instance, from its start to its end; as a context manager nothing of it is left afterwards.

    Args:
        processors: default and fallback.
        settings: of the environment, beside those that make it small.
    """

    def __init__(self, processors: Iterable[str], **settings: str) -> None:
        self._fresh = fresh_instance()
        self.name = self._fresh.__enter__()
        self.folder = Path(tempfile.mkdtemp(prefix="gateway-"))
        self.log = self.folder / "log"
        default, fallback = processors
        self.settings = {
            "INSTANCE": self.name,
            "LISTEN": f"unix:{self.folder}",
            "PROCESSOR_DEFAULT_URL": default,
            "PROCESSOR_FALLBACK_URL": fallback,
            **SMALL,
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: list[Client] = []

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException as error:
            await self.__aexit__(type(error))
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.kill()
        for client in self._clients:
            client.close()
        if kind is not None:
            sys.stderr.write(f"the log of {self.name}:\n{self.log.read_text()}")
        shutil.rmtree(self.folder)
        self._fresh.__exit__(None, None, None)

    @property
    def workers(self) -> int:
        """How many web workers it has."""
        return int(self.settings.get("WEB_WORKERS", "1"))

    async def start(self) -> None:
        """Starts it and waits until every worker answers and the dispatcher is ready."""
        self.launch()
        await wait_for(self._is_ready, f"{self.name} is not ready: {self.log.read_text()}")

    def launch(self) -> None:
        """Starts it and does not wait."""
        foreign = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
        with self.log.open("a") as log:
            command = [sys.executable, "-m", "server"]
            environment = foreign | self.settings
            self._process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            rows = self.supervisor(), self.dispatcher(), *self.worker_rows()
        except SegmentError:
            return False
        return rows[0].pid == self.process.pid and all(row.phase is Phase.READY for row in rows)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The supervisor's process."""
        assert self._process is not None, "it is not running"
        return self._process

    def kill(self) -> None:
        """Ends it at once, all processes together; harmless when it has ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def kill_one(self, place: int, number: int = signal.SIGKILL) -> int:
        """Sends a child (1: dispatcher, 2: first web worker …) a signal if it lives; its pid."""
        pid = self.pids()[place]
        with suppress(FileNotFoundError, ProcessLookupError):
            status = Path(f"/proc/{pid}/status").read_text()
            if f"PPid:\t{self.process.pid}\n" in status:  # a number may have gone to somebody else meanwhile
                os.kill(pid, number)
        return pid

    def has_blocked(self, number: int) -> bool:
        """Whether the supervisor keeps a signal waiting."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return bool(int(status.partition("SigBlk:")[2].split()[0], 16) >> (number - 1) & 1)

    def tell(self, number: int = signal.SIGTERM) -> None:
        """Sends the supervisor a signal."""
        self.process.send_signal(number)

    async def wait_end(self, within_s: float = PATIENCE_S) -> int:
        """Waits until it has ended; its exit status."""
        process = self.process
        await wait_for(lambda: process.poll() is not None, f"{self.name} does not end", within_s)
        self._process = None
        return process.returncode

    async def stop(self) -> int:
        """Stops it in order; its exit status."""
        self.tell()
        return await self.wait_end()

    def segment(self) -> Segment:
        """Its segment as it is now."""
        return Segment.attach(self.name, read_only=True)

    def supervisor(self) -> Counters:
        """The supervisor's row."""
        return self.segment().supervisor_counters()

    def dispatcher(self) -> Counters:
        """The dispatcher's row."""
        return self.segment().dispatcher_counters(0)

    def worker_rows(self) -> list[Counters]:
        """The web workers' rows."""
        segment = self.segment()
        return [segment.worker_counters(worker) for worker in range(segment.geometry.workers)]

    def pids(self) -> list[int]:
        """All its processes: supervisor, dispatcher, web workers."""
        return [row.pid for row in (self.supervisor(), self.dispatcher(), *self.worker_rows())]

    def client(self, worker: int = 0) -> Client:
        """A client of one worker."""
        self._clients.append(Client(self.folder / f"{self.name}-{worker}.sock"))
        return self._clients[-1]

    async def pay(self, numbers: Iterable[int], amount: str = "19.90", clients: int = 8) -> list[int]:
        """Sends payments over several connections to all workers; the numbers of those that were answered with 202."""
        left, accepted = iter(numbers), list[int]()

        async def send(client: Client) -> None:
            for number in left:
                if await client.pay(number, amount) == 202:
                    accepted.append(number)

        await asyncio.gather(*(send(self.client(index % self.workers)) for index in range(clients)))
        return accepted

    async def summary(self, query: str = "", worker: int = 0) -> tuple[int, dict[str, Any]]:
        """Status and content of the answer to a summary."""
        status, body = await self.client(worker).ask("GET", f"/payments-summary{query}")
        return status, json.loads(body)


class Processors:
    """Both simulated processors in this process; as a context manager they listen."""

    def __init__(self) -> None:
        self.servers: list[ProcessorServer] = []

    async def __aenter__(self) -> Self:
        for name in ("default", "fallback"):
            self.servers.append(await ProcessorServer(Settings(name=name)).__aenter__())
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self.servers:
            await server.__aexit__()

    @property
    def urls(self) -> list[str]:
        """Where they listen."""
        return [server.url for server in self.servers]

    def behave(self, *, delay_ms: int | None = None, failing: bool | None = None) -> None:
        """Has both behave like that from now on."""
        for server in self.servers:
            settings = server.processor.settings
            settings.delay_ms = settings.delay_ms if delay_ms is None else delay_ms
            settings.failing = settings.failing if failing is None else failing

    def ids(self) -> list[str]:
        """Every stored id, once per processor that has it."""
        return [row.correlation_id for server in self.servers for row in server.processor.store.rows()]

    def totals(self, from_ms: int | None = None, to_ms: int | None = None) -> dict[str, dict[str, float]]:
        """What a summary must say of a window, both ends or none being given."""
        answer = {}
        for name, server in zip(("default", "fallback"), self.servers, strict=True):
            bounds = [None if bound_ms is None else bound_ms * 1000 for bound_ms in (from_ms, to_ms)]
            totals = server.processor.store.totals(bounds[0], bounds[1])
            answer[name] = {"totalRequests": totals.payments, "totalAmount": totals.cents / 100}
        return answer

    async def wait_stored(self, numbers: Iterable[int], within_s: float = PATIENCE_S) -> float:
        """Waits until payments are stored, and checks that none is stored twice."""
        wanted = {id_of(number) for number in numbers}
        took_s = await wait_for(lambda: wanted <= set(self.ids()), "not every payment is stored", within_s)
        self.check_once()
        return took_s

    def check_once(self) -> None:
        """No payment is stored twice."""
        assert len(self.ids()) == len(set(self.ids())), "a payment is stored at both processors"

    async def wait_equal(self, *instances: Instance, within_s: float = PATIENCE_S) -> None:
        """Waits until the summary of every worker equals what is stored here, to the cent."""
        for instance in instances:
            for worker in range(instance.workers):
                client, expected, answer = instance.client(worker), None, None
                deadline_s = time.monotonic() + within_s
                while expected is None or answer != expected:
                    assert time.monotonic() < deadline_s, f"{instance.name} says {answer}, stored is {expected}"
                    expected = (200, self.totals())
                    with suppress(OSError, EOFError):
                        status, body = await client.ask("GET", "/payments-summary")
                        answer = (status, json.loads(body))
                    await asyncio.sleep(0.005)

"""What stands on both sides of HAProxy in these tests: web workers on unix sockets, and a client that sends raw bytes.

A worker answers as the gateway's do, and can be told to die, to keep silent, to answer nonsense or to leave. The client
chooses every byte and every pause, which an HTTP library would not let it.
"""

import asyncio
import contextlib
import json
import socket
import uuid
from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import Path
from typing import NamedTuple

ANSWER_S_MAX = 8.0  # a client waits no longer; over every time-out of haproxy.cfg but `timeout server`


class Conduct(Enum):
    """What a worker does with a request (never with a health check)."""

    ANSWER = "answer"
    DIE = "die"  # closes the connection without a byte, as the kernel does for a killed process
    HANG = "hang"
    NONSENSE = "nonsense"


class Answer(NamedTuple):
    """One HTTP answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def worker(self) -> str:
        """The stand-in that gave this answer; empty when HAProxy gave it."""
        return self.headers.get("x-worker", "")


async def read_message(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes]:
    """Read one HTTP/1.1 message: first line, headers, body by Content-Length or in chunks."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
        return first, headers, body
    return first, headers, await reader.readexactly(int(headers.get("content-length", "0")))


class Worker:
    """A web worker's stand-in on its own socket, which outlives it as the supervisor's does."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.conduct = Conduct.ANSWER
        self.health = 204
        self.requests: list[tuple[str, dict[str, str], bytes]] = []  # first line, headers, body; no health checks
        self.connections_count = 0  # those of checks as well
        self.checks_count = 0
        self._path = folder / f"{name}.sock"
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._killed = asyncio.Event()

    async def start(self) -> None:
        """Listen, on a new socket or on the one an earlier life left open."""
        self._killed.clear()
        if self._socket is None:
            self._path.unlink(missing_ok=True)
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.bind(str(self._path))
            self._socket.listen(128)
        self._server = await asyncio.start_unix_server(self._serve, sock=self._socket.dup())

    async def kill(self) -> None:
        """Die like `kill -9`: connections close unanswered; the socket stays open and new clients wait in its queue."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        self._killed.set()
        await asyncio.sleep(0)

    async def vanish(self) -> None:
        """Die with the whole instance: the socket's file stays behind, and nobody listens on it."""
        await self.kill()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections_count += 1
        self._writers.add(writer)
        try:
            while await self._answer(*await read_message(reader), writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the other side closed, or this worker was killed
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, first: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter) -> bool:
        is_check = (first, headers) == ("GET /health HTTP/1.0", {})  # nothing else: server/shortcut.py relies on it
        if is_check:
            self.checks_count += 1
            writer.write(b"HTTP/1.1 %d Health\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % self.health)
            await writer.drain()
            return False
        self.requests.append((first, headers, body))
        if self.conduct is Conduct.HANG:
            await self._killed.wait()
            return False
        if self.conduct is Conduct.DIE:
            return False
        if self.conduct is Conduct.NONSENSE:
            writer.write(b"nonsense\r\n\r\n")
            return False
        writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nX-Worker: %s\r\n\r\n" % self.name.encode())
        await writer.drain()
        return True


class Client:
    """One connection to HAProxy.

    A plain socket feeds the reader: asyncio's own streams drop an answer that has come when a later write fails.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.reader = asyncio.StreamReader()
        self._connection = connection
        self._receiving = asyncio.create_task(self._receive())

    @classmethod
    async def connect(cls, port: int) -> "Client":
        """Open a connection to a port of this machine."""
        connection = socket.socket()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # each piece leaves at once
        try:
            await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        except OSError:
            connection.close()
            raise
        return cls(connection)

    async def _receive(self) -> None:
        with contextlib.suppress(ConnectionError):
            while received := await asyncio.get_running_loop().sock_recv(self._connection, 65536):
                self.reader.feed_data(received)
        self.reader.feed_eof()

    async def send(self, pieces: Iterable[bytes], pause_s: float) -> None:
        """Send each piece in a packet of its own, with a pause after each, until the other side has closed."""
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                await asyncio.get_running_loop().sock_sendall(self._connection, piece)
                await asyncio.sleep(pause_s)

    async def read(self) -> Answer:
        """Read one answer, skipping `100 Continue`."""
        async with asyncio.timeout(ANSWER_S_MAX):
            while True:
                first, headers, body = await read_message(self.reader)
                status = int(first.split()[1])
                if status != 100:
                    return Answer(status, headers, body)

    async def ask(self, *pieces: bytes, pause_s: float = 0.0) -> Answer:
        """Send and read at the same time: an answer may come before everything is sent."""
        sending = asyncio.create_task(self.send(pieces, pause_s))
        try:
            return await self.read()
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def close(self) -> None:
        """Close the connection."""
        self._receiving.cancel()
        await asyncio.gather(self._receiving, return_exceptions=True)
        self._connection.close()


async def ask(port: int, *pieces: bytes, pause_s: float = 0.0) -> Answer:
    """Ask once, on a connection of its own."""
    client = await Client.connect(port)
    try:
        return await client.ask(*pieces, pause_s=pause_s)
    finally:
        await client.close()


def payment(correlation_id: str) -> bytes:
    """Make a payment's body as the contest's clients send it."""
    return json.dumps({"correlationId": correlation_id, "amount": 19.9}).encode()


def ids_made(count: int) -> list[str]:
    """Make this many ids, the same in every run."""
    return [str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))) for number in range(count)]


def get(path: str) -> bytes:
    """Make a GET."""
    return f"GET {path} HTTP/1.1\r\nHost: gateway\r\n\r\n".encode()


def post_head(body_bytes: int) -> bytes:
    """Make the head of a `POST /payments` whose body has this many bytes."""
    head = "POST /payments HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {body_bytes}\r\n\r\n".encode()


def post(body: bytes) -> bytes:
    """Make a `POST /payments`."""
    return post_head(len(body)) + body


def post_chunked(*chunks: bytes) -> list[bytes]:
    """Make a `POST /payments` in chunks: the head, each chunk, the end."""
    head = b"POST /payments HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n"
    return [head, *(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks), b"0\r\n\r\n"]


async def until(condition: Callable[[], bool], what: str, within_s: float = 5.0) -> None:
    """Wait until the condition holds; fail with a sentence when it does not in time."""
    try:
        async with asyncio.timeout(within_s):
            while not condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        message = f"not within {within_s} s: {what}"
        raise AssertionError(message) from None

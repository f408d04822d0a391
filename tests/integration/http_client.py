"""A light HTTP/1.1 client over kept connections: what a request costs here is not to be felt by what is tested."""

import asyncio
from typing import NamedTuple

CONNECT_WITHIN_S = 2.0
BODY_BYTES_MAX = 1 << 26  # every row of a long run
_NO_BODY = frozenset({202, 204})


class Answer(NamedTuple):
    """An answer: its status and body."""

    status: int
    body: bytes


class NotSent(Exception):
    """No connection: surely not a byte was sent."""


class Unanswered(Exception):
    """Sent, and no whole answer came: nobody knows."""


class Client:
    """Connections to one port of 127.0.0.1, as many as there are requests at once.

    Args:
        port: where.
        timeout_s: how long an answer may take.
    """

    def __init__(self, port: int, timeout_s: float) -> None:
        self._port = port
        self._timeout_s = timeout_s
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, method: str, target: str, body: bytes = b"", *, headers: str = "") -> Answer:
        """Sends a request.

        Raises:
            NotSent: no connection.
            Unanswered: no whole answer in time.
        """
        reader, writer = await self._connection()
        head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n{headers}"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        try:
            async with asyncio.timeout(self._timeout_s):
                writer.write(head.encode() + b"\r\n" + body)
                answer, keeps = await _read_answer(reader)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            writer.transport.abort()
            raise Unanswered(f"{type(error).__name__}: {error}") from error
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        if keeps:
            self._idle.append((reader, writer))
        else:
            writer.close()
        return answer

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.transport.abort()
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                return await asyncio.open_connection("127.0.0.1", self._port, limit=BODY_BYTES_MAX)
        except (OSError, TimeoutError) as error:
            raise NotSent(str(error) or "no connection in time") from error

    def close(self) -> None:
        """Closes the connections that are idle."""
        for _, writer in self._idle:
            writer.transport.abort()
        self._idle.clear()


async def _read_answer(reader: asyncio.StreamReader) -> tuple[Answer, bool]:
    """An answer, and whether the connection may be used again."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status_line, *lines = head.split("\r\n")
    status = int(status_line.split(" ")[1])
    fields = dict(line.split(": ", 1) for line in lines if ": " in line)
    keeps = "close" not in fields.get("connection", "")
    if "chunked" in fields.get("transfer-encoding", ""):
        return Answer(status, await _read_chunks(reader)), keeps
    length = fields.get("content-length")
    if length is None and status not in _NO_BODY:
        return Answer(status, await reader.read(BODY_BYTES_MAX)), False
    return Answer(status, await reader.readexactly(int(length or 0))), keeps


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while length := int(await reader.readuntil(b"\r\n"), 16):
        body += await reader.readexactly(length)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return body

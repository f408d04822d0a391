"""Servers of one event loop for the generator's tests: what they answer, and how badly, is an argument."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
FULL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}"
CLOSING = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Served(asyncio.Protocol):
    """One connection: every piece that comes is taken for a whole request."""

    def __init__(self, answer: Callable[[bytes], bytes | None], requests: list[bytes]) -> None:
        self._answer = answer
        self._requests = requests
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer; None hangs up."""
        self._requests.append(data)
        answer = self._answer(data)
        if answer is None:
            self._transport.abort()
            return
        self._transport.write(answer)
        if b"Connection: close" in answer:
            self._transport.close()


@asynccontextmanager
async def serving(answer: Callable[[bytes], bytes | None], port: int = 0) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server on a free port: the port, and the requests it gets."""
    requests: list[bytes] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Served(answer, requests), "127.0.0.1", port)
    try:
        yield server.sockets[0].getsockname()[1], requests
    finally:
        server.close()
        await asyncio.sleep(0)

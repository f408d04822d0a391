"""The application on a real port, with the shortcut before it or without, and what is said to it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn

from server.app import build_app
from server.shortcut import shortcut_protocol
from server.totals import Summary, Window
from tests.server.fake_gate import FakeGate, FakeTotals

ID = "4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3"
BODY = f'{{"correlationId":"{ID}","amount":19.90}}'.encode()
MAX = 100_000_000


def request_of(*fields: str, body: bytes = BODY, line: str = "POST /payments HTTP/1.1") -> bytes:
    """A request with these header fields."""
    return "\r\n".join((line, *fields, "", "")).encode("latin-1") + body


USUAL = ("Host: x", "Content-Type: application/json", f"Content-Length: {len(BODY)}")


class SlowTotals(FakeTotals):
    """Totals that wait for the test before they answer."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.told = asyncio.Event()

    async def summary(self, window: Window) -> Summary:
        """Say that it was asked, and wait."""
        self.asked.set()
        await self.told.wait()
        return await super().summary(window)


@asynccontextmanager
async def serving(
    gate: FakeGate, *, shortcut: bool, idle_s: int = 5, totals: FakeTotals | None = None
) -> AsyncIterator[int]:
    """A port where uvicorn serves the application, with or without the shortcut."""
    app = build_app(gate, totals or FakeTotals(), amount_cents_max=MAX, purge_enabled=False)
    http = shortcut_protocol(gate, MAX) if shortcut else "httptools"
    config = uvicorn.Config(
        app,
        http=http,
        ws="none",
        lifespan="off",
        log_config=None,
        server_header=False,
        date_header=False,
        timeout_keep_alive=idle_s,
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.001)
        yield listener.getsockname()[1]
        server.should_exit = True
        await task


async def talk(port: int, *pieces: bytes) -> bytes:
    """Sends pieces, one by one, then reads until nothing comes for a moment."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.01)
    answer = b""
    try:
        async with asyncio.timeout(0.1):
            while part := await reader.read(65536):
                answer += part
    except TimeoutError:
        pass
    writer.close()
    return answer

"""Tests of tools/processor/server.py, over real sockets."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tools.processor.api import Settings
from tools.processor.server import AHEAD_MAX, REQUEST_BYTES_MAX, ProcessorServer, serve

DEADLINE_S = 10.0
TOKEN = "X-Rinha-Token: 123\r\n"
JSON = "Content-Type: application/json\r\n"


def request(method: str, target: str, body: str = "", headers: str = "") -> bytes:
    """A whole HTTP request."""
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {target} HTTP/1.1\r\nHost: x\r\n{headers}{length}\r\n{body}".encode()


def payment(number: int = 0, headers: str = JSON) -> bytes:
    """A payment's whole request."""
    correlation_id = f"00000000-0000-0000-0000-{number:012x}"
    body = {"correlationId": correlation_id, "amount": 19.9, "requestedAt": "2025-07-15T12:34:56.789Z"}
    return request("POST", "/payments", json.dumps(body), headers)


HEALTH = request("GET", "/payments/service-health")
HOME = request("GET", "/")


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, server: ProcessorServer) -> "Client":
        """Open a connection."""
        return cls(*await asyncio.open_connection(server.host, server.port))

    async def read(self) -> tuple[int, Any]:
        """The next answer: its status and its body, JSON read."""
        async with asyncio.timeout(DEADLINE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
            body = await self.reader.readexactly(int(fields.get("Content-Length", 0)))
        is_json = fields.get("Content-Type", "").startswith("application/json")
        return int(head.split(" ", 2)[1]), json.loads(body) if is_json else body

    async def ask(self, data: bytes) -> tuple[int, Any]:
        """Send a request and read its answer."""
        self.writer.write(data)
        return await self.read()

    async def rest(self) -> bytes:
        """Everything until the other side closes."""
        async with asyncio.timeout(DEADLINE_S):
            return await self.reader.read()

    async def close(self) -> None:
        """Hang up."""
        self.writer.close()
        await self.writer.wait_closed()


async def eventually_one(server: ProcessorServer) -> None:
    """Wait until a payment is stored."""
    async with asyncio.timeout(DEADLINE_S):
        while not len(server.processor.store):
            await asyncio.sleep(0.005)


@pytest.fixture
async def server() -> AsyncIterator[ProcessorServer]:
    """A processor on a free port."""
    async with ProcessorServer(Settings()) as server:
        yield server


@pytest.fixture
async def client(server: ProcessorServer) -> AsyncIterator[Client]:
    """A connection to it."""
    client = await Client.connect(server)
    yield client
    await client.close()


class TestConnection:
    """HttpConnection."""

    async def test_many_requests_use_one_connection(self, client: Client) -> None:
        """Payment, look-up, health and admin, one after the other."""
        assert await client.ask(payment(7)) == (200, {"message": "payment processed successfully"})
        status, shown = await client.ask(request("GET", "/payments/00000000-0000-0000-0000-000000000007"))
        assert (status, shown["amount"]) == (200, 19.9)
        assert await client.ask(HEALTH) == (200, {"failing": False, "minResponseTime": 0})
        status, rows = await client.ask(request("GET", "/admin/payments", headers=TOKEN.lower()))
        assert (status, rows) == (200, [["00000000-0000-0000-0000-000000000007", 1990, 1_752_582_896_789]])
        assert (await client.ask(request("GET", "/admin/payments")))[0] == 401  # the token was the last request's

    async def test_a_request_may_come_byte_by_byte(self, client: Client) -> None:
        """Each piece alone, the pieces of body included."""
        data = payment()
        for at in range(len(data)):
            client.writer.write(data[at : at + 1])
            await asyncio.sleep(0)
        assert (await client.read())[0] == 200

    async def test_a_chunked_body_is_read(self, client: Client) -> None:
        """Its pieces are put together."""
        body = payment().partition(b"\r\n\r\n")[2]
        head = request("POST", "/payments", headers=JSON + "Transfer-Encoding: chunked\r\n")
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (body[:10], body[10:]))
        assert (await client.ask(head + chunks + b"0\r\n\r\n"))[0] == 200

    async def test_pipelined_requests_are_answered_in_order(self, server: ProcessorServer, client: Client) -> None:
        """A look-up sent behind a slow payment is begun after it, and so finds it."""
        server.processor.settings.delay_ms = 20
        show = request("GET", "/payments/00000000-0000-0000-0000-000000000000")
        client.writer.write(show + payment(0) + show + payment(0) + HOME)
        assert [(await client.read())[0] for _ in range(5)] == [404, 200, 200, 422, 200]

    async def test_who_sends_far_ahead_is_read_no_further(self, server: ProcessorServer, client: Client) -> None:
        """The connection keeps what it has, stops reading, and goes on later; every request is answered."""
        server.processor.settings.delay_ms = 30
        many = AHEAD_MAX * 3
        client.writer.write(payment(0))
        client.writer.write(HOME * many)
        assert (await client.read())[0] == 200
        assert [(await client.read())[0] for _ in range(many)] == [200] * many
        assert (await client.ask(HOME))[0] == 200

    async def test_a_client_that_reads_slowly_gets_everything(self, server: ProcessorServer, client: Client) -> None:
        """More answers than the buffers hold wait until it reads."""
        for number in range(2_000):
            await client.ask(payment(number))
        rows = request("GET", "/admin/payments", headers=TOKEN)
        client.writer.write(rows * 60 + HOME)
        assert [len((await client.read())[1]) for _ in range(60)] == [2_000] * 60
        assert (await client.read())[0] == 200

    @pytest.mark.parametrize("headers", ["Connection: close\r\n", "Connection: Close\r\nX: y\r\n"])
    async def test_the_connection_ends_when_asked(self, client: Client, headers: str) -> None:
        """The answer says so, nothing sent behind it is begun."""
        client.writer.write(request("GET", "/", headers=headers) + payment())
        answer = await client.rest()
        assert answer.startswith(b"HTTP/1.1 200 OK\r\nConnection: close\r\n")
        assert answer.count(b"HTTP/1.1") == 1

    @pytest.mark.parametrize(
        "data",
        [
            b"nonsense\r\n\r\n",
            b"GET / HTTP/9\r\n\r\n",
            request("GET", "/", headers="Upgrade: x\r\nConnection: Upgrade\r\n"),
        ],
    )
    async def test_what_is_not_http_is_a_400_and_the_end(self, client: Client, data: bytes) -> None:
        """After the answers to what came before it."""
        client.writer.write(HOME + data)
        answers = await client.rest()
        assert answers.startswith(b"HTTP/1.1 200 OK")
        assert b"HTTP/1.1 400 Bad Request\r\nConnection: close" in answers

    async def test_an_endless_request_is_a_413_and_the_end(self, client: Client) -> None:
        """It is not kept in memory."""
        client.writer.write(b"POST /payments HTTP/1.1\r\nContent-Length: 10000000\r\n\r\n" + b" " * REQUEST_BYTES_MAX)
        assert b" 413 " in (await client.rest()).split(b"\r\n")[0]


class TestProcessorServer:
    """ProcessorServer."""

    async def test_leaving_it_ends_connections_and_listening(self) -> None:
        """Clients see the end, and new ones are refused."""
        async with ProcessorServer(Settings()) as server:
            client = await Client.connect(server)
            assert (await client.ask(HOME))[0] == 200
        assert await client.rest() == b""
        await client.close()
        with pytest.raises(OSError, match="refused|Connect call failed"):
            await Client.connect(server)

    async def test_one_connection_too_many_is_closed(
        self, server: ProcessorServer, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Those within the bound stay."""
        monkeypatch.setattr("tools.processor.server.CONNECTIONS_MAX", 1)
        assert (await client.ask(HOME))[0] == 200
        other = await Client.connect(server)
        assert await other.rest() == b""
        await other.close()
        assert (await client.ask(HOME))[0] == 200


class TestHangUp:
    """Clients that go before they are answered."""

    async def test_a_payment_given_up_on_is_stored_later(self, server: ProcessorServer, client: Client) -> None:
        """Sent, not answered, the connection closed: after the delay the row is there."""
        server.processor.settings.delay_ms = 60
        given_up = await Client.connect(server)
        given_up.writer.write(payment(3))
        while server.processor.payments_limit.running == 0:
            await asyncio.sleep(0)
        await given_up.close()
        assert (await client.ask(request("GET", "/payments/00000000-0000-0000-0000-000000000003")))[0] == 404
        await eventually_one(server)
        assert (await client.ask(request("GET", "/payments/00000000-0000-0000-0000-000000000003")))[0] == 200

    async def test_what_was_sent_behind_it_is_not_begun(self, server: ProcessorServer) -> None:
        """Only the payment already running is stored."""
        server.processor.settings.delay_ms = 30
        given_up = await Client.connect(server)
        given_up.writer.write(payment(1) + payment(2))
        while server.processor.payments_limit.running == 0:
            await asyncio.sleep(0)
        await given_up.close()
        await eventually_one(server)
        assert server.processor.payments_limit.running == 0
        assert len(server.processor.store) == 1

    async def test_it_frees_its_place_in_the_health_queue(self, server: ProcessorServer, client: Client) -> None:
        """A caller that hangs and goes makes room for another one to wait."""
        await client.ask(HEALTH)
        waiting = [await Client.connect(server) for _ in range(2)]
        for hanging in waiting:
            hanging.writer.write(HEALTH)
        async with asyncio.timeout(DEADLINE_S):
            while not _hangs(server, 2):
                await asyncio.sleep(0.001)
        assert (await client.ask(HEALTH))[0] == 429
        for hanging in waiting:
            await hanging.close()
        async with asyncio.timeout(DEADLINE_S):
            while not _hangs(server, 0):
                await asyncio.sleep(0.001)


def _hangs(server: ProcessorServer, callers: int) -> bool:
    """Whether so many callers wait for the health."""
    return server.processor.health_limit.waiting == callers


@pytest.mark.slow
class TestRealTime:
    """The same with the times of the contest."""

    async def test_the_second_health_caller_hangs_until_the_next_window(self, server: ProcessorServer) -> None:
        """Five seconds after the first call, not before; the fourth caller is a 429 at once."""
        clients = [await Client.connect(server) for _ in range(4)]
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        first = await clients[0].ask(HEALTH)
        second, third = (asyncio.create_task(client.ask(HEALTH)) for client in clients[1:3])
        while not _hangs(server, 2):
            await asyncio.sleep(0.01)
        assert (await clients[3].ask(HEALTH))[0] == 429
        assert (first[0], (await second)[0]) == (200, 200)
        assert 4.8 < loop.time() - began_s < 9.8
        assert not third.done()
        third.cancel()
        for client in clients:
            await client.close()

    async def test_a_crowd_beyond_the_limit_is_a_429(self, server: ProcessorServer) -> None:
        """Of 1,350 at once, 1,300 are stored in two rounds and 50 are turned away and not stored."""
        server.processor.settings.delay_ms = 1_000
        clients = [await Client.connect(server) for _ in range(1_350)]
        answers = await asyncio.gather(*(client.ask(payment(number)) for number, client in enumerate(clients)))
        statuses = [status for status, _ in answers]
        assert (statuses.count(200), statuses.count(429)) == (1_300, 50)
        assert len(server.processor.store) == 1_300
        for client in clients:
            await client.close()

    async def test_serve_runs_until_it_is_told_to_stop(self, caplog: pytest.LogCaptureFixture) -> None:
        """SIGTERM ends it in order, connections and all."""
        caplog.set_level("INFO")
        task = asyncio.create_task(serve(Settings(name="told"), "127.0.0.1", 0))
        async with asyncio.timeout(DEADLINE_S):
            while not caplog.records:
                await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(task, DEADLINE_S)
        assert caplog.messages[-1] == "processor told ends with 0 payments stored"

"""server/transport.py: which addresses a name leads to, for how long, and which of them is connected to."""

import asyncio

import httpx
import pytest

from server import resolver as module
from server.connection import Connection
from tests.fakes import idle
from tests.server.fake_peer import OK, FakeLookUp, Talk, failure, until


class TestAddresses:
    """How a name is looked up, and what is made of it."""

    async def test_looked_up_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A name is looked up once to find it, even by calls that come together, and again after a connection failed;
        and once for the connections that were made meanwhile.
        """
        async with Talk(host="peer.test") as talk:
            look_up = FakeLookUp(["127.0.0.1"])
            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
            monkeypatch.setattr(module, "ADDRESSES_FOR_S", 60)
            calls = [talk.call() for _ in range(3)]
            for _ in calls:
                peer = await talk.accept()
                await peer.receive()
                peer.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            await asyncio.gather(*calls)
            found = look_up.count
            assert 2 <= found < 1 + len(calls)
            talk.stop_listening()
            for count in (found, found + 1):
                assert type(await failure(talk.call())) is httpx.ConnectError
                assert look_up.count == count

    async def test_looked_up_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A processor that is restarted may have moved: after a loss, and in any case after a while."""
        async with Talk(host="peer.test") as talk:
            look_up = FakeLookUp(["127.0.0.1"])
            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
            peer, _ = await talk.exchange()
            peer.close()
            await until(lambda: talk.transport.connections_open == 0)
            monkeypatch.setattr(module, "ADDRESSES_FOR_S", 0)
            peers = [(await talk.exchange())[0]]
            assert look_up.count == 4
            await talk.reuse(peers[0])
            assert look_up.count == 4
            calls = [talk.call() for _ in range(2)]
            peers.append(await talk.accept())
            for one in peers:
                await one.receive()
                one.send(OK)
            await asyncio.gather(*calls)
            assert look_up.count == 6

    async def test_looked_up_a_second_later(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """New connections go by one look-up for no longer, though none was lost."""
        async with Talk(host="peer.test") as talk:
            look_up = FakeLookUp(["127.0.0.1"])
            loop = asyncio.get_running_loop()
            monkeypatch.setattr(loop, "getaddrinfo", look_up)
            first = talk.call()
            peers = [await talk.accept()]
            await peers[0].receive()
            now = loop.time
            monkeypatch.setattr(loop, "time", lambda: now() + 1.0)
            second = talk.call()
            peers.append(await talk.accept())
            await peers[1].receive()
            assert look_up.count == 4
            for peer in peers:
                peer.send(OK)
            await asyncio.gather(first, second)

    async def test_looked_up_after_a_loss_in_mid_exchange(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What was sent may have gone to another one by then."""
        async with Talk(host="peer.test") as talk:
            look_up = FakeLookUp(["127.0.0.1"])
            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
            call, peer = await talk.begin()
            peer.reset()
            assert isinstance(await failure(call), httpx.TransportError)
            await talk.exchange()
            assert look_up.count == 4

    async def test_looked_up_for_the_one_that_takes_the_place(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of a connection whose loss is seen only when it is taken, before the loop has told."""
        async with Talk(host="peer.test") as talk:
            look_up = FakeLookUp(["127.0.0.1"])
            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
            peer, _ = await talk.exchange()
            peer.close()
            await talk.exchange()
            assert look_up.count == 4

    @pytest.mark.parametrize("found", ["127.0.0.1", "127.0.0.9"])
    async def test_a_loss_while_another_one_is_made(self, monkeypatch: pytest.MonkeyPatch, found: str) -> None:
        """The new connection is used only if the name still leads to its address; else surely nothing was sent."""
        async with Talk(host="peer.test") as talk:
            loop, connect = asyncio.get_running_loop(), talk.transport._connect_to  # noqa: SLF001  the moment in it
            monkeypatch.setattr(loop, "getaddrinfo", FakeLookUp(["127.0.0.1"]))
            first = talk.call()
            peer = await talk.accept()
            await peer.receive()

            async def connect_amid_a_loss(address: str) -> Connection:
                monkeypatch.setattr(loop, "getaddrinfo", FakeLookUp([found]))
                peer.reset()
                await failure(first)
                return await connect(address)

            monkeypatch.setattr(talk.transport, "_connect_to", connect_amid_a_loss)
            second = talk.call()
            other = await talk.accept()
            if found == "127.0.0.1":
                await other.receive()
                other.send(OK)
                assert (await second).status_code == 200
            else:
                assert type(await failure(second)) is httpx.ConnectError
                assert await other.ended()
            assert talk.transport._resolver._doubts == 1  # noqa: SLF001  a connection given up here is no loss

    async def test_an_address_that_was_given_to_another(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without any loss: what was looked up just now is where to try, and whoever answers there may be another one.
        Surely nothing is sent to it.
        """
        async with Talk(host="peer.test") as talk:
            loop, connect = asyncio.get_running_loop(), talk.transport._connect_to  # noqa: SLF001  the moment before it
            monkeypatch.setattr(loop, "getaddrinfo", FakeLookUp(["127.0.0.1"]))

            async def connect_to_another(address: str) -> Connection:
                monkeypatch.setattr(loop, "getaddrinfo", FakeLookUp(["127.0.0.9"]))
                return await connect(address)

            monkeypatch.setattr(talk.transport, "_connect_to", connect_to_another)
            call = talk.call()
            peer = await talk.accept()
            assert type(await failure(call)) is httpx.ConnectError
            assert await peer.ended()

    async def test_a_loss_as_soon_as_made(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is one at once, not only after a look-up for what can't be used: others are being made meanwhile."""
        async with Talk(host="peer.test") as talk:
            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", FakeLookUp(["127.0.0.1"]))
            monkeypatch.setattr(module, "ADDRESSES_FOR_S", 60)
            await talk.exchange(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            monkeypatch.setattr(talk.transport._resolver, "leads_to", lambda *_: asyncio.Future())  # noqa: SLF001  it hangs
            call = talk.call(connect=5.0)
            await asyncio.sleep(0)  # the kernel has made the connection by now
            talk.accept_at_once().close()
            assert type(await failure(call)) is httpx.ConnectError
            assert talk.transport._resolver._doubts == 1  # noqa: SLF001  nobody else has seen it

    async def test_addresses_in_turn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of several addresses the first that takes the connection is used, and kept to."""
        async with Talk(host="peer.test") as talk:
            monkeypatch.setattr(
                asyncio.get_running_loop(), "getaddrinfo", FakeLookUp(["127.0.0.2", "127.0.0.3", "127.0.0.1"])
            )
            assert (await talk.exchange())[1].status_code == 200
            assert await talk.transport._resolver.find() == ("127.0.0.1",)  # noqa: SLF001  what comes next goes there

    async def test_an_address_that_hangs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It takes its share of the connect time-out, and leaves the others theirs."""
        async with Talk(host="peer.test") as talk:
            loop, connect = asyncio.get_running_loop(), talk.transport._connect_to  # noqa: SLF001  one address hangs
            monkeypatch.setattr(loop, "getaddrinfo", FakeLookUp(["127.0.0.9", "127.0.0.1"]))
            now = loop.time

            async def hang(address: str) -> Connection:
                if address == "127.0.0.9":
                    monkeypatch.setattr(loop, "time", lambda: now() + 6.0)
                    await asyncio.Future()
                return await connect(address)

            monkeypatch.setattr(talk.transport, "_connect_to", hang)
            call = talk.call(connect=10.0)
            await idle()
            async with asyncio.timeout(1):
                peer = await talk.accept()
            await peer.receive()
            peer.send(OK)
            assert (await call).status_code == 200

    async def test_an_address_that_hangs_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is doubted, and the name looked up again for the next connection."""
        async with Talk(host="peer.test") as talk:
            look_up = FakeLookUp(["127.0.0.1"])
            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
            monkeypatch.setattr(module, "ADDRESSES_FOR_S", 60)
            with monkeypatch.context() as hanging:
                hanging.setattr(asyncio.get_running_loop(), "create_connection", lambda *_: asyncio.Future())
                assert type(await failure(talk.call(connect=0.05))) is httpx.ConnectTimeout
            await talk.exchange()
            assert look_up.count == 3

    async def test_a_look_up_that_hangs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nobody waits for it any longer than for a connection."""
        async with Talk(host="peer.test") as talk:
            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", lambda *_, **__: asyncio.Future())
            async with asyncio.timeout(5):
                assert type(await failure(talk.call(connect=0.02))) is httpx.ConnectTimeout
            assert talk.transport.connections_open == 0

    async def test_closed_during_a_look_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nobody waits for it any more."""
        async with Talk(host="peer.test") as talk:
            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", lambda *_, **__: asyncio.Future())
            call = talk.call(connect=60.0)
            await idle()
            async with asyncio.timeout(5):
                await talk.transport.aclose()
            assert type(await failure(call)) is httpx.ConnectError

    async def test_no_address(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A name without an address is a ConnectError."""
        async with Talk(host="peer.test") as talk:
            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", FakeLookUp([]))
            assert type(await failure(talk.call())) is httpx.ConnectError

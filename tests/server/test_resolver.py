"""server/resolver.py: an address is tried for a second, and believed by a look-up after the connection alone."""

import asyncio
from collections.abc import Callable

import pytest

from server import resolver as module
from server.resolver import ADDRESSES_MAX, Resolver
from tests.fakes import idle
from tests.server.fake_peer import PATIENCE_S

FOR_S = 60.0  # a second would be short on a busy machine


class NameServer:
    """Stands for a loop's `getaddrinfo`; each look-up is answered when the test says so."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[list[str]]] = []

    async def __call__(self, host: str, port: int, **_: object) -> list[tuple[None, None, None, None, tuple[str, int]]]:
        """Waits for the answer."""
        assert host == "peer.test"
        self.asked.append(asyncio.get_running_loop().create_future())
        return [(None, None, None, None, (address, port)) for address in await self.asked[-1]]

    async def answer(self, *addresses: str) -> None:
        """Answers the newest look-up, and lets the others go on."""
        self.asked[-1].set_result(list(addresses))
        await idle()


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> NameServer:
    """Whom this test's loop asks."""
    made = NameServer()
    monkeypatch.setattr(module, "ADDRESSES_FOR_S", FOR_S)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", made)
    return made


@pytest.fixture
def advance(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the loop's clock on by so many seconds."""

    def set_on(seconds: float) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time
        monkeypatch.setattr(loop, "time", lambda: now() + seconds)

    return set_on


async def found_by(resolver: Resolver) -> tuple[str, ...]:
    """What is found, within the test's patience."""
    async with asyncio.timeout(PATIENCE_S):
        return await resolver.find()


async def leads_to(resolver: Resolver, address: str) -> bool:
    """Whether the name leads there, within the test's patience."""
    async with asyncio.timeout(PATIENCE_S):
        return await resolver.leads_to(address)


def finding(resolver: Resolver) -> asyncio.Task[tuple[str, ...]]:
    """Somebody who waits for the addresses."""
    return asyncio.ensure_future(found_by(resolver))


def using(resolver: Resolver, address: str) -> asyncio.Task[bool]:
    """Somebody whose connection to an address has just been made."""
    return asyncio.ensure_future(leads_to(resolver, address))


class TestFind:
    """Resolver.find."""

    async def test_one_look_up_for_all_of_a_second(self, server: NameServer, advance: Callable[[float], None]) -> None:
        """Those who come together wait for the same one; who comes a second later asks anew."""
        resolver = Resolver("peer.test", 80)
        waiting = [finding(resolver) for _ in range(3)]
        await idle()
        await server.answer("10.0.0.1", "10.0.0.2", "10.0.0.1")
        assert [await one for one in waiting] == [("10.0.0.1", "10.0.0.2")] * 3
        assert await found_by(resolver) == ("10.0.0.1", "10.0.0.2")
        advance(FOR_S)
        later = finding(resolver)
        await idle()
        await server.answer("10.0.0.3")
        assert await later == ("10.0.0.3",)
        assert len(server.asked) == 2

    async def test_a_few_addresses(self, server: NameServer) -> None:
        """Of a name with many only a few are tried."""
        resolver = Resolver("peer.test", 80)
        found = finding(resolver)
        await idle()
        await server.answer(*(f"10.0.0.{number}" for number in range(ADDRESSES_MAX + 2)))
        assert len(await found) == ADDRESSES_MAX

    async def test_a_slow_name_server(self, server: NameServer) -> None:
        """However many give up meanwhile, it is asked once; who comes when it has answered needs not wait."""
        resolver = Resolver("peer.test", 80)
        for _ in range(20):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(found_by(resolver), 0.002)
        assert len(server.asked) == 1
        await server.answer("10.0.0.1")
        assert await found_by(resolver) == ("10.0.0.1",)
        assert len(server.asked) == 1

    async def test_failures(self, server: NameServer) -> None:
        """Everybody who waits is told; and nobody complains when they have given up. The next one asks anew."""
        complaints: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        resolver = Resolver("peer.test", 80)
        waiting = [finding(resolver) for _ in range(2)]
        await idle()
        server.asked[-1].set_exception(OSError("no such name"))
        for one in waiting:
            with pytest.raises(OSError, match="no such name"):
                await one
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(found_by(resolver), 0.002)
        server.asked[-1].set_exception(OSError("no such name"))
        await idle()
        again = finding(resolver)
        await idle()
        await server.answer("10.0.0.1")
        assert await again == ("10.0.0.1",)
        assert complaints == []


class TestLeadsTo:
    """Resolver.leads_to."""

    async def known(self, server: NameServer) -> Resolver:
        """Two addresses, looked up just now."""
        resolver = Resolver("peer.test", 80)
        found = finding(resolver)
        await idle()
        await server.answer("10.0.0.1", "10.0.0.2")
        await found
        return resolver

    @pytest.mark.parametrize("now", ["10.0.0.1", "10.0.0.9"])
    async def test_looked_up_again(self, server: NameServer, now: str) -> None:
        """However fresh what is known: the address may have been somebody else's when it took the connection."""
        resolver = await self.known(server)
        asking = using(resolver, "10.0.0.1")
        await idle()
        assert not asking.done()
        await server.answer(now)
        assert await asking == (now == "10.0.0.1")
        assert len(server.asked) == 2

    async def test_one_look_up_for_all_that_were_made_meanwhile(self, server: NameServer) -> None:
        """One that had begun before does not tell; the next one tells all."""
        resolver = await self.known(server)
        asking = [using(resolver, "10.0.0.1")]
        await idle()
        asking += [using(resolver, address) for address in ("10.0.0.1", "10.0.0.2")]
        await server.answer("10.0.0.1")
        assert [one.done() for one in asking] == [True, False, False]
        await server.answer("10.0.0.2")
        assert [await one for one in asking] == [True, False, True]
        assert len(server.asked) == 3

    async def test_kept_to(self, server: NameServer, advance: Callable[[float], None]) -> None:
        """The one that took a connection is the only one that is tried, until the next look-up."""
        resolver = await self.known(server)
        asking = using(resolver, "10.0.0.2")
        await idle()
        await server.answer("10.0.0.1", "10.0.0.2")
        assert await asking
        assert await found_by(resolver) == ("10.0.0.2",)
        advance(FOR_S)
        later = finding(resolver)
        await idle()
        await server.answer("10.0.0.1", "10.0.0.2")
        assert await later == ("10.0.0.1", "10.0.0.2")

    async def test_losses_without_end(self, server: NameServer) -> None:
        """What began after the connection was made is good enough, though others were lost since; not to find by."""
        resolver = await self.known(server)
        asking = using(resolver, "10.0.0.1")
        await idle()
        resolver.doubt()
        await server.answer("10.0.0.1")
        assert await asking
        found = finding(resolver)
        await idle()
        await server.answer("10.0.0.3")
        assert await found == ("10.0.0.3",)

    async def test_no_connection(self, server: NameServer) -> None:
        """It is looked up again for the next one; what is being asked meanwhile is good."""
        resolver = await self.known(server)
        resolver.expire()
        found = finding(resolver)
        await idle()
        resolver.expire()
        await server.answer("10.0.0.3")
        assert await found == await found_by(resolver) == ("10.0.0.3",)
        assert len(server.asked) == 2


class TestClose:
    """Resolver.aclose."""

    async def test_ends_what_is_under_way(self, server: NameServer) -> None:
        """It has ended by then, quietly; who waits for it is told, and nothing is begun any more."""
        complaints: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        resolver = Resolver("peer.test", 80)
        found = finding(resolver)
        await idle()
        await resolver.aclose()
        assert resolver._looking_up is None  # noqa: SLF001  a loop that is closed next would complain
        assert [asked.cancelled() for asked in server.asked] == [True]
        for one in (found, finding(resolver)):
            with pytest.raises(ConnectionAbortedError):
                await one
        assert len(server.asked) == 1
        assert complaints == []

    async def test_never_used(self) -> None:
        """There is nothing to end."""
        await Resolver("peer.test", 80).aclose()

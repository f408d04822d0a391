"""Which addresses a processor's name leads to now.

Two processors that are restarted may come back with each other's address, and a payment meant for one would be stored
at the other. So the addresses that a look-up finds only say where to try, and for a second. Before a new connection is
used, `leads_to` makes sure that the name leads to its address, by a look-up that began after the connection was made.
If another server takes the address over after that, it knows nothing of the connection and ends it. (So a name server
must answer within the connect time-out.)
"""

import asyncio
import socket

ADDRESSES_MAX = 4
"""How many addresses of one name are tried: a processor's name leads to one, or to one per protocol or copy of it."""

ADDRESSES_FOR_S = 1.0
"""For how many seconds the addresses of one look-up are tried."""


class Resolver:
    """Looks up the addresses of one name.

    There is one look-up at a time: uvloop runs at most two in the whole process (libuv's "slow" work), so a name that
    hangs leaves one to the other processor. A look-up goes on when those who wait for it have given up, or a slow name
    server's answer would never be used; the system ends it, after some seconds (resolv.conf(5)).

    Args:
        host: the name.
        port: of the connections to be made.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._found: tuple[str, ...] = ()
        self._proven: str | None = None  # the one of these that has taken a connection
        self._doubts = 0  # how often `doubt` was called
        self._begun = 0  # how many look-ups have begun
        self._expires_at_s = 0.0  # when the name is to be looked up again, on the loop's clock
        self._looking_up: asyncio.Task[int] | None = None
        self._closed = False

    def doubt(self) -> None:
        """Notes that a connection was lost: the name may lead elsewhere by now, whatever a look-up under way finds."""
        self._doubts += 1
        self._expires_at_s = 0.0

    def expire(self) -> None:
        """Has the name looked up again for the next connection, as this one could not be made."""
        self._expires_at_s = 0.0

    async def find(self) -> tuple[str, ...]:
        """The addresses to try, in their order, or only the one that has taken a connection since they were found.

        Raises:
            OSError: the name can't be looked up, or `aclose` was called.
        """
        if asyncio.get_running_loop().time() >= self._expires_at_s:
            await self._look_up()
        return self._found if self._proven is None else (self._proven,)

    async def leads_to(self, address: str) -> bool:
        """Whether the name leads to an address that has taken a connection, by a look-up that begins after this call.

        Raises:
            OSError: as `find`.
        """
        begun = self._begun
        while await self._look_up() <= begun:
            pass  # that one was under way already; the next one is not
        if address not in self._found:
            return False
        self._proven = address
        return True

    async def aclose(self) -> None:
        """Ends a look-up under way, and lets none begin."""
        self._closed = True
        if self._looking_up is not None:
            self._looking_up.cancel()
            await asyncio.wait({self._looking_up})

    async def _look_up(self) -> int:
        """Waits for a look-up, a new one if none is under way; returns its number."""
        if self._closed:
            raise ConnectionAbortedError("the name is not looked up any more")
        if self._looking_up is None:
            self._looking_up = asyncio.get_running_loop().create_task(self._ask())
            self._looking_up.add_done_callback(self._on_looked_up)
        done, _ = await asyncio.wait({self._looking_up})
        if self._closed:
            raise ConnectionAbortedError("the name is not looked up any more")
        return done.pop().result()  # held by no variable: an error would form a cycle with this frame

    async def _ask(self) -> int:
        loop, doubts = asyncio.get_running_loop(), self._doubts
        self._begun += 1
        number = self._begun
        found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        self._found = tuple(dict.fromkeys(str(info[4][0]) for info in found))[:ADDRESSES_MAX]
        self._proven = None
        if doubts == self._doubts:
            self._expires_at_s = loop.time() + ADDRESSES_FOR_S
        return number

    def _on_looked_up(self, task: "asyncio.Task[int]") -> None:
        self._looking_up = None
        if not task.cancelled():
            task.exception()  # taken up: who waited for it may be gone, and asyncio would complain

"""Which addresses a processor's name leads to now.

Two processors that are restarted may come back with each other's address, and what is meant for one would be stored at
the other. So what was found is believed for a second, and not at all once a connection was lost since it was asked for;
a connection that was being made meanwhile is used only if the name still leads there.
"""

import asyncio
import socket

ADDRESSES_MAX = 4
"""How many addresses of one name are tried."""

ADDRESSES_FOR_S = 1.0
"""How long new connections go by one look-up."""


class Addresses:
    """The addresses of one name. One look-up at a time, as each occupies one of the process's few threads for them; it
    goes on when those who wait for it have given up, or a slow name server would never be heard.

    Args:
        host: the name.
        port: of the connections to be made.

    Attributes:
        doubts: how often what was known has become doubtful.
    """

    def __init__(self, host: str, port: int) -> None:
        """Nothing looked up yet."""
        self.doubts = 0
        self._host = host
        self._port = port
        self._found: tuple[str, ...] = ()
        self._proven: str | None = None  # the one of these that took a connection
        self._until_s = 0.0  # then the name is looked up again, on the loop's clock
        self._looking_up: asyncio.Task[int] | None = None

    def doubt(self) -> None:
        """A connection was lost, or could not be made: the name may lead elsewhere by now."""
        self.doubts += 1
        self._until_s = 0.0

    async def find(self) -> tuple[str, ...]:
        """The addresses to try, in their order; only the one that took a connection, once there is one.

        Raises:
            OSError: the name can't be looked up, or `aclose` was called.
        """
        if asyncio.get_running_loop().time() >= self._until_s:
            while await self._look_up() != self.doubts:
                pass  # asked before the last loss; ends with whoever waits, who has a time-out
        return self._found if self._proven is None else (self._proven,)

    async def leads_to(self, address: str, doubts: int) -> bool:
        """Whether the name still leads to an address that takes connections, found when there were so many doubts.

        Raises:
            OSError: as `find`.
        """
        if doubts != self.doubts:
            await self.find()
        if address not in self._found:
            return False
        self._proven = address
        return True

    async def aclose(self) -> None:
        """Ends a look-up under way."""
        task = self._looking_up
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def _look_up(self) -> int:
        """Waits for a look-up, the one under way or a new one; returns how many doubts there were when it began."""
        task = self._looking_up
        if task is None:
            task = self._looking_up = asyncio.get_running_loop().create_task(self._ask())
            task.add_done_callback(_hear)
        await asyncio.wait({task})
        if task.cancelled():
            raise ConnectionAbortedError("the look-up was given up")
        return task.result()

    async def _ask(self) -> int:
        loop, doubts = asyncio.get_running_loop(), self.doubts
        try:
            found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            self._found = tuple(dict.fromkeys(str(info[4][0]) for info in found))[:ADDRESSES_MAX]
            self._proven = None
            if doubts == self.doubts:
                self._until_s = loop.time() + ADDRESSES_FOR_S
        finally:
            self._looking_up = None
        return doubts


def _hear(task: "asyncio.Task[int]") -> None:
    """Takes up a look-up's error: who waited for it may be gone, and asyncio would complain that nobody did."""
    if not task.cancelled():
        task.exception()

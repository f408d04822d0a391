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

LOOK_UPS_MAX = 2
"""How many are under way at once: each occupies one of the process's four threads for them, which all names share."""

OVERTAKEN_AFTER_S = 2.0
"""How long one may take before another begins beside it. A query that was lost is sent again by the system only after
5 s (resolv.conf(5), `timeout`)."""


class Addresses:
    """The addresses of one name.

    A look-up goes on when those who wait for it have given up, or a slow name server would never be heard.

    Args:
        host: the name.
        port: of the connections to be made.
    """

    def __init__(self, host: str, port: int) -> None:
        """Nothing looked up yet."""
        self._host = host
        self._port = port
        self._found: tuple[str, ...] = ()
        self._proven: str | None = None  # the one of these that took a connection
        self._doubts = 0  # how often what was known has become doubtful
        self._until_s = 0.0  # then the name is looked up again, on the loop's clock
        self._begun = 0  # how many look-ups
        self._begun_at_s = 0.0  # the last of them
        self._found_by = 0  # which of them found what is known
        self._under_way: set[asyncio.Task[int]] = set()
        self._closed = False

    def doubt(self) -> None:
        """A connection was lost, or could not be made: the name may lead elsewhere by now."""
        self._doubts += 1
        self._until_s = 0.0

    async def find(self) -> tuple[tuple[str, ...], int]:
        """The addresses to try, in their order, or the one that took a connection since; and how many doubts there were
        when they were looked up, for `leads_to`.

        Raises:
            OSError: the name can't be looked up, or `aclose` was called.
        """
        asked = doubts = self._doubts
        if asyncio.get_running_loop().time() >= self._until_s:
            while (asked := await self._look_up()) < doubts:
                pass  # it had begun before the last loss; the next one has not
        return (self._found if self._proven is None else (self._proven,)), asked

    async def leads_to(self, address: str, doubts: int) -> bool:
        """Whether the name still leads to an address that took a connection, looked up when there were so many doubts.

        Raises:
            OSError: as `find`.
        """
        if doubts != self._doubts:
            await self.find()
        if address not in self._found:
            return False
        self._proven = address
        return True

    async def aclose(self) -> None:
        """Ends what is under way."""
        self._closed = True
        under_way = set(self._under_way)
        for task in under_way:
            task.cancel()
        if under_way:
            await asyncio.wait(under_way)

    async def _look_up(self) -> int:
        """Waits for a look-up; returns how many doubts there were when it began."""
        if self._closed:
            raise ConnectionAbortedError("the name is not looked up any more")
        loop = asyncio.get_running_loop()
        is_overdue = loop.time() - self._begun_at_s >= OVERTAKEN_AFTER_S
        if not self._under_way or (is_overdue and len(self._under_way) < LOOK_UPS_MAX):
            self._begun += 1
            self._begun_at_s = loop.time()
            task = loop.create_task(self._ask(self._begun))
            self._under_way.add(task)
            task.add_done_callback(self._hear)
            del task  # an error that is raised below must not lead back to itself: only the collector would find that
        done, _ = await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
        if self._closed:
            raise ConnectionAbortedError("the name is not looked up any more")
        return done.pop().result()

    async def _ask(self, number: int) -> int:
        loop, doubts = asyncio.get_running_loop(), self._doubts
        found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        if number > self._found_by:  # else it was overtaken
            self._found_by = number
            self._found = tuple(dict.fromkeys(str(info[4][0]) for info in found))[:ADDRESSES_MAX]
            self._proven = None
            if doubts == self._doubts:
                self._until_s = loop.time() + ADDRESSES_FOR_S
        return doubts

    def _hear(self, task: "asyncio.Task[int]") -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # taken up: who waited for it may be gone, and asyncio would complain

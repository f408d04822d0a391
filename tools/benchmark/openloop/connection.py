"""One connection of the generator: writes a request, reads its answer, then is free for the next one."""

import asyncio
import os
from typing import Protocol, cast

from tools.benchmark.openloop.answers import Answer, AnswerReader, BrokenAnswer
from tools.benchmark.openloop.requests import Request

KNOWN_MAX = 16
KNOWN_BYTES_MAX = 2_048


class Owner(Protocol):
    """The user of connections.

    Attributes:
        known: complete answers seen before, by their bytes: most answers repeat, and need not be parsed again.
    """

    known: dict[bytes, Answer]

    def on_free(self, connection: "Connection") -> None:
        """Uses a connection that has become free."""

    def on_answer(self, connection: "Connection", answer: Answer) -> None:
        """Handles the answer to the connection's request; the connection is not free yet."""

    def on_lost(self, connection: "Connection") -> None:
        """Handles the loss of a connection, and of the request that may have been under way."""


class Connection(asyncio.Protocol):
    """One TCP connection.

    Attributes:
        request: the one under way, or None.
        turn: its number.
        at_ns: when it was due.
    """

    __slots__ = ("_fd", "_owner", "_reader", "_started", "_transport", "at_ns", "request", "turn")

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._fd = -1
        self._reader = AnswerReader()
        self._started = False  # whether the reader holds part of an answer
        self.request: Request | None = None
        self.turn = 0
        self.at_ns = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Offers the new connection to its owner."""
        self._transport = cast("asyncio.Transport", transport)
        self._fd = transport.get_extra_info("socket").fileno()
        self._owner.on_free(self)

    def send(self, request: Request, turn: int, at_ns: int) -> None:
        """Sends a request that was due at `at_ns`."""
        self.request, self.turn, self.at_ns = request, turn, at_ns
        if self._transport is None:
            return
        try:
            # Bypasses the transport, which has nothing buffered: its own path to this call costs a third more.
            sent = os.write(self._fd, request.data)
        except OSError:
            self.drop()
        else:
            if sent < len(request.data):
                self.drop()

    def data_received(self, data: bytes) -> None:
        """Reads an answer, or a piece of one."""
        known = self._owner.known
        answer = None if self._started else known.get(data)
        if answer is None:
            fresh = not self._started
            self._started = True
            try:
                answer = self._reader.feed(data)
            except BrokenAnswer:
                self.drop()
                return
            if answer is None:
                return
            self._started = False
            if fresh and answer.keeps and len(known) < KNOWN_MAX and len(data) <= KNOWN_BYTES_MAX:
                known[data] = answer
        if self.request is None:  # no request is under way: the server announces that it closes
            self.drop()
            return
        self._owner.on_answer(self, answer)
        if answer.keeps:
            self._owner.on_free(self)
        else:
            self.drop()

    def eof_received(self) -> None:
        """Tells the owner that the server has closed; the loop closes the connection when this returns None."""
        self._lose()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the reason does not matter
        """Tells the owner that the connection is gone, unless it knows."""
        self._lose()

    def _lose(self) -> None:
        if self._transport is not None:
            self._transport = None
            self._owner.on_lost(self)

    def drop(self) -> None:
        """Ends the connection at once; a request under way gets no answer."""
        if self._transport is not None:
            self._transport.abort()

"""Tests of tools/benchmark/openloop/connection.py."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.tools.benchmark.openloop.servers import ACCEPTED, CLOSING
from tools.benchmark.openloop.answers import Answer
from tools.benchmark.openloop.connection import KNOWN_MAX, Connection
from tools.benchmark.openloop.requests import Request

REQUEST = Request(b"GET / HTTP/1.1\r\n\r\n", "x")


class Line(asyncio.Transport):
    """A transport over a pair of sockets; it tells the protocol when it is aborted."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self._connection = connection

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Its socket."""
        return self.near if name == "socket" else default

    def abort(self) -> None:
        """It is lost."""
        self.close()
        self._connection.connection_lost(None)

    def close(self) -> None:
        """Close both ends."""
        self.near.close()
        self.far.close()


class Ledger:
    """An owner that writes down what it is told."""

    def __init__(self) -> None:
        self.known: dict[bytes, Answer] = {}
        self.said: list[object] = []

    def on_free(self, _connection: Connection) -> None:
        """Note it."""
        self.said.append("free")

    def on_answer(self, connection: Connection, answer: Answer) -> None:
        """Note it."""
        connection.request = None
        self.said.append(answer)

    def on_lost(self, _connection: Connection) -> None:
        """Note it."""
        self.said.append("lost")


@pytest.fixture
def ledger() -> Ledger:
    """Nothing said yet."""
    return Ledger()


@pytest.fixture
def connection(ledger: Ledger) -> Connection:
    """A connection, not up yet."""
    return Connection(ledger)


@pytest.fixture(autouse=True)
def line(connection: Connection) -> Iterator[Line]:
    """What it is on: it is up now, and has said so."""
    made = Line(connection)
    connection.connection_made(made)
    yield made
    made.close()


class TestConnection:
    """One request at a time."""

    def test_a_request_and_its_answer(self, ledger: Ledger, connection: Connection, line: Line) -> None:
        """Free, busy, answered, free again."""
        connection.send(REQUEST, 5, 77)
        assert line.far.recv(100) == REQUEST.data
        assert (connection.request, connection.turn, connection.at_ns) == (REQUEST, 5, 77)
        connection.data_received(ACCEPTED)
        assert ledger.said == ["free", Answer(202, b"", keeps=True), "free"]

    def test_an_answer_in_pieces(self, ledger: Ledger, connection: Connection) -> None:
        """Read by the parser, and not taken for one that is known."""
        ledger.known[ACCEPTED[20:]] = Answer(500, b"", keeps=True)
        connection.send(REQUEST, 5, 77)
        connection.data_received(ACCEPTED[:20])
        assert ledger.said == ["free"]
        connection.data_received(ACCEPTED[20:])
        assert ledger.said[1:] == [Answer(202, b"", keeps=True), "free"]
        assert list(ledger.known) == [ACCEPTED[20:]]

    def test_the_same_answer_again_is_not_parsed(self, ledger: Ledger, connection: Connection) -> None:
        """It is known by its bytes; so many at the most."""
        connection.send(REQUEST, 0, 0)
        connection.data_received(ACCEPTED)
        assert ledger.known == {ACCEPTED: Answer(202, b"", keeps=True)}
        for number in range(2 * KNOWN_MAX):
            connection.send(REQUEST, 0, 0)
            connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n%02d" % number)
        assert len(ledger.known) == KNOWN_MAX
        connection.send(REQUEST, 0, 0)
        ledger.known[ACCEPTED] = Answer(299, b"", keeps=True)
        connection.data_received(ACCEPTED)
        assert ledger.said[-2] == Answer(299, b"", keeps=True)

    def test_a_server_that_closes_is_left(self, ledger: Ledger, connection: Connection) -> None:
        """After its answer."""
        connection.send(REQUEST, 0, 0)
        connection.data_received(CLOSING)
        assert ledger.said[1:] == [Answer(202, b"", keeps=False), "lost"]

    @pytest.mark.parametrize("data", [b"nonsense\r\n\r\n", ACCEPTED], ids=["broken", "not asked for"])
    def test_what_makes_no_sense_ends_it(self, ledger: Ledger, connection: Connection, data: bytes) -> None:
        """Nothing was asked, or what came is no answer."""
        connection.data_received(data)
        assert ledger.said == ["free", "lost"]

    def test_the_end_of_the_servers_side_is_the_end(self, ledger: Ledger, connection: Connection) -> None:
        """It is told once; nothing is sent into a connection that is half closed."""
        connection.eof_received()
        connection.connection_lost(None)
        assert ledger.said == ["free", "lost"]

    def test_a_lost_one_writes_nothing(self, ledger: Ledger, connection: Connection) -> None:
        """What is under way has no answer; its owner knows."""
        connection.drop()
        connection.drop()
        connection.send(REQUEST, 0, 0)
        assert ledger.said == ["free", "lost"]

    def test_a_server_that_reads_nothing_is_left(self, ledger: Ledger, connection: Connection, line: Line) -> None:
        """A request that does not fit into the socket is not sent by halves."""
        large = Request(b"x" * 10_000_000, "x")
        connection.send(large, 0, 0)
        assert ledger.said == ["free", "lost"]

    def test_a_socket_that_takes_nothing_is_left(self, ledger: Ledger, connection: Connection, line: Line) -> None:
        """Nor waited for."""
        line.near.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while line.near.send(b"x" * 65_536):
                pass
        connection.send(REQUEST, 0, 0)
        assert ledger.said == ["free", "lost"]

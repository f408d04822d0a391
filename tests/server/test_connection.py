"""One connection by itself: a fake transport and a fake clock, no network."""

import asyncio
import errno
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.connection import ANSWER_BYTES_MAX, Connection, MalformedAnswer

REQUEST = b"POST /payments HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

ANSWERS = {
    "length": (OK, 200, b"ok"),
    "chunks": (
        b"HTTP/1.1 201 Made\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nab\r\n1\r\nc\r\n0\r\nX: y\r\n\r\n",
        201,
        b"abc",
    ),
    "no body": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "no reason": (b"HTTP/1.1 503 \r\nContent-Length: 0\r\n\r\n", 503, b""),
    "interim": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK, 200, b"ok"),
}


class FakeTimer:
    """A timer that waits for the test to fire it."""

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        """Keep what to do and when."""
        self._when = when
        self.callback = callback
        self.is_cancelled = False

    def when(self) -> float:
        """When it is due, on the fake clock."""
        return self._when

    def cancel(self) -> None:
        """Never fire."""
        self.is_cancelled = True


class FakeLoop:
    """The three things a connection asks its loop for."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin at time 0, with no timer."""
        self.create_future = loop.create_future
        self.now = 0.0
        self.timers: list[FakeTimer] = []

    def time(self) -> float:
        """The fake clock."""
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> FakeTimer:
        """Keep a timer."""
        timer = FakeTimer(when, callback)
        self.timers.append(timer)
        return timer

    def advance(self, now: float) -> None:
        """Go to a time and fire the timers due until then."""
        self.now = now
        for timer in [timer for timer in self.timers if timer.when() <= now and not timer.is_cancelled]:
            self.timers.remove(timer)
            timer.callback()


class FakeTransport(asyncio.Transport):
    """Keeps what is written, and one end of a socket pair whose other end is the peer."""

    def __init__(self) -> None:
        """Begin open."""
        super().__init__()
        self.near, self.far = socket.socketpair()
        self.written: list[bytes] = []
        self.aborts = 0
        self.has_failed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The socket, whatever is asked for."""
        return self.near

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it."""
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        """Whether it was aborted, or has failed and will tell so in the loop's next turn."""
        return self.aborts > 0 or self.has_failed

    def abort(self) -> None:
        """Count it."""
        self.aborts += 1


class Scene:
    """A made connection."""

    def __init__(self) -> None:
        """Make it."""
        self.loop = FakeLoop(asyncio.new_event_loop())
        self.transport = FakeTransport()
        self.lost: list[Connection] = []
        self.connection = Connection(self.loop, self.lost.append)  # type: ignore[arg-type]
        self.connection.connection_made(self.transport)

    def close(self) -> None:
        """Free what the operating system gave."""
        self.transport.near.close()
        self.transport.far.close()
        self.loop.create_future.__self__.close()  # type: ignore[attr-defined]


@pytest.fixture
def scene() -> Iterator[Scene]:
    """A made connection, on a fake loop."""
    scene = Scene()
    yield scene
    scene.close()


class TestExchange:
    """A request and its answer."""

    def test_written_at_once(self, scene: Scene) -> None:
        """A request is one write."""
        scene.connection.exchange(REQUEST, 30.0)
        assert scene.transport.written == [REQUEST]

    @given(data=st.data(), name=st.sampled_from(sorted(ANSWERS)))
    def test_cut_anywhere(self, data: st.DataObject, name: str) -> None:
        """However an answer is cut into parts, it is whole with its last byte and not before, and reads the same."""
        answer, status, body = ANSWERS[name]
        cuts = sorted(data.draw(st.sets(st.integers(min_value=1, max_value=len(answer) - 1))))
        scene = Scene()
        try:
            for _ in range(2):  # a second one on the same connection
                done = scene.connection.exchange(REQUEST, 30.0)
                for start, end in zip([0, *cuts], [*cuts, len(answer)], strict=True):
                    assert not done.done()
                    scene.connection.data_received(answer[start:end])
                assert done.result() is None
                assert (scene.connection.status, scene.connection.body) == (status, body)
                assert scene.connection.is_usable()
        finally:
            scene.close()

    def test_header_fields(self, scene: Scene) -> None:
        """Header fields are those of the final answer, as they came."""
        scene.connection.exchange(REQUEST, 30.0)
        scene.connection.data_received(ANSWERS["interim"][0])
        assert scene.connection.headers == [(b"Content-Length", b"2")]

    @pytest.mark.parametrize(("surplus", "error"), [(0, type(None)), (1, MalformedAnswer)])
    def test_largest_answer(self, scene: Scene, surplus: int, error: type) -> None:
        """An answer of exactly the size limit is taken, one of a byte more is not."""
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
        length = ANSWER_BYTES_MAX - len(head % ANSWER_BYTES_MAX) + surplus
        done = scene.connection.exchange(REQUEST, 30.0)
        scene.connection.data_received(head % length + b"x" * length)
        assert type(done.exception()) is error

    def test_each_answer_may_be_large(self, scene: Scene) -> None:
        """The size limit is one answer's, not that of all over a connection."""
        length = ANSWER_BYTES_MAX * 2 // 3
        for _ in range(2):
            done = scene.connection.exchange(REQUEST, 30.0)
            scene.connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + b"x" * length)
            assert done.result() is None


class TestUnasked:
    """Bytes and ends nobody waits for."""

    def test_bytes_before_the_first_exchange(self, scene: Scene) -> None:
        """A peer that speaks first is not listened to."""
        scene.connection.data_received(OK)
        assert scene.transport.aborts == 1

    def test_bytes_after_the_answer(self, scene: Scene) -> None:
        """Bytes that follow an answer in a read of their own cost the connection, not the answer."""
        done = scene.connection.exchange(REQUEST, 30.0)
        scene.connection.data_received(OK)
        scene.connection.data_received(b"x")
        assert done.result() is None
        assert not scene.connection.is_usable()

    @pytest.mark.parametrize("surplus", [b"x", OK], ids=["byte", "answer"])
    @pytest.mark.parametrize(
        "answer", [OK, OK.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)], ids=["open", "closes"]
    )
    def test_bytes_with_the_answer(self, scene: Scene, answer: bytes, surplus: bytes) -> None:
        """Bytes that follow an answer in the same read cost the answer, too: it may be an earlier exchange's."""
        done = scene.connection.exchange(REQUEST, 30.0)
        scene.connection.data_received(answer + surplus)
        assert isinstance(done.exception(), MalformedAnswer)
        assert scene.transport.aborts == 1

    def test_end_while_idle(self, scene: Scene) -> None:
        """The end of an idle connection makes it unusable, and is not the end of an answer that has no length."""
        scene.connection.exchange(REQUEST, 30.0)
        scene.connection.data_received(ANSWERS["no body"][0])
        scene.connection.eof_received()
        assert not scene.connection.is_usable()

    def test_readable_while_idle(self, scene: Scene) -> None:
        """A connection with bytes in its socket is unusable before the loop has read them."""
        assert scene.connection.is_usable()
        scene.transport.far.send(b"x")
        assert not scene.connection.is_usable()

    def test_closed_while_idle(self, scene: Scene) -> None:
        """So is one whose peer has closed."""
        scene.transport.far.close()
        assert not scene.connection.is_usable()

    def test_failed_while_idle(self, scene: Scene) -> None:
        """So is one whose transport knows of an error that it has yet to tell."""
        scene.transport.has_failed = True
        assert not scene.connection.is_usable()

    def test_answer_after_giving_up(self, scene: Scene) -> None:
        """An answer to a call that was cancelled in this very turn goes to nobody."""
        done = scene.connection.exchange(REQUEST, 30.0)
        done.cancel()
        scene.connection.data_received(OK)
        assert not scene.connection.is_usable()


class TestEnd:
    """How a connection ends."""

    def test_lost_while_idle(self, scene: Scene) -> None:
        """The owner is told once."""
        scene.connection.connection_lost(None)
        assert scene.lost == [scene.connection]

    @pytest.mark.parametrize("error", [ConnectionResetError("reset"), TimeoutError(errno.ETIMEDOUT, "a cut network")])
    def test_lost_while_busy(self, scene: Scene, error: OSError) -> None:
        """The owner is told before the exchange ends; that is no time-out, whatever the kernel calls it."""
        done = scene.connection.exchange(REQUEST, 30.0)
        scene.connection.connection_lost(error)
        assert scene.lost == [scene.connection]
        assert isinstance(done.exception(), ConnectionResetError)

    @pytest.mark.parametrize("part", [b"", b"HTTP/1.1 200 OK\r\nContent-Le"], ids=["nothing", "head"])
    def test_closed_where_an_answer_was_before(self, scene: Scene, part: bytes) -> None:
        """What came of an earlier exchange is not taken for the answer to this one, though that one had no body."""
        scene.connection.exchange(REQUEST, 30.0)
        scene.connection.data_received(ANSWERS["no body"][0])
        done = scene.connection.exchange(REQUEST, 30.0)
        scene.connection.data_received(part)
        scene.connection.eof_received()
        assert isinstance(done.exception(), MalformedAnswer)

    def test_closed_by_the_answer(self, scene: Scene) -> None:
        """One whose last answer ends it is not used again."""
        scene.connection.exchange(REQUEST, 30.0)
        scene.connection.data_received(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        assert not scene.connection.is_usable()

    def test_dropped_twice(self, scene: Scene) -> None:
        """Dropping it twice closes it once."""
        scene.connection.drop()
        scene.connection.drop()
        assert scene.transport.aborts == 1

    def test_dropped_before_made(self, scene: Scene) -> None:
        """One that was given up before it was made is closed when it is."""
        connection = Connection(scene.loop, scene.lost.append)  # type: ignore[arg-type]
        connection.drop()
        connection.connection_made(scene.transport)
        assert scene.transport.aborts == 1

    def test_failed_after_the_answer(self, scene: Scene) -> None:
        """An exchange that is done can't fail any more."""
        done = scene.connection.exchange(REQUEST, 30.0)
        scene.connection.data_received(OK)
        scene.connection.fail(TimeoutError())
        assert done.result() is None

    def test_timer_goes_with_it(self, scene: Scene) -> None:
        """A lost connection leaves no timer that would keep it in memory."""
        scene.connection.exchange(REQUEST, 30.0).cancel()
        scene.connection.connection_lost(None)
        assert [timer.is_cancelled for timer in scene.loop.timers] == [True]


class TestDeadline:
    """One timer per connection, not one per exchange."""

    def exchange(self, scene: Scene, deadline: float) -> None:
        """One exchange that goes well."""
        scene.connection.exchange(REQUEST, deadline)
        scene.connection.data_received(OK)

    def test_many_exchanges_one_timer(self, scene: Scene) -> None:
        """Later deadlines leave the timer alone."""
        for deadline in range(30, 60):
            self.exchange(scene, float(deadline))
        assert len(scene.loop.timers) == 1

    def test_passed(self, scene: Scene) -> None:
        """At the deadline the exchange fails and the connection is dropped, and not before."""
        done = scene.connection.exchange(REQUEST, 30.0)
        scene.loop.advance(29.9)
        assert not done.done()
        scene.loop.advance(30.0)
        assert isinstance(done.exception(), TimeoutError)
        assert scene.transport.aborts == 1

    def test_of_a_later_exchange(self, scene: Scene) -> None:
        """A timer that fires early for the exchange going on is set again, for its deadline."""
        self.exchange(scene, 30.0)
        scene.loop.now = 20.0
        done = scene.connection.exchange(REQUEST, 50.0)
        scene.loop.advance(30.0)
        assert not done.done()
        assert [timer.when() for timer in scene.loop.timers] == [50.0]
        scene.loop.advance(50.0)
        assert isinstance(done.exception(), TimeoutError)

    def test_shorter(self, scene: Scene) -> None:
        """A shorter deadline after a longer one holds; its timer takes the place of the other."""
        self.exchange(scene, 30.0)
        done = scene.connection.exchange(REQUEST, 2.0)
        assert [(timer.when(), timer.is_cancelled) for timer in scene.loop.timers] == [(30.0, True), (2.0, False)]
        scene.loop.advance(2.0)
        assert isinstance(done.exception(), TimeoutError)

    def test_while_idle(self, scene: Scene) -> None:
        """A timer that fires while the connection is idle does nothing and is not set again."""
        self.exchange(scene, 30.0)
        scene.loop.advance(30.0)
        assert scene.connection.is_usable()
        assert scene.loop.timers == []

    def test_dropped(self, scene: Scene) -> None:
        """A timer that fires before the loop has told of the end of a dropped connection does nothing."""
        scene.connection.exchange(REQUEST, 30.0)
        scene.connection.drop()
        scene.loop.advance(30.0)
        assert scene.transport.aborts == 1

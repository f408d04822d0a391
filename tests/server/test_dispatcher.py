"""The dispatcher, over a real segment and fake processors: starting, stopping, what it shows."""

import httpx
import pytest

from server.intake import TAKEN_PER_TURN_MAX
from server.pacing import BURST
from server.unknowns import PAUSE_MIN_MS
from shm import DispatcherCount, Segment, State
from tests.fakes import NOON_MS, idle
from tests.server.scene import Scene, hanging, payment, text_of


class TestRepeats:
    """The same id again."""

    async def test_same_amount(self, segment: Segment) -> None:
        """Charged once, whether in the same lane or in two."""
        async with Scene(segment) as scene:
            scene.accept(1, 1, 1)
            scene.accept(1, lane=1)
            await scene.pass_time()
            scene.accept(1)
            await scene.pass_time()
            assert len(scene.fakes[0].posts) == len(scene.ended()) == 1
            assert scene.count(DispatcherCount.REPEATED) == 4

    async def test_other_amount(self, segment: Segment) -> None:
        """The first taken is paid, the other is a visible conflict."""
        async with Scene(segment) as scene:
            scene.accept(1)
            scene.accept(1, lane=1, amount_cents=2000)
            await scene.pass_time()
            assert [post.amount for post in scene.fakes[0].posts] == ["19.90"]
            assert scene.kept().conflicts == scene.count(DispatcherCount.CONFLICTS) == 1


class TestStart:
    """The beginning of a life."""

    async def test_nothing_happens_before(self, segment: Segment) -> None:
        """What a predecessor left unknown is asked about, and what waits is paid, only once it is told to start."""
        first = Scene(segment)
        async with first:
            first.fakes[0].answer = hanging()
            first.accept(1)
            await first.pass_time()
        second = Scene(segment)
        second.accept(2)
        second.clock.advance(PAUSE_MIN_MS)
        await idle()
        assert (second.lanes[0].depth, second.fakes[0].posts) == (1, [])
        async with second:
            await second.pass_time()
            assert second.kept(2).state is State.SETTLED


class TestStop:
    """The end of a life."""

    async def test_leaves_nothing(self, segment: Segment, caplog: pytest.LogCaptureFixture) -> None:
        """Then there is nothing to tell."""
        async with Scene(segment) as scene:
            assert (await scene.pay()).state is State.SETTLED
        assert caplog.messages == []

    async def test_leaves_the_rest(self, segment: Segment, caplog: pytest.LogCaptureFixture) -> None:
        """What is in flight is unknown, what waits goes on waiting, nothing more is sent, and the log says how many."""
        scene = Scene(segment, in_flight_max=2)
        async with scene:
            scene.fakes[0].answer = hanging()
            scene.accept(*range(10))
            await scene.pass_time()
            assert len(scene.fakes[0].posts) == 2
        assert scene.states() == [State.UNKNOWN] * 2 + [State.WAITING] * 8
        await idle(100)
        assert len(scene.fakes[0].posts) == 2
        assert caplog.messages == ["10 payments stay unsettled in the segment; this instance's next life pays them"]

    async def test_tells_of_the_unknown(self, segment: Segment) -> None:
        """What was cut short counts as unknown in the last flush."""
        scene = Scene(segment)
        async with scene:
            scene.fakes[0].answer = hanging()
            scene.accept(1, 2)
            await scene.pass_time()
            scene.dispatcher.beat(scene.clock.ticks_ms())
            assert scene.count(DispatcherCount.SENDING) == 2
        assert scene.count(DispatcherCount.UNKNOWN) == 2
        assert scene.count(DispatcherCount.UNKNOWN_LEAST_MS) == NOON_MS
        assert scene.count(DispatcherCount.SENDING) == 0

    async def test_ends_questions(self, segment: Segment) -> None:
        """A question that is under way is dropped, and what was asked about stays unknown."""
        async with Scene(segment) as scene:
            held = hanging()
            scene.fakes[0].answers.append(httpx.ReadError)
            scene.fakes[0].shows.append(held)
            await scene.pay()
            await scene.pass_time(PAUSE_MIN_MS)
            assert len(scene.fakes[0].questions) == 1
        assert held.cancelled()
        assert (len(scene.fakes[0].posts), scene.kept().state) == (1, State.UNKNOWN)

    async def test_at_once_after_a_wake_up(self, segment: Segment) -> None:
        """A turn that was due when the stop came does not come any more, and attempts not yet begun are not made."""
        scene = Scene(segment)
        async with scene:
            scene.accept(*range(100))
            scene.dispatcher._turn()  # noqa: SLF001  attempts are made, but none has run
            assert scene.count(DispatcherCount.ATTEMPTS) == BURST
        await idle(100)
        assert scene.fakes[0].posts == []
        assert set(scene.states()) == {State.UNKNOWN, State.WAITING}
        assert scene.lanes[0].depth == 100 - TAKEN_PER_TURN_MAX

    async def test_successor(self, segment: Segment) -> None:
        """A successor settles all that was left, each payment once."""
        first = Scene(segment, in_flight_max=4)
        async with first:
            first.fakes[0].answer = hanging()
            first.accept(*range(20))
            await first.pass_time()
        second = Scene(segment)
        async with second:
            for number in (1, 3):  # two of the four in flight had got there
                post = first.fakes[0].posts[number]
                second.fakes[0].stored[post.correlation_id] = post
            await second.pass_time(PAUSE_MIN_MS)
            assert second.states() == [State.SETTLED] * 20
            assert len(second.ended()) == len({record.slot for record in second.ended()}) == 20
            posts = [post.correlation_id for post in second.fakes[0].posts]
            assert sorted(posts) == sorted(text_of(number) for number in range(20) if number not in {1, 3})

    async def test_after_a_crash(self, segment: Segment) -> None:
        """The same when the first died without a word."""
        first = Scene(segment, in_flight_max=4)
        first.fakes[0].answer = hanging()
        first.accept(*range(20))
        first.dispatcher.start(first.doorbell)
        await idle()
        assert first.states().count(State.SENDING) == 4
        async with Scene(segment) as second:
            await second.pass_time(BURST)
            assert second.count(DispatcherCount.SETTLED_DEFAULT) == 16
            await second.pass_time(PAUSE_MIN_MS)
            assert second.states() == [State.SETTLED] * 20
        await first.dispatcher.aclose()

    async def test_unsettled(self, segment: Segment) -> None:
        """There is something to wait for while a payment is in a lane, waiting, in flight or unknown."""
        async with Scene(segment, in_flight_max=1) as scene:
            assert scene.dispatcher.unsettled() == 0
            scene.accept(1)
            assert scene.dispatcher.unsettled() == 1
            held = hanging()
            scene.fakes[0].answers.append(held)
            await scene.pass_time()
            assert scene.dispatcher.unsettled() == 1
            held.set_exception(httpx.ReadError("cut"))
            await idle()
            assert scene.kept().state is State.UNKNOWN
            assert scene.dispatcher.unsettled() == 1
            await scene.pass_time(PAUSE_MIN_MS)
            assert scene.dispatcher.unsettled() == 0

    async def test_unsettled_is_what_was_put_back(self, segment: Segment) -> None:
        """There is something to wait for while a payment waits for a processor that takes it."""
        async with Scene(segment) as scene:
            scene.fakes[0].answer = 500
            assert (await scene.pay()).state is State.WAITING
            assert scene.dispatcher.unsettled() == 1

    async def test_unsettled_is_what_is_to_be_verified(self, segment: Segment) -> None:
        """And while one has yet to be looked for elsewhere, after an absence."""
        async with Scene(segment) as scene:
            scene.custody.take(payment(1), verified=False)
            assert scene.dispatcher.unsettled() == 1


class TestBeat:
    """What the tools see."""

    async def test_gauges(self, segment: Segment) -> None:
        """How many payments stand where."""
        async with Scene(segment, in_flight_max=2) as scene:
            scene.fakes[0].answers.extend([httpx.ReadError, hanging(), hanging()])
            scene.accept(*range(5))
            await scene.pass_time()
            scene.dispatcher.beat(scene.clock.ticks_ms())
            gauges = (DispatcherCount.WAITING, DispatcherCount.SENDING, DispatcherCount.UNKNOWN)
            assert sum(map(scene.count, gauges)) == 5
            assert scene.count(DispatcherCount.UNKNOWN) == 1
            assert scene.counters.heartbeat_us > 0

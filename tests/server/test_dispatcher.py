"""The dispatcher, over a real segment and fake processors: every answer of the state table, starting, stopping."""

import logging
from collections.abc import Iterator

import httpx
import pytest

from server.circuit import CircuitState
from server.intake import TAKEN_PER_TURN_MAX
from server.notation import format_instant_ms
from server.pacing import BURST
from server.unknowns import PAUSE_MIN_MS
from shm import DispatcherCount, Ended, Segment, State
from tests.fakes import NOON_MS, Answer, Paid, idle
from tests.server.scene import WAIT_MS, Scene, fresh_segment, hanging, payment, text_of

SURE_NOES: list[Answer] = [429, 500, 503, httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout]
UNCLEAR: list[Answer] = [
    *(201, 204, 301, 302, 401, 404, 405, 408, 418, 501, 502, 504, 599),
    *(httpx.ReadTimeout, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError),
]


@pytest.fixture
def segment() -> Iterator[Segment]:
    """A small segment."""
    with fresh_segment() as made:
        yield made


class TestAnswers:
    """What each answer to a payment leads to."""

    async def test_paid(self, segment: Segment) -> None:
        """200: settled, in the journal with what was sent, and told to whoever publishes."""
        async with Scene(segment) as scene:
            kept = await scene.pay()
            assert (kept.state, kept.processor, kept.requested_at_ms) == (State.SETTLED, 0, NOON_MS)
            assert scene.ended() == [Ended(State.SETTLED, 0, NOON_MS, 1990, 0)]
            assert scene.ends == scene.count(DispatcherCount.SETTLED_DEFAULT) == 1
            assert scene.fakes[0].posts == [Paid(text_of(1), "19.90", format_instant_ms(NOON_MS))]

    @pytest.mark.parametrize("answer", SURE_NOES)
    async def test_sure_no(self, segment: Segment, answer: Answer) -> None:
        """The payment waits, and is sent again with a requestedAt of its own."""
        async with Scene(segment) as scene:
            scene.fakes[0].answers.append(answer)
            await scene.pay()
            assert scene.count(DispatcherCount.SURE_NOS) == 1
            await scene.pass_time(200)
            kept = scene.kept()
            assert (kept.state, kept.attempts, kept.processor) == (State.SETTLED, 2, 0)
            first, second = scene.fakes[0].posts
            assert (first.correlation_id, first.amount) == (second.correlation_id, second.amount)
            assert first.requested_at == format_instant_ms(NOON_MS)
            assert second.requested_at == format_instant_ms(kept.requested_at_ms)
            assert scene.ended() == [Ended(State.SETTLED, 0, kept.requested_at_ms, 1990, 0)]

    async def test_sure_no_then_the_other(self, segment: Segment) -> None:
        """After a sure no and the wait that the fees are worth, the other processor takes it."""
        async with Scene(segment) as scene:
            scene.fakes[0].answer = 500
            await scene.pay()
            await scene.pass_time(WAIT_MS)
            await scene.pass_time(1)
            kept = scene.kept()
            assert (kept.state, kept.processor) == (State.SETTLED, 1)
            assert kept.requested_at_ms >= NOON_MS + WAIT_MS
            assert scene.count(DispatcherCount.SETTLED_FALLBACK) == 1

    async def test_a_clock_that_was_set_back(self, segment: Segment) -> None:
        """How long a payment has waited is then unknown, and it does not wait for the clock to catch up."""
        async with Scene(segment) as scene:
            scene.fakes[0].answer = 500
            scene.accept(1)
            scene.clock.now_us -= 3_600_000_000
            for ms in (0, WAIT_MS, 1):
                await scene.pass_time(ms)
            assert (scene.kept().state, scene.kept().processor) == (State.SETTLED, 1)

    async def test_too_many_requests(self, segment: Segment) -> None:
        """429: fewer are sent there at once, and it does not count as down."""
        async with Scene(segment) as scene:
            scene.fakes[0].answers.append(429)
            await scene.pay()
            assert (scene.circuits[0].state, scene.circuits[0].limit) == (CircuitState.CLOSED, 2)

    @pytest.mark.parametrize("answer", [400, 413])
    async def test_rejected_by_both(self, segment: Segment, answer: int, caplog: pytest.LogCaptureFixture) -> None:
        """Refused for good: kept, counted, told of, and not sent again."""
        async with Scene(segment) as scene:
            scene.fakes[0].answer = scene.fakes[1].answer = answer
            assert (await scene.pay()).state is State.REFUSED
            assert scene.ended() == [Ended(State.REFUSED, 1, NOON_MS, 1990, 0)]
            await scene.pass_time(10_000)
            assert [len(fake.posts) for fake in scene.fakes] == [1, 1]
            assert scene.count(DispatcherCount.REFUSED) == 1
            assert f"asked wrongly: status {answer} of default" in caplog.text
            assert [circuit.state for circuit in scene.circuits] == [CircuitState.CLOSED] * 2

    async def test_stored_already_and_ours(self, segment: Segment) -> None:
        """422, and it shows what was sent: settled."""
        async with Scene(segment) as scene:
            scene.fakes[0].answers.append(422)
            scene.fakes[0].stored[text_of(1)] = Paid(text_of(1), "19.9", format_instant_ms(NOON_MS))
            assert (await scene.pay()).state is State.SETTLED
            assert scene.ended() == [Ended(State.SETTLED, 0, NOON_MS, 1990, 0)]

    @pytest.mark.parametrize("answer", [400, 422])
    async def test_what_is_about_the_payment_tells_nothing_of_the_processor(
        self, segment: Segment, answer: int
    ) -> None:
        """The attempt no longer counts as under way, and the circuit learns neither a failure nor a latency."""
        async with Scene(segment) as scene:
            scene.fakes[0].answers.append(answer)
            scene.fakes[0].stored[text_of(1)] = Paid(text_of(1), "19.90", format_instant_ms(NOON_MS))
            await scene.pay()
            circuit = scene.circuits[0]
            assert (circuit.in_flight, circuit.state) == (0, CircuitState.CLOSED)
            assert circuit.latency_ms(scene.clock.ticks_ms()) == 0

    async def test_stored_already_does_not_close_a_circuit(self, segment: Segment) -> None:
        """A processor that answers a probe with 422 has not shown that it takes payments again."""
        async with Scene(segment) as scene:
            scene.fakes[0].answers.extend([500, 422])
            scene.fakes[0].shows.append(404)
            await scene.pay()
            await scene.pass_time(100)
            assert len(scene.fakes[0].posts) == 2
            assert scene.circuits[0].state is CircuitState.OPEN

    @pytest.mark.parametrize(
        ("amount", "requested_at_ms"), [("19.91", NOON_MS), ("19.90", NOON_MS - 1), ("19.901", NOON_MS)]
    )
    async def test_stored_already_and_another(self, segment: Segment, amount: str, requested_at_ms: int) -> None:
        """422, and it shows another amount or requestedAt: a duplicate, not counted."""
        async with Scene(segment) as scene:
            scene.fakes[0].answers.append(422)
            scene.fakes[0].stored[text_of(1)] = Paid(text_of(1), amount, format_instant_ms(requested_at_ms))
            assert (await scene.pay()).state is State.DUPLICATE
            assert [record.state for record in scene.ended()] == [State.DUPLICATE]
            assert scene.count(DispatcherCount.DUPLICATES) == 1
            assert scene.count(DispatcherCount.SETTLED_DEFAULT) == 0

    @pytest.mark.parametrize("shown", [404, 500, 503, httpx.ConnectError, httpx.ReadTimeout, b"{}", b"garbage"])
    async def test_stored_already_and_not_to_be_seen(self, segment: Segment, shown: Answer) -> None:
        """422, and the question fails: unknown until it can be asked."""
        async with Scene(segment) as scene:
            scene.fakes[0].answers.append(422)
            scene.fakes[0].shows.append(shown)
            assert (await scene.pay()).state is State.UNKNOWN
            scene.fakes[0].stored[text_of(1)] = Paid(text_of(1), "19.90", format_instant_ms(NOON_MS))
            await scene.pass_time(PAUSE_MIN_MS)
            assert scene.kept().state is State.SETTLED
            assert len(scene.fakes[0].posts) == 1

    @pytest.mark.parametrize("answer", UNCLEAR)
    async def test_unclear(self, segment: Segment, answer: Answer) -> None:
        """Anything else: unknown, and found out at the same processor with the same requestedAt."""
        async with Scene(segment) as scene:
            scene.fakes[0].answers.append(answer)
            kept = await scene.pay()
            assert (kept.state, kept.processor, kept.requested_at_ms) == (State.UNKNOWN, 0, NOON_MS)
            assert scene.ended() == []
            await scene.pass_time(PAUSE_MIN_MS)
            assert scene.ended() == [Ended(State.SETTLED, 0, NOON_MS, 1990, 0)]
            assert len(set(scene.fakes[0].posts)) == 1

    async def test_unknown_belongs_to_its_processor(self, segment: Segment) -> None:
        """However long its processor is away, an unknown payment is never sent to the other."""
        async with Scene(segment) as scene:
            scene.fakes[0].answers.append(httpx.ReadTimeout)
            scene.fakes[0].answer = 500
            await scene.pay(1)
            await scene.pay(2)
            for _ in range(20):
                await scene.pass_time(3_000)
            assert scene.kept(1).state is State.UNKNOWN
            assert (scene.kept(2).state, scene.kept(2).processor) == (State.SETTLED, 1)
            assert [post.correlation_id for post in scene.fakes[1].posts] == [text_of(2)]
            scene.fakes[0].answer = 200
            await scene.pass_time(5_000)
            assert (scene.kept(1).state, scene.kept(1).requested_at_ms) == (State.SETTLED, NOON_MS)

    async def test_misuse_is_told_once(self, segment: Segment, caplog: pytest.LogCaptureFixture) -> None:
        """Each such answer is counted, though it comes for ever; it is told once a minute."""
        async with Scene(segment) as scene:
            scene.fakes[0].answers.extend([401, 401, 401, 403, 200])
            await scene.pay()
            for number in range(2, 7):
                scene.accept(number)  # those are paid at the other processor meanwhile
                await scene.pass_time(5_000)
            assert scene.kept(1).state is State.SETTLED
            assert scene.count(DispatcherCount.MISCONFIGURED) == 4
            assert caplog.text.count("asked wrongly: status 401 of default") == caplog.text.count("asked wrongly") == 1
            scene.fakes[0].answers.append(403)
            await scene.pass_time(60_000)
            await scene.pay(7)
            assert caplog.text.count("asked wrongly: status 403 of default") == 1

    @pytest.mark.parametrize("status", [301, 401, 403, 404, 405, 415])
    async def test_misuse(self, segment: Segment, status: int, caplog: pytest.LogCaptureFixture) -> None:
        """A status that blames the caller opens the circuit and raises an alarm; the payment is unknown."""
        async with Scene(segment) as scene:
            scene.fakes[0].answers.append(status)
            assert (await scene.pay()).state is State.UNKNOWN
            assert scene.count(DispatcherCount.MISCONFIGURED) == 1
            assert scene.circuits[0].state is CircuitState.OPEN
            assert [(record.levelno, str(status) in record.message) for record in caplog.records] == [
                (logging.ERROR, True)
            ]

    @pytest.mark.parametrize("answer", [500, httpx.ConnectError])
    async def test_attempts_max(self, segment: Segment, answer: Answer) -> None:
        """With a limit, the last sure no allowed refuses the payment."""
        async with Scene(segment, attempts_max=3) as scene:
            scene.fakes[0].answer = scene.fakes[1].answer = answer
            await scene.pay()
            for _ in range(10):
                assert scene.kept().state is not State.SETTLED
                await scene.pass_time(2_000)
            kept = scene.kept()
            assert (kept.state, kept.attempts) == (State.REFUSED, 3)
            assert len(scene.fakes[0].posts) + len(scene.fakes[1].posts) == 3

    async def test_attempts_max_does_not_touch_the_unknown(self, segment: Segment) -> None:
        """The limit counts sure noes: what may have been stored is asked for without end."""
        async with Scene(segment, attempts_max=1) as scene:
            scene.fakes[0].answers.append(httpx.ReadError)
            scene.fakes[0].answer = 500
            await scene.pay()
            for _ in range(10):
                await scene.pass_time(5_000)
            assert scene.kept().state is State.UNKNOWN


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

    async def test_leaves_the_rest(self, segment: Segment) -> None:
        """What is in flight is unknown, what waits goes on waiting, and nothing more is sent."""
        scene = Scene(segment, in_flight_max=2)
        async with scene:
            scene.fakes[0].answer = hanging()
            scene.accept(*range(10))
            await scene.pass_time()
            assert len(scene.fakes[0].posts) == 2
        assert scene.states() == [State.UNKNOWN] * 2 + [State.WAITING] * 8
        await idle(100)
        assert len(scene.fakes[0].posts) == 2

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


class TestBugs:
    """What nobody foresaw."""

    async def test_reaches_the_loop(self, segment: Segment) -> None:
        """An unforeseen error in an attempt reaches the loop's exception handler, which ends the process."""
        async with Scene(segment) as scene:
            scene.fakes[0].answers.append(ZeroDivisionError)
            with pytest.raises(AssertionError, match="ZeroDivisionError"):
                await scene.pay()
            assert [type(bug) for bug in scene.bugs] == [ZeroDivisionError]


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

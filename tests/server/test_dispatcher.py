"""The dispatcher, over a real segment and fake processors: every answer of the state table, bounds, stopping."""

import asyncio
import logging
import time
from collections.abc import Iterator

import httpx
import pytest

from server.circuit import CircuitState
from server.dispatcher import IDLE_MS
from server.intake import TAKEN_PER_TURN_MAX
from server.notation import format_instant_ms
from server.pacing import BURST, GATHER_MS
from server.unknowns import PAUSE_MIN_MS
from shm import DispatcherCount, Ended, Kind, Segment, State
from tests.fakes import NOON_MS, Answer, Paid, idle
from tests.server.scene import GEOMETRY, WAIT_MS, Scene, fresh_segment, hanging, text_of

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
            assert scene.ended() == [Ended(Kind.SETTLED, 0, NOON_MS, 1990, 0)]
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
            assert scene.ended() == [Ended(Kind.SETTLED, 0, kept.requested_at_ms, 1990, 0)]

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

    @pytest.mark.parametrize("answer", [400, 413])
    async def test_rejected(self, segment: Segment, answer: int, caplog: pytest.LogCaptureFixture) -> None:
        """Refused for good: kept, counted, told of, and not sent again."""
        async with Scene(segment) as scene:
            scene.fakes[0].answer = answer
            assert (await scene.pay()).state is State.REFUSED
            assert scene.ended() == [Ended(Kind.REFUSED, 0, NOON_MS, 1990, 0)]
            await scene.pass_time(10_000)
            assert len(scene.fakes[0].posts) == scene.count(DispatcherCount.REFUSED) == 1
            assert f"asked wrongly: status {answer} of default" in caplog.text
            assert scene.circuits[0].state is CircuitState.CLOSED

    async def test_stored_already_and_ours(self, segment: Segment) -> None:
        """422, and it shows what was sent: settled."""
        async with Scene(segment) as scene:
            scene.fakes[0].answers.append(422)
            scene.fakes[0].stored[text_of(1)] = Paid(text_of(1), "19.9", format_instant_ms(NOON_MS))
            assert (await scene.pay()).state is State.SETTLED
            assert scene.ended() == [Ended(Kind.SETTLED, 0, NOON_MS, 1990, 0)]

    @pytest.mark.parametrize(
        ("amount", "requested_at_ms"), [("19.91", NOON_MS), ("19.90", NOON_MS - 1), ("19.901", NOON_MS)]
    )
    async def test_stored_already_and_another(self, segment: Segment, amount: str, requested_at_ms: int) -> None:
        """422, and it shows another amount or requestedAt: a duplicate, not counted."""
        async with Scene(segment) as scene:
            scene.fakes[0].answers.append(422)
            scene.fakes[0].stored[text_of(1)] = Paid(text_of(1), amount, format_instant_ms(requested_at_ms))
            assert (await scene.pay()).state is State.DUPLICATE
            assert [record.kind for record in scene.ended()] == [Kind.DUPLICATE]
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
            assert scene.ended() == [Ended(Kind.SETTLED, 0, NOON_MS, 1990, 0)]
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
        """Each such answer is counted, though it comes for ever; what is new is told."""
        async with Scene(segment) as scene:
            scene.fakes[0].answers.extend([401, 401, 401, 403, 200])
            await scene.pay()
            for number in range(2, 7):
                scene.accept(number)  # those are paid at the other processor meanwhile
                await scene.pass_time(5_000)
            assert scene.kept(1).state is State.SETTLED
            assert scene.count(DispatcherCount.MISCONFIGURED) == 4
            assert caplog.text.count("asked wrongly: status 401 of default") == caplog.text.count("asked wrongly") == 1

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


class TestTurns:
    """Bounded work per turn, and wake-ups."""

    async def test_bounds(self, segment: Segment) -> None:
        """One turn takes and sends no more than its bounds; further turns do the rest."""
        scene = Scene(segment, in_flight_max=200)
        scene.accept(*range(150))
        scene.dispatcher.start(scene.doorbell)
        await asyncio.sleep(0)
        assert scene.count(DispatcherCount.TAKEN) == TAKEN_PER_TURN_MAX
        assert scene.count(DispatcherCount.ATTEMPTS) == BURST
        await idle(200)
        assert scene.count(DispatcherCount.SETTLED_DEFAULT) == BURST
        await scene.work_off()
        assert scene.count(DispatcherCount.SETTLED_DEFAULT) == 150
        await scene.dispatcher.aclose(scene.doorbell)

    async def test_in_flight_limit(self, segment: Segment) -> None:
        """No more are in flight than allowed; each answer makes room for one."""
        async with Scene(segment, in_flight_max=3) as scene:
            held = [hanging() for _ in range(4)]
            scene.fakes[0].answers.extend(held)
            scene.accept(*range(10))
            await scene.pass_time()
            assert len(scene.fakes[0].posts) == 3
            held[0].set_result(200)
            await idle()
            assert len(scene.fakes[0].posts) == 4

    async def test_oldest_first(self, segment: Segment) -> None:
        """Payments go out in the order in which they were accepted."""
        async with Scene(segment) as scene:
            scene.accept(*range(40))
            await scene.work_off()
            assert [post.correlation_id for post in scene.fakes[0].posts] == [text_of(number) for number in range(40)]

    async def test_sleeping(self, segment: Segment) -> None:
        """The wish to be woken is there once nothing has come for a while, and only then."""
        async with Scene(segment) as scene:
            sleeping = [scene.counters.sleeping]
            scene.accept(*range(TAKEN_PER_TURN_MAX + 1))
            scene.dispatcher._turn()  # noqa: SLF001  what lies between two turns can't be seen otherwise
            sleeping.append(scene.counters.sleeping)
            await idle()
            sleeping.append(scene.counters.sleeping)
            await scene.pass_time(GATHER_MS)
            sleeping.append(scene.counters.sleeping)
            assert sleeping == [True, False, False, True]

    async def test_gathering(self, segment: Segment) -> None:
        """After payments were taken the next ones are left in the lane for a while, unless somebody rings."""
        async with Scene(segment) as scene:
            await scene.pay(1)
            scene.accept(2)
            scene.dispatcher._turn()  # noqa: SLF001  a timer's turn
            assert (scene.lanes[0].depth, scene.counters.sleeping) == (1, False)
            scene.clock.advance(GATHER_MS)
            scene.dispatcher._turn()  # noqa: SLF001  the same
            assert scene.lanes[0].depth == 0
            await scene.pay(3)
            assert scene.kept(3).state is State.SETTLED

    async def test_quiet(self, segment: Segment) -> None:
        """Whoever publishes totals is told when the last of what was in flight or waiting has been answered."""
        async with Scene(segment, in_flight_max=2) as scene:
            held = [hanging(), hanging(), hanging()]
            scene.fakes[0].answers.extend(held)
            scene.accept(1, 2, 3)
            await scene.pass_time()
            quiet = []
            for one in held:
                one.set_result(200)
                await idle()
                quiet.append(scene.quiet)
            assert quiet == [0, 0, 1]

    @pytest.mark.parametrize(("freezes", "sent"), [(0, BURST), (1, BURST // 2)])
    async def test_pace_follows_the_quota(self, segment: Segment, freezes: int, sent: int) -> None:
        """A freeze of the container while payments wait halves the pace of a backlog."""
        async with Scene(segment, in_flight_max=400) as scene:
            await scene.pay(1)
            scene.throttled_periods = freezes
            scene.accept(*range(100, 355))
            for ms in (GATHER_MS, *[1] * 28):  # 200 of them leave in bursts, or 100
                await scene.pass_time(ms)
            before = scene.count(DispatcherCount.ATTEMPTS)
            await scene.pass_time(BURST)
            assert scene.count(DispatcherCount.ATTEMPTS) - before == sent

    async def test_full_table_is_no_reason_to_stay_awake(self, segment: Segment) -> None:
        """While nothing can be taken, the dispatcher sleeps; the lane is taken up once there is room."""
        async with Scene(segment, in_flight_max=400) as scene:
            held = [hanging() for _ in range(segment.geometry.waiting_slots)]
            scene.fakes[0].answers.extend(held)
            for first in range(0, 480, 80):
                scene.accept(*range(first, first + 80))
                for _ in range(80 // BURST):
                    await scene.pass_time(BURST)
            assert scene.lanes[0].depth == 480 - segment.geometry.waiting_slots
            assert scene.counters.sleeping
            for one in held:
                one.set_result(200)
            await idle(300)
            await scene.work_off()
            assert scene.count(DispatcherCount.SETTLED_DEFAULT) == 480

    async def test_an_end_lets_the_next_one_in(self) -> None:
        """What waits in a lane for room does not wait for the clock as well."""
        with fresh_segment(GEOMETRY._replace(waiting_slots=2)) as segment:
            async with Scene(segment) as scene:
                held = [hanging(), hanging()]
                scene.fakes[0].answers.extend(held)
                scene.accept(1, 2, 3)
                await scene.pass_time(IDLE_MS)
                assert scene.lanes[0].depth == 1
                held[0].set_result(200)
                await idle()
                assert scene.lanes[0].depth == 0

    @pytest.mark.slow
    async def test_many_unknown_at_once(self, segment: Segment) -> None:
        """When a processor cuts many connections, all are asked about at once, a few at a time, and nobody rings."""
        async with Scene(segment, in_flight_max=64) as scene:
            held = [hanging() for _ in range(64)]
            scene.fakes[0].answers.extend(held)
            scene.accept(*range(64))
            await scene.work_off()
            for one in held:
                one.set_exception(httpx.ReadError("cut"))
            begun_s = time.monotonic()
            while scene.ends < 64:
                await asyncio.sleep(0.005)
                scene.clock.advance(5)
                assert time.monotonic() - begun_s < 0.5, f"{scene.ends} are known by now"

    @pytest.mark.slow
    async def test_lost_wake_up(self, segment: Segment) -> None:
        """A payment whose ring was lost is paid within a quarter of a second all the same."""
        async with Scene(segment) as scene:
            scene.accept(1)
            begun_s = time.monotonic()
            while not scene.ends:
                await asyncio.sleep(0.001)
                assert time.monotonic() - begun_s < IDLE_MS / 1000 + 0.1, "not looked at in time"


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
        assert scene.count(DispatcherCount.UNKNOWN) == 2
        assert scene.count(DispatcherCount.UNKNOWN_LEAST_MS) == NOON_MS
        assert scene.count(DispatcherCount.SENDING) == 0

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
        await first.dispatcher.aclose(first.doorbell)

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
            scene.dispatcher.beat()
            gauges = (DispatcherCount.WAITING, DispatcherCount.SENDING, DispatcherCount.UNKNOWN)
            assert sum(map(scene.count, gauges)) == 5
            assert scene.count(DispatcherCount.UNKNOWN) == 1
            assert scene.counters.heartbeat_us > 0

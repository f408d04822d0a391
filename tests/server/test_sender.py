"""The sender, at work in a dispatcher over a real segment and fake processors: every answer of the state table."""

import logging

import httpx
import pytest

from server.circuit import CircuitState
from server.notation import format_instant_ms
from server.unknowns import PAUSE_MIN_MS
from shm import DispatcherCount, Ended, Segment, State
from tests.fakes import NOON_MS, Answer, Paid
from tests.server.scene import WAIT_MS, Scene, text_of

SURE_NOES: list[Answer] = [429, 500, 503, httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout]
UNCLEAR: list[Answer] = [
    *(201, 204, 301, 302, 401, 404, 405, 408, 418, 501, 502, 504, 599),
    *(httpx.ReadTimeout, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError),
]


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
            assert circuit.latency.expected_ms(scene.clock.ticks_ms()) == 0

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

    async def test_refusals_are_told_once_a_minute(self, segment: Segment, caplog: pytest.LogCaptureFixture) -> None:
        """The client was told that the payment is accepted, so somebody must hear that nobody will pay it."""
        async with Scene(segment, attempts_max=1) as scene:
            scene.fakes[0].answers.extend([500, 500, 500])
            scene.fakes[1].answer = 500
            for number in range(1, 4):
                await scene.pay(number)
                await scene.pass_time(2_000)
            assert scene.count(DispatcherCount.REFUSED) == 3
            told = f"a payment is refused for good: {text_of(1)} (attempts: 1)"
            assert [record.message for record in caplog.records if record.levelno == logging.ERROR] == [told]
            await scene.pass_time(60_000)
            scene.fakes[0].answers.append(500)
            await scene.pay(4)
            assert text_of(4) in caplog.text

    async def test_attempts_max_does_not_touch_the_unknown(self, segment: Segment) -> None:
        """The limit counts sure noes: what may have been stored is asked for without end."""
        async with Scene(segment, attempts_max=1) as scene:
            scene.fakes[0].answers.append(httpx.ReadError)
            scene.fakes[0].answer = 500
            await scene.pay()
            for _ in range(10):
                await scene.pass_time(5_000)
            assert scene.kept().state is State.UNKNOWN


class TestBugs:
    """What nobody foresaw."""

    async def test_reaches_the_loop(self, segment: Segment) -> None:
        """An unforeseen error in an attempt reaches the loop's exception handler, which ends the process."""
        async with Scene(segment) as scene:
            scene.fakes[0].answers.append(ZeroDivisionError)
            with pytest.raises(AssertionError, match="ZeroDivisionError"):
                await scene.pay()
            assert [type(bug) for bug in scene.bugs] == [ZeroDivisionError]

"""The dispatcher's turns: bounded work in each, and when the next one comes."""

import asyncio
import time
from collections.abc import Callable

import httpx
import pytest

from server import dispatcher
from server.dispatcher import BUSY_MS, IDLE_MS
from server.intake import TAKEN_PER_TURN_MAX, Intake
from server.pacing import BURST, GATHER_MS
from server.unknowns import PAUSE_MIN_MS, Unknowns
from shm import DispatcherCount, Segment, State
from tests.fakes import idle
from tests.server.scene import GEOMETRY, Scene, fresh_segment, hanging, text_of


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
        await scene.dispatcher.aclose()

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

    async def test_answers_at_once_share_a_turn(self, segment: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each asks for one, as it may have made room; one turn sends all that may be sent."""
        turns = list[None]()
        monkeypatch.setattr(Unknowns, "ask_due", lambda _: turns.append(None))
        async with Scene(segment, in_flight_max=4) as scene:
            held = [hanging() for _ in range(4)]
            scene.fakes[0].answers.extend([*held, *[hanging() for _ in range(4)]])
            scene.accept(*range(10))
            await scene.pass_time()
            turns.clear()
            for one in held:
                one.set_result(200)
            await idle()
            assert (len(turns), len(scene.fakes[0].posts)) == (1, 8)

    async def test_oldest_first(self, segment: Segment) -> None:
        """Payments go out in the order in which they were accepted."""
        async with Scene(segment) as scene:
            scene.accept(*range(40))
            await scene.work_off()
            assert [post.correlation_id for post in scene.fakes[0].posts] == [text_of(number) for number in range(40)]

    async def test_sleeping(self, segment: Segment) -> None:
        """`sleeping` is set once nothing has come for a while, and only then."""
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

    async def test_looks_again_once_sleeping_is_set(self, segment: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
        """A worker that hands a payment over after the last look at the lanes has seen `sleeping`, and rings."""
        async with Scene(segment) as scene:
            wished: list[bool] = []
            is_empty = Intake.is_empty

            def watched_is_empty(intake: Intake) -> bool:
                wished.append(scene.counters.sleeping)
                return is_empty(intake)

            monkeypatch.setattr(Intake, "is_empty", watched_is_empty)
            scene.dispatcher._turn()  # noqa: SLF001  what lies between two turns can't be seen otherwise
            assert wished[-1]

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

    async def test_not_quiet_while_some_wait(self, segment: Segment) -> None:
        """All that was in flight has been answered, but the next burst is about to leave."""
        async with Scene(segment) as scene:
            scene.accept(*range(BURST + 4))
            await scene.pass_time()
            assert (scene.ends, len(scene.custody.waiting), scene.quiet) == (BURST, 4, 0)

    async def test_one_put_back_is_sent_again(self, segment: Segment) -> None:
        """After a sure no from a processor that is up a payment waits for nothing, and nobody need ring."""
        async with Scene(segment) as scene:
            scene.fakes[0].answers.append(429)
            assert (await scene.pay()).state is State.SETTLED

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

    async def test_a_full_table_is_not_looked_at_for_ever(self) -> None:
        """While there is no room, what lies in a lane is no reason for one turn after the other."""
        with fresh_segment(GEOMETRY._replace(waiting_slots=2)) as segment:
            async with Scene(segment) as scene:
                scene.fakes[0].answers.extend([hanging(), hanging()])
                scene.accept(1, 2, 3)
                await scene.pass_time(IDLE_MS)
                assert scene.lanes[0].depth == 1
                assert not scene.dispatcher._turn_is_due  # noqa: SLF001  else turns would have to be counted

    @pytest.mark.slow
    async def test_many_unknown_at_once(self, segment: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
        """When a processor cuts many connections, all are asked about at once, a few at a time, and nobody rings."""
        monkeypatch.setattr(dispatcher, "IDLE_MS", 60_000)
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
                assert time.monotonic() - begun_s < 10, f"{scene.ends} are known by now"

    @pytest.mark.slow
    async def test_lost_wake_up(self, segment: Segment) -> None:
        """A payment whose ring was lost is paid at the next look all the same."""
        async with Scene(segment) as scene:
            scene.accept(1)
            begun_s = time.monotonic()
            while not scene.ends:
                await asyncio.sleep(0.001)
                assert time.monotonic() - begun_s < 5, "not looked at in time"


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> list[asyncio.TimerHandle]:
    """What has been set to come later, in the loop of this test."""
    made: list[asyncio.TimerHandle] = []
    call_later = asyncio.BaseEventLoop.call_later

    def noted(loop: asyncio.BaseEventLoop, delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        made.append(call_later(loop, delay_s, callback))
        return made[-1]

    monkeypatch.setattr(asyncio.BaseEventLoop, "call_later", noted)
    return made


class TestTimer:
    """When a turn comes though nobody rings."""

    async def test_there_is_one(self, segment: Segment, timers: list[asyncio.TimerHandle]) -> None:
        """Each turn sets it anew, and what an earlier one set is off: turns do not multiply."""
        async with Scene(segment) as scene:
            for _ in range(5):
                await scene.pass_time()
            assert len(timers) > 5
            now_s = asyncio.get_running_loop().time()
            assert sum(not timer.cancelled() and timer.when() > now_s for timer in timers) <= 1

    async def test_looks_four_times_a_second_at_least(
        self, segment: Segment, timers: list[asyncio.TimerHandle]
    ) -> None:
        """A wake-up may be lost."""
        async with Scene(segment):
            assert timers[-1].when() <= asyncio.get_running_loop().time() + 0.25

    async def test_what_gathers_is_taken_in_time(self, segment: Segment, timers: list[asyncio.TimerHandle]) -> None:
        """Whoever leaves a payment in a lane meanwhile does not ring."""
        async with Scene(segment) as scene:
            await scene.pay()
            assert timers[-1].when() <= asyncio.get_running_loop().time() + GATHER_MS / 1000

    async def test_an_unknown_one_is_asked_about_in_time(
        self, segment: Segment, timers: list[asyncio.TimerHandle]
    ) -> None:
        """Before anything else would be looked at."""
        async with Scene(segment) as scene:
            scene.fakes[0].answers.append(httpx.ReadError)
            assert (await scene.pay()).state is State.UNKNOWN
            assert timers[-1].when() <= asyncio.get_running_loop().time() + PAUSE_MIN_MS / 1000

    async def test_looks_often_while_a_processor_is_waited_for(
        self, segment: Segment, timers: list[asyncio.TimerHandle]
    ) -> None:
        """A probe, or the other processor, comes due without a ring."""
        async with Scene(segment) as scene:
            scene.fakes[0].answers.append(500)
            assert (await scene.pay()).state is State.WAITING
            assert timers[-1].when() <= asyncio.get_running_loop().time() + BUSY_MS / 1000

    async def test_the_same_for_what_one_has_rejected(
        self, segment: Segment, timers: list[asyncio.TimerHandle]
    ) -> None:
        """The one processor that may take it, or its probe, comes due without a ring."""
        async with Scene(segment) as scene:
            scene.fakes[0].answers.append(400)
            scene.fakes[1].answer = 500
            await scene.pay()
            assert len(scene.custody.rejected) == 1
            assert timers[-1].when() <= asyncio.get_running_loop().time() + BUSY_MS / 1000

    async def test_rejected_ones_leave_by_themselves(self, segment: Segment, timers: list[asyncio.TimerHandle]) -> None:
        """In the bursts of all others, of which the next comes in the next millisecond."""
        async with Scene(segment) as scene:
            scene.fakes[0].answer = 400
            scene.accept(*range(BURST))
            await scene.pass_time()
            assert (len(scene.fakes[1].posts), len(scene.custody.rejected)) == (0, BURST)
            assert timers[-1].when() <= asyncio.get_running_loop().time() + 0.001
            await scene.pass_time(1)
            assert scene.count(DispatcherCount.SETTLED_FALLBACK) == BURST

    async def test_a_backlog_leaves_by_itself(self, segment: Segment, timers: list[asyncio.TimerHandle]) -> None:
        """The next turn comes in the next millisecond, as at first the pace allows a burst in each."""
        async with Scene(segment, in_flight_max=200) as scene:
            scene.accept(*range(TAKEN_PER_TURN_MAX))
            await scene.pass_time()
            assert len(scene.custody.waiting) == TAKEN_PER_TURN_MAX - BURST
            assert timers[-1].when() <= asyncio.get_running_loop().time() + 0.001

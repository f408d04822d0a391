"""The dispatcher and payments that a processor does not want: none is lost, and none stands in the way of others."""

from collections.abc import Iterator

import httpx
import pytest

from server.dispatcher import BUSY_MS
from server.pacing import ADAPT_EVERY_MS, BURST, GATHER_MS, RATE_START_PER_S
from server.rejections import BARRED_MS
from server.unknowns import PAUSE_MIN_MS
from shm import DispatcherCount, Geometry, Segment, State
from tests.fakes import idle
from tests.server.scene import Scene, fresh_segment, hanging, text_of

GEOMETRY = Geometry(workers=2, dispatchers=1, lane_slots=256, waiting_slots=256, journal_records=1024)


@pytest.fixture
def segment() -> Iterator[Segment]:
    """A small segment that remembers everything that these tests do."""
    with fresh_segment(GEOMETRY) as made:
        yield made


def settled(scene: Scene) -> list[int]:
    """How many payments each processor got."""
    ends = [ended.processor for ended in scene.ended() if ended.state is State.SETTLED]
    return [ends.count(0), ends.count(1)]


async def pass_many(scene: Scene, times: int, ms: int) -> None:
    """Lets time pass in steps."""
    for _ in range(times):
        await scene.pass_time(ms)


class TestRejectedByOne:
    """The other one may take it."""

    async def test_at_once(self, segment: Segment) -> None:
        """Something that answers 400 in a processor's place costs no payment."""
        async with Scene(segment) as scene:
            scene.fakes[0].answers.append(400)
            kept = await scene.pay()
            assert (kept.state, kept.processor) == (State.SETTLED, 1)
            assert (await scene.pay(2)).processor == 0

    async def test_while_the_other_is_away(self, segment: Segment) -> None:
        """It waits for that one alone, holds up nobody, and is counted among those that wait."""
        async with Scene(segment) as scene:
            scene.fakes[0].answers.append(400)
            scene.fakes[1].answer = 500
            await scene.pay(1)
            await scene.pay(2)
            await pass_many(scene, 5, 5_000)
            assert (scene.kept(1).state, scene.kept(2).state) == (State.WAITING, State.SETTLED)
            assert scene.dispatcher.unsettled() == 1
            scene.dispatcher.beat(scene.clock.ticks_ms())
            assert scene.count(DispatcherCount.WAITING) == 1
            scene.fakes[1].answer = 200
            await scene.pass_time(1_000)
            assert (scene.kept(1).state, scene.kept(1).processor) == (State.SETTLED, 1)
            assert [post.correlation_id for post in scene.fakes[0].posts] == [text_of(1), text_of(2)]

    async def test_for_so_long(self, segment: Segment) -> None:
        """The other may be gone for good, and what rejected it no processor: it is asked again."""
        async with Scene(segment) as scene:
            scene.fakes[0].answers.append(400)
            scene.fakes[1].answer = 500
            await scene.pay()
            await scene.pass_time(BARRED_MS - 1)
            assert len(scene.fakes[0].posts) == 1
            await scene.pass_time(1)
            assert (scene.kept().state, scene.kept().processor) == (State.SETTLED, 0)

    async def test_a_full_table_empties(self, segment: Segment) -> None:
        """Of a processor that is well again nothing is kept for ever, though the other stays away."""
        async with Scene(segment) as scene:
            scene.fakes[0].answer, scene.fakes[1].answer = 400, 500
            for first in range(0, 300, 5):
                scene.accept(*range(first, first + 5))
                await scene.pass_time(200)
            assert (scene.custody.room, settled(scene)) == (0, [0, 0])
            scene.fakes[0].answer = 200
            await pass_many(scene, 400, 100)
            assert (scene.lanes[0].depth, settled(scene)) == (0, [300, 0])

    async def test_unclear_at_the_other(self, segment: Segment) -> None:
        """An outcome unknown there belongs to that processor, as any other."""
        async with Scene(segment) as scene:
            scene.fakes[0].answers.append(400)
            scene.fakes[1].answers.extend([httpx.ReadError, 400])
            assert (await scene.pay()).state is State.UNKNOWN
            await scene.pass_time(PAUSE_MIN_MS)
            assert scene.kept().state is State.UNKNOWN
            await scene.pass_time(1_000)
            assert (scene.kept().state, scene.kept().processor) == (State.SETTLED, 1)

    @pytest.mark.parametrize(("attempts_max", "state"), [(1, State.REFUSED), (2, State.SETTLED)])
    async def test_it_is_one_of_the_attempts(self, segment: Segment, attempts_max: int, state: State) -> None:
        """With a limit."""
        async with Scene(segment, attempts_max=attempts_max) as scene:
            scene.fakes[0].answers.append(400)
            assert (await scene.pay()).state is state


class TestPace:
    """How those leave that wait for one processor alone."""

    async def test_a_dead_one_is_not_flooded(self, segment: Segment) -> None:
        """It gets a probe when one is due, and between them everything rests for as long as usual."""
        async with Scene(segment) as scene:
            scene.fakes[0].answer, scene.fakes[1].answer = 400, 500
            scene.accept(*range(100))
            await scene.work_off()
            before = len(scene.fakes[1].posts)
            await pass_many(scene, 10_000 // BUSY_MS, BUSY_MS)
            assert 15 <= len(scene.fakes[1].posts) - before <= 25

    async def test_oldest_first(self, segment: Segment) -> None:
        """In the order in which they came."""
        async with Scene(segment, in_flight_max=1) as scene:
            held = [hanging() for _ in range(6)]
            scene.fakes[0].answer = 400
            scene.fakes[1].answers.extend(held)
            scene.accept(*range(6))
            for one in held:
                await pass_many(scene, 3, BUSY_MS)
                one.set_result(200)
            assert [post.correlation_id for post in scene.fakes[1].posts] == [text_of(number) for number in range(6)]

    async def test_a_burst_at_a_time(self, segment: Segment) -> None:
        """Those that wait when their processor comes back leave so many per millisecond."""
        async with Scene(segment) as scene:
            scene.fakes[0].answer, scene.fakes[1].answer = 400, 500
            scene.accept(*range(3 * BURST))
            await scene.work_off()
            scene.fakes[1].answer = 200
            scene.circuits[1].note_health(failing=False, response_ms_min=0, now_ms=scene.clock.ticks_ms())
            await scene.pass_time(1)
            while len(scene.custody.rejected) > 0:
                before = len(scene.fakes[1].posts)
                await scene.pass_time(1)
                assert 0 < len(scene.fakes[1].posts) - before <= BURST
            assert settled(scene) == [0, 3 * BURST]

    async def test_not_behind_a_backlog_that_uses_up_the_pace(self, segment: Segment) -> None:
        """While more waits than may leave, one goes to the processor that is well all the same."""
        async with Scene(segment) as scene:
            scene.fakes[0].answers_to[text_of(0)] = 400
            scene.accept(*range(200))
            await scene.pass_time()
            await scene.pass_time(1)
            assert len(scene.custody.waiting) > BURST
            assert settled(scene)[1] == 1

    async def test_room_is_used_at_once(self, segment: Segment) -> None:
        """An answer of the one processor that may take them lets the next one go, though nobody rings."""
        async with Scene(segment, in_flight_max=1) as scene:
            held = hanging()
            scene.fakes[0].answer = 400
            scene.fakes[1].answers.append(held)
            scene.accept(1, 2)
            await pass_many(scene, 3, BUSY_MS)
            assert len(scene.custody.rejected) == 1
            held.set_result(200)
            await idle()
            assert settled(scene) == [0, 2]

    async def test_it_follows_the_quota(self, segment: Segment) -> None:
        """A freeze of the container halves it, though nothing else waits."""
        async with Scene(segment) as scene:
            scene.fakes[0].answer, scene.fakes[1].answer = 400, 500
            await scene.pay()
            await scene.pass_time(ADAPT_EVERY_MS)
            scene.throttled_periods = 1
            await scene.pass_time(ADAPT_EVERY_MS)
            assert scene.pacer.rate_per_s == RATE_START_PER_S // 2

    async def test_each_with_a_stamp_of_its_own_instance(self, segment: Segment) -> None:
        """As `attempt.stamp_ms` has it, at the second processor too."""
        async with Scene(segment, place=1, places=2) as scene:
            scene.fakes[0].answer = 400
            for number in range(4):
                await scene.pay(number)
                await scene.pass_time(1)
                assert scene.kept(number).requested_at_ms % 2 == 1
            assert settled(scene) == [0, 4]

    async def test_a_hung_probe(self, segment: Segment) -> None:
        """They have no other way, so another one follows where the first may be asleep."""
        async with Scene(segment) as scene:
            scene.fakes[0].answers.extend([400] * 3)
            scene.fakes[1].answers.extend([500, hanging()])
            for number in (1, 2, 3):
                await scene.pay(number)
            await pass_many(scene, 15, 100)
            assert settled(scene) == [0, 2]

    async def test_quiet(self, segment: Segment) -> None:
        """One that waits for a processor that is away costs the others neither turns nor early flushes."""
        async with Scene(segment) as scene:
            scene.fakes[0].answers.append(400)
            scene.fakes[1].answer = 500
            await scene.pay(1)
            for number in range(2, 12):
                await scene.pass_time(GATHER_MS)
                await scene.pay(number)
            assert (scene.quiet, settled(scene)) == (10, [10, 0])


class TestLifted:
    """Those that may go anywhere again."""

    async def test_wait_behind_all_others(self, segment: Segment) -> None:
        """The next probe is one that nobody has rejected."""
        async with Scene(segment) as scene:
            scene.fakes[0].answers.append(400)
            scene.fakes[0].answer = scene.fakes[1].answer = 500
            await scene.pay(1)
            await scene.pay(2)
            before = len(scene.fakes[0].posts)
            await scene.pass_time(BARRED_MS)
            assert [post.correlation_id for post in scene.fakes[0].posts[before:]] == [text_of(2)]


class TestPoison:
    """A payment on which processors fail that pay all others."""

    @pytest.mark.parametrize("answers", [(500, 400), (400, 500), (500, 500)])
    @pytest.mark.parametrize("default_is_down", [False, True])
    async def test_others_are_paid(self, segment: Segment, answers: tuple[int, int], default_is_down: bool) -> None:  # noqa: FBT001
        """Soon, and where they belong."""
        async with Scene(segment) as scene:
            for fake, answer in zip(scene.fakes, answers, strict=True):
                fake.answers_to[text_of(1)] = answer
            await scene.pay(1)
            if default_is_down:
                scene.fakes[0].answer = 500
            for number in range(100):
                scene.accept(100 + number)
                await pass_many(scene, 10, 50)
            await pass_many(scene, 200, 50)
            at_default, at_fallback = settled(scene)
            assert at_default + at_fallback == 100
            assert at_default == 0 if default_is_down else at_default >= 90

    async def test_one_that_both_fail_on_is_tried_on(self, segment: Segment) -> None:
        """It is not refused: one day somebody may take it."""
        async with Scene(segment) as scene:
            for fake in scene.fakes:
                fake.answers_to[text_of(1)] = 500
            await scene.pay(1)
            await pass_many(scene, 100, 500)
            scene.fakes[1].answers_to.clear()
            await pass_many(scene, 4, 500)
            assert (scene.kept(1).state, scene.kept(1).processor) == (State.SETTLED, 1)

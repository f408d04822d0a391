"""What a dispatcher's process is made of, within this process: clocks that stand still, faked processors and hash."""

import asyncio
import dataclasses
import logging
import os
from collections.abc import Callable
from functools import partial

import pytest

from server import child, verification
from server.config import Config, load
from server.custody import Custody
from server.dispatcher import Dispatcher
from server.dispatcher_process import FAILED_LOOKS_MAX, OLD_MS, DispatcherProcess
from server.intake import Intake
from server.outside import outside_of
from server.siblings import Siblings
from shm import DispatcherCount, Member, Phase, Segment, State
from tests.fakes import NOON_MS, FakeClock, FakeProcessor, FakeTotalsHash
from tests.server.other_instance import copy_of, other_instance
from tests.server.returned import store
from tests.server.scene import text_of

PATIENCE_S = 5.0
SMALL = {"LANE_SLOTS": "8", "WAITING_SLOTS": "8", "JOURNAL_RECORDS": "32"}
WITH_REDIS = {"REDIS_URL": "redis://127.0.0.1:1"}


class LentHash(FakeTotalsHash):
    """The fake hash for a whole process: its publisher, and its polls of the processors' health.

    Attributes:
        leased: indexes of the processors whose poll was asked for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.leased: list[int] = []

    async def lease_health_poll(self, processor: int) -> int:
        """Somebody else polls."""
        self.leased.append(processor)
        return 10_000


class FakePublisher:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def note_change(self) -> None:
        """Something was settled."""
        self.told.append("change")

    def hurry(self) -> None:
        """Nothing is gained by waiting for more."""
        self.told.append("hurry")


class WatchedProcess(DispatcherProcess):
    """A dispatcher's process that writes down what it does.

    Attributes:
        hash: the totals.
        empties_lanes: whether they are emptied before anything is forgotten.
        phases: what it said of itself at each beat.
        flushes_before: how many flushes the hash had got when it began to pay; None before that.
    """

    hash: LentHash
    empties_lanes: bool
    phases: list[Phase | None]
    flushes_before: int | None = None

    def _make_dispatcher(self, custody: Custody, intake: Intake) -> Dispatcher:
        made = super()._make_dispatcher(custody, intake)
        beat, start = made.beat, made.start
        self.empties_lanes = custody.before_forgetting == intake.take

        def watched_beat(until_ms: int) -> None:
            self.phases.append(self._counters.phase)
            beat(until_ms)

        def watched_start(doorbell: int) -> None:
            self.flushes_before = len(self.hash.flushes)
            start(doorbell)

        made.beat, made.start = watched_beat, watched_start  # type: ignore[method-assign]
        return made


class BrokenProcess(WatchedProcess):
    """One that can't verify."""

    async def _verify(self, custody: Custody, intake: Intake) -> None:
        raise ZeroDivisionError


class House:
    """An instance with room for its dispatchers, and the fakes for them."""

    def __init__(self, instance: str, **settings: str) -> None:
        self.config: Config = load({"INSTANCE": instance, **SMALL, **settings})
        self.segment = Segment.create(instance, self.config.geometry)
        self.row = self.segment.dispatcher_counters(0)
        self.fakes = (FakeProcessor(), FakeProcessor())
        self.hash = LentHash()

    def return_from_absence(self) -> None:
        """The whole instance was away: its supervisor has just been started."""
        row = self.segment.supervisor_counters()
        row.begin(os.getpid(), row.started_at_ms + 1000)

    def live(
        self,
        condition: Callable[[WatchedProcess], bool],
        message: str,
        *,
        index: int = 0,
        kind: type[WatchedProcess] = WatchedProcess,
    ) -> WatchedProcess:
        """A dispatcher lives until something holds of it; then it is gone as if killed."""
        clock = FakeClock()
        default, fallback = self.fakes
        outside = outside_of(self.config, self.segment, 0, clock)
        outside = outside._replace(processors=(default.processor(0), fallback.processor(1)))
        if outside.totals:
            outside = outside._replace(totals=self.hash)  # type: ignore[arg-type]  # the calls that are made, no others
        one = kind(self.config, self.segment, index, self.segment.dispatcher_counters(index), clock, outside)
        one.hash, one.phases = self.hash, []

        async def begin() -> None:
            task = asyncio.create_task(one.run(doorbell))
            deadline_s = asyncio.get_running_loop().time() + PATIENCE_S
            while not condition(one):
                assert not task.done()
                assert asyncio.get_running_loop().time() < deadline_s, message
                await asyncio.sleep(0)

        doorbell = os.eventfd(0, os.EFD_NONBLOCK)
        with asyncio.Runner() as runner:
            runner.run(begin())
        os.close(doorbell)
        return one

    def live_for(self, turns: int, *, index: int) -> None:
        """A dispatcher lives for so many turns of its loop."""
        left = iter(range(turns))
        self.live(lambda _: next(left, None) is None, "time stands still", index=index)

    def accept(self, number: int) -> None:
        """A payment comes in."""
        assert self.segment.lane(0, 0).try_publish(copy_of(number))

    def wait(self, number: int) -> None:
        """A payment was taken and waits."""
        self.segment.table(0).insert(number, copy_of(number))

    def state(self, number: int) -> State | None:
        """Where a payment stands."""
        kept = self.segment.table(0).find(copy_of(number).correlation_id)
        return kept and kept.state

    def has_verified(self) -> bool:
        """Whether it is written down that all has been verified in this life of the supervisor."""
        verified_for_ms = self.row.get(DispatcherCount.VERIFIED_FOR_MS)
        return verified_for_ms == self.segment.supervisor_counters().started_at_ms


@pytest.fixture
def make(instance: str) -> Callable[..., House]:
    """Makes an instance with some settings."""
    return partial(House, instance)


def plain(house: House) -> DispatcherProcess:
    """The process of a dispatcher that is not at work, with nothing faked but its clock."""
    clock = FakeClock()
    return DispatcherProcess(
        house.config, house.segment, 0, house.row, clock, outside_of(house.config, house.segment, 0, clock)
    )


class TestShares:
    """What the settings come to for one dispatcher."""

    def test_in_flight(self, make: Callable[..., House]) -> None:
        """What may be in flight is for all dispatchers of the instance together."""
        one = plain(make(DISPATCHERS="2", IN_FLIGHT_MAX="100"))
        assert {circuit.limit for circuit in one._router.circuits} == {50}  # noqa: SLF001  what they go by


class TestStart:
    """From recovery to the first payment."""

    def test_ready_after_the_first_beat(self, make: Callable[..., House]) -> None:
        """What is unknown is shown before it says that it is ready."""
        one = make().live(lambda one: bool(one.phases), "no beat")
        assert one.phases[0] is not Phase.READY

    def test_copies_are_met_before_anything_is_forgotten(self, make: Callable[..., House]) -> None:
        """What lies in the lanes may be a copy of what is forgotten next."""
        assert make().live(lambda one: bool(one.phases), "no beat").empties_lanes

    def test_what_it_takes_up_is_logged(self, make: Callable[..., House], caplog: pytest.LogCaptureFixture) -> None:
        """How many wait, in the table or a lane, and of how many the outcome is unknown; nothing if there are none."""
        caplog.set_level(logging.INFO)
        house = make()
        house.live(lambda one: bool(one.phases), "no beat")
        assert caplog.messages == []
        for number in range(3):
            house.wait(number)
        house.segment.table(0).begin(2, 0, NOON_MS)
        house.accept(3)
        house.live(lambda one: bool(one.phases), "no beat")
        assert caplog.messages[0] == "dispatcher-0 takes up 3 payments that wait, and 1 of unknown outcome"

    @pytest.mark.parametrize("is_sent", [False, True])
    def test_only_one_kind_is_taken_up(
        self, make: Callable[..., House], caplog: pytest.LogCaptureFixture, *, is_sent: bool
    ) -> None:
        """It is logged whichever there is."""
        caplog.set_level(logging.INFO)
        house = make()
        house.wait(0)
        if is_sent:
            house.segment.table(0).begin(0, 0, NOON_MS)
        house.live(lambda one: bool(one.phases), "no beat")
        assert "takes up" in caplog.text

    def test_first_flush(self, make: Callable[..., House]) -> None:
        """After an absence the totals are told that this member is back before anything is paid."""
        house = make(**WITH_REDIS)
        house.return_from_absence()
        one = house.live(lambda one: one.flushes_before is not None, "never begins to pay")
        assert one.flushes_before == 1

    def test_a_purge_that_only_a_sibling_remembers(self, make: Callable[..., House]) -> None:
        """It is taken up at the start: Redis may have forgotten it, and the sibling be down."""
        with other_instance() as other:
            house = make(**WITH_REDIS, SIBLINGS=other.name)
            other.segment.journal(1).begin_epoch(NOON_MS + 5)
            house.live(lambda one: bool(one.phases), "no beat")
            assert house.segment.journal(0).base.epoch == NOON_MS + 5

    def test_a_purge_that_only_another_dispatcher_remembers(self, make: Callable[..., House]) -> None:
        """Likewise: who had said goodbye before the purge is not waited for, and may start when Redis has lost it."""
        house = make(**WITH_REDIS, DISPATCHERS="2")
        house.segment.journal(1).begin_epoch(NOON_MS + 5)
        house.live(lambda one: bool(one.phases), "no beat")
        assert house.segment.journal(0).base.epoch == NOON_MS + 5

    def test_verified_after_the_lanes(self, make: Callable[..., House]) -> None:
        """After an absence what lies in the lanes is looked up too, though nothing waits in the table."""
        house = make()
        house.return_from_absence()
        house.accept(1)
        house.live(lambda _: house.state(1) is State.SETTLED, "not paid")
        assert house.fakes[0].questions == [text_of(1)]
        assert house.has_verified()

    def test_a_bug_in_the_background(self, make: Callable[..., House], monkeypatch: pytest.MonkeyPatch) -> None:
        """It reaches the loop's exception handler while the process lives, which ends it."""
        bugs: list[BaseException] = []

        def collect_bugs(loop: asyncio.AbstractEventLoop) -> None:
            loop.set_exception_handler(lambda _, context: bugs.append(context["exception"]))

        monkeypatch.setattr(child, "crash_on_bugs", collect_bugs)
        house = make()
        house.return_from_absence()
        house.live(lambda _: bool(bugs), "nobody hears of it", kind=BrokenProcess)
        assert [type(bug) for bug in bugs] == [ZeroDivisionError]


class TestVerifying:
    """Which dispatchers look up what waits before they pay: those whose whole instance was away."""

    @pytest.fixture
    def house(self, make: Callable[..., House]) -> House:
        """An instance that has just been started."""
        made = make()
        made.return_from_absence()
        return made

    def test_the_first_of_a_supervisor(self, house: House) -> None:
        """What waits and what lies in the lanes is looked up before it is paid."""
        house.wait(1)
        house.accept(2)
        house.live(lambda _: house.state(1) is house.state(2) is State.SETTLED, "not paid")
        assert sorted(house.fakes[0].questions) == [text_of(1), text_of(2)]
        assert house.has_verified()

    def test_one_that_died_during_it_is_followed_by_one_that_verifies(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing is sent before a dispatcher got to the end of it."""
        monkeypatch.setattr(verification, "PAUSE_MIN_S", 0.0)
        house.wait(1)
        house.fakes[1].shows.extend([500] * 1_000_000)
        house.live(lambda _: len(house.fakes[1].questions) > 3, "not asked")
        assert not house.has_verified()
        assert house.state(1) is State.WAITING
        house.fakes[1].shows.clear()
        store(house.fakes[1], 1)
        house.live(lambda _: house.state(1) is State.DUPLICATE, "not found")
        assert house.fakes[0].posts == house.fakes[1].posts == []

    def test_one_that_died_alone_is_not(self, house: House) -> None:
        """Its instance's workers were there all the time, so nobody's clients went elsewhere."""
        house.live(lambda _: house.has_verified(), "not verified")
        house.wait(1)
        house.live(lambda _: house.state(1) is State.SETTLED, "not paid")
        assert house.fakes[0].questions == []

    def test_the_next_supervisors_is(self, house: House) -> None:
        """Each absence of the whole instance counts."""
        house.live(lambda _: house.has_verified(), "not verified")
        house.return_from_absence()
        house.wait(1)
        house.live(lambda _: house.state(1) is State.SETTLED, "not paid")
        assert house.fakes[0].questions == [text_of(1)]


class TestBackground:
    """What goes on beside the payments."""

    def test_siblings_are_looked_at(self, make: Callable[..., House], monkeypatch: pytest.MonkeyPatch) -> None:
        """Though no payment comes in: one that is started, or gone, is seen with the next beat."""
        looks: list[None] = []
        monkeypatch.setattr(Siblings, "look", lambda _: looks.append(None))
        make().live(lambda _: bool(looks), "nobody looks")

    def test_health_without_redis(self, make: Callable[..., House]) -> None:
        """One dispatcher polls: the rate that a processor allows is for all of them together."""
        house = make(DISPATCHERS="2")
        polls = []
        for index in (0, 1):
            house.live_for(100, index=index)
            polls.append([fake.health_polls for fake in house.fakes])
        assert polls == [[1, 1], [1, 1]]

    def test_health_with_redis(self, make: Callable[..., House]) -> None:
        """Each dispatcher asks for the lease of each processor's poll."""
        house = make(**WITH_REDIS)
        house.live(lambda _: sorted(house.hash.leased) == [0, 1], "the leases are not asked for")


class FakeBeating:
    """A dispatcher that counts its beats."""

    def __init__(self) -> None:
        self.beats = 0

    def beat(self, until_ms: int) -> None:
        """Counts."""
        self.beats += 1


class TestBeatRegularly:
    """DispatcherProcess._beat_regularly."""

    async def test_no_look_beside_those_of_payments(
        self, make: Callable[..., House], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While payments come, each taking of them looks."""
        one, beating = plain(make()), FakeBeating()
        looks: list[int] = []
        lately = iter([True, False, True, True])
        siblings = one._outside.siblings  # noqa: SLF001  the only way in
        monkeypatch.setattr(siblings, "has_looked_lately", lambda: next(lately))

        def look() -> bool:
            looks.append(beating.beats)
            return True

        monkeypatch.setattr(siblings, "look", look)
        monkeypatch.setattr(child, "BEAT_S", 0)
        monkeypatch.setattr("server.dispatcher_process.LOOK_PAUSE_S", 0)
        with pytest.raises(RuntimeError):  # no more looks are told
            await one._beat_regularly(beating)  # type: ignore[arg-type]  # noqa: SLF001  as its process does
        assert looks == [2]

    @pytest.mark.slow
    async def test_look_fails_for_too_long(self, make: Callable[..., House], monkeypatch: pytest.MonkeyPatch) -> None:
        """The process ends, as nothing is taken meanwhile; not if it could look at its siblings in between."""
        one, beating = plain(make()), FakeBeating()
        sights = iter([*[False] * FAILED_LOOKS_MAX, True, *[False] * (FAILED_LOOKS_MAX + 1)])
        monkeypatch.setattr(one._outside.siblings, "look", lambda: next(sights))  # noqa: SLF001  the only way in
        monkeypatch.setattr(child, "BEAT_S", 0)
        with pytest.raises(OSError, match=f"could not be looked at for {FAILED_LOOKS_MAX + 1} beats"):
            await one._beat_regularly(beating)  # type: ignore[arg-type]  # noqa: SLF001  as its process does
        assert beating.beats == 2 * FAILED_LOOKS_MAX + 2

    @pytest.mark.slow
    async def test_look_fails_while_it_leaves(
        self, make: Callable[..., House], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """There may be no successor then, and what is in flight has until the end."""
        house = make()
        one, beating = plain(house), FakeBeating()
        house.row.phase = Phase.LEAVING
        monkeypatch.setattr(one._outside.siblings, "look", lambda: False)  # noqa: SLF001  the only way in
        monkeypatch.setattr(child, "BEAT_S", 0)
        leaving = asyncio.ensure_future(one._beat_regularly(beating))  # type: ignore[arg-type]  # noqa: SLF001  as its process does
        async with asyncio.timeout(PATIENCE_S):
            while beating.beats < 3 * FAILED_LOOKS_MAX:
                await asyncio.sleep(0)
        leaving.cancel()


class TestDrain:
    """DispatcherProcess._drain."""

    async def test_what_the_last_worker_leaves(
        self, make: Callable[..., House], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It published in the moment in which it ended: whether it has ended is looked at first."""
        one, lane, taken = plain(make()), list[int](), list[int]()

        class Draining:
            """Takes what is in the lane when it is asked."""

            def unsettled(self) -> int:
                """How many there were."""
                taken.extend(lane)
                lane.clear()
                return 0

        looks = iter([True, False])

        def may_accept_still() -> bool:
            lane.append(1)
            return next(looks)

        monkeypatch.setattr(one, "_may_accept_still", may_accept_still)
        await one._drain(Draining())  # type: ignore[arg-type]  # noqa: SLF001  as its process does
        assert (lane, len(taken)) == ([], 2)


class TestPublishing:
    """Who tells the publisher."""

    @pytest.mark.parametrize(("siblings", "is_told"), [("named", False), ("another", True), ("none", True)])
    def test_a_member_of_the_totals(
        self,
        make: Callable[..., House],
        caplog: pytest.LogCaptureFixture,
        siblings: str,
        is_told: bool,  # noqa: FBT001
    ) -> None:
        """One that is of no instance in SIBLINGS is told of: ids that it has accepted are not known here."""
        with other_instance() as other:
            names = {"named": other.name, "another": f"{other.name}-b", "none": ""}[siblings]
            house = make(**WITH_REDIS, SIBLINGS=names)
            house.hash.roster = [str(Member(other.segment.segment_id, 1)), str(Member(house.segment.segment_id, 1))]
            house.live(lambda _: len(house.segment.roster(0).members()) == 3, "not heard of")
            told = [record for record in caplog.records if "totals are shared with" in record.message]
            assert [f"SIBLINGS ({names})" in record.message for record in told] == [True] * is_told

    def test_quiet(self, make: Callable[..., House]) -> None:
        """When the last payment is settled nobody waits for others to follow."""
        house = make(**WITH_REDIS)
        house.config = dataclasses.replace(house.config, flush_ms=60_000)
        house.accept(1)
        house.live(lambda _: any(header.position for header, *_ in house.hash.flushes), "not published")

    @pytest.mark.parametrize(("age_ms", "told"), [(OLD_MS - 1, ["change"]), (OLD_MS, ["change", "hurry"])])
    def test_old_payments_hurry(self, make: Callable[..., House], age_ms: int, told: list[str]) -> None:
        """Somebody may be asking for their window now."""
        one, publisher = plain(make()), FakePublisher()
        one._publisher = publisher  # type: ignore[assignment]  # noqa: SLF001  the calls that are made, and no others
        one._note_change(NOON_MS - age_ms)  # noqa: SLF001  as custody does
        assert publisher.told == told

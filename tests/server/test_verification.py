"""server/verification.py: after an absence nothing is paid before it is sure that nobody else has paid it."""

import asyncio

import httpx
import pytest

from server import verification
from server.verification import GATHERED_FOR_MS, VERIFIED_AT_ONCE_MAX
from shm import DispatcherCount, Ended, Event, Segment, State
from tests.fakes import NOON_MS, idle
from tests.server.other_instance import GEOMETRY as OTHER_GEOMETRY
from tests.server.other_instance import OtherInstance, copy_of
from tests.server.returned import Returned, store
from tests.server.scene import text_of

EARLIER_MS = NOON_MS - 1
LATER_MS = NOON_MS + 1
UNTIL_BOTH_HAVE_ANSWERED = "what waited before the start is not paid until both processors have answered"


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits in here."""
    monkeypatch.setattr(verification, "PAUSE_MIN_S", 0.0)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long is waited each time, in seconds."""
    made: list[float] = []

    async def sleep(seconds: float) -> None:
        made.append(seconds)

    monkeypatch.setattr(verification, "PAUSE_MIN_S", 0.05)
    monkeypatch.setattr("server.verification.asyncio.sleep", sleep)
    return made


class TestProcessors:
    """What the processors know."""

    @pytest.mark.parametrize("index", [0, 1])
    async def test_found_at_either_is_a_duplicate(self, index: int) -> None:
        """It ends with the requestedAt stored there, is not counted as settled, and is never sent."""
        returned = Returned(1)
        store(returned.fakes[index], 1)
        await returned.verify()
        assert returned.ended() == [Ended(State.DUPLICATE, index, 1_752_580_800_500, 1990, 0)]
        assert returned.area.table.state(0) is State.DUPLICATE
        assert returned.area.counters.get(DispatcherCount.DUPLICATES) == 1
        assert returned.waiting() == []
        assert (returned.fakes[0].posts, returned.fakes[1].posts) == ([], [])

    async def test_found_nowhere_waits(self) -> None:
        """Both have been asked, once."""
        returned = Returned(1, 2)
        await returned.verify()
        assert sorted(returned.waiting()) == [1, 2]
        assert returned.ended() == []
        assert [sorted(fake.questions) for fake in returned.fakes] == [[text_of(1), text_of(2)]] * 2

    @pytest.mark.parametrize("requested_at", ["2025-07-15T12:00:00.0005", "0001-01-01T00:00:00Z"])
    async def test_a_time_that_is_none_of_ours(self, requested_at: str) -> None:
        """Not in whole milliseconds, or the one that some programs write for no time at all: it counts as 0.

        It is somebody else's payment all the same, so ours is a duplicate.
        """
        returned = Returned(1)
        store(returned.fakes[0], 1, requested_at)
        await returned.verify()
        assert returned.ended() == [Ended(State.DUPLICATE, 0, 0, 1990, 0)]

    @pytest.mark.parametrize("index", [0, 1])
    @pytest.mark.parametrize("answer", [500, 429, b"{}", httpx.ConnectError, httpx.ReadTimeout])
    async def test_who_can_not_be_asked_delays(self, index: int, answer: int | bytes | type[Exception]) -> None:
        """It is asked again until it answers: neither skipped nor taken for a no."""
        returned = Returned(1)
        returned.fakes[index].shows.extend([answer] * 3)
        store(returned.fakes[index], 1)
        await returned.verify()
        assert len(returned.fakes[index].questions) == 4
        assert [record.state for record in returned.ended()] == [State.DUPLICATE]

    async def test_one_that_can_not_be_looked_up_holds_up_nobody(self, caplog: pytest.LogCaptureFixture) -> None:
        """Its turn comes again after all others, and they need not wait for it."""
        numbers = range(1, 3 * VERIFIED_AT_ONCE_MAX)
        returned = Returned(*numbers)
        returned.fakes[0].shows.extend([500, *[404] * (len(numbers) - 1), 500, 404])
        await returned.verify()
        assert returned.waiting() == [*numbers[1:], numbers[0]]
        assert [record.message for record in caplog.records if "both processors" in record.message] != []

    @pytest.mark.parametrize(
        ("answer", "told"),
        [
            (httpx.ConnectError, "default: as the test has it"),
            (500, f"default answered 500 to GET /payments/{text_of(1)}"),
        ],
    )
    async def test_told(self, answer: int | type[Exception], told: str, caplog: pytest.LogCaptureFixture) -> None:
        """Once that one gives no answer, with its name once, and once when all is through."""
        returned = Returned(1, 2)
        returned.fakes[0].shows.extend([answer] * 4)
        await returned.verify()
        assert caplog.messages == [
            f"{UNTIL_BOTH_HAVE_ANSWERED}, and one gives no clear answer: {told}",
            "what waited before the start has been looked up: what nobody else has paid is paid from now on",
        ]

    async def test_not_told(self, caplog: pytest.LogCaptureFixture) -> None:
        """As long as both answer."""
        await Returned(1, 2).verify()
        assert caplog.messages == []

    async def test_ones_that_hang_hold_up_nobody(self) -> None:
        """As long as fewer hang than are asked at once."""
        numbers = range(1, 3 * VERIFIED_AT_ONCE_MAX)
        returned = Returned(*numbers)
        answers = [asyncio.get_running_loop().create_future() for _ in range(VERIFIED_AT_ONCE_MAX - 1)]
        returned.fakes[0].shows.extend(answers)
        task = asyncio.create_task(returned.verify())
        await idle()
        assert returned.waiting() == list(numbers[len(answers) :])
        for answer in answers:
            answer.set_result(404)
        await task
        assert sorted(returned.waiting()) == list(numbers)

    async def test_one_that_hangs_is_asked_again(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It does not hold up for long what the lanes bring meanwhile."""
        monkeypatch.setattr(verification, "LOOK_UP_WITHIN_S", 0.01)
        returned = Returned(1)
        returned.fakes[0].shows.append(asyncio.get_running_loop().create_future())
        await returned.verify()
        assert (returned.waiting(), len(returned.fakes[0].questions)) == ([1], 2)
        assert caplog.messages[0].endswith("no clear answer: default: no answer in time")

    async def test_nothing_waits_before_its_answer(self) -> None:
        """As long as one processor owes its answer the payment is not sent, and is still there."""
        returned = Returned(1)
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        returned.fakes[1].shows.append(answer)
        task = asyncio.create_task(returned.verify())
        await idle()
        assert (returned.waiting(), returned.area.table.state(0)) == ([], State.WAITING)
        assert list(returned.custody.unverified) == [0]
        answer.set_result(404)
        await task
        assert returned.waiting() == [1]

    async def test_what_came_meanwhile_is_asked_about_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One that can't be looked up, again and again, comes after it."""
        monkeypatch.setattr(verification, "VERIFIED_AT_ONCE_MAX", 1)
        returned = Returned(1)
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        returned.fakes[0].shows.append(answer)
        task = asyncio.create_task(returned.verify())
        await idle()
        returned.custody.take(copy_of(2), verified=False)
        answer.set_result(500)
        await task
        assert returned.fakes[0].questions == [text_of(1), text_of(2), text_of(1)]

    async def test_pauses_grow(self, pauses: list[float]) -> None:
        """They double up to a bound."""
        returned = Returned(1)
        returned.fakes[0].shows.extend([500] * 7)
        await returned.verify()
        assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]

    async def test_an_answer_ends_them(self, monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> None:
        """The next silence begins with a short one, and a payment that was found is none."""
        monkeypatch.setattr(verification, "VERIFIED_AT_ONCE_MAX", 1)
        returned = Returned(1, 2, 3)
        returned.fakes[0].shows.extend([500, 500, 404, 404, 500, 404])
        store(returned.fakes[1], 1)
        await returned.verify()
        assert pauses == [0.05, 0.1, 0.05]

    async def test_a_few_at_once(self) -> None:
        """A long backlog does not take all connections."""
        returned = Returned(*range(1, 2 * VERIFIED_AT_ONCE_MAX))
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        returned.fakes[0].shows.extend([answer] * VERIFIED_AT_ONCE_MAX)
        task = asyncio.create_task(returned.verify())
        await idle()
        assert len(returned.fakes[0].questions) == VERIFIED_AT_ONCE_MAX
        answer.set_result(404)
        await task
        assert sorted(returned.waiting()) == list(range(1, 2 * VERIFIED_AT_ONCE_MAX))


class TestSiblings:
    """What the sibling's segment knows."""

    @pytest.mark.parametrize("state", [State.WAITING, State.SENDING, State.UNKNOWN, State.SETTLED])
    async def test_found_there_is_a_duplicate(self, other: OtherInstance, state: State) -> None:
        """Whether it has been paid or is going to be; no processor need be asked."""
        other.start()
        other.has_verified()
        other.take(copy_of(1, accepted_ms=LATER_MS), state)
        returned = Returned(1, siblings=(other.name,))
        await returned.verify()
        assert returned.ended() == [Ended(State.DUPLICATE, 0, NOON_MS, 1990, 0)]
        assert (returned.fakes[0].questions, returned.waiting()) == ([], [])

    @pytest.mark.parametrize("state", [State.DUPLICATE, State.REFUSED])
    async def test_ended_unpaid_there(self, other: OtherInstance, state: State) -> None:
        """A sibling that did not pay it, perhaps because it is here, does not keep it from being paid."""
        other.start()
        other.has_verified()
        other.take(copy_of(1), state)
        returned = Returned(1, siblings=(other.name,))
        await returned.verify()
        assert returned.waiting() == [1]

    async def test_found_nowhere_waits(self, other: OtherInstance) -> None:
        """Another id there means nothing, nor does a copy in a lane that will not be taken."""
        other.start()
        other.has_verified()
        other.take(copy_of(2))
        other.publish(copy_of(1, accepted_ms=LATER_MS))
        returned = Returned(1, siblings=(other.name,))
        await returned.verify()
        assert returned.waiting() == [1]

    async def test_both_have_been_away(self, other: OtherInstance) -> None:
        """A sibling that is still verifying judges our copy as we judge its: the first accepted is paid."""
        other.start()
        other.take(copy_of(1, accepted_ms=LATER_MS))
        returned = Returned(1, siblings=(other.name,))
        await returned.verify()
        assert returned.waiting() == [1]

    @pytest.mark.parametrize(("event", "waiting"), [(Event.ATTEMPT_BEGAN, []), (Event.FOUND_ELSEWHERE, [1])])
    async def test_both_have_been_away_and_theirs_is_the_first(
        self, other: OtherInstance, event: Event, waiting: list[int]
    ) -> None:
        """Ours waits until theirs has been sent; or until it was left to us, by a sibling that saw our earlier life."""
        other.start()
        other.take(copy_of(1, accepted_ms=EARLIER_MS))
        returned = Returned(1, siblings=(other.name,))
        task = asyncio.create_task(returned.verify())
        await idle()
        assert (returned.waiting(), returned.ended(), task.done()) == ([], [], False)
        table = other.segment.table(1)
        table.begin(0, 0, NOON_MS) if event is Event.ATTEMPT_BEGAN else table.apply(0, event)
        await task
        assert returned.waiting() == waiting

    async def test_one_between_two_lives(self, other: OtherInstance, monkeypatch: pytest.MonkeyPatch) -> None:
        """Ours is neither left to it nor paid: its rows are of an earlier life, and it may leave the payment to us."""
        other.start()
        other.has_verified()
        other.take(copy_of(1, accepted_ms=LATER_MS))
        other.kill()
        other.start(begun=False)
        returned = Returned(1, 2, siblings=(other.name,))
        gathered = returned.count_gathering(monkeypatch)
        task = asyncio.create_task(returned.verify())
        await idle()
        assert (returned.waiting(), returned.ended(), len(returned.custody.unverified)) == ([2], [], 1)
        assert gathered == [2]  # with payments that are new, and not with each look
        other.close()
        other.start(NOON_MS)  # it has yet to verify, and will find the copy here, which was accepted first
        await task
        assert sorted(returned.waiting()) == [1, 2]

    async def test_a_segment_that_is_made_anew(self, other: OtherInstance) -> None:
        """What was awaited from the old one never comes, so copies are gathered again after a while."""
        other.start()
        other.take(copy_of(1, accepted_ms=EARLIER_MS))
        returned = Returned(1, siblings=(other.name,))
        task = asyncio.create_task(returned.verify())
        await idle()
        Segment.unlink(other.name)
        other.segment = Segment.create(other.name, OTHER_GEOMETRY)
        await idle()
        assert (returned.waiting(), task.done()) == ([], False)
        returned.clock.advance(GATHERED_FOR_MS)
        await task
        assert returned.waiting() == [1]

    async def test_undecided_ones_are_looked_at_in_growing_pauses(
        self, other: OtherInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While only a sibling's answer is awaited, its segment is not read without a pause."""
        pauses, sleep = list[float](), asyncio.sleep
        other.start()
        other.take(copy_of(1, accepted_ms=EARLIER_MS))

        async def paused(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 4:
                other.segment.table(1).begin(0, 0, NOON_MS)
            await sleep(0)

        monkeypatch.setattr(verification, "PAUSE_MIN_S", 0.05)
        monkeypatch.setattr("server.verification.asyncio.sleep", paused)
        returned = Returned(1, siblings=(other.name,))
        async with asyncio.timeout(2):
            await returned.verify()
        assert pauses == [0.05, 0.1, 0.2, 0.4]

    async def test_siblings_are_not_read_with_each_question(
        self, other: OtherInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While a processor gives no answer, only it is asked again; the siblings' tables are not read each time."""
        other.take(copy_of(9))
        returned = Returned(1, 2, siblings=(other.name,))
        gathered = returned.count_gathering(monkeypatch)
        returned.fakes[1].shows.extend([500] * 20)
        await returned.verify()
        assert gathered == [2]

    async def test_a_slot_that_is_used_again(self, other: OtherInstance) -> None:
        """The next payment in it is another one, whose copies have not been looked for."""
        other.start()
        other.has_verified()
        other.take(copy_of(3))
        returned = Returned(1, 2, siblings=(other.name,))
        custody = returned.custody
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        returned.fakes[1].shows.extend([404, answer])
        task = asyncio.create_task(returned.verify())
        await idle()
        assert returned.waiting() == [1]
        slot = custody.waiting.popleft()
        custody.begin(slot, 0, NOON_MS)
        custody.end(slot, Event.PAID, custody.read(slot))
        custody._fold()  # noqa: SLF001  else it takes as many ends as the journal holds
        assert custody.take(copy_of(3, accepted_ms=LATER_MS), verified=False)
        assert custody.read(slot).correlation_id == copy_of(3).correlation_id
        answer.set_result(404)
        await task
        assert returned.waiting() == [2]

    async def test_one_that_is_down(self, other: OtherInstance) -> None:
        """Its earlier copy is paid once it is back, for by then ours has ended as a duplicate."""
        other.take(copy_of(1, accepted_ms=EARLIER_MS))
        returned = Returned(1, siblings=(other.name,))
        await returned.verify()
        assert [record.state for record in returned.ended()] == [State.DUPLICATE]

    async def test_what_comes_during_it(self, other: OtherInstance) -> None:
        """Payments taken from the lanes meanwhile are looked up like the others."""
        other.start()
        other.has_verified()
        other.take(copy_of(2))
        returned = Returned(1, siblings=(other.name,))
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        returned.fakes[0].shows.append(answer)
        task = asyncio.create_task(returned.verify())
        await idle()
        for number in (2, 3):
            returned.custody.take(copy_of(number, accepted_ms=LATER_MS), verified=False)
        answer.set_result(404)
        await task
        assert returned.waiting() == [1, 3]
        assert [record.state for record in returned.ended()] == [State.DUPLICATE]

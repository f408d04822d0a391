"""Finding out what became of unknown payments: what is asked, where, how often, and what decides."""

import asyncio

import httpx
import pytest

from server.circuit import CircuitState
from server.custody import Custody
from server.notation import format_instant_ms
from server.unknowns import ASKED_AT_ONCE_MAX, PAUSE_MAX_MS, PAUSE_MIN_MS, UNDECIDED_PAUSE_MS, Unknowns
from shm import DispatcherCount, Ended, Event, Segment, State
from tests.fakes import NOON_MS, Answer, FakeClock, FakeProcessor, Paid, idle
from tests.server.routing_model import fresh
from tests.server.scene import hanging, payment, text_of

UNDECIDED: list[Answer] = [400, 404, 413, 429, 500, 502, 503, httpx.ConnectError, httpx.ReadTimeout, httpx.ReadError]


class Ward:
    """Unknown payments in a table, the schedule that asks about them, and both processors.

    Args:
        segment: a small one.
        payments: how many are unknown at processor 1, all requested at noon.
    """

    def __init__(self, segment: Segment, payments: int = 1) -> None:
        self.clock = FakeClock()
        self.fakes = (FakeProcessor(), FakeProcessor())
        self.fake = self.fakes[1]
        self.changes = 0
        self.bugs: list[BaseException] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self.bugs.append(context["exception"]))
        self.counters = segment.dispatcher_counters(0)
        self.journal = segment.journal(0)
        self.custody = Custody([], segment.table(0), self.journal, self.counters, self._count_change)
        for number in range(payments):
            self.custody.take(payment(number))
            self.custody.begin(number, 1, NOON_MS)
            self.custody.mark_unknown(number, Event.UNCLEAR, NOON_MS)
        self.custody.waiting.clear()
        self.changes = self.wakes = 0
        self.misuses: list[tuple[int, int]] = []
        processors = (self.fakes[0].processor(0), self.fake.processor(1))
        self.circuits = (fresh(), fresh())
        self.unknowns = Unknowns(self.custody, processors, self.circuits, self.clock, on_misuse=self._note_misuse)
        self.unknowns.wake = self._wake

    def _note_misuse(self, processor: int, status: int) -> None:
        self.misuses.append((processor, status))

    def _wake(self) -> None:
        self.wakes += 1

    def _count_change(self, _: int) -> None:
        self.changes += 1

    async def pass_time(self, ms: int = PAUSE_MIN_MS) -> State:
        """Lets time pass and asks what is due; the state of the first payment after that."""
        await self.ask(ms)
        assert self.bugs == []
        return self.custody.read(0).state

    async def ask(self, ms: int = PAUSE_MIN_MS) -> None:
        """Lets time pass and asks what is due."""
        self.clock.advance(ms)
        self.unknowns.ask_due()
        await idle()

    def store(self, amount: str = "19.90", requested_at_ms: int = NOON_MS) -> None:
        """The processor has the first payment."""
        self.fake.stored[text_of(0)] = Paid(text_of(0), amount, format_instant_ms(requested_at_ms))


class TestFindingOut:
    """What decides, and what does not."""

    async def test_shown_ours(self, segment: Segment) -> None:
        """The processor shows what was sent: settled, and nothing is sent again."""
        ward = Ward(segment)
        ward.store()
        assert await ward.pass_time() is State.SETTLED
        assert ward.journal.read(0) == Ended(State.SETTLED, 1, NOON_MS, 1990, 0)
        assert (ward.fake.questions, ward.fake.posts, ward.changes) == ([text_of(0)], [], 1)
        assert ward.custody.unknown == {}

    @pytest.mark.parametrize(("amount", "requested_at_ms"), [("19.91", NOON_MS), ("19.90", NOON_MS + 1)])
    async def test_shown_other(self, segment: Segment, amount: str, requested_at_ms: int) -> None:
        """It shows another's: a duplicate, which counts nowhere."""
        ward = Ward(segment)
        ward.store(amount, requested_at_ms)
        assert await ward.pass_time() is State.DUPLICATE
        assert ward.counters.get(DispatcherCount.SETTLED_FALLBACK) == 0

    async def test_not_there_and_sent_again(self, segment: Segment) -> None:
        """A 404 proves nothing: the same payment is sent again, with the same requestedAt."""
        ward = Ward(segment)
        assert await ward.pass_time() is State.SETTLED
        assert ward.fake.posts == [Paid(text_of(0), "19.90", format_instant_ms(NOON_MS))]
        assert ward.counters.get(DispatcherCount.SETTLED_FALLBACK) == 1

    async def test_arrived_in_between(self, segment: Segment) -> None:
        """Sent again and already there, as the earlier request woke up meanwhile: looked at once more."""
        ward = Ward(segment)
        ward.fake.shows.append(404)
        ward.fake.answers.append(422)
        ward.store()
        assert await ward.pass_time() is State.SETTLED
        assert len(ward.fake.questions) == 2

    @pytest.mark.parametrize("answer", UNDECIDED)
    async def test_sent_again_in_vain(self, segment: Segment, answer: Answer) -> None:
        """No answer to the second sending makes it waiting or refused: an earlier one may still be asleep there."""
        ward = Ward(segment)
        ward.fake.answers.append(answer)
        assert await ward.pass_time() is State.UNKNOWN
        assert ward.custody.unknown == {0: NOON_MS}
        assert (list(ward.custody.waiting), ward.journal.head) == ([], 0)
        assert ward.misuses == ([(1, 404)] if answer == 404 else [])

    @pytest.mark.parametrize("answer", [500, 429, 301, httpx.ReadError, httpx.ReadTimeout, b"[]", b"\xff"])
    async def test_question_in_vain(self, segment: Segment, answer: Answer) -> None:
        """A processor that can't show may be able to pay: without that, this payment would wait for ever."""
        ward = Ward(segment)
        ward.fake.shows.append(answer)
        assert await ward.pass_time() is State.SETTLED
        assert ward.fake.posts == [Paid(text_of(0), "19.90", format_instant_ms(NOON_MS))]

    async def test_unreachable(self, segment: Segment) -> None:
        """Where no question can be sent, nothing else is."""
        ward = Ward(segment)
        ward.fake.shows.append(httpx.ConnectError)
        assert await ward.pass_time() is State.UNKNOWN
        assert ward.fake.posts == []

    @pytest.mark.parametrize("answer", [httpx.ReadTimeout, httpx.ConnectError])
    async def test_422_that_can_not_be_looked_at(self, segment: Segment, answer: Answer) -> None:
        """It stays unknown; the next question settles it."""
        ward = Ward(segment)
        ward.fake.shows.extend([404, answer])
        ward.fake.answers.append(422)
        ward.store()
        assert await ward.pass_time() is State.UNKNOWN
        assert await ward.pass_time(PAUSE_MIN_MS * 2) is State.SETTLED

    async def test_only_at_its_processor(self, segment: Segment) -> None:
        """The other one never hears of it."""
        ward = Ward(segment)
        ward.fake.answer = 500
        for _ in range(20):
            await ward.pass_time(PAUSE_MAX_MS)
        assert (ward.fakes[0].posts, ward.fakes[0].questions) == ([], [])
        assert len(ward.fake.posts) == 20


class TestSchedule:
    """How often, and how many at once."""

    async def test_pauses_double(self, segment: Segment) -> None:
        """From 50 ms to 5 s, and the asking never ends."""
        ward = Ward(segment)
        ward.fake.answer = 503
        asked_ms: list[int] = []
        begun_ms = ward.clock.ticks_ms()
        for _ in range(2_000):
            before = len(ward.fake.posts)
            ward.clock.advance(10)
            ward.unknowns.ask_due()
            if ward.unknowns._queues[1].asking:  # noqa: SLF001  letting the loop run 2,000 times would take a second
                await idle(15)
            if len(ward.fake.posts) > before:
                asked_ms.append(ward.clock.ticks_ms() - begun_ms)
        pauses_ms = [later - earlier for earlier, later in zip([0, *asked_ms], asked_ms, strict=False)]
        assert pauses_ms == [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]

    async def test_not_before_it_is_due(self, segment: Segment) -> None:
        """A payment that has just become unknown is given a moment."""
        ward = Ward(segment)
        assert await ward.pass_time(PAUSE_MIN_MS - 1) is State.UNKNOWN
        assert ward.fake.questions == []
        assert await ward.pass_time(1) is State.SETTLED

    async def test_so_many_at_once(self, segment: Segment) -> None:
        """The rest is asked as answers come."""
        ward = Ward(segment, payments=40)
        held = [hanging() for _ in range(40)]
        ward.fake.shows.extend(held)
        await ward.pass_time()
        assert len(ward.fake.questions) == ASKED_AT_ONCE_MAX
        held[0].set_result(404)
        held[1].set_result(404)
        await idle()
        await ward.pass_time(0)
        assert len(ward.fake.questions) == ASKED_AT_ONCE_MAX + 2
        await ward.unknowns.aclose()

    async def test_a_silent_processor_holds_up_nobody_else(self, segment: Segment) -> None:
        """While one answers nothing, what the other knows is found out at once."""
        ward = Ward(segment, payments=2 * ASKED_AT_ONCE_MAX)
        ward.fake.shows.extend([hanging()] * (2 * ASKED_AT_ONCE_MAX))
        slot = 2 * ASKED_AT_ONCE_MAX
        ward.custody.take(payment(slot))
        ward.custody.begin(slot, 0, NOON_MS)
        ward.custody.mark_unknown(slot, Event.UNCLEAR, NOON_MS)
        ward.unknowns.add(slot)
        await ward.ask()
        assert (len(ward.fake.questions), ward.fakes[0].questions) == (ASKED_AT_ONCE_MAX, [text_of(slot)])
        assert ward.custody.read(slot).state is State.SETTLED
        assert ward.unknowns.due_in_ms(1000) == 1000
        await ward.unknowns.aclose()

    async def test_many_that_stay_unknown(self, segment: Segment) -> None:
        """However many there are, they are asked about at a bounded rate, until an answer decides something."""
        ward = Ward(segment, payments=60)
        ward.fake.answer = 502
        for _ in range(100):
            await ward.ask(UNDECIDED_PAUSE_MS)
        assert 90 <= len(ward.fake.posts) <= 100 + ASKED_AT_ONCE_MAX  # which go out before the first answer
        ward.fake.answer = 200
        await ward.ask(PAUSE_MAX_MS)
        await ward.ask(UNDECIDED_PAUSE_MS)
        assert len(ward.custody.unknown) < 60 - ASKED_AT_ONCE_MAX

    async def test_those_of_a_predecessor(self, segment: Segment) -> None:
        """Whatever was unknown or in flight when a dispatcher died is asked about by its successor."""
        first = Ward(segment, payments=2)
        first.custody.take(payment(2))
        first.custody.begin(2, 1, NOON_MS)
        second = Ward(segment, payments=0)
        assert second.custody.unknown == {0: NOON_MS, 1: NOON_MS, 2: NOON_MS}
        assert await second.pass_time() is State.SETTLED
        assert second.changes == 3

    async def test_added_later(self, segment: Segment) -> None:
        """A payment that becomes unknown while others wait for their turn has its own pauses."""
        ward = Ward(segment)
        ward.fake.answer = 500
        await ward.pass_time()
        ward.custody.take(payment(1))
        ward.custody.begin(1, 1, NOON_MS)
        ward.custody.mark_unknown(1, Event.UNCLEAR, NOON_MS)
        ward.unknowns.add(1)
        await ward.pass_time(PAUSE_MIN_MS)
        assert [post.correlation_id for post in ward.fake.posts] == [text_of(0), text_of(1)]


class TestWake:
    """Whoever calls `ask_due` learns when to do so."""

    async def test_when_one_has_come(self, segment: Segment) -> None:
        """A new question may be due before all others."""
        ward = Ward(segment)
        for number in (1, 2):
            ward.custody.take(payment(number))
            ward.custody.begin(number, 1, NOON_MS)
            ward.custody.mark_unknown(number, Event.UNCLEAR, NOON_MS)
            ward.unknowns.add(number)
            assert ward.wakes == number

    async def test_when_an_answer_has_come(self, segment: Segment) -> None:
        """One that decided nothing too: it is to be asked again, and there is room for another question."""
        ward = Ward(segment)
        ward.fake.answers.append(500)
        before = ward.wakes
        await ward.pass_time()
        assert ward.wakes == before + 1

    async def test_when_the_next_is_due(self, segment: Segment) -> None:
        """The time until the earliest question, and at most `most_ms`."""
        ward = Ward(segment)
        assert (ward.unknowns.due_in_ms(1000), ward.unknowns.due_in_ms(20)) == (PAUSE_MIN_MS, 20)
        ward.clock.advance(PAUSE_MIN_MS - 1)
        assert ward.unknowns.due_in_ms(1000) == 1
        ward.custody.take(payment(1))
        ward.custody.begin(1, 0, NOON_MS)
        ward.custody.mark_unknown(1, Event.UNCLEAR, NOON_MS)
        ward.unknowns.add(1)  # at the other processor, and later
        assert ward.unknowns.due_in_ms(1000) == 1
        ward.clock.advance(PAUSE_MIN_MS)  # overdue: as soon as may be, but never at once for ever
        assert ward.unknowns.due_in_ms(1000) == 1


class TestCircuits:
    """What a processor's circuit learns from the questions."""

    async def test_how_many_are_unknown(self, segment: Segment) -> None:
        """Each one counts at its own processor, from the first question to its end."""
        ward = Ward(segment, payments=3)
        assert [circuit.unknown for circuit in ward.circuits] == [0, 3]
        ward.fake.answer = 502
        ward.store()
        await ward.pass_time()
        assert [circuit.unknown for circuit in ward.circuits] == [0, 2]

    @pytest.mark.parametrize(("answer", "state"), [(200, CircuitState.CLOSED), (500, CircuitState.OPEN)])
    async def test_paid_ends_an_outage(self, segment: Segment, answer: Answer, state: CircuitState) -> None:
        """At the processor that paid, and only if it did."""
        ward = Ward(segment)
        for circuit in ward.circuits:
            circuit.note_health(failing=True, response_ms_min=0, now_ms=ward.clock.ticks_ms())
        ward.fake.answer = answer
        await ward.pass_time()
        assert [circuit.state for circuit in ward.circuits] == [CircuitState.OPEN, state]

    async def test_shown_does_not(self, segment: Segment) -> None:
        """Processors show payments in an outage, too."""
        ward = Ward(segment)
        ward.circuits[1].note_health(failing=True, response_ms_min=0, now_ms=ward.clock.ticks_ms())
        ward.store()
        assert await ward.pass_time() is State.SETTLED
        assert ward.circuits[1].state is CircuitState.OPEN


class TestEnd:
    """Stopping, and bugs."""

    async def test_stop(self, segment: Segment) -> None:
        """What was being asked about stays unknown."""
        ward = Ward(segment, payments=3)
        ward.fake.shows.extend([hanging(), hanging(), hanging()])
        await ward.pass_time()
        await ward.unknowns.aclose()
        await idle()
        assert [ward.custody.read(slot).state for slot in range(3)] == [State.UNKNOWN] * 3
        assert len(ward.custody.unknown) == 3
        assert ward.bugs == []

    async def test_nothing_is_under_way_after_a_stop(self, segment: Segment) -> None:
        """It waits for the questions to end: whatever they would store has been stored."""
        ward = Ward(segment)
        ward.fake.shows.append(hanging())
        await ward.pass_time()
        (task,) = ward.unknowns._queues[1].asking  # noqa: SLF001  the task is nowhere else
        await ward.unknowns.aclose()
        assert task.done()

    async def test_bug(self, segment: Segment) -> None:
        """An unforeseen error reaches the loop's exception handler, which ends the process."""
        ward = Ward(segment)
        ward.fake.shows.append(ZeroDivisionError)
        await ward.ask()
        assert [type(bug) for bug in ward.bugs] == [ZeroDivisionError]

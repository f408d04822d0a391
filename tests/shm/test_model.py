"""Lane, table, journal and recovery together against a model in plain Python, in random order, with random deaths."""

from contextlib import suppress
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from shm.record import Accepted
from shm.states import ENDED, TRANSITIONS, UNSETTLED, Event, State
from tests.shm.memory import TEARS, Died
from tests.shm.miniature import GEOMETRY, Miniature, fresh_memory
from tests.shm.model import Model, observe
from tests.shm.strategies import processors

IDS = [bytes([0xA0 + number]) * 16 for number in range(11)]  # more than a table has slots
STORES_MAX = 12  # more than most operations make
WEIGHTS = {"publish": 16, "take": 8, "begin": 12, "hear": 16, "forget": 2, "purge": 1, "die_soon": 5, "die": 2}
NOT_HEARD = {Event.TAKEN, Event.ATTEMPT_BEGAN, Event.CRASHED, Event.FOLDED}

ids = st.sampled_from(IDS)
amounts = st.sampled_from([1990, 1990, 1990, 1])  # a few conflicts
times_ms = st.integers(1_000, 1_050)
picks = st.integers(0, 100)


class Instance(RuleBasedStateMachine):
    """One worker and one dispatcher, whose memory says what the model says after every operation and every death."""

    def __init__(self) -> None:
        """Begins with zeroed memory."""
        super().__init__()
        self.memory = fresh_memory()
        self.life = Miniature.over(self.memory)
        self.model = Model()
        self.death: tuple[int, str] | None = None
        self.accepted_at_us = 0

    def perform(self, name: str, *arguments: object) -> object:
        """Does the same to memory and model; a death in the middle leaves one of the models passed through."""
        steps: list[Model] = getattr(self.model, name)(*arguments)
        if self.death:
            self.memory.die_at(*self.death)
            self.death = None
        try:
            result = getattr(self.life, name)(*arguments)
        except Died:
            self.succeed([self.model, *steps])
            return None
        finally:
            self.memory.live()
        self.model = steps[-1] if steps else self.model
        return result

    def succeed(self, models: list[Model]) -> None:
        """A new life begins; it must find one of these."""
        self.memory.live()
        self.life = Miniature.over(self.memory)
        found = observe(self.life)
        assert found in [model.crashed() for model in models]
        self.model = found

    def pick(self, number: int, *states: State) -> bytes:
        """The id of some payment in one of these states."""
        found = sorted(known for known, row in self.model.rows.items() if row.state in states)
        return found[number % len(found)]

    def has(self, *states: State) -> bool:
        """Whether there is a payment in one of these states."""
        return any(row.state in states for row in self.model.rows.values())

    @rule(correlation_id=ids, amount_cents=amounts)
    def publish(self, correlation_id: bytes, amount_cents: int) -> None:
        """A client's payment, new, repeated, or with another amount."""
        self.accepted_at_us += 1
        full = len(self.model.lane) == GEOMETRY.lane_slots
        answer = self.perform("publish", Accepted(correlation_id, amount_cents, self.accepted_at_us))
        assert answer in {None, not full}

    @rule()
    def take(self) -> None:
        """The dispatcher empties the lane."""
        self.perform("take")

    @precondition(lambda self: self.has(State.WAITING))
    @rule(pick=picks, processor=processors, requested_at_ms=times_ms)
    def begin(self, pick: int, processor: int, requested_at_ms: int) -> None:
        """An attempt begins."""
        self.perform("begin", self.pick(pick, State.WAITING), processor, requested_at_ms)

    @precondition(lambda self: self.has(*UNSETTLED))
    @rule(pick=picks, event=picks)
    def hear(self, pick: int, event: int) -> None:
        """Something becomes of a payment."""
        correlation_id = self.pick(pick, *UNSETTLED)
        events = sorted(set(TRANSITIONS[self.model.rows[correlation_id].state]) - NOT_HEARD)
        self.perform("hear", correlation_id, events[event % len(events)])

    @rule(count=st.integers(0, 5))
    def forget(self, count: int) -> None:
        """The oldest ends are folded."""
        self.perform("forget", count)

    @rule()
    def purge(self) -> None:
        """The totals start again."""
        self.perform("purge", self.model.base.epoch + 1)

    @rule(stores=st.integers(0, STORES_MAX), tear=st.sampled_from(sorted(TEARS)))
    def die_soon(self, stores: int, tear: str) -> None:
        """The next operation is cut off after so many stores, if it makes as many."""
        self.death = stores, tear

    @rule(stores=st.integers(0, STORES_MAX))
    def die(self, stores: int) -> None:
        """The process dies between two operations, and its successor perhaps during recovery."""
        self.memory.die_at(stores)
        with suppress(Died):
            Miniature.over(self.memory)
        self.succeed([self.model])

    @invariant()
    def memory_says_what_the_model_says(self) -> None:
        """Lane, table, journal and base, as anybody reads them."""
        assert observe(self.life) == self.model

    @invariant()
    def dispatcher_knows_its_table(self) -> None:
        """The dispatcher's dict and free list are the table; every id can also be found by searching."""
        assert set(self.life.slot_by_id) == set(self.model.rows)
        assert sorted([*self.life.slot_by_id.values(), *self.life.free]) == list(range(GEOMETRY.table_slots))
        for correlation_id in IDS:
            found = self.life.table.find(correlation_id)
            assert (found is not None) == (correlation_id in self.model.rows)

    @invariant()
    def ended_payments_are_remembered(self) -> None:
        """A payment that ended has exactly one record, and a record its ended payment."""
        ended = sorted(known for known, row in self.model.rows.items() if row.state in ENDED)
        assert sorted(end.correlation_id for end in self.model.ends) == ended


class TestAnyOrder:
    """Random interleavings of publish, take, begin, hear, forget, purge and death; a failure is made small."""

    @pytest.mark.slow
    def test_memory_agrees_with_the_model_in_any_order(self) -> None:
        """Whatever happens in whatever order, memory says what the model says."""
        run_state_machine_as_test(Instance, settings=settings(max_examples=60, stateful_step_count=100))


class TestLongLife:
    """The same operations as often as they come in real life, over many laps of lane and journal."""

    @pytest.mark.parametrize("seed", range(4))
    def test_memory_agrees_with_the_model_over_laps_and_deaths(self, seed: int) -> None:
        """After some hundred operations memory says what the model says."""
        instance = live_long(seed, operations=400)
        assert instance.life.lane.head > 10 * GEOMETRY.lane_slots

    @pytest.mark.slow
    def test_memory_agrees_with_the_model_over_thousands_of_laps(self) -> None:
        """The same holds over many seeds; each journal laps several times."""
        for seed in range(100, 115):
            instance = live_long(seed, operations=1_000)
            assert instance.life.journal.head > 10 * GEOMETRY.journal_records, seed


def live_long(seed: int, operations: int) -> Instance:
    """Lets an instance live through so many operations, chosen with this seed."""
    random, instance = Random(seed), Instance()
    for name in random.choices(list(WEIGHTS), list(WEIGHTS.values()), k=operations):
        operate(instance, name, random)
        instance.memory_says_what_the_model_says()
        instance.dispatcher_knows_its_table()
        instance.ended_payments_are_remembered()
    return instance


def operate(instance: Instance, name: str, random: Random) -> None:
    """Does one operation if it is possible now."""
    pick = random.randrange(100)
    match name:
        case "publish":
            instance.publish(random.choice(IDS), random.choice([1990, 1990, 1]))
        case "take":
            instance.take()
        case "begin" if instance.has(State.WAITING):
            instance.begin(pick, random.randrange(2), random.randrange(1_000, 1_050))
        case "hear" if instance.has(*UNSETTLED):
            instance.hear(pick, random.randrange(100))
        case "forget":
            instance.forget(random.randrange(3))
        case "purge":
            instance.purge()
        case "die_soon":
            instance.die_soon(random.randrange(STORES_MAX // 2), random.choice(sorted(TEARS)))
        case "die":
            instance.die(random.randrange(STORES_MAX))

"""Lane, table, journal and recovery together: a scenario whose process dies at each of its stores in turn."""

from functools import cache

import pytest

from shm.record import Accepted
from shm.states import ENDED, UNSETTLED, Event, State
from tests.shm.memory import TEARS, Died, Memory
from tests.shm.miniature import Miniature, fresh_memory
from tests.shm.model import Model, observe

A, B, C, D, E, F, G, H, J = (bytes([0xA0 + number]) * 16 for number in range(9))

Step = tuple[str, tuple[object, ...]]


def publish(correlation_id: bytes, amount_cents: int = 100) -> Step:
    """A payment is accepted; amounts differ by id unless one is given."""
    return "publish", (Accepted(correlation_id, amount_cents + correlation_id[0], 7_000_000 + correlation_id[0]),)


TAKE: Step = ("take", ())
SCENARIO: list[Step] = [
    publish(A), publish(B), publish(A), publish(A, 999), TAKE,  # a repetition and a conflict
    ("begin", (A, 0, 1_000)), ("begin", (B, 1, 1_001)), publish(C),
    ("hear", (A, Event.PAID)), ("hear", (B, Event.UNCLEAR)), TAKE,
    ("begin", (C, 0, 1_002)), ("hear", (C, Event.SURE_NO)), ("begin", (C, 1, 1_500)), ("hear", (C, Event.REJECTED)),
    publish(D), publish(E), publish(F), publish(G), publish(H), TAKE,  # the lane is full once, and wraps around
    ("hear", (D, Event.FOUND_ELSEWHERE)), ("hear", (B, Event.SURE_NO)), ("begin", (E, 0, 1_600)),
    ("hear", (E, Event.SHOWN_OURS)), ("begin", (F, 1, 1_601)),
    ("hear", (F, Event.PAID)),  # the journal is full: A is folded
    ("purge", (1,)), publish(H), publish(J), publish(A), TAKE,  # A is forgotten, and accepted anew; the table is full
    ("hear", (B, Event.SHOWN_OURS)), ("forget", (2,)), TAKE, ("begin", (G, 0, 1_700)), ("hear", (G, Event.PAID)),
    ("begin", (A, 1, 1_701)), ("hear", (A, Event.SHOWN_OTHER)), ("begin", (H, 0, 1_702)),
    ("hear", (H, Event.PAID)), ("begin", (J, 1, 1_703)), TAKE, ("forget", (9,)),
]  # fmt: skip


@cache
def models() -> list[list[Model]]:
    """For each step the model before it, and those its commits pass through."""
    found, model = [], Model()
    for name, arguments in SCENARIO:
        steps: list[Model] = getattr(model, name)(*arguments)
        found.append([model, *steps])
        model = found[-1][-1]
    return found


def run(memory: Memory) -> int:
    """Runs the scenario on fresh memory; gives the number of the step in which the process died, or of steps in all."""
    life = Miniature.over(memory)
    for number, (name, arguments) in enumerate(SCENARIO):
        try:
            getattr(life, name)(*arguments)
        except Died:
            memory.live()
            return number
    return len(SCENARIO)


def deaths(tear: str) -> list[tuple[int, int, Memory]]:
    """Every death of the scenario: after how many stores, in which step, and what memory it left."""
    whole = fresh_memory()
    assert run(whole) == len(SCENARIO)
    found = []
    for stores in range(whole.stores):
        memory = fresh_memory()
        memory.die_at(stores, tear)
        found.append((stores, run(memory), memory))
    return found


@pytest.mark.parametrize("tear", TEARS)
class TestDeathAtEveryStore:
    """Whatever part of a store a death leaves behind."""

    def test_recovery_leaves_a_state_the_step_passed_through(self, tear: str) -> None:
        """After recovery memory says what it said before the step, or after one of its commits: never a mixture."""
        for stores, number, memory in deaths(tear):
            assert observe(Miniature.over(memory)) in [model.crashed() for model in models()[number]], stores

    def test_nothing_accepted_is_lost(self, tear: str) -> None:
        """Every payment that got its 202 and has not been forgotten is in the lane or in the table."""
        for stores, number, memory in deaths(tear):
            after = observe(Miniature.over(memory))
            present = {payment.correlation_id for payment in after.lane} | set(after.rows)
            before, *steps = models()[number]
            kept = set.intersection(*(in_care(model) for model in [before, *steps]))
            assert kept <= present, stores

    def test_an_unsettled_payment_stays_at_its_processor(self, tear: str) -> None:
        """What may have been sent is unknown at the same processor with the same requestedAt; it never waits again."""
        for stores, number, memory in deaths(tear):
            after = observe(Miniature.over(memory))
            before = models()[number][0]
            sent = {known: row for known, row in before.rows.items() if row.state in {State.SENDING, State.UNKNOWN}}
            if SCENARIO[number][0] == "hear":
                sent.pop(SCENARIO[number][1][0], None)  # type: ignore[call-overload]  # the one that just heard
            for known, row in sent.items():
                assert after.rows[known] == row._replace(state=State.UNKNOWN), stores

    def test_everything_is_counted_once_in_the_end(self, tear: str) -> None:
        """The successor ends all that was accepted: each payment is settled and counted just once, and forgotten."""
        for stores, _, memory in deaths(tear):
            life = Miniature.over(memory)
            before = observe(life)
            payments = {payment.correlation_id: payment.amount_cents for payment in reversed(before.lane)}
            payments |= {known: row.amount_cents for known, row in before.rows.items()}
            unsettled = {
                known for known in payments if known not in before.rows or before.rows[known].state in UNSETTLED
            }
            count, cents = life.totals()
            life.settle_all()
            count += len(unsettled)
            cents += sum(payments[known] for known in unsettled)
            assert life.totals() == (count, cents), stores
            assert observe(life).rows == {}, stores

    def test_death_in_recovery_changes_nothing(self, tear: str) -> None:
        """However often the successors die at a store of their recovery, the one that lives finds the same."""
        for stores, _, memory in deaths(tear):
            left, count = bytes(memory.data), 0
            Miniature.over(memory)
            expected = bytes(memory.data)
            while dies(memory, left, count):
                Miniature.over(memory)
                assert memory.data == expected, (stores, count)
                count += 1


def in_care(model: Model) -> set[bytes]:
    """The ids accepted and not forgotten."""
    return {payment.correlation_id for payment in model.lane} | set(model.rows)


def dies(memory: Memory, left: bytes, stores: int) -> bool:
    """Puts `left` back and lets a successor die after so many stores of its recovery; False if it had no more."""
    memory.data[:] = left
    memory.die_at(stores)
    try:
        Miniature.over(memory)
    except Died:
        return True
    finally:
        memory.live()
    return False


class TestScenario:
    """The scenario itself, without a death."""

    def test_agrees_with_the_model_after_each_step(self) -> None:
        """Memory and model say the same all along."""
        life = Miniature.over(fresh_memory())
        for (name, arguments), steps in zip(SCENARIO, models(), strict=True):
            getattr(life, name)(*arguments)
            assert observe(life) == steps[-1]

    def test_meets_every_state_and_event(self) -> None:
        """No state and no event a dispatcher can hear of is left out, nor a full lane or a full journal."""
        states = {row.state for steps in models() for model in steps for row in model.rows.values()}
        assert states == UNSETTLED | ENDED
        heard = {arguments[1] for name, arguments in SCENARIO if name == "hear"}
        assert heard == set(Event) - {Event.TAKEN, Event.ATTEMPT_BEGAN, Event.CRASHED, Event.FOLDED}
        assert any(steps == [steps[0]] for steps in models())
        assert any(len(model.ends) == 4 for steps in models() for model in steps)

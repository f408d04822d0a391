"""What everybody in a run shares: the loop, the seed's randomness, what is counted, said and found wrong."""

import asyncio
import contextvars
from collections.abc import Callable
from random import Random
from typing import Any

from tests.shm.memory import Died
from tests.simulation.coverage import Coverage, Fault
from tests.simulation.loop import Context, Owner, VirtualLoop
from tests.simulation.plan import Plan

START_US = 1_752_580_000_000_000  # an instant in July 2025, µs UTC
LATENCY_S = 0.002  # the longest an undisturbed message takes on its way


class World:
    """One run.

    Args:
        plan: of its seed.
        tracing: whether to keep the story for people to read.

    Attributes:
        faulty: whether faults still happen.
        failures: what was found wrong, the first one first.
        trace: the story, a line per happening.
    """

    def __init__(self, plan: Plan, *, tracing: bool) -> None:
        self.plan = plan
        self.rng = Random(plan.seed)
        self.coverage = Coverage()
        self.loop = VirtualLoop(self._on_failure)
        self.context = contextvars.Context()  # of what belongs to no process
        self.faulty = True
        self.failures: list[str] = []
        self.tracing = tracing
        self.trace: list[str] = []

    def later(self, delay_s: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        """Has something happen that belongs to no process."""
        return self.loop.call_later(delay_s, callback, *args, context=self.context)

    def latency_s(self) -> float:
        """How long a message takes when nothing is wrong."""
        return self.rng.random() * LATENCY_S

    def chance(self, fault: Fault) -> bool:
        """Whether a fault happens now, at this opportunity; counted if so."""
        if not self.draw(fault):
            return False
        self.note(fault)
        return True

    def draw(self, fault: Fault) -> bool:
        """The same, not counted: whoever draws it notes it once it has really happened."""
        most = self.plan.chances.get(fault) if self.faulty else None
        return most is not None and self.rng.random() < most

    def note(self, fault: Fault) -> None:
        """A fault happened."""
        self.coverage.faults[fault] += 1
        if self.tracing:
            self.say(f"! {fault.value}")

    def say(self, text: str) -> None:
        """Adds a line to the story; callers ask `tracing` first where making the text costs."""
        if self.tracing:
            self.trace.append(f"{self.loop.time():10.6f}  {text}")

    def fail(self, text: str) -> None:
        """An invariant is broken: the run ends here."""
        self.failures.append(text)
        self.say(f"FAILED: {text}")
        self.loop.stop()

    def _on_failure(self, context: Context, owner: Owner | None) -> None:
        error = context.get("exception")
        if isinstance(error, Died) or (owner is not None and owner.dead) or "never retrieved" in context["message"]:
            return
        self.fail(f"{owner or 'nobody'} failed: {context['message']}: {error!r}")

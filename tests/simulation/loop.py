"""An asyncio event loop whose time is virtual and whose callbacks belong to simulated processes.

Time stands still while callbacks run and jumps to the next timer when there is nothing to run: nothing ever sleeps.
Every handle carries its context, and the context names the *owner*, the simulated process that the callback belongs
to. A dead owner's callbacks are dropped, as a killed process's are; a paused owner's are held until it goes on. What
belongs to nobody (the network, the processors, Redis, the clients) always runs.
"""

import asyncio
import contextvars
import heapq
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.simulation.halts import Halts

Context = dict[str, Any]

OWNER: contextvars.ContextVar["Owner"] = contextvars.ContextVar("OWNER")


class Deadlock(Exception):
    """Nothing is left to happen, and somebody still waits."""


class Owner:
    """A simulated process, as far as the loop cares.

    Attributes:
        dead: its callbacks are dropped.
        paused: its callbacks are held.
        halted: one of them stands still in the midst of it, and the others are held.
        undivided: what runs now must not stand still.
        halts: when it stands still; None: never.
        held: callbacks that wait for it to go on.
        signals: its signal handlers, with the context to run them in.
    """

    def __init__(self) -> None:
        """Alive, and named in a context of its own."""
        self.dead = False
        self.paused = False
        self.halted = False
        self.undivided = False
        self.halts: Halts | None = None
        self.held: list[asyncio.Handle] = []
        self.signals: dict[int, Callable[[], object]] = {}
        self.context = contextvars.Context()
        self.context.run(OWNER.set, self)


class VirtualLoop(asyncio.BaseEventLoop):
    """The loop of one run.

    Args:
        on_failure: told of every exception that nobody caught, with the owner it happened to.

    Attributes:
        handled: how many callbacks came due.
        nested: how many calls stand still on the stack.
    """

    def __init__(self, on_failure: Callable[[Context, Owner | None], None]) -> None:
        super().__init__()
        self._on_failure = on_failure
        self._now_s = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._order = itertools.count()
        self._readers: dict[int, tuple[Callable[..., object], tuple[Any, ...], contextvars.Context]] = {}
        self._rung: set[int] = set()
        self._running: Owner | None = None
        self.handled = 0
        self.nested = 0

    def time(self) -> float:
        """Virtual seconds since the run began."""
        return self._now_s

    def call_at(  # type: ignore[override]  # the base class's stub names a TypeVarTuple
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """As ever. Callbacks of the same instant run in the order in which they were asked for."""
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    def call_later(  # type: ignore[override]  # the same
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """As ever."""
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Stays in the heap until its time."""

    def _run_once(self) -> None:
        ready = self._ready  # type: ignore[attr-defined]  # the base class's queue of handles
        if not ready:
            self._advance()
        self.handled += len(ready)
        for _ in range(len(ready)):
            if not ready:  # while a callback stood still, they were run in `run_others`
                break
            handle = ready.popleft()
            if handle._cancelled:  # noqa: SLF001  as the base class does
                continue
            owner = handle._context.get(OWNER)  # noqa: SLF001  the same
            if owner is not None:
                if owner.dead:
                    continue
                if owner.paused or owner.halted:
                    owner.held.append(handle)
                    continue
            self._running = owner
            handle._run()  # noqa: SLF001  the same
            self._running = None

    def run_others(self, is_over: Callable[[], bool]) -> bool:
        """Runs what comes due while a call of some owner stands still on the stack; False if the run ends meanwhile.

        Args:
            is_over: whether the call may go on.
        """
        task, running = asyncio.current_task(self), self._running
        if task is not None:
            asyncio._leave_task(self, task)  # noqa: SLF001  documented, for loops of one's own
        self.nested += 1
        try:
            while not self._stopping and not is_over():  # type: ignore[attr-defined]  # the base class's word for `stop`
                self._run_once()
        finally:
            self.nested -= 1
            self._running = running
            if task is not None:
                asyncio._enter_task(self, task)  # noqa: SLF001  the same
        return not self._stopping  # type: ignore[attr-defined]  # the same

    def _advance(self) -> None:
        """Goes on to the next instant at which anything happens."""
        ready, timers = self._ready, self._timers  # type: ignore[attr-defined]
        while timers:
            when, _, timer = heapq.heappop(timers)
            if timer._cancelled:  # noqa: SLF001  as the base class does
                continue
            self._now_s = max(self._now_s, when)
            ready.append(timer)
            while timers and timers[0][0] <= when:
                ready.append(heapq.heappop(timers)[2])
            return
        raise Deadlock("nothing is left to happen")

    def resume(self, owner: Owner, *, timers_first: bool = False) -> None:
        """Lets a paused owner go on with what came meanwhile: in that order, or timers before the rest."""
        owner.paused = False
        if timers_first:
            owner.held.sort(key=lambda handle: not isinstance(handle, asyncio.TimerHandle))
        self._ready.extend(owner.held)  # type: ignore[attr-defined]
        owner.held.clear()

    def add_reader(  # type: ignore[override]  # the same
        self, fd: Any, callback: Callable[..., object], *args: Any
    ) -> None:
        """Has a callback called when a doorbell is rung; at once if it was rung before."""
        self._readers[fd] = (callback, args, contextvars.copy_context())
        if fd in self._rung:
            self.ring(fd)

    def remove_reader(self, fd: Any) -> bool:
        """Forgets who listens to a doorbell."""
        return self._readers.pop(fd, None) is not None

    def ring(self, fd: int) -> None:
        """Rings a doorbell that was written."""
        self._rung.add(fd)
        if fd in self._readers:
            callback, args, context = self._readers[fd]
            self.call_soon(self._answer, fd, callback, args, context=context)

    def _answer(self, fd: int, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        if fd in self._rung:  # else an earlier ring's callback has read what this one brought
            self._rung.discard(fd)
            callback(*args)

    def add_signal_handler(  # type: ignore[override]  # the same
        self, sig: int, callback: Callable[..., object], *args: Any
    ) -> None:
        """Keeps the handler with the process that sets it."""
        OWNER.get().signals[sig] = lambda: callback(*args)

    def set_exception_handler(self, handler: object) -> None:
        """Ignores a process's own handler, which would end the real process; the run has its own."""

    def call_exception_handler(self, context: Context) -> None:
        """Tells the run that somebody failed."""
        self._on_failure(context, self._running)

    def _write_to_self(self) -> None:
        """Does nothing: there are no other threads."""

    def _process_events(self, event_list: object) -> None:
        """Does nothing: there are no files."""

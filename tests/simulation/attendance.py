"""Who of an instance is at work: its web workers' seats, and what must be known elsewhere because one is not taken."""

from server.config import Config
from server.presence import HAPROXY_RETURNS_MS
from tests.simulation.absences import MISSED_S_MAX, Absences, Returns
from tests.simulation.coverage import Fault
from tests.simulation.process import Life
from tests.simulation.seat import LOOKED_WITHIN_S, Request, Seat
from tests.simulation.world import World

HELD_CHANCE = 0.3  # of a request to a frozen worker: it comes over a connection accepted before, and dies with it
SLOWNESS = (1, 1, 500)  # of who reads what lies in its socket: at once, or with hardly any processor time within 1 s


class Attendance:
    """One instance's.

    Args:
        world: of this run.
        config: the instance's.

    Attributes:
        seats: one per web worker.
    """

    def __init__(self, world: World, config: Config) -> None:
        self._world = world
        self._returning_s = (HAPROXY_RETURNS_MS + config.stuck_ms) / 1000
        self._absences = Absences(self._returning_s)
        self._is_whole_away = False  # the instance itself: gone or leaving
        self._was_whole_away = False  # at any time since all of it was there
        self._was_closed = False  # whether a supervisor has died
        self.seats: list[Seat] = []
        self.seat_anew(config.web_workers)

    def returns(self) -> Returns:
        """For a new process."""
        returns = Returns(self._returning_s)
        returns.note(self._now_s, is_sure=True)
        return returns

    @property
    def _now_s(self) -> float:
        return self._world.loop.time()

    def seat_anew(self, workers: int) -> None:
        """A supervisor opens its sockets. HAProxy takes the first for up, as it begins, and others for down."""
        self._is_whole_away = False
        self.seats = [Seat(self._world.rng, self._now_s, is_up=not self._was_closed) for _ in range(workers)]

    def close(self) -> None:
        """The supervisor is dead, and its sockets with it."""
        self._was_closed = True
        self.leave()
        for seat in self.seats:
            seat.unread.clear()
            seat.leave(self._now_s, answers=True, silently=False)

    def leave(self) -> None:
        """The instance is away as a whole, or is going to be."""
        self._is_whole_away = self._was_whole_away = True
        self._absences.begin(self._now_s)

    def worker_away(self, worker: int, *, answers: bool, silently: bool) -> None:
        """A web worker is not at work: see `Seat.leave`."""
        now_s, seat = self._now_s, self.seats[worker]
        served_s = now_s - seat.served_since_s if seat.away_since_s is None else 0.0
        seat.leave(now_s, answers=answers, silently=silently)
        self._absences.begin(now_s)
        if served_s >= MISSED_S_MAX:
            self._absences.leave(worker, now_s, seat.noticed_at_s)

    def worker_back(self, worker: int, dispatchers: list[Life]) -> None:
        """A web worker is at work."""
        now_s, seat = self._now_s, self.seats[worker]
        if seat.away_since_s is None:
            return
        is_noticed = now_s >= seat.noticed_at_s + MISSED_S_MAX
        seat.come_back(now_s)
        self._absences.come_back(worker, now_s, is_noticed=is_noticed)
        for life in dispatchers:
            life.returns.note(now_s, is_sure=False)
        if not self._is_whole_away and all(one.away_since_s is None for one in self.seats):
            self._absences.end(now_s, is_noticed=is_noticed or self._was_whole_away)
            self._was_whole_away = False

    def accepted(self, worker: int, dispatcher: Life | None) -> None:
        """A web worker has handed a payment over: now at the latest that dispatcher learns that it is back."""
        seat = self.seats[worker]
        if seat.back_at_s is not None and dispatcher is not None:
            dispatcher.returns.note(min(self._now_s, seat.back_at_s + LOOKED_WITHIN_S), is_sure=True)
        seat.back_at_s = None

    def bound_s(self, returns: Returns) -> float | None:
        """What was taken here before this must be known now to the dispatcher with those returns; None: nothing."""
        now_s = self._now_s
        is_seen = any(seat.away_since_s is not None and now_s >= seat.noticed_at_s for seat in self.seats)
        bounds_s = self._absences.bound_s(returns, now_s, is_seen=is_seen), returns.bound_s(now_s)
        return max((bound_s for bound_s in bounds_s if bound_s is not None), default=None)

    def hand_over(self, worker: int, life: Life | None, request: Request) -> None:
        """A request comes to a web worker's socket; `life` is who reads it, if anybody does."""
        world = self._world
        if life is not None and (not life.paused or world.rng.random() < HELD_CHANCE):
            world.loop.call_later(world.latency_s(), request, life, context=life.context)
        else:
            world.note(Fault.UNREAD)
            self.seats[worker].unread.append(request)

    def read(self, worker: int, life: Life) -> None:
        """A web worker reads what lies in its socket; a starved one takes its time."""
        world = self._world
        unread, self.seats[worker].unread = self.seats[worker].unread, []
        slowness = world.rng.choice(SLOWNESS) if unread else 1
        for request in unread:
            world.loop.call_later(world.latency_s() * slowness, request, life, context=life.context)

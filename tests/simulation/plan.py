"""What a seed decides before anything happens: how many of everything, how small, and which faults how often.

Each seed enables its own random part of the faults (*swarm testing*): with all of them always on, most runs would look
alike, and what needs one fault to be absent would never happen.
"""

from dataclasses import dataclass
from random import Random

from server.config import Config, load
from shm import Geometry
from tests.simulation.coverage import Fault

ABSENCES_PART = 0.1  # such a run takes four times as long as others
HALTS_PART = 0.2

_RARE = {Fault.REJECTED: 0.3, Fault.OTHER_INSTANCE: 0.35, Fault.PURGE: 0.35, Fault.CLOCK: 0.3, Fault.REDIS_CLOCK: 0.15}
"""How many of the seeds have a fault; half of them where nothing is said."""

_CHANCES: dict[Fault, float] = {
    Fault.WORKER_DIED_AT_STORE: 0.6,
    Fault.DISPATCHER_DIED_AT_STORE: 0.7,
    Fault.COPIED: 0.8,
    Fault.NOT_REACHED: 0.15,
    Fault.HUNG_UP_BEFORE: 0.15,
    Fault.HUNG_UP_AFTER: 0.2,
    Fault.HUNG_UP_FIRST: 0.2,
    Fault.NEVER_ANSWERED: 0.15,
    Fault.ANSWERED_LATE: 0.2,
    Fault.REQUEST_SLOW: 0.15,
    Fault.MALFORMED: 0.15,
    Fault.BUSY: 0.15,
    Fault.UNAVAILABLE: 0.2,
    Fault.BAD_GATEWAY: 0.15,
    Fault.MISUSED: 0.05,
    Fault.REJECTED: 0.1,
    Fault.REPLAYED: 0.2,
    Fault.NOT_SHOWN: 0.3,
    Fault.REDIS_REQUEST_LOST: 0.1,
    Fault.REDIS_REPLY_LOST: 0.15,
    Fault.REDIS_REQUEST_LATE: 0.15,
    Fault.COPY: 0.4,
    Fault.OTHER_AMOUNT: 0.3,
    Fault.OTHER_WORKER: 0.5,
    Fault.OTHER_INSTANCE: 0.5,
}
"""Greatest chance of a fault at each opportunity (a request, a life, a payment)."""

EVENTS = (
    Fault.WORKER_KILLED,
    Fault.DISPATCHER_KILLED,
    Fault.INSTANCE_KILLED,
    Fault.ALL_KILLED,
    Fault.INSTANCE_STOPPED,
    Fault.DISPATCHER_STOPPED,
    Fault.PAUSED,
    Fault.WORKER_AWAY,
    Fault.FAMILY_FROZEN,
    Fault.PROCESSOR_DELAY,
    Fault.PROCESSOR_FAILING,
    Fault.REDIS_AWAY,
    Fault.REDIS_SILENT,
    Fault.REDIS_SLOW,
    Fault.REDIS_EMPTIED,
    Fault.REDIS_RESTORED,
    Fault.REDIS_CLOCK,
    Fault.CLOCK,
    Fault.PURGE,
)
"""Faults that happen at a time instead of at an opportunity."""


@dataclass(frozen=True)
class Plan:
    """One run.

    Args:
        seed: what all of this comes from.
        instances: how many.
        config: the settings of each, but for its name.
        faults_s: how long faults go on, virtual seconds.
        payments: how many ids the clients send.
        bursts: whether many of them come at one instant.
        events: the kinds of faults that happen, and how many times one happens.
        chances: of each fault at each opportunity.
        running_max, waiting_max: a processor's limits.
        asks: how many summaries are asked for during the faults.
        siege: whether both processors fail for long, copies wait at both instances, and one of these dies meanwhile:
            what an instance that returns must find out is met too rarely by chance.
        absences: whether the run goes on for far longer than HAProxy takes to send ids elsewhere and back, with web
            workers and instances away for that long, and clients who don't give up before.
        patience_s: longest pause of a client before it tries again.
        wire: whether the real client of processors is between dispatcher and network.
        detail_bytes_max, minutes_max: how much a ledger keeps at its finer levels.
        piece_bytes: how much of it is sent at once.
        sibling_ids_max: how many of a living sibling's latest ids a dispatcher knows.
        halts: whether processes stand still in the midst of a step.
    """

    seed: int
    instances: int
    config: Config
    faults_s: float
    payments: int
    bursts: bool
    events: tuple[Fault, ...]
    events_count: int
    chances: dict[Fault, float]
    running_max: int
    waiting_max: int
    asks: int
    siege: bool
    absences: bool
    patience_s: float
    wire: bool
    detail_bytes_max: int
    minutes_max: int
    piece_bytes: int
    sibling_ids_max: int
    halts: bool

    @property
    def geometry(self) -> Geometry:
        """The geometry of all segments at first."""
        return self.config.geometry


def draw_plan(seed: int) -> Plan:
    """The plan of a seed."""
    rng = Random(f"plan {seed}")
    enabled: set[Fault] = {
        fault for fault in Fault if fault is not Fault.HALTED and rng.random() < _RARE.get(fault, 0.5)
    }
    if rng.random() < 0.03:
        enabled.clear()  # a fair day: what fails then has nothing to do with faults
    redis = rng.random() < 0.92
    chances = {fault: most * rng.random() for fault, most in _CHANCES.items() if fault in enabled}
    events = tuple(event for event in EVENTS if event in enabled)
    halts = bool(enabled) and Random(f"halts {seed}").random() < HALTS_PART  # apart: it changes no other seed
    absences = redis and rng.random() < ABSENCES_PART
    config = _draw_config(rng, redis=redis, rejecting=rng.random() < 0.15, absences=absences)
    in_lanes = config.lane_slots * config.web_workers * config.dispatchers
    siege = redis and not absences and rng.random() < 0.08
    if siege:
        chances |= {Fault.COPY: 0.6, Fault.OTHER_INSTANCE: 0.6}
    if absences:
        chances[Fault.COPY] = 0.6
        chances |= {Fault.OTHER_INSTANCE: 0.6} if halts else {}
        events = tuple(event for event in events if event is not Fault.CLOCK)  # it decides which copy was the first
    return Plan(
        seed=seed,
        instances=(2 if siege or absences else rng.choice((1, 2, 2))) if redis else 1,
        siege=siege,
        absences=absences,
        patience_s=1.5 if absences else 0.4,
        wire=rng.random() < 0.1,
        detail_bytes_max=rng.choice((1 << 20, 1 << 20, 16 * 2, 16 * 8)),
        minutes_max=rng.choice((2880, 2880, 2)),
        piece_bytes=rng.choice((1 << 17, 1)),
        # Fewer than fit the lanes would be a setting gone wrong.
        sibling_ids_max=in_lanes if absences else rng.choice((1 << 15, in_lanes)),
        config=config,
        faults_s=rng.uniform(15, 40) if absences else rng.uniform(1, 6),
        payments=rng.randint(40, 90) if absences else rng.randint(3, 50),
        bursts=rng.random() < 0.4,
        events=events,
        events_count=rng.randint(1, 10) if events else 0,
        chances=chances,
        running_max=rng.choice((2, 8, 800)),
        waiting_max=rng.choice((0, 2, 500)),
        asks=rng.randint(3, 20),
        halts=halts,
    )


def draw_geometry(rng: Random, *, dispatchers: int, in_lanes_max: int = 1 << 15) -> Geometry:
    """Tiny structures, so that full, wrapped around and folded is what they always are.

    Args:
        rng: decides.
        dispatchers: how many: that never changes.
        in_lanes_max: payments that all lanes may hold together.
    """
    workers, lane_slots = rng.randint(1, 2), rng.choice((2, 4, 4, 8, 16))
    while workers * lane_slots * dispatchers > in_lanes_max:
        lane_slots //= 2
    records = max(rng.choice((4, 8, 16, 32, 64)), 2 * workers * lane_slots)
    return Geometry(workers, dispatchers, lane_slots, rng.choice((2, 4, 8, 16, 32)), records)


def _draw_config(rng: Random, *, redis: bool, rejecting: bool, absences: bool) -> Config:
    """The settings of every instance when it first starts; with `absences` it remembers far more than its latest."""
    geometry = draw_geometry(rng, dispatchers=rng.choice((1, 1, 2)))
    if absences:
        geometry = geometry._replace(
            workers=rng.choice((1, 2, 2)), lane_slots=rng.choice((2, 2, 4)), waiting_slots=32, journal_records=64
        )
    return load(
        {
            "REDIS_URL": "redis://simulated" if redis else "",
            "WEB_WORKERS": str(geometry.workers),
            "DISPATCHERS": str(geometry.dispatchers),
            "LANE_SLOTS": str(geometry.lane_slots),
            "WAITING_SLOTS": str(geometry.waiting_slots),
            "JOURNAL_RECORDS": str(geometry.journal_records),
            "RECENT_IDS": str(rng.choice((2, 4, 16, 64))),
            "IN_FLIGHT_MAX": str(rng.choice((2, 4, 16, 384))),
            "ATTEMPT_TIMEOUT_S": str(rng.choice((1, 2, 5))),
            "ATTEMPTS_MAX": str(rng.choice((0, 1, 3)) if rejecting else 0),
            "WAIT_S_PER_FEE_POINT": str(rng.choice((0, "0.1", "0.5"))),
            "FLUSH_MS": str(rng.choice((1, 5, 20))),
            "DRAIN_S": str(rng.choice((0, "0.2", 2))),
            "LEAVE_S": str(rng.choice((0, "0.3"))),
            "STUCK_S": str(rng.choice((1, 1, 2, 5))),
        }
    )

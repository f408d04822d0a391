"""What really happened, written down beside the real code and compared with it at once.

Every store that commits something (a table slot taken, a journal record, a base) is seen as it is made, and so is every
row a processor stores. Most invariants are broken in one of these moments, so that is where they are checked.
"""

from collections import Counter, defaultdict
from typing import NamedTuple, Protocol

from server.attempt import Shown
from server.clock import Clock
from server.config import Config
from shm import Accepted, Base, Ended, Member, State
from tests.simulation.absences import Returns
from tests.simulation.coverage import Fault
from tests.simulation.world import World


class Record(NamedTuple):
    """A journal record, and when it was appended.

    Args:
        correlation_id: whose end it is.
        ended: the record.
        at_s: virtual time.
    """

    correlation_id: bytes
    ended: Ended
    at_s: float


class MemberTruth:
    """One dispatcher's journal and table, as they must be.

    Attributes:
        records: every record ever appended; the index is the position.
        epoch_starts: epoch to the first position that counts in it.
        known: id to the position of its end, or None before that; of every id that is remembered.
        forgotten_at_us: id to when it was forgotten, by the instance's clock, in this life of the dispatcher.
    """

    def __init__(self, name: str, instance: int) -> None:
        """Begins with nothing known."""
        self.name = name
        self.instance = instance
        self.records: list[Record] = []
        self.epoch_starts = {0: 0}
        self.known: dict[bytes, int | None] = {}
        self.forgotten_at_us: dict[bytes, int] = {}
        self.tail = 0

    def unsettled(self) -> int:
        """How many payments have not ended."""
        return sum(position is None for position in self.known.values())

    def settled(self, epoch: int, position: int) -> list[Record]:
        """The records below `position` that count in an epoch."""
        start = self.epoch_starts[epoch]
        return [one for one in self.records[start:position] if one.ended.state is State.SETTLED]


class Family(Protocol):
    """An instance, as far as the truth cares.

    Attributes:
        number: which.
        config: its settings.
        doubted: ids that lay in its lanes when it last returned from an absence, and when they were accepted, µs UTC.
        owed_elsewhere: ids that waited then and that a sibling had sent to a processor.
    """

    number: int
    config: Config
    doubted: dict[bytes, int]
    owed_elsewhere: set[bytes]

    @property
    def clock(self) -> Clock:
        """Its machine's."""

    def answers_for(self, payment: Accepted) -> bool:
        """Whether it is absent for long enough to be noticed, and has accepted this payment's id before."""

    def returns_of(self, dispatcher: int) -> Returns | None:
        """When a dispatcher of it came back from absences; None if it is dead."""

    def is_look_old(self, dispatcher: int) -> bool:
        """Whether a dispatcher of it has stood still since it last looked at its siblings."""

    def claims(self, correlation_id: bytes, taken_at_s: float, returns: Returns) -> str | None:
        """What an id is that it remembers, if a sibling's dispatcher with those returns must know it now; else None."""


class Truth:
    """What really happened in a run.

    Args:
        world: of this run.

    Attributes:
        members: by their names in the Redis hash.
        rows: of each processor, what it has stored by id.
        rejected: of each processor, the ids that it, or what is in front of it, has rejected; set once they exist.
        sent: id to every amount any client asked for.
        takes: id to the instances that took it into their care, once per time.
        taken_at_s: (instance, id) to when it last did, virtual time.
        published_at_us: (instance, id, acceptance) to when that was published, by the instance's clock: later than it
            was accepted if the web worker stood still in between.
        permitted: id to how many times it may be charged more than once: the design's known exceptions.
        counted: (processor, id) to the instance that counted its row.
        ended_as: id to the states in which it ended.
        ended_at_us: (instance, id) to its last end there, by the instance's clock.
        families: the instances; set once they exist.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.members: dict[str, MemberTruth] = {}
        self.rows: tuple[dict[bytes, Shown], dict[bytes, Shown]] = ({}, {})
        self.rejected: tuple[set[bytes], ...] = ()
        self.sent: defaultdict[bytes, set[int]] = defaultdict(set)
        self.takes: defaultdict[bytes, list[int]] = defaultdict(list)
        self.taken_at_s: dict[tuple[int, bytes], float] = {}
        self.published_at_us: dict[tuple[int, bytes, int], int] = {}
        self.permitted: Counter[bytes] = Counter()
        self.counted: dict[tuple[int, bytes], int] = {}
        self.ended_as: defaultdict[bytes, set[State]] = defaultdict(set)
        self.ended_at_us: dict[tuple[int, bytes], int] = {}
        self.families: list[Family] = []

    def published(self, instance: int, correlation_id: bytes, accepted_at_us: int) -> None:
        """A payment lies in a lane."""
        self.published_at_us[instance, correlation_id, accepted_at_us] = self.families[instance].clock.wall_us()

    def took(self, member: MemberTruth, payment: Accepted) -> None:
        """A payment got a table slot."""
        correlation_id, amount_cents, accepted_at_us = payment
        if correlation_id in member.known:
            self._world.fail(f"{_short(correlation_id)} was taken although it is remembered")
        if amount_cents not in self.sent[correlation_id]:
            self._world.fail(f"{_short(correlation_id)} was taken with an amount nobody sent: {amount_cents}")
        member.known[correlation_id] = None
        takes = self.takes[correlation_id]
        doubted = self.families[member.instance].doubted
        is_look_old = self.families[member.instance].is_look_old(Member.parse(member.name).dispatcher)
        if member.instance in takes:
            self._world.note(Fault.FORGOTTEN)
            ended_at_us = self.ended_at_us[member.instance, correlation_id]
            published_at_us = self.published_at_us.get(
                (member.instance, correlation_id, accepted_at_us), accepted_at_us
            )
            was_known = published_at_us < member.forgotten_at_us.get(correlation_id, ended_at_us)
            if was_known and not self._world.coverage.faults[Fault.CLOCK]:
                self._world.fail(f"{_short(correlation_id)} was forgotten while a copy accepted before was here")
            self.permitted[correlation_id] += 1
        if doubted.get(correlation_id) != accepted_at_us:  # a new acceptance, not the one that a sibling had
            self.families[member.instance].owed_elsewhere.discard(correlation_id)
        for family in self.families:
            if family.number != member.instance and not is_look_old and family.answers_for(payment):
                self._world.fail(f"{member.name} took {_short(correlation_id)}, which an absent instance has accepted")
            elif family.number in takes and member.instance not in takes:
                if not is_look_old:
                    self._check_claim(member, family, correlation_id)
                # What lay in a lane during an absence is not to be paid if a sibling has it.
                self.permitted[correlation_id] += doubted.get(correlation_id) != accepted_at_us
        takes.append(member.instance)
        self.taken_at_s[member.instance, correlation_id] = self._world.loop.time()

    def _check_claim(self, member: MemberTruth, family: Family, correlation_id: bytes) -> None:
        """What another instance has taken and remembers is not to be taken, wherever it is within the promise."""
        returns = self.families[member.instance].returns_of(Member.parse(member.name).dispatcher)
        remembered = any(correlation_id in one.known for one in self.members.values() if one.instance == family.number)
        if returns is None or not remembered or self._world.coverage.faults[Fault.CLOCK]:
            return
        claim = family.claims(correlation_id, self.taken_at_s[family.number, correlation_id], returns)
        if claim:
            self._world.fail(f"{member.name} took {_short(correlation_id)}, which is {claim}")

    def began(self, member: MemberTruth, correlation_id: bytes) -> None:
        """An attempt is about to be made."""
        if correlation_id in self.families[member.instance].owed_elsewhere:
            self._world.fail(f"{member.name} pays {_short(correlation_id)} after an absence, and a sibling has it")

    def stored(self, processor: int, correlation_id: bytes, row: Shown) -> None:
        """A processor stored a row."""
        if self._world.tracing:
            self._world.say(f"processor {processor} stores {_short(correlation_id)}: {row}")
        self.rows[processor][correlation_id] = row
        charges = sum(correlation_id in rows for rows in self.rows)
        if not self.takes[correlation_id]:
            self._world.fail(f"{_short(correlation_id)} was charged and never taken")
        if charges > 1 + self.permitted[correlation_id]:
            self._world.fail(f"{_short(correlation_id)} was charged twice")

    def ended(self, member: MemberTruth, position: int, correlation_id: bytes, ended: Ended, state: State) -> None:
        """A journal record was appended; `state` is the slot's before."""
        world = self._world
        if world.tracing:
            world.say(f"{member.name} journals {_short(correlation_id)} at {position}: {ended}")
        if position != len(member.records):
            world.fail(f"{member.name}: journal position {position} after {len(member.records)} records")
        if member.known.get(correlation_id, 0) is not None:
            world.fail(f"{member.name}: {_short(correlation_id)} ended and was not in its care")
        member.records.append(Record(correlation_id, ended, world.loop.time()))
        member.known[correlation_id] = position
        self.ended_as[correlation_id].add(ended.state)
        self.ended_at_us[member.instance, correlation_id] = self.families[member.instance].clock.wall_us()
        row = self.rows[ended.processor].get(correlation_id)
        ours = row == (ended.amount_cents, ended.requested_at_ms)
        if ended.state is State.SETTLED:
            if not ours:
                world.fail(f"{_short(correlation_id)} is counted as {ended}, and the processor has {row}")
            self._count(member, ended.processor, correlation_id)
        elif ended.state is State.DUPLICATE and state is not State.WAITING and (ours or row is None):
            world.fail(f"{_short(correlation_id)} is called a duplicate, and the processor has {row}")
        elif ended.state is State.REFUSED and ours:
            world.fail(f"{_short(correlation_id)} is called refused, and the processor has it")
        elif ended.state is State.REFUSED and self._has_way_left(member, correlation_id):
            world.fail(f"{_short(correlation_id)} is called refused, and one processor has not rejected it")

    def _has_way_left(self, member: MemberTruth, correlation_id: bytes) -> bool:
        without_limit = self.families[member.instance].config.attempts_max == 0
        return without_limit and not all(correlation_id in ids for ids in self.rejected)

    def _count(self, member: MemberTruth, processor: int, correlation_id: bytes) -> None:
        key = (processor, correlation_id)
        if key in self.counted:
            self._world.fail(f"the row of {_short(correlation_id)} at {processor} is counted twice")
        self.counted[key] = member.instance

    def based(self, member: MemberTruth, base: Base) -> None:
        """A base was put in force: records were folded, or an epoch begun."""
        if base.epoch not in member.epoch_starts:
            member.epoch_starts[base.epoch] = base.epoch_start
            self._world.say(f"{member.name} begins epoch {base.epoch} at position {base.epoch_start}")
        if base.journal_tail < member.tail:
            self._world.fail(f"{member.name}: journal tail went back from {member.tail} to {base.journal_tail}")
        for position in range(member.tail, base.journal_tail):
            correlation_id = member.records[position].correlation_id
            if member.known.get(correlation_id) == position:
                del member.known[correlation_id]
                member.forgotten_at_us[correlation_id] = self.families[member.instance].clock.wall_us()
        if base.journal_tail > member.tail:
            self._world.note(Fault.JOURNAL_FULL)
        member.tail = base.journal_tail
        self._check_base(member, base)

    def _check_base(self, member: MemberTruth, base: Base) -> None:
        counted = [0, 0, 0, 0]
        for record in member.settled(base.epoch, base.journal_tail):
            counted[2 * record.ended.processor] += 1
            counted[2 * record.ended.processor + 1] += record.ended.amount_cents
        if tuple(counted) != tuple(base[4:]):
            self._world.fail(f"{member.name}: base {base} should have the totals {counted}")


def _short(correlation_id: bytes) -> str:
    return correlation_id.hex()[:4]

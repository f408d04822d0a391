"""Summaries and purges asked for during a run and after it, and what they must say."""

import asyncio
import re
from typing import NamedTuple

from server.errors import TotalsUnavailable
from server.notation import parse_instant
from server.redis_totals import TotalsHash
from server.shared_totals import SharedTotals
from server.totals import ALL_TIME, Summary, Total, Window
from server.totals_fields import SECOND_MS
from server.totals_header import Header
from server.volume_members import VolumeMembers
from shm import Member, State
from tests.shm.memory import Died
from tests.simulation.coverage import Fault
from tests.simulation.instance import Instance
from tests.simulation.process import Life, SimulatedVolume
from tests.simulation.redis_link import Connection, SimulatedRedis
from tests.simulation.truth import MemberTruth, Record, Truth
from tests.simulation.world import START_US, World

UNDISTURBED_S = 3.0  # so long after the last trouble with Redis, totals must be fresh again
PURGED_AGAIN_S = 2.0  # after a purge that somebody heard of too late
LAG_S = 0.020  # beyond the configured pause: waiting for the call before it, and for this one
ANSWERED_WITHIN_S = 10.0  # all calls to Redis of one summary time out before
TOLD_WITHIN_S = 3.0  # a flush of all that a member has, in pieces, is done by then


class Seen(NamedTuple):
    """What a summary was read from.

    Args:
        epoch: of the hash.
        counted: members whose totals are of that epoch.
        stale: a sentence if the hash lags behind the journals more than it may.
        staying: members that have not said goodbye: whom a purge waits for.
    """

    epoch: int
    counted: set[str]
    stale: str | None
    staying: set[str]


class Auditor:
    """Asks, and compares the answers with the truth.

    Args:
        world: of this run.
        truth: what really happened.

    Attributes:
        instances, server: set once they exist.
        given: summaries that were answered.
    """

    def __init__(self, world: World, truth: Truth) -> None:
        self.instances: list[Instance] = []
        self.server: SimulatedRedis
        self.given = 0
        self._world = world
        self._truth = truth
        self._purges: dict[int, dict[str, int]] = {}  # epoch -> how many records each member had when it was asked for
        self._carried_out: dict[int, dict[str, int]] = {}  # the same when it was first carried out
        self._asked: dict[int, dict[str, int]] = {}  # the same by the wall clock, ms UTC, for a purge not raised yet
        self._answered: list[
            tuple[int, float, set[str]]
        ] = []  # purges that were answered: epoch, when, waited for whom
        self._tasks: set[asyncio.Task[object]] = set()

    def start(self) -> None:
        """Sets the times."""
        world, rng = self._world, self._world.rng
        for _ in range(world.plan.asks):
            world.later(rng.random() * world.plan.faults_s, self.ask)
        for _ in range(rng.randint(1, 3) if Fault.PURGE in world.plan.events else 0):
            world.later(rng.random() * world.plan.faults_s, self.purge)

    def _worker(self) -> tuple[Instance, Life] | None:
        rng = self._world.rng
        instance = rng.choice(self.instances)
        living = [life for life in instance.lives.values() if life.gate is not None]
        return (instance, rng.choice(living)) if living else None

    def _window(self) -> Window:
        """Bounds at, beside and far from what was settled."""
        rng = self._world.rng
        records = [record for member in self._truth.members.values() for record in member.records]

        def bound() -> int | None:
            if not records or rng.random() < 0.3:
                return None
            return rng.choice(records).ended.requested_at_ms + rng.choice((-1000, -1, 0, 0, 1, 1000))

        return Window(bound(), bound())

    def ask(self, window: Window | None = None) -> "asyncio.Future[Summary | None] | None":
        """Asks for a summary; gives it, or None in it if it was refused. None if there is nobody to ask."""
        found = self._worker()
        if found is None:
            return None
        instance, life = found
        self._look_up(instance, life)
        work = self._ask(instance, life, window or self._window())
        task = self._world.loop.create_task(work, context=life.context)
        self._tasks.add(task)
        task.add_done_callback(self._done, context=self._world.context)
        return task

    def _look_up(self, instance: Instance, life: Life) -> None:
        """What is remembered must be found by whoever asks for it, and no lane may hold more than fits."""
        known = [one for member in instance.members for one in member.known]
        if known and life.gate is not None and life.memory is None:
            wanted = self._world.rng.choice(known)
            status = life.gate.find(wanted)
            if status is None or status.amount_cents not in self._truth.sent[wanted]:
                self._world.fail(f"{wanted.hex()[:4]} is remembered, and looking it up gives {status}")
        for worker in range(instance.config.web_workers):
            for dispatcher in range(instance.config.dispatchers):
                lane = instance.view.lane(worker, dispatcher)
                if lane.head - lane.tail > instance.config.lane_slots:
                    self._world.fail(f"a lane holds {lane.head - lane.tail} payments")

    def _done(self, task: "asyncio.Task[object]") -> None:
        self._tasks.discard(task)
        error = task.exception()
        if error is not None and not isinstance(error, Died):  # a worker may die while it purges
            self._world.fail(f"a summary or purge failed: {error!r}")

    async def _ask(self, instance: Instance, life: Life, window: Window) -> Summary | None:
        """Runs in a worker's process."""
        asked = [instance] if life.local else self.instances
        unknown, heads, halts = _unknown(asked), self._heads(), life.halts_count
        seen: Seen | None = None
        try:
            if life.local is not None:
                summary = await life.local.summary(window)
            else:
                connection = Connection(self._world, self.server)
                summary = await self._totals(instance, connection).summary(window)
                assert isinstance(connection.seen, Seen)
                seen = connection.seen
        except TotalsUnavailable as error:
            self._world.say(f"{life} refuses the summary of {window}: {error}")
            self._world.coverage.faults[Fault.SUMMARY_REFUSED] += 1
            self._world.coverage.refusals["".join(c for c in str(error) if not c.isdigit())[:48]] += 1
            return None
        # Who stands still while reading tells of each member as it was at some moment since the question.
        has_stood_still = life.halts_count != halts
        throughout = sum(_is_within(requested_at_ms, window) for *_, requested_at_ms in unknown & _unknown(asked))
        if summary.unknown < throughout and not has_stood_still:
            self._world.fail(
                f"the summary of {window} tells of {summary.unknown} unknown outcomes, not of {throughout}"
            )
        now = self._heads()
        at_least, at_most = (
            self._settled_here(instance, until) if seen is None else self._settled(seen, until)
            for until in (heads if has_stood_still else now, now)
        )
        stale = None if seen is None else seen.stale or (None if has_stood_still else self._dead(seen))
        self._check(life, window, summary, (at_least, at_most), stale)
        return summary

    def _totals(self, instance: Instance, connection: Connection) -> SharedTotals:
        families = {one.config.instance: one for one in self.instances}
        volume_members = VolumeMembers(families, volume=SimulatedVolume(families), clock=instance.clock)
        return SharedTotals(TotalsHash(connection), volume_members, instance.clock)

    def _check(
        self,
        life: Life,
        window: Window,
        summary: Summary,
        records: tuple[list[Record], list[Record]],
        stale: str | None,
    ) -> None:
        """Compares an answer with the settlements that it must count, and those that it may."""
        if self._world.tracing:
            self._world.say(f"{life} answers the summary of {window}: {summary}")
        self.given += 1
        if stale:
            self._world.fail(f"a summary was given, and {stale}")
        counted = window
        if summary.resolution is not None:
            self._world.coverage.faults[Fault.SUMMARY_WIDENED] += 1
            counted = widened(window, summary.resolution)
        at_least, at_most = (count(some, counted) for some in records)
        for least, told, most in zip(at_least, (summary.default, summary.fallback), at_most, strict=True):
            if not all(low <= number <= high for low, number, high in zip(least, told, most, strict=True)):
                self._world.fail(f"the summary of {window} is {summary}, and should be {at_most}, of {counted}")
                return

    def _settled_here(self, instance: Instance, until: dict[str, int]) -> list[Record]:
        """What the journals of an instance that has no Redis say, up to a position by member's name."""
        records = []
        for index, member in enumerate(instance.members):
            records += member.settled(instance.view.journal(index).base.epoch, until[member.name])
        return records

    def summarised(self) -> Seen:
        """Whose totals are in the hash, at the instant at which a summary reads them."""
        data = self.server.model.hash
        epoch = int(data.get(b"epoch", b"0"))
        stale = None
        counted, staying = set(), set()
        for name in data.get(b"roster", b"").decode().split(","):
            text = data.get(f"{name}|h".encode())
            if text is None:
                continue
            header, member = Header.from_text(text.decode()), self._truth.members[name]
            if header.version.epoch == epoch:
                counted.add(name)
            stale = stale or self._staleness(member, header) or self._silence(member, header)
            journal = self.instances[member.instance].view.journal(Member.parse(name).dispatcher)
            if header.said_goodbye and journal.life != header.version.life:
                stale = stale or f"{name} has begun another life since it said goodbye"
            if not header.said_goodbye:
                staying.add(name)
        return Seen(epoch, counted, stale, staying)

    def _settled(self, seen: Seen, until: dict[str, int]) -> list[Record]:
        """What those whose totals are in the hash have settled, published or not, up to a position by member's name."""
        records = []
        for name, member in sorted(self._truth.members.items()):
            if name in seen.counted:
                records += member.settled(seen.epoch, until[name])
            else:  # it said goodbye before the purge, so that all it has is void, or there may be no summary
                records += member.records[self._carried_out.get(seen.epoch, self._heads()).get(name, 0) : until[name]]
        return records

    def _dead(self, seen: Seen) -> str | None:
        """A sentence if somebody has died while sending, and nobody has told yet what is unknown since."""
        for name in sorted(seen.staying):
            member = self._truth.members[name]
            if not self.instances[member.instance].plays(_role(member)):
                return f"{name} is dead and has not said goodbye"
        return None

    def _silence(self, member: MemberTruth, header: Header) -> str | None:
        """A sentence if a member said goodbye and knew of fewer unknown outcomes than have become rows."""
        if not header.said_goodbye or self.instances[member.instance].plays(_role(member)):
            return None
        stray = [
            known
            for known, position in member.known.items()
            if position is None
            and len(self._truth.takes[known]) == 1
            and any(known in rows for rows in self._truth.rows)
        ]
        if len(stray) > header.unknowns.payments:
            return f"{member.name} said goodbye knowing of {header.unknowns.payments} unknown, not of {len(stray)}"
        return None

    def _staleness(self, member: MemberTruth, header: Header) -> str | None:
        """A sentence if a member that could have flushed has not: it did not stand still, nor died."""
        now_s = self._world.loop.time()
        instance = self.instances[member.instance]
        life = next((life for role, life in instance.lives.items() if str(role) == _role(member)), None)
        if life is None or life.halted:
            return None
        went_on_s, went_on_after_long_s = (-1.0, -1.0) if life.halts is None else life.halts.ends_s
        disturbed_s = max(self.server.disturbed_at_s, life.began_at_s, went_on_after_long_s)
        if now_s - disturbed_s < UNDISTURBED_S or self.server.slow_s:
            return None
        waiting = member.records[header.position :]
        if waiting and now_s - max(waiting[0].at_s, went_on_s) > instance.config.flush_ms / 1000 + LAG_S:
            return f"{member.name} has not flushed what it settled {now_s - waiting[0].at_s:.3f} s ago"
        return None

    def purge(self) -> None:
        """Asks for a purge."""
        found = self._worker()
        if found is None:
            return
        instance, life = found
        self._world.note(Fault.PURGE)
        task = self._world.loop.create_task(self._purge(instance, life), context=life.context)
        self._tasks.add(task)
        task.add_done_callback(self._done, context=self._world.context)

    async def _purge(self, instance: Instance, life: Life) -> None:
        """Runs in a worker's process."""
        connection = Connection(self._world, self.server)
        if life.local is not None:
            bases = [self.instances[0].view.journal(index).base for index in range(len(self.instances[0].members))]
            connection.purged = max(base.epoch for base in bases) + 1
            self.purged(connection.purged, None)
        try:
            await (life.local or self._totals(instance, connection)).purge()
        except TotalsUnavailable as error:
            self._world.say(f"{life} could not purge: {error}")
        else:
            self._world.say(f"{life} has purged")
            assert isinstance(connection.purged, int)
            staying = connection.seen.staying if isinstance(connection.seen, Seen) else set(self._truth.members)
            self._answered.append((connection.purged, self._world.loop.time(), staying))

    def asks_for_purge(self, asked_ms: int) -> None:
        """The call is sent: what is settled later was asked for after it, as long as it is not carried out."""
        self._asked[asked_ms] = self._heads()

    def purged(self, epoch: int, asked_ms: int | None) -> None:
        """The epoch was raised: nothing settled before that was asked for (None: just now) may count in it."""
        self._world.say(f"purge {epoch}")
        if hasattr(self, "server"):
            self.server.disturb()
        # Two workers may ask for the same one without Redis. With it a clock set back and an older hash may give it, or
        # the same call, when it comes again after Redis has been emptied.
        is_again = epoch in self._asked or self._world.coverage.faults[Fault.CLOCK]
        if epoch in self._purges and asked_ms is not None and not is_again:
            self._world.fail(f"there has been a purge {epoch} before")
        asked = None if asked_ms is None else self._asked.get(asked_ms)  # by the call's time: its number may be greater
        self._purges.setdefault(epoch, asked or self._heads())
        self._carried_out.setdefault(epoch, self._heads())

    def _heads(self) -> dict[str, int]:
        return {name: len(member.records) for name, member in self._truth.members.items()}

    def check_purges(self) -> None:
        """What was settled before a purge doesn't count after it, what was settled after its answer does."""
        for name, member in self._truth.members.items():
            for epoch, at_s, staying in self._answered:
                start = min((start for one, start in member.epoch_starts.items() if one >= epoch), default=0)
                lost = any(record.at_s > at_s for record in member.records[:start])
                if lost and name in staying:
                    self._world.fail(f"{name}: what settled after purge {epoch} does not count")
                elif lost:
                    self._world.coverage.exceptions[
                        "settled by who had said goodbye and was back before it heard of a purge, and not counted"
                    ] += 1
            for epoch, start in member.epoch_starts.items():
                # What was requested and settled in the purge's own millisecond can't be told from what came after it.
                before = member.records[start : self._purges[epoch][name]] if epoch else []
                early = any(record.ended.requested_at_ms != epoch for record in before)
                if early and self._world.coverage.faults[Fault.CLOCK]:
                    self._world.coverage.exceptions[
                        "settled before a purge and counted, as the clock was set back"
                    ] += 1
                elif early:
                    self._world.fail(f"{name}: what settled before purge {epoch} counts after it")

    def _has_missed_a_purge(self) -> bool:
        """Whether somebody has not taken up the hash's last purge, and has folded what was requested after it."""
        epoch = int(self.server.model.hash.get(b"epoch", b"0"))
        bases = (
            self.instances[member.instance].view.journal(Member.parse(name).dispatcher).base
            for name, member in self._truth.members.items()
        )
        return any(base.epoch < epoch < base.folded_until_ms for base in bases)

    async def check_final(self, deadline_s: float) -> None:
        """Every instance gives every summary, and all of them are what the processors have."""
        world = self._world
        windows: list[Window] = [ALL_TIME, *(self._window() for _ in range(3))]
        if self.instances[0].config.redis_url:  # the local reader begins with its process
            windows.append(Window((START_US // 1000) - 10**9))
        purge_at_s = world.loop.time() + PURGED_AGAIN_S
        while True:
            asked = self.ask(ALL_TIME)
            if asked is not None and await self._answer(asked) is not None:
                break
            if world.loop.time() > purge_at_s and self._has_missed_a_purge():
                purge_at_s = deadline_s
                world.coverage.exceptions["purged again, as a purge was heard of too late"] += 1
                self.purge()
            if world.loop.time() > deadline_s:
                world.fail("no summary is given although all is well")
                return
            await asyncio.sleep(0.1)
        for window in windows:
            asked = self.ask(window)
            if asked is not None:
                await self._answer(asked)
        for window in self._kept_windows():
            if not await self._is_told(window, world.loop.time() + TOLD_WITHIN_S):
                world.fail(f"the summary of {window} is refused, though all since is in the journals")

    async def _is_told(self, window: Window, deadline_s: float) -> bool:
        """Asks for a summary until it is given: totals may be just being written again. False if it is too late."""
        while self._world.loop.time() <= deadline_s:
            asked = self.ask(window)
            if asked is not None and await self._answer(asked) is not None:
                return True
            await asyncio.sleep(0.1)
        return False

    def _kept_windows(self) -> list[Window]:
        """Windows whose ends lie within what no journal has folded: whatever was lost elsewhere, they are told.

        From a whole second on, as a window may be widened to one.
        """
        bases = [
            self.instances[member.instance].view.journal(Member.parse(name).dispatcher).base
            for name, member in self._truth.members.items()
        ]
        kept_from_ms = -(-max(base.folded_until_ms for base in bases) // SECOND_MS) * SECOND_MS
        return [Window(kept_from_ms), Window(None, kept_from_ms - 1), Window(kept_from_ms, kept_from_ms + SECOND_MS)]

    async def _answer(self, asked: "asyncio.Future[Summary | None]") -> Summary | None:
        """Waits for an answer; one that never comes breaks an invariant, and would keep the run from ending."""
        await asyncio.wait({asked}, timeout=ANSWERED_WITHIN_S)
        if asked.done():
            return asked.result()
        self._world.fail("a summary is never answered although all is well")
        return None


def _role(member: MemberTruth) -> str:
    return f"dispatcher-{Member.parse(member.name).dispatcher}"


def _unknown(instances: list[Instance]) -> set[tuple[int, int, bytes, int]]:
    """The payments of some instances whose outcome is unknown now: where, which, and when requested (ms UTC).

    Not those of a dispatcher that stands still in the midst of a step: it may not have come to telling of the last one,
    and is not missed before it has been silent for a second.
    """
    return {
        (instance.number, dispatcher, kept.correlation_id, kept.requested_at_ms)
        for instance in instances
        for dispatcher in range(instance.geometry.dispatchers)
        if not instance.has_halted(dispatcher)
        for _, kept in instance.view.table(dispatcher).scan()
        if kept is not None and kept.state is State.UNKNOWN
    }


def _is_within(requested_at_ms: int, window: Window) -> bool:
    first = -1 if window.from_ms is None else window.from_ms
    last = 1 << 62 if window.to_ms is None else window.to_ms
    return first <= requested_at_ms <= last


def widened(window: Window, resolution: str) -> Window:
    """The window that was counted instead of this one, by what the answer says of it."""
    from_ms, to_ms = window
    for kept_from in re.findall(r"payments before (\S+) are kept as one sum", resolution):
        kept_from_ms = _instant_ms(kept_from)
        from_ms = None
        to_ms = None if to_ms is None else max(to_ms, kept_from_ms - 1)
    for detail_from in re.findall(r"before (\S+) payments are kept by the second", resolution):
        detail_from_ms = _instant_ms(detail_from)
        if from_ms is not None and 0 < from_ms < detail_from_ms:
            from_ms -= from_ms % SECOND_MS
        if to_ms is not None and to_ms < detail_from_ms:
            to_ms += SECOND_MS - 1 - to_ms % SECOND_MS
    return Window(from_ms, to_ms)


def _instant_ms(text: str) -> int:
    instant = parse_instant(text)
    assert instant is not None
    return instant[0]


def count(records: list[Record], window: Window) -> tuple[Total, Total]:
    """What the summary of a window over some settlements must be."""
    totals = [0, 0, 0, 0]
    for record in records:
        ended = record.ended
        if _is_within(ended.requested_at_ms, window):
            totals[2 * ended.processor] += 1
            totals[2 * ended.processor + 1] += ended.amount_cents
    return Total(totals[0], totals[1]), Total(totals[2], totals[3])

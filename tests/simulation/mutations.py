"""The code with one rule broken, to show that the simulator notices. Each mutation puts a method in another's place.

A mutation that no seed notices means that the simulator has gone blind there.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

from server import local_totals, volume_members
from server.custody import Custody
from server.forgotten import ForgottenIds
from server.gate import Gate
from server.intake import Intake
from server.payments import Acceptance, Payment
from server.redis_totals import FlushAnswer, TotalsHash
from server.rejections import Rejections
from server.sender import Sender
from server.siblings import Sibling, Siblings
from server.totals_header import NUMBER_NAMES, Header
from server.unknowns import Unknowns
from server.volume_members import VolumeMembers
from shm import Accepted, Ended, Event, Kept, Lane, State, layout, states
from shm.record import pack_lane_slot
from tests.simulation.presence_mutations import PRESENCE_MUTATIONS, Patch
from tests.simulation.redis_model import RedisModel, Reply


def _publish_before_packing() -> list[Patch]:
    """The lane's head is stored before the slot."""

    def try_publish(self: Any, payment: Accepted) -> bool:
        head = self.head
        if head - self.tail >= self._slots:
            return False
        self._words[layout.LANE_HEAD // layout.WORD] = head + 1
        start = layout.LANE_SLOTS_OFFSET + (head & self._mask) * layout.LANE_SLOT_LENGTH
        self._view[start : start + layout.LANE_SLOT_LENGTH] = pack_lane_slot(head, payment)
        return True

    return [(Lane, "try_publish", try_publish)]


def _acknowledge_before_storing() -> list[Patch]:
    """The 202 is sent, and the payment published a moment later."""
    accept = Gate.accept

    def early(self: Gate, payment: Payment) -> Acceptance:
        asyncio.get_running_loop().call_later(0.005, accept, self, payment)
        return Acceptance.ACCEPTED

    return [(Gate, "accept", early)]


def _advance_before_taking() -> list[Patch]:
    """The lane's slots are given back before their payments are in the table."""
    take_from = Intake._take_from  # noqa: SLF001  a mutation knows its victim

    def early(self: Any, index: int, lane: Lane, tail: int, end: int) -> int:
        if self._custody.room:
            found = lane.peek(tail)
            lane.advance(tail + 1)
            if found is not None and not self._belongs_to_sibling(found):
                self._custody.take(found, verified=tail >= self._unverified_until[index])
            return tail + 1
        return take_from(self, index, lane, tail, end)

    return [(Intake, "_take_from", early)]


def _free_before_journalling() -> list[Patch]:
    """A payment's slot says that it ended before the journal does."""

    def end(self: Any, slot: int, event: Event, kept: Kept) -> None:
        if self._journal.is_full():
            self._fold()
        state = self._table.apply(slot, event)
        self._journal.append(Ended(state, kept.processor, kept.requested_at_ms, kept.amount_cents, slot))
        self.unknown.pop(slot, None)
        self._on_change(kept.requested_at_ms)

    return [(Custody, "end", end)]


def _cross_while_unknown() -> list[Patch]:
    """An unknown outcome is taken for a no, so that the payment may go to the other processor."""
    conclude = Sender._conclude  # noqa: SLF001  the same

    def hasty(self: Sender, slot: int, kept: Kept, event: Event) -> State:
        return conclude(self, slot, kept, Event.SURE_NO if event is Event.UNCLEAR else event)

    return [(Sender, "_conclude", hasty)]


def _refuse_at_the_first_no() -> list[Patch]:
    """What one processor rejects is refused, without asking the other."""

    def note(self: Rejections, slot: int, processor: int, now_ms: int) -> bool:
        return False

    return [(Rejections, "note", note)]


def _wait_after_a_crash() -> list[Patch]:
    """What was being sent when the dispatcher died waits again, as if it had not been."""
    row = states.TRANSITIONS[State.SENDING] | {Event.CRASHED: State.WAITING}
    return [(states, "TRANSITIONS", states.TRANSITIONS | {State.SENDING: row})]


def _count_any_422() -> list[Patch]:
    """A 422 is counted without asking whose payment it is."""

    async def look_up(self: Unknowns, kept: Kept) -> Event:
        return Event.SHOWN_OURS

    return [(Unknowns, "look_up", look_up)]


def _stamp_anew() -> list[Patch]:
    """What is asked for again is counted with the time of asking."""
    end = Custody.end

    def restamped(self: Custody, slot: int, event: Event, kept: Kept) -> None:
        if slot in self.unknown and event in {Event.PAID, Event.SHOWN_OURS}:
            kept = kept._replace(requested_at_ms=kept.requested_at_ms + 1)
        end(self, slot, event, kept)

    return [(Custody, "end", restamped)]


def _keep_a_siblings_old_segment() -> list[Patch]:
    """A sibling's segment is mapped once a second at most, and not at once when it is another one."""
    attach = Sibling._attach  # noqa: SLF001  it is wrapped

    def attach_seldom(self: Sibling) -> None:
        now_ms = self._clock.ticks_ms()
        if now_ms >= getattr(self, "next_attach_ms", 0):
            self.next_attach_ms = now_ms + 1000  # type: ignore[attr-defined]
            attach(self)

    return [(Sibling, "_attach", attach_seldom)]


def _ignore_siblings() -> list[Patch]:
    """What an absent instance has accepted is paid again by whoever meets a copy."""

    def amount_of(self: Siblings, payment: Accepted) -> None:
        return None

    return [(Siblings, "amount_of", amount_of)]


def _return_unverified() -> list[Patch]:
    """An instance that returns pays what it finds waiting without asking whether somebody else did."""

    def mark_waiting_unverified(self: Custody) -> None:
        """Nobody doubts."""

    return [(Custody, "mark_waiting_unverified", mark_waiting_unverified)]


_TOTALS: Any = slice(NUMBER_NAMES.index("default_payments"), NUMBER_NAMES.index("fallback_cents") + 1)


def _increment() -> list[Patch]:
    """All-time totals are sent as what came to them since the last flush that was answered, and added in Redis."""
    flush, carry_out = TotalsHash.flush, RedisModel._flush  # noqa: SLF001  the same

    async def incremental(self: Any, member: str, header: Header, *rest: Any, **options: Any) -> FlushAnswer:
        before = (0, 0, 0, 0) if options["builds_on"] is None else vars(self).get("sent", header.all_time)
        added: Any = tuple(now - then for now, then in zip(header.all_time, before, strict=True))
        answer = await flush(self, member, header._replace(all_time=added), *rest, **options)
        vars(self)["sent"] = header.all_time
        return answer

    def adding(self: RedisModel, arguments: list[bytes]) -> Reply:
        member, header, builds_on = arguments[:3]
        found = self.hash.get(member + b"|h", b"")
        if found and builds_on:
            words, theirs = header.split(), found.split()
            words[_TOTALS] = [b"%d" % (int(a) + int(b)) for a, b in zip(words[_TOTALS], theirs[_TOTALS], strict=True)]
            arguments[1] = b" ".join(words)
        return carry_out(self, arguments)

    return [(TotalsHash, "flush", incremental), (RedisModel, "_flush", adding)]


def _flush_onto_anything() -> list[Patch]:
    """Changes are applied whatever the hash had before, so that what Redis lost in between stays lost."""
    carry_out = RedisModel._flush  # noqa: SLF001  the same

    def trusting(self: RedisModel, arguments: list[bytes]) -> Reply:
        if arguments[2]:
            arguments[2] = b"-1 -1 -1"
        return carry_out(self, arguments)

    return [(RedisModel, "_flush", trusting)]


def _tell_half() -> list[Patch]:
    """Every piece of a flush says that it is the last, so that summaries are made of the first ones alone."""
    flush = TotalsHash.flush

    async def hasty(self: Any, member: str, header: Header, *rest: Any, **options: Any) -> FlushAnswer:
        answer: FlushAnswer = await flush(self, member, header._replace(is_whole=1), *rest, **options)
        return answer

    return [(TotalsHash, "flush", hasty)]


def _believe_goodbyes() -> list[Patch]:
    """What Redis says is not held against the journals, so that who is back and has not published is not missed."""

    def reason_for_doubt(self: VolumeMembers, headers: Any) -> None:
        return None

    return [(VolumeMembers, "reason_for_doubt", reason_for_doubt)]


def _believe_the_dead() -> list[Patch]:
    """Who has died is missed once it has been silent for long, not at once."""

    def is_at_work(*_: Any) -> bool:
        return True

    return [(volume_members, "is_at_work", is_at_work), (local_totals, "is_at_work", is_at_work)]


def _trust_in_redis() -> list[Patch]:
    """What the journals have and Redis has not yet is left out of summaries."""

    def unpublished(self: VolumeMembers, headers: Any) -> Iterator[Ended]:
        return iter(())

    return [(VolumeMembers, "unpublished", unpublished)]


def _forget_at_once() -> list[Patch]:
    """What is forgotten is taken for new from that moment on, whatever lies in the lanes."""

    def add(self: ForgottenIds, amounts: Any) -> None:
        pass

    return [(ForgottenIds, "add", add)]


MUTATIONS: dict[str, Callable[[], list[Patch]]] = {
    "publish-before-packing": _publish_before_packing,
    "acknowledge-before-storing": _acknowledge_before_storing,
    "advance-before-taking": _advance_before_taking,
    "free-before-journalling": _free_before_journalling,
    "cross-while-unknown": _cross_while_unknown,
    "refuse-at-the-first-no": _refuse_at_the_first_no,
    "wait-after-a-crash": _wait_after_a_crash,
    "count-any-422": _count_any_422,
    "stamp-anew": _stamp_anew,
    "increment": _increment,
    "flush-onto-anything": _flush_onto_anything,
    "tell-half": _tell_half,
    "believe-goodbyes": _believe_goodbyes,
    "believe-the-dead": _believe_the_dead,
    "trust-in-redis": _trust_in_redis,
    "ignore-siblings": _ignore_siblings,
    "keep-a-siblings-old-segment": _keep_a_siblings_old_segment,
    "return-unverified": _return_unverified,
    "forget-at-once": _forget_at_once,
} | PRESENCE_MUTATIONS


@contextlib.contextmanager
def mutated(name: str | None) -> Iterator[None]:
    """Runs the code with a mutation, or as it is."""
    with contextlib.ExitStack() as stack:
        for target, attribute, value in MUTATIONS[name]() if name else ():
            stack.enter_context(patch.object(target, attribute, value))
        yield


def describe(name: str) -> str:
    """What a mutation breaks."""
    return MUTATIONS[name].__doc__ or ""

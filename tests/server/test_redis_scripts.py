"""The scripts on a real Redis: which writes are taken, what they leave, what reading costs."""

import random

import pytest

from server.published import Purge
from server.redis_scripts import HASH
from server.redis_totals import FlushAnswer, TotalsHash
from server.totals import Reach, UnknownRange
from server.totals_fields import MINUTE_LENGTH
from server.totals_header import Header, Version
from tests.fakes import NOON_MS
from tests.redis_server import RedisServer

pytestmark = pytest.mark.slow

ME = "00000000000000aa.0"
OTHER = "00000000000000bb.0"
Numbers = tuple[int, int, int]
HEADER = Header(Version(0, 1, 2), 3, Reach(4, 5, 6, 7, 8), (9, 10, 11, 12), UnknownRange(13, 14, 15), 16, 17)


def header(epoch: int = 0, life: int = 1, flush: int = 1) -> Header:
    """A header of that version."""
    return HEADER._replace(version=Version(epoch, life, flush))


class Hand:
    """Writes for one member by hand.

    Args:
        totals: the hash.
        member: whose fields.
    """

    def __init__(self, totals: TotalsHash, member: str = ME) -> None:
        self.totals = totals
        self.member = member

    async def write(
        self,
        version: Numbers,
        builds_on: Numbers | None = None,
        fields: dict[str, bytes] | None = None,
        dropped: set[str] | None = None,
        roster: tuple[str, ...] = (),
    ) -> FlushAnswer:
        """One flush."""
        return await self.totals.flush(
            self.member,
            header(*version),
            fields or {},
            dropped or set(),
            builds_on=builds_on and Version(*builds_on),
            roster=roster or (self.member,),
        )


@pytest.fixture
def hand(totals: TotalsHash) -> Hand:
    """The hand of the member that the tests are about."""
    return Hand(totals)


def content(redis: RedisServer) -> dict[str, str]:
    """All fields of the hash but the times."""
    lines = redis.ask(f"HGETALL {HASH}").decode("latin-1").split("\r\n")[2::2]
    pairs = dict(zip(lines[::2], lines[1::2], strict=True))
    return {name: value for name, value in pairs.items() if not name.endswith("|seen")}


def now_ms(redis: RedisServer) -> int:
    """The time by Redis's clock."""
    seconds, us = redis.ask("TIME").split()[2::2]
    return int(seconds) * 1000 + int(us) // 1000


class TestFlush:
    """Which writes are taken."""

    async def test_first(self, redis: RedisServer, hand: Hand) -> None:
        """An empty hash takes what builds on nothing."""
        found = await hand.write((0, 1, 1), None, {"m5": b"five"})
        assert found == FlushAnswer(True, None, 0, True, (ME,), (None, None))
        assert content(redis) == {f"{ME}|h": header().to_text(), f"{ME}|m5": "five", "roster": ME}

    async def test_seen(self, redis: RedisServer, hand: Hand) -> None:
        """When a member last flushed is kept, and told, to the millisecond: a second more would be a silence."""
        before_ms = now_ms(redis)
        await hand.write((0, 1, 1), None)
        seen_ms = int(redis.ask(f"HGET {HASH} {ME}|seen").split()[1])
        assert before_ms <= seen_ms <= now_ms(redis)
        (member,) = (await hand.totals.members())[1]
        assert 0 <= member.silent_ms <= now_ms(redis) - seen_ms

    async def test_next(self, redis: RedisServer, hand: Hand) -> None:
        """What builds on what is there changes the fields it names and no others."""
        await hand.write((0, 1, 1), None, {"m5": b"five", "m6": b"six", "s7": b"seven", "s8": b"eight"})
        found = await hand.write((0, 1, 2), (0, 1, 1), {"m6": b"6"}, {"s7", "s8"})
        assert (found.applied, found.header) == (True, header())
        assert (await hand.write((0, 1, 3), (0, 1, 2), dropped={"never there"})).applied
        here = {name: value for name, value in content(redis).items() if not name.endswith("|h")}
        assert here == {f"{ME}|m5": "five", f"{ME}|m6": "6", "roster": ME}

    async def test_repeated_and_late(self, redis: RedisServer, hand: Hand) -> None:
        """A write that comes again, or after a newer one, changes nothing."""
        await hand.write((0, 1, 1), None, {"m5": b"1"})
        await hand.write((0, 1, 3), (0, 1, 1), {"m5": b"3"})
        before = content(redis)
        for version in ((0, 1, 3), (0, 1, 2), (0, 0, 9)):
            assert not (await hand.write(version, None, {"m5": b"late", "m6": b"late"})).applied
        assert content(redis) == before

    async def test_nothing_to_build_on(self, redis: RedisServer, hand: Hand) -> None:
        """Changes are not taken by a hash that is empty or has got less far: they would be part of the truth."""
        assert not (await hand.write((0, 1, 2), (0, 1, 1), {"m5": b"2"})).applied
        assert content(redis) == {"roster": ME}
        await hand.write((0, 1, 3), None, {"m5": b"3"})
        found = await hand.write((0, 1, 5), (0, 1, 4), {"m6": b"5"})
        assert (found.applied, found.header) == (False, header(flush=3))
        assert f"{ME}|m6" not in content(redis)

    async def test_further_than_it_builds_on(self, hand: Hand) -> None:
        """A hash that has a write whose answer was lost takes the next, which tells the same and more."""
        await hand.write((0, 1, 1), None)
        await hand.write((0, 1, 2), (0, 1, 1))
        assert (await hand.write((0, 1, 3), (0, 1, 1))).applied

    async def test_further_by_an_earlier_life(self, hand: Hand) -> None:
        """What that one wrote beyond the base need not hold the base: it may have begun to write everything again."""
        await hand.write((0, 1, 2), None)
        assert not (await hand.write((0, 2, 1), (0, 1, 1))).applied
        assert (await hand.write((0, 2, 2), None)).applied

    async def test_everything(self, redis: RedisServer, hand: Hand, totals: TotalsHash) -> None:
        """A write of everything removes the member's other fields, and nobody else's."""
        other = Hand(totals, OTHER)
        await other.write((0, 1, 1), None, {"m5": b"other's"})
        await hand.write((0, 1, 1), None, {"m5": b"1", "s6": b"1"})
        await hand.write((0, 2, 1), None, {"m7": b"2"})
        assert {name for name in content(redis) if "|" in name} == {f"{ME}|h", f"{ME}|m7", f"{OTHER}|h", f"{OTHER}|m5"}

    async def test_later_life(self, hand: Hand) -> None:
        """A successor's writes are newer than all of its predecessor's."""
        await hand.write((0, 1, 1000), None)
        assert (await hand.write((0, 2, 1), (0, 1, 1000))).applied
        assert not (await hand.write((0, 1, 1001), (0, 1, 1000))).applied

    async def test_earlier_epoch(self, hand: Hand, totals: TotalsHash) -> None:
        """A write of before a purge is not taken, and is told of the purge."""
        await hand.write((0, 1, 1), None)
        assert await totals.raise_epoch(NOON_MS, follows=0) == NOON_MS
        found = await hand.write((0, 1, 2), (0, 1, 1))
        assert (found.applied, found.epoch, found.is_purged) == (False, NOON_MS, True)

    async def test_earlier_epoch_and_an_older_state(self, redis: RedisServer, hand: Hand, totals: TotalsHash) -> None:
        """A write of before a purge does not even remove a header: it would keep readers waiting, perhaps for ever."""
        await hand.write((0, 1, 1), None)
        await totals.raise_epoch(NOON_MS, follows=0)
        assert not (await hand.write((0, 1, 6), (0, 1, 5))).applied
        assert content(redis)[f"{ME}|h"] == header().to_text()

    async def test_two_purges(self, hand: Hand, totals: TotalsHash) -> None:
        """Each has a number of its own, though they come in one millisecond, or the clock was set back between them."""
        await hand.write((0, 1, 1), None)
        epochs = [0]
        for at_ms in (NOON_MS, NOON_MS, 5):
            epochs.append(await totals.raise_epoch(at_ms, follows=epochs[-1]))
        assert epochs == [0, NOON_MS, NOON_MS + 1, NOON_MS + 2]

    async def test_a_purge_before_anybody_has_published(self, redis: RedisServer, totals: TotalsHash) -> None:
        """An emptied hash does not know which purges there have been: it stays empty."""
        assert await totals.raise_epoch(NOON_MS, follows=0) == 0
        assert redis.ask(f"EXISTS {HASH}") == b":0\r\n"

    async def test_a_purge_that_comes_late(self, hand: Hand, totals: TotalsHash) -> None:
        """After another one it does nothing: what was settled in between was asked for after it."""
        await hand.write((0, 1, 1), None)
        assert await totals.raise_epoch(NOON_MS, follows=0) == NOON_MS
        assert await totals.raise_epoch(NOON_MS - 5, follows=0) == 0
        assert (await totals.members())[0] == Purge(NOON_MS, NOON_MS)

    async def test_later_epoch(self, hand: Hand, totals: TotalsHash) -> None:
        """A hash that has forgotten the epoch learns it, and so does everyone else."""
        assert (await hand.write((7, 1, 1), None)).epoch == 7
        found = await Hand(totals, OTHER).write((6, 1, 1), None)
        assert (found.applied, found.epoch, found.is_purged) == (False, 7, False)
        assert (await totals.members())[0] == Purge(7, 0)

    async def test_roster(self, hand: Hand, totals: TotalsHash) -> None:
        """It grows by those it does not have, each once, and never shrinks."""
        await hand.write((0, 1, 1), None, roster=(ME, OTHER))
        found = await Hand(totals, OTHER).write((0, 1, 1), None, roster=(OTHER, "cc.0", ME))
        assert found.roster == (ME, OTHER, "cc.0")
        assert (await hand.write((0, 1, 2), (0, 1, 1))).roster == (ME, OTHER, "cc.0")

    async def test_names_that_begin_alike(self, redis: RedisServer, totals: TotalsHash) -> None:
        """A member whose name is the beginning of another's has its own fields and its own place on the roster."""
        short, long = Hand(totals, "aa.1"), Hand(totals, "aa.10")
        await long.write((0, 1, 1), None, {"m5": b"long"})
        assert (await short.write((0, 1, 1), None)).roster == ("aa.10", "aa.1")
        await short.write((0, 2, 1), None)
        assert content(redis)["aa.10|m5"] == "long"

    async def test_header_of_another_program(self, redis: RedisServer, hand: Hand) -> None:
        """A header that can't be read counts as none, and is replaced by a write of everything."""
        redis.ask(f"HSET {HASH} {ME}|h gibberish")
        assert await hand.write((0, 1, 2), (0, 1, 1)) == FlushAnswer(False, None, 0, True, (ME,), (None, None))
        assert (await hand.write((0, 1, 3), None)).applied

    @pytest.mark.parametrize("seed", range(5))
    async def test_any_order(self, hand: Hand, seed: int) -> None:
        """Writes that are answered, unanswered, late, repeated and reordered leave what the last one says.

        Each carries the whole value of every field that changed since what it builds on, as a publisher's do.
        """
        dice = random.Random(seed)
        values = {f"m{minute}": bytes(MINUTE_LENGTH) for minute in (1, 2, 3)}
        writes: list[tuple[Numbers, Numbers | None, dict[str, bytes]]] = []
        builds_on: Numbers | None = None
        pending = set(values)
        for flush in range(1, 40):
            for late in dice.sample(writes, k=min(len(writes), 2)):
                await hand.write(*late)
            changed = dice.choice(list(values))
            values[changed] = flush.to_bytes(MINUTE_LENGTH, "little")
            pending.add(changed)
            write = (0, 1, flush), builds_on, {name: values[name] for name in pending}
            writes.append(write)
            fate = dice.choice(["answered", "unanswered", "late"])
            if fate != "late":
                assert (await hand.write(*write)).applied
            if fate == "answered":
                builds_on, pending = (0, 1, flush), set()
        assert (await hand.write((0, 1, 40), builds_on, {name: values[name] for name in pending})).applied
        for late in writes:
            assert not (await hand.write(*late)).applied
        found = await hand.totals.read_member(ME)
        assert found is not None
        assert found[1].minutes == {1: values["m1"], 2: values["m2"], 3: values["m3"]}

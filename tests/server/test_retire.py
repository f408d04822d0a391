"""`python -m server.retire`: a member that never comes back is no reason for doubt any more, and no other is."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from server import retire
from server.published import SEEN_WITHIN_MS, PublishedMember, Purge
from server.redis_client import RedisClient
from server.redis_scripts import HASH
from server.redis_totals import TotalsHash
from server.retire import EXIT_DONE, EXIT_REFUSED, EXIT_WRONG_SETTING, Refusal, check, main, table
from server.totals import ALL_TIME, Reach, Summary, Total, UnknownRange
from server.totals_header import RETIRED, Header, Version
from tests.fakes import NOON_MS
from tests.redis_server import RedisServer
from tests.server.members import Published, far_reader, members
from tests.server.naive_totals import Settled
from tests.server.other_instance import other_instance
from tests.shm.segments import segment_path

ROOT = Path(__file__).parents[2]
ONE = Settled(0, NOON_MS, 1990)
NAME = "babac77403e8eace.0"
HEADER = Header(Version(0, 0, 0), 0, Reach(0, 0, 0, 0, 0), (7, 0, 0, 0), UnknownRange(2, 0, 0), 1, 0)
DEAD = PublishedMember(NAME, HEADER, SEEN_WITHIN_MS + 1, {})


class TestCheck:
    """Who may be retired."""

    def test_the_dead(self) -> None:
        """One that was not heard of for three beats, whose segment is not here."""
        assert check(DEAD, NAME, purge=Purge(0, 0), is_here=False) == HEADER

    def test_unknown_after_its_goodbye(self) -> None:
        """Nobody else will ask what became of those."""
        header = HEADER._replace(said_goodbye=1)
        assert check(DEAD._replace(header=header), NAME, purge=Purge(0, 0), is_here=False) == header

    def test_half_written_and_purged(self) -> None:
        """What is missing of it counts no more."""
        half = HEADER._replace(is_whole=0)
        assert check(DEAD._replace(header=half), NAME, purge=Purge(1, 1), is_here=False) == half

    def test_not_behind_a_purge_that_redis_has_lost(self) -> None:
        """What it published is of after that purge, and counts."""
        later = HEADER._replace(version=Version(1, 0, 0))
        assert check(DEAD._replace(header=later), NAME, purge=Purge(1, 0), is_here=False) == later

    @pytest.mark.parametrize("said_goodbye", [0, 1, RETIRED])
    def test_behind_a_purge_that_redis_has_lost(self, said_goodbye: int) -> None:
        """Nobody can tell whether what it published counts."""
        with pytest.raises(Refusal, match=r"before a purge that Redis has lost since, or of after it"):
            check(
                DEAD._replace(header=HEADER._replace(said_goodbye=said_goodbye)),
                NAME,
                purge=Purge(1, 0),
                is_here=False,
            )

    @pytest.mark.parametrize(
        ("member", "is_here", "reason"),
        [
            (None, False, "There is no member"),
            (DEAD, True, "start its instance, and nothing is lost"),
            (DEAD._replace(header=None), False, "Redis has nothing of"),
            (DEAD._replace(header=HEADER._replace(is_whole=0)), False, "a part of them"),
            (
                DEAD._replace(header=HEADER._replace(said_goodbye=1, unknowns=UnknownRange(0, 0, 0))),
                False,
                "has said goodbye",
            ),
            (DEAD._replace(header=HEADER._replace(said_goodbye=RETIRED)), False, "is retired already"),
            (DEAD._replace(silent_ms=SEEN_WITHIN_MS), False, f"heard of {SEEN_WITHIN_MS} ms ago"),
            (DEAD._replace(silent_ms=-1), False, "Redis's clock was set back"),
        ],
    )
    def test_others(self, member: PublishedMember | None, is_here: bool, reason: str) -> None:  # noqa: FBT001
        """Each with the reason why not."""
        with pytest.raises(Refusal, match=reason):
            check(member, NAME, purge=Purge(0, 0), is_here=is_here)


class TestMembersHere:
    """members_here."""

    def test_a_segment_that_goes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """While it is looked for: it is not here."""
        monkeypatch.setattr(retire, "instances_present", lambda: ["removed-just-now"])
        assert retire.members_here() == set()


class TestTable:
    """What is shown."""

    def test_every_member(self) -> None:
        """One per line, in columns; of one that Redis has nothing of only the name; "?": its clock was set back."""
        lines = table([DEAD, DEAD._replace(silent_ms=-1), PublishedMember("aa.0", None, 0, {})]).splitlines()
        assert [line.split() for line in lines] == [
            ["MEMBER", "LAST", "SEEN", "SAID", "GOODBYE", "DEFAULT", "FALLBACK", "UNKNOWN"],
            [NAME, "1", "s", "ago", "no", "7", "0", "2"],
            [NAME, "?", "no", "7", "0", "2"],
            ["aa.0", "never", "-", "-", "-", "-"],
        ]


@pytest.mark.slow
class TestMain:
    """From the command line to the hash."""

    def run(self, redis: RedisServer, work: Callable[[TotalsHash, list[Published]], Awaitable[None]]) -> list[str]:
        """Has two members do something, and goes on without them; their names."""

        async def live() -> list[str]:
            totals = TotalsHash(RedisClient(redis.url))
            with members(totals) as pair:
                await work(totals, pair)
            await totals.aclose()
            return [member.name for member in pair]

        return asyncio.run(live())

    async def settle(self, totals: TotalsHash, pair: list[Published]) -> None:
        """Each has settled one payment; the first has said goodbye."""
        for member in pair:
            await member.flush(ONE)
        await pair[0].publisher.say_goodbye()

    async def summary(self, redis: RedisServer) -> Summary:
        """As a web worker gives it."""
        reader = far_reader(TotalsHash(RedisClient(redis.url)))
        try:
            return await reader.summary(ALL_TIME)
        finally:
            await reader.aclose()

    def test_retired(
        self, redis: RedisServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Its totals count, and nobody waits for it any more."""
        monkeypatch.setenv("REDIS_URL", redis.url)
        _, gone = self.run(redis, self.settle)
        redis.ask(f"HSET {HASH} {gone}|seen 0")
        assert main([gone]) == EXIT_DONE
        assert f"{gone} is retired. 1 payments at default and 0 at fallback" in capsys.readouterr().out
        assert asyncio.run(self.summary(redis)) == Summary(Total(2, 3980), Total(0, 0))
        assert int(redis.ask(f"HGET {HASH} {gone}|h").split()[-2]) == RETIRED
        assert main([gone]) == EXIT_REFUSED
        assert "is retired already" in capsys.readouterr().err

    def test_shown(
        self, redis: RedisServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Without a name all members, and nothing is changed."""
        monkeypatch.setenv("REDIS_URL", redis.url)
        names = self.run(redis, self.settle)
        before = redis.ask(f"HGETALL {HASH}")
        assert main([]) == EXIT_DONE
        assert redis.ask(f"HGETALL {HASH}") == before
        shown = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in shown] == ["MEMBER", *names]
        assert [" yes " in line for line in shown[1:]] == [True, False]

    def test_its_segment_is_here(
        self, redis: RedisServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Who can be started again is not given up."""
        with other_instance() as other:
            totals = TotalsHash(RedisClient(redis.url))
            member = Published(other.segment, totals)

            async def flush() -> None:
                await member.flush(ONE)
                await totals.aclose()

            asyncio.run(flush())
            redis.ask(f"HSET {HASH} {member.name}|seen 0")
            monkeypatch.setenv("REDIS_URL", redis.url)
            assert main([member.name]) == EXIT_REFUSED
            assert "start its instance" in capsys.readouterr().err
            segment_path(other.name).write_bytes(b"something else" * 1000)
            assert main([member.name]) == EXIT_REFUSED
            assert "It may be here: segment " in capsys.readouterr().err

    def test_lives_after_all(
        self, redis: RedisServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Nobody is told that it was retired if it has published since it was looked at."""

        async def refuse(*_: object) -> bool:
            await asyncio.sleep(0)
            return False

        monkeypatch.setenv("REDIS_URL", redis.url)
        monkeypatch.setattr(TotalsHash, "retire", refuse)
        _, gone = self.run(redis, self.settle)
        redis.ask(f"HSET {HASH} {gone}|seen 0")
        assert main([gone]) == EXIT_REFUSED
        assert "it lives" in capsys.readouterr().err

    async def test_published_meanwhile(self, redis: RedisServer, totals: TotalsHash) -> None:
        """A goodbye is said for the header that was looked at, and for no other."""
        with members(totals, 1) as (member,):
            await member.flush(ONE)
            _, (found,) = await totals.members()
            assert found.header is not None
            await member.flush(ONE)
            assert not await totals.retire(member.name, found.header)
            _, (left,) = await totals.members()
            assert left.header != found.header

    def test_as_a_program(self) -> None:
        """It is started by its name, and ends with its status."""
        environment = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
        command = [sys.executable, "-m", "server.retire"]
        result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert (result.returncode, result.stderr[:9], result.stdout) == (EXIT_WRONG_SETTING, "REDIS_URL", "")

    def test_settings(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        """Without Redis there are no members, and a Redis that is away is told."""
        monkeypatch.delenv("REDIS_URL", raising=False)
        assert main([]) == EXIT_WRONG_SETTING
        assert capsys.readouterr().err.startswith("REDIS_URL must be set")
        monkeypatch.setenv("REDIS_URL", "unix:///nowhere/redis.sock")
        assert main([]) == EXIT_REFUSED
        assert "Redis can't be asked" in capsys.readouterr().err

"""server/volume_members.py: who may have settled more than Redis knows, and would not be missed."""

import errno
from typing import cast

import pytest

from server.errors import TotalsUnavailable
from server.ledger import Ledger
from server.totals_header import Header, Version
from server.volume_members import VolumeMembers
from shm import Base, Ended, Journal, Member, Phase, Segment, SegmentForbidden, State, migrate
from shm.layout import BASE_PAGE_LENGTH
from tests.fakes import NOON_MS, FakeClock
from tests.server.disturbed_volume import DisturbedVolume
from tests.server.other_instance import GEOMETRY, OtherInstance, other_instance
from tests.shm.segments import segment_path

CLOCK = FakeClock()


def names(other: OtherInstance) -> list[str]:
    """Of its members."""
    return [str(Member(other.segment.segment_id, number)) for number in range(GEOMETRY.dispatchers)]


def last_flush(life: int, position: int = 0, *, epoch: int = 0, said_goodbye: bool = False) -> Header:
    """What a member said of itself with it."""
    levels = Ledger().levels()
    version = Version(epoch, life, flush=1)
    return Header(version, position, levels.reach, levels.all_time, levels.unknowns, 1, int(said_goodbye))


def at_work(other: OtherInstance, *phases: Phase) -> None:
    """Its dispatchers are where these phases say."""
    for number, phase in enumerate(phases):
        other.segment.dispatcher_counters(number).phase = phase
        other.segment.dispatcher_counters(number).beat(CLOCK.ticks_ms() * 1000)


def begin_life(other: OtherInstance, dispatcher: int = 0) -> int:
    """One of its dispatchers starts; the number of its life."""
    journal = other.segment.journal(dispatcher)
    journal.begin_life()
    return journal.life


class TestReasonForDoubt:
    """VolumeMembers.reason_for_doubt."""

    def test_who_never_lived(self, other: OtherInstance) -> None:
        """A segment whose dispatchers have never started has settled nothing, and no segment neither."""
        assert VolumeMembers(["test-never-was", other.name], clock=CLOCK).reason_for_doubt({}) is None

    def test_who_never_published(self, other: OtherInstance) -> None:
        """One that has lived is missed, each dispatcher by itself."""
        first, second = names(other)
        other.segment.journal(1).begin_life()
        other.start()
        at_work(other, Phase.READY, Phase.READY)
        members = VolumeMembers([other.name], clock=CLOCK)
        assert members.reason_for_doubt({first: last_flush(0)}) == (
            f"instance {second} has not published its totals yet"
        )
        assert members.reason_for_doubt({second: last_flush(1)}) is None

    def test_names(self, other: OtherInstance) -> None:
        """A member of this volume is shown with the name that people gave to its instance, any other as it is."""
        first, second = names(other)
        named = VolumeMembers([other.name], clock=CLOCK).named(f"{first}, {second} and aa.0")
        assert named == f"{first} ({other.name}), {second} ({other.name}) and aa.0"

    def test_who_is_frozen(self, other: OtherInstance) -> None:
        """A stopped process holds its lock, and does not hear what its processors answer: after two beats it shows."""
        first, _ = names(other)
        life = begin_life(other)
        other.start()
        at_work(other, Phase.READY)
        clock = FakeClock()
        members = VolumeMembers([other.name], clock=clock)
        clock.advance(1000)
        assert members.reason_for_doubt({first: last_flush(life)}) is None
        clock.advance(1)
        assert members.reason_for_doubt({first: last_flush(life)}) == f"dispatcher {first} has been silent for 1001 ms"
        assert members.reason_for_doubt({first: last_flush(life, said_goodbye=True)}) is None

    def test_who_has_died(self, other: OtherInstance) -> None:
        """From its death until its successor has published, nobody knows what it was sending; a goodbye is no death."""
        first, _ = names(other)
        life = begin_life(other)
        members = VolumeMembers([other.name], clock=CLOCK)
        died = f"dispatcher {first} has died, and its successor has not published its totals yet"
        other.start()
        for phase, sentence in {
            Phase.READY: None,
            Phase.LEAVING: None,
            Phase.GONE: died,  # seen dead by its supervisor
            Phase.STARTING: died,  # the successor has the lock, and has not begun its life
        }.items():
            at_work(other, phase)
            assert members.reason_for_doubt({first: last_flush(life)}) == sentence
        at_work(other, Phase.READY)
        other.kill()
        assert members.reason_for_doubt({first: last_flush(life)}) == died
        assert members.reason_for_doubt({first: last_flush(life, said_goodbye=True)}) is None

    def test_who_is_succeeded_while_it_is_looked_at(self, other: OtherInstance) -> None:
        """Whoever holds the lock then has begun a life of its own, and that one has not published."""
        first, second = names(other)
        journal = other.segment.journal(0)
        other.start()
        at_work(other, Phase.READY, Phase.READY)
        life = begin_life(other)

        def succeed(look: str, _: str) -> None:
            if look == "is_role_free" and journal.life == life:
                journal.begin_life()

        members = VolumeMembers([other.name], volume=DisturbedVolume(succeed), clock=CLOCK)
        heard = {first: last_flush(life), second: last_flush(0)}
        assert members.reason_for_doubt(heard) == f"instance {first} is back and has not published its totals yet"

    def test_whose_row_is_damaged(self, other: OtherInstance) -> None:
        """Nobody can tell whether it has recovered: that is a reason like any other, until its next phase."""
        first, _ = names(other)
        life = begin_life(other)
        members = VolumeMembers([other.name], clock=CLOCK)
        other.start()
        at_work(other, cast("Phase", 99))
        assert members.reason_for_doubt({first: last_flush(life)}) == (
            f"the row of dispatcher {first} is damaged: nobody can tell whether it is at work"
        )
        assert members.reason_for_doubt({first: last_flush(life, said_goodbye=True)}) is None
        at_work(other, Phase.LEAVING)
        assert members.reason_for_doubt({first: last_flush(life)}) is None

    def test_who_is_back(self, other: OtherInstance) -> None:
        """A goodbye is that of one life, and ends with the next one's beginning."""
        first, _ = names(other)
        life = begin_life(other)
        members = VolumeMembers([other.name], clock=CLOCK)
        goodbye = {first: last_flush(life, said_goodbye=True)}
        assert members.reason_for_doubt(goodbye) is None
        assert begin_life(other) == life + 1
        assert members.reason_for_doubt(goodbye) == f"instance {first} is back and has not published its totals yet"
        assert members.reason_for_doubt({first: last_flush(life + 1, said_goodbye=True)}) is None

    def test_a_segment_that_was_made_anew(self, other: OtherInstance) -> None:
        """It is found at once, and the one before it is forgotten."""
        first, _ = names(other)
        other.segment.journal(0).begin_life()
        members = VolumeMembers([other.name], clock=CLOCK)
        assert first in (members.reason_for_doubt({}) or "")
        Segment.unlink(other.name)
        other.segment = Segment.create(other.name, GEOMETRY)
        assert members.reason_for_doubt({}) is None

    def test_a_segment_without_a_name(self, other: OtherInstance) -> None:
        """Its instance goes on with it, so it counts as before; also whether its dispatchers live."""
        first, second = names(other)
        lives = {name: begin_life(other, number) for number, name in enumerate((first, second))}
        other.start()
        at_work(other, Phase.READY, Phase.READY)
        members = VolumeMembers([other.name], clock=CLOCK)
        heard = {name: last_flush(life) for name, life in lives.items()}
        assert members.reason_for_doubt(heard) is None
        Segment.unlink(other.name)
        assert members.reason_for_doubt(heard) is None
        other.segment.journal(0).append(Ended(State.SETTLED, 0, NOON_MS, 1990, 0))
        assert [ended.amount_cents for ended in members.unpublished(heard)] == [1990]
        other.kill()
        assert members.reason_for_doubt(heard) == (
            f"dispatcher {first} has died, and its successor has not published its totals yet"
        )

    def test_its_own_segment_without_a_name(self, other: OtherInstance) -> None:
        """A web worker that is forked after the name was lost knows the segment all the same."""
        first, second = names(other)
        lives = {name: begin_life(other, number) for number, name in enumerate((first, second))}
        other.start()
        at_work(other, Phase.READY, Phase.READY)
        Segment.unlink(other.name)
        members = VolumeMembers([], own={other.name: other.segment}, clock=CLOCK)
        assert members.reason_for_doubt({}) == f"instance {first} has not published its totals yet"
        heard = {name: last_flush(life) for name, life in lives.items()}
        assert members.reason_for_doubt(heard) is None
        other.segment.journal(0).append(Ended(State.SETTLED, 0, NOON_MS, 1990, 0))
        assert [ended.amount_cents for ended in members.unpublished(heard)] == [1990]

    def test_its_own_beside_the_others(self, other: OtherInstance) -> None:
        """Segments of siblings that are mapped later take nothing away."""
        with other_instance() as own:
            members = VolumeMembers([other.name], own={own.name: own.segment}, clock=CLOCK)
            members.reason_for_doubt({})
            assert sorted(members.unknowns()) == sorted(names(own) + names(other))

    def test_a_segment_is_mapped_once(self, other: OtherInstance) -> None:
        """Each summary looks whether it is still the same, and maps only another one."""
        looks = list[str]()
        members = VolumeMembers([other.name], volume=DisturbedVolume(lambda look, _: looks.append(look)), clock=CLOCK)
        for _ in range(3):
            members.reason_for_doubt({})
        assert looks.count("attach") == 1

    def test_another_geometry(self, other: OtherInstance) -> None:
        """A segment that was copied into a new one keeps its id: the life that began since is that of the new one."""
        first, _ = names(other)
        other.segment.journal(0).begin_life()
        members = VolumeMembers([other.name], clock=CLOCK)
        assert members.reason_for_doubt({first: last_flush(1, said_goodbye=True)}) is None
        moved = migrate(other.segment, other.name, GEOMETRY._replace(waiting_slots=64))
        moved.journal(0).begin_life()
        assert "is back" in (members.reason_for_doubt({first: last_flush(1, said_goodbye=True)}) or "")
        assert members.reason_for_doubt({first: last_flush(2, said_goodbye=True)}) is None

    def test_a_segment_that_can_not_be_read(self, other: OtherInstance) -> None:
        """Nobody knows what was settled in it, whatever Redis says; until it can be read again."""
        path = segment_path(other.name)
        whole = path.read_bytes()
        path.write_bytes(b"something else" * 1000)
        members = VolumeMembers([other.name], clock=CLOCK)
        assert f"what instance {other.name} has settled can't be seen" in (members.reason_for_doubt({}) or "")
        path.write_bytes(whole)
        assert members.reason_for_doubt({}) is None

    def test_no_descriptors(self, other: OtherInstance) -> None:
        """Who can't look at one instance says so, and has not forgotten by the next time whom it looked at before."""
        other.segment.journal(0).begin_life()
        reasons: list[Exception] = [OSError(errno.EMFILE, "no descriptors"), SegmentForbidden("it is another user's")]

        def refuse(look: str, instance: str) -> None:
            if look == "fingerprint" and instance != other.name:
                raise reasons.pop(0)

        members = VolumeMembers([other.name, "test-cannot-be-opened"], volume=DisturbedVolume(refuse), clock=CLOCK)
        assert members.reason_for_doubt({}) == "the instances of this volume can't be looked at: no descriptors"
        assert "can't be seen: it is another user's" in str(members.reason_for_doubt({}))
        assert sorted(members.unknowns()) == names(other)
        reasons.append(OSError("as posix_ipc says it"))  # without a number
        assert members.reason_for_doubt({}) == "the instances of this volume can't be looked at: as posix_ipc says it"

    def test_a_segment_in_the_making(self, other: OtherInstance) -> None:
        """Nothing has been settled in it."""
        segment_path(other.name).write_bytes(bytes(4096))
        assert VolumeMembers([other.name], clock=CLOCK).reason_for_doubt({}) is None


class TestUnpublished:
    """VolumeMembers.unpublished."""

    ENDED = (
        Ended(State.SETTLED, 0, NOON_MS, 1990, 0),
        Ended(State.DUPLICATE, 0, NOON_MS, 5, 1),
        Ended(State.REFUSED, 1, NOON_MS, 6, 2),
        Ended(State.SETTLED, 1, NOON_MS + 1, 10, 3),
    )

    @pytest.fixture
    def members(self, other: OtherInstance) -> VolumeMembers:
        """With the journals of an instance, mapped."""
        made = VolumeMembers([other.name], clock=CLOCK)
        made.reason_for_doubt({})
        return made

    @pytest.mark.parametrize("position", range(5))
    def test_what_redis_has_not(self, other: OtherInstance, members: VolumeMembers, position: int) -> None:
        """Settlements from the position on that the totals in Redis reach to; nothing else that ended."""
        first, _ = names(other)
        for ended in self.ENDED:
            other.segment.journal(0).append(ended)
        missing = [ended for ended in self.ENDED[position:] if ended.state is State.SETTLED]
        assert list(members.unpublished({first: last_flush(1, position)})) == missing
        assert list(members.unpublished({first: last_flush(1, position, said_goodbye=True)})) == []
        assert list(members.unpublished({})) == []

    def test_after_a_purge(self, other: OtherInstance, members: VolumeMembers) -> None:
        """What Redis has counts from another one."""
        first, _ = names(other)
        other.segment.journal(0).begin_epoch(7)
        with pytest.raises(TotalsUnavailable, match="took up the last purge"):
            list(members.unpublished({first: last_flush(1)}))
        assert list(members.unpublished({first: last_flush(1, epoch=7)})) == []

    def test_a_purge_meanwhile(
        self, other: OtherInstance, members: VolumeMembers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is settled after it does not count with what was settled before."""
        first, _ = names(other)
        journal = other.segment.journal(0)
        journal.append(self.ENDED[0])

        def purged_right_after(read: Journal) -> Base:
            monkeypatch.undo()
            base = read.base
            journal.begin_epoch(7)
            journal.append(self.ENDED[3])
            return base

        monkeypatch.setattr(Journal, "base", property(purged_right_after))
        assert list(members.unpublished({first: last_flush(1)})) == [self.ENDED[0]]

    def test_too_many(self, other: OtherInstance, members: VolumeMembers, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is no way of counting everything."""
        monkeypatch.setattr("server.volume_members.UNPUBLISHED_MAX", 3)
        first, _ = names(other)
        for ended in self.ENDED:
            other.segment.journal(0).append(ended)
        assert len(list(members.unpublished({first: last_flush(1, 1)}))) == 1
        with pytest.raises(TotalsUnavailable, match="has not published 4 settlements"):
            list(members.unpublished({first: last_flush(1)}))

    def test_overtaken(self, other: OtherInstance, members: VolumeMembers) -> None:
        """What was folded and overwritten meanwhile can't be read any more."""
        first, _ = names(other)
        journal = other.segment.journal(0)
        for number in range(GEOMETRY.journal_records + 1):
            if journal.is_full():
                journal.fold(1)
            journal.append(Ended(State.SETTLED, 0, NOON_MS + number, 1, 0))
        assert len(list(members.unpublished({first: last_flush(1, 1)}))) == GEOMETRY.journal_records
        with pytest.raises(TotalsUnavailable, match="faster than can be counted"):
            list(members.unpublished({first: last_flush(1)}))

    def test_damaged(self, other: OtherInstance, members: VolumeMembers) -> None:
        """Nobody knows what a journal without a base has settled."""
        first, _ = names(other)
        other.segment.journal(0).begin_epoch(7)
        other.segment.base_page(0)[:] = b"\xff" * BASE_PAGE_LENGTH
        with pytest.raises(TotalsUnavailable, match=f"what instance {first} has settled can't be read: base copy"):
            list(members.unpublished({first: last_flush(1)}))

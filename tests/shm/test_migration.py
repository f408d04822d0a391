"""shm/migration.py: another geometry, the same memory of what was paid."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shm import layout
from shm.counters import WorkerCount
from shm.errors import SegmentIncompatible
from shm.layout import Geometry
from shm.migration import count_unsettled, migrate
from shm.record import Accepted, Kept
from shm.roster import Member
from shm.segment import Segment
from shm.states import Event, State
from tests.shm.miniature import Miniature
from tests.shm.model import Model, observe
from tests.shm.segments import fresh_instance, refuse, segment_path

OLD = Geometry(workers=2, dispatchers=2, lane_slots=8, waiting_slots=4, journal_records=8)
LARGER = Geometry(workers=3, dispatchers=2, lane_slots=16, waiting_slots=9, journal_records=32)
SMALLER = Geometry(workers=1, dispatchers=2, lane_slots=2, waiting_slots=1, journal_records=4)


def payment(number: int) -> Accepted:
    """A payment unlike all others."""
    return Accepted(number.to_bytes(16, "big"), 100 + number, 1_000_000 + number)


def life_of(segment: Segment, dispatcher: int) -> Miniature:
    """A life of one of a segment's dispatchers."""
    lanes = [segment.lane(worker, dispatcher) for worker in range(segment.geometry.workers)]
    return Miniature(lanes, segment.table(dispatcher), segment.journal(dispatcher))


def live(segment: Segment, dispatcher: int, count: int) -> Model:
    """Lets so many payments end, in every way there is, and gives what is remembered."""
    life = life_of(segment, dispatcher)
    life.journal.begin_life()
    for number in range(count):
        correlation_id = payment(number).correlation_id
        life.publish(payment(number))
        life.take()
        life.begin(correlation_id, number % 2, 5_000 + number)
        life.hear(correlation_id, [Event.PAID, Event.PAID, Event.REJECTED, Event.SHOWN_OTHER][number % 4])
        if number % 3 == 0:
            life.publish(payment(number)._replace(amount_cents=1))
            life.take()
    return observe(life)


@pytest.fixture
def old(instance: str) -> Segment:
    """A new segment of the old geometry."""
    return Segment.create(instance, OLD)


class TestMigrate:
    """What is copied, and where to."""

    def test_everything_remembered_is_copied(self, instance: str, old: Segment) -> None:
        """Ids, ends, conflicts, totals, roster, life and the segment's id are the same under a larger geometry."""
        before = [live(old, dispatcher, 20 + dispatcher) for dispatcher in range(2)]
        old.roster(1).add(Member(77, 1))
        new = migrate(old, instance, LARGER)
        assert new.geometry == LARGER
        assert new.segment_id == old.segment_id
        assert [observe(life_of(new, dispatcher)) for dispatcher in range(2)] == before
        assert new.roster(1).members() == [Member(77, 1)]
        assert [new.journal(dispatcher).life for dispatcher in range(2)] == [1, 1]

    def test_what_is_known_of_each_is_copied(self, instance: str, old: Segment) -> None:
        """Attempts, processor, requestedAt and conflicts are the same, also of a payment never sent from here."""
        live(old, 0, 6)
        life = life_of(old, 0)
        life.publish(payment(50))
        life.take()
        life.hear(payment(50).correlation_id, Event.FOUND_ELSEWHERE)

        def known(segment: Segment) -> list[Kept]:
            kept = [one for _, one in segment.table(0).scan() if one]
            return sorted(kept, key=lambda one: one.correlation_id)

        before = known(old)
        assert before[-1].attempts == 0
        assert known(migrate(old, instance, LARGER)) == before

    def test_a_purge_asked_for_is_copied(self, instance: str, old: Segment) -> None:
        """Some dispatchers may have begun its epoch and others not: those must still hear of it."""
        old.worker_counters(old.geometry.workers - 1).put(WorkerCount.PURGE_EPOCH, 7)
        assert migrate(old, instance, LARGER).worker_counters(0).get(WorkerCount.PURGE_EPOCH) == 7

    def test_the_new_one_takes_the_old_ones_name(self, instance: str, old: Segment) -> None:
        """Whoever attaches afterwards finds the new geometry; nothing else is left in the folder."""
        before = live(old, 0, 5)
        migrate(old, instance, LARGER)
        found = Segment.attach(instance)
        assert (found.geometry, observe(life_of(found, 0))) == (LARGER, before)
        path = segment_path(instance)
        assert list(path.parent.glob(f"{path.name}*")) == [path]

    def test_what_no_longer_fits_is_folded(self, instance: str, old: Segment) -> None:
        """Under a smaller geometry the oldest ends go into the base: totals stay, the youngest ids are remembered."""
        before = live(old, 0, 20)
        totals = life_of(old, 0).totals()
        new = life_of(migrate(old, instance, SMALLER), 0)
        [after] = before.forget(len(before.ends) - SMALLER.journal_records)
        assert observe(new) == after
        assert new.totals() == totals

    def test_life_goes_on(self, instance: str, old: Segment) -> None:
        """Payments are taken and settled in the new segment as ever, over several laps."""
        live(old, 0, 20)
        new = migrate(old, instance, SMALLER)
        count, cents = life_of(new, 0).totals()
        life = life_of(new, 0)
        for number in range(100, 130):
            assert life.publish(payment(number))
            life.take()
            life.settle(payment(number).correlation_id, 0, 6_000)
        assert life.totals() == (count + 30, cents + sum(100 + number for number in range(100, 130)))

    def test_a_purge_stays_purged(self, instance: str, old: Segment) -> None:
        """Ends from before a purge are remembered and do not count, before and after the copy."""
        live(old, 0, 6)
        life_of(old, 0).purge(3)
        for geometry in (LARGER, SMALLER):
            old = migrate(old, instance, geometry)
            life = life_of(old, 0)
            assert life.totals() == (0, 0)
            assert life.journal.base.epoch == 3

    @settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
    @given(st.integers(0, 40), st.integers(1, 6), st.integers(1, 6), st.integers(1, 3))
    @example(count=5, records=2, lane=1, workers=1)  # one record too many
    def test_totals_are_the_same_under_any_geometry(self, count: int, records: int, lane: int, workers: int) -> None:
        """Whatever the two geometries, the totals are the same and as many ids are remembered as fit."""
        with fresh_instance() as instance:
            old = Segment.create(instance, OLD)
            remembered = len(live(old, 1, count).ends)
            totals = life_of(old, 1).totals()
            geometry = Geometry(workers, 2, 1 << lane, 3, 1 << records)
            life = life_of(migrate(old, instance, geometry), 1)
            assert life.totals() == totals
            assert len(observe(life).ends) == min(remembered, geometry.journal_records)


class TestRefusals:
    """What is never copied, and leaves everything as it was."""

    @pytest.mark.parametrize("events", [None, [], [Event.ATTEMPT_BEGAN], [Event.ATTEMPT_BEGAN, Event.UNCLEAR]])
    def test_unsettled_payments_are_refused(self, instance: str, old: Segment, events: list[Event] | None) -> None:
        """A payment in a lane, waiting, sending or unknown keeps its segment, and the sentence says how many."""
        life = life_of(old, 1)
        life.publish(payment(1))
        if events is not None:
            life.take()
        for event in events or []:
            if event is Event.ATTEMPT_BEGAN:
                life.begin(payment(1).correlation_id, 0, 1)
            else:
                life.hear(payment(1).correlation_id, event)
        before = segment_path(instance).read_bytes()
        settings_then = "workers 2, dispatchers 2, lane slots 8, waiting slots 4, journal records 8"
        sentence = rf"another geometry \({settings_then}\) and holds 1 unsettled payments: start with the old settings"
        with pytest.raises(SegmentIncompatible, match=sentence):
            migrate(old, instance, LARGER)
        assert segment_path(instance).read_bytes() == before

    def test_another_number_of_dispatchers_is_refused(self, instance: str, old: Segment) -> None:
        """Ids are spread over dispatchers by a hash, so their number is fixed while a segment lives."""
        with pytest.raises(
            SegmentIncompatible, match="has 2 dispatchers, which can't change to 3 while it exists"
        ) as why:
            migrate(old, instance, LARGER._replace(dispatchers=3))
        assert str(why.value).endswith(": start with 2 again, or begin anew as docs/operating.md says")

    @pytest.mark.parametrize("geometry", [LARGER, SMALLER], ids=["copied", "folded"])
    def test_a_damaged_record_is_refused(self, instance: str, old: Segment, geometry: Geometry) -> None:
        """A journal with a hole is neither copied nor folded; the old segment stays and the copy is gone."""
        live(old, 0, 8)
        path = segment_path(instance)
        content = bytearray(path.read_bytes())
        content[OLD.area_offset(0) + layout.BASE_PAGE_LENGTH + 16] ^= 1
        path.write_bytes(content)
        with pytest.raises(SegmentIncompatible, match=f"gateway-{instance} can't be copied: journal record 0 "):
            migrate(old, instance, geometry)
        assert list(path.parent.glob(f"{path.name}*")) == [path]
        assert path.read_bytes() == content

    @pytest.mark.parametrize("head", [3, 19, 99], ids=["below the tail", "too low", "too high"])
    def test_a_damaged_head_is_refused(self, instance: str, old: Segment, head: int) -> None:
        """What ended is neither left out nor made up; the old segment stays and the copy is gone."""
        live(old, 0, 20)
        path = segment_path(instance)
        old.base_page(0)[layout.BASE_JOURNAL_HEAD] = head
        content = path.read_bytes()
        with pytest.raises(SegmentIncompatible, match=f"gateway-{instance} can't be copied: journal head {head} "):
            migrate(old, instance, LARGER)
        assert list(path.parent.glob(f"{path.name}*")) == [path]
        assert path.read_bytes() == content

    def test_a_death_on_the_way_leaves_the_old_segment(
        self, instance: str, old: Segment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Dying during the copy leaves the old segment as it was; the next try throws the unfinished copy away."""
        before = live(old, 0, 20)
        with monkeypatch.context() as patch:
            patch.setattr("shm.migration.copy_remembered", refuse(KeyboardInterrupt()))
            with pytest.raises(KeyboardInterrupt):
                migrate(old, instance, LARGER)
        assert observe(life_of(Segment.attach(instance), 0)) == before
        assert observe(life_of(migrate(old, instance, LARGER), 0)) == before


class TestCountUnsettled:
    """What counts as unsettled."""

    def test_counts_lanes_and_tables_of_all_dispatchers(self, old: Segment) -> None:
        """What lies in lanes, waits, is being sent or is unknown counts; what ended does not."""
        assert count_unsettled(old) == 0
        live(old, 0, 6)
        assert count_unsettled(old) == 0
        life = life_of(old, 1)
        for number in range(3):
            life.publish(payment(number))
        life.take()
        life.begin(payment(1).correlation_id, 0, 1)
        old.lane(1, 0).try_publish(payment(9))
        assert count_unsettled(old) == 4
        life.hear(payment(1).correlation_id, Event.PAID)
        assert count_unsettled(old) == 3

    def test_a_damaged_lane_counts(self, instance: str, old: Segment) -> None:
        """Where the tail is past the head nobody knows what was there: it is not thrown away."""
        live(old, 0, 2)
        with segment_path(instance).open("r+b") as file:
            file.seek(OLD.lane_offset(1, 0) + layout.LANE_TAIL)
            file.write(b"\x01")
        assert count_unsettled(old) == 1
        with pytest.raises(SegmentIncompatible, match="holds 1 unsettled payments"):
            migrate(old, instance, LARGER)

    def test_a_damaged_slot_counts(self, instance: str, old: Segment) -> None:
        """A slot that can't be read counts: nobody knows whether it was settled."""
        life_of(old, 0).table.insert(0, payment(1))
        life_of(old, 0).table.insert(1, payment(2))
        start = OLD.area_offset(0) + layout.BASE_PAGE_LENGTH + OLD.journal_length
        with segment_path(instance).open("r+b") as file:
            file.seek(start + layout.TABLE_ID)
            file.write(b"?")
        assert old.table(0).read(0) is None
        assert old.table(0).state(0) is State.WAITING
        assert count_unsettled(old) == 2

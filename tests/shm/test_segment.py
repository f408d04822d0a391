"""shm/segment.py: made whole or not at all, attached as it is, and every refusal a sentence."""

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

import posix_ipc
import pytest

from shm import layout
from shm.counters import WorkerCount
from shm.errors import (
    SegmentExists,
    SegmentForbidden,
    SegmentFull,
    SegmentIncompatible,
    SegmentMissing,
    SegmentNotReady,
)
from shm.layout import Geometry
from shm.record import Accepted, Ended
from shm.role import take_role
from shm.roster import Member
from shm.segment import Segment
from shm.states import Event, State
from tests.shm.segments import fresh_instance, open_descriptors, refuse, segment_path

GEOMETRY = Geometry(workers=2, dispatchers=2, lane_slots=4, waiting_slots=3, journal_records=4)
PAYMENT = Accepted(bytes(range(16)), 1990, 1_752_581_696_789_000)


@pytest.fixture
def segment(instance: str) -> Segment:
    """A new segment of two workers and two dispatchers."""
    return Segment.create(instance, GEOMETRY)


@pytest.fixture
def path(instance: str, segment: Segment) -> Path:
    """Where that segment can be changed byte by byte."""
    return segment_path(instance)


@contextmanager
def no_large_files() -> Iterator[None]:
    """Lets this process make no file over 8 kB, as if /dev/shm were that small.

    Not for a moment longer than needed: what pytest says goes into a file as well.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class TestCreate:
    """Segment.create."""

    def test_is_all_zero_but_its_header(self, segment: Segment, path: Path) -> None:
        """A new segment has the size its geometry says, a random id, a time, and nothing else in it."""
        content = path.read_bytes()
        assert len(content) == GEOMETRY.size == segment.geometry.size
        assert not any(content[layout.HEADER_CHECKSUM_OFFSET + layout.WORD :])
        assert segment.segment_id != 0
        assert segment.created_at_ms > 1_700_000_000_000

    def test_has_its_space_reserved(self, path: Path) -> None:
        """Every page is there from the start: no later store can meet a full /dev/shm."""
        found = path.stat()
        assert found.st_blocks * 512 >= found.st_size

    def test_is_its_users_alone(self, path: Path) -> None:
        """Nobody else may read or write payments."""
        assert path.stat().st_mode & 0o777 == 0o600

    def test_an_existing_one_is_left_alone(self, instance: str, segment: Segment, path: Path) -> None:
        """Creating over a segment, however large, is refused and changes no byte of it."""
        before = path.read_bytes()
        with pytest.raises(SegmentExists, match=f"^segment /gateway-{instance} exists already$"):
            Segment.create(instance, GEOMETRY._replace(journal_records=64))
        assert path.read_bytes() == before

    def test_an_impossible_geometry_makes_nothing(self, instance: str) -> None:
        """The sentence is the geometry's own, and no segment is left."""
        with pytest.raises(SegmentIncompatible, match="^lane_slots must be a power of two from 2 to 16777216, not 3$"):
            Segment.create(instance, GEOMETRY._replace(lane_slots=3))
        assert not segment_path(instance).exists()

    def test_without_room_nothing_is_left(self, instance: str) -> None:
        """A segment for which the kernel has no room is refused at once, with its size, and is gone."""
        sentence = f"^no room for {GEOMETRY.size} bytes in /dev/shm: File too large$"
        with pytest.raises(SegmentFull, match=sentence), no_large_files():
            Segment.create(instance, GEOMETRY)
        assert not segment_path(instance).exists()

    def test_a_full_folder_is_a_sentence(self, instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A full /dev/shm is named with the size that was asked for."""
        monkeypatch.setattr(os, "posix_fallocate", refuse(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
        with pytest.raises(
            SegmentFull, match=f"^no room for {GEOMETRY.size} bytes in /dev/shm: No space left on device$"
        ):
            Segment.create(instance, GEOMETRY)
        assert not segment_path(instance).exists()

    def test_a_forbidden_folder_is_a_sentence(self, instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A /dev/shm that belongs to another user is named."""
        monkeypatch.setattr(posix_ipc, "SharedMemory", refuse(posix_ipc.PermissionsError("no")))
        with pytest.raises(
            SegmentForbidden, match=f"^segment /gateway-{instance} may not be made: no permission in /dev/shm$"
        ):
            Segment.create(instance, GEOMETRY)

    def test_an_id_can_be_handed_on(self, instance: str) -> None:
        """A segment that takes another one's place keeps its id."""
        Segment.create(instance, GEOMETRY, segment_id=42)
        assert Segment.attach(instance).segment_id == 42

    def test_an_id_is_never_zero(self, instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Not even by chance."""
        monkeypatch.setattr("secrets.randbits", lambda _: 0)
        assert Segment.create(instance, GEOMETRY).segment_id != 0

    def test_ids_differ(self, segment: Segment) -> None:
        """Two segments of the same geometry can be told apart."""
        with fresh_instance() as other:
            assert Segment.create(other, GEOMETRY).segment_id != segment.segment_id

    @pytest.mark.parametrize("step", ["os.posix_fallocate", "mmap.mmap", "shm.segment._write_header"])
    def test_a_death_half_way_leaves_no_segment_yet(
        self, instance: str, step: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever dies while making a segment leaves one that is not ready, and that can be removed and made anew."""
        with monkeypatch.context() as patch:
            patch.setattr(step, refuse(KeyboardInterrupt()))
            with pytest.raises(KeyboardInterrupt):
                Segment.create(instance, GEOMETRY)
        with pytest.raises(SegmentNotReady):
            Segment.attach(instance)
        Segment.unlink(instance)
        assert Segment.create(instance, GEOMETRY).geometry == GEOMETRY


class TestAttach:
    """Segment.attach."""

    def test_finds_what_was_created(self, instance: str, segment: Segment) -> None:
        """Geometry, id and time come from the header."""
        other = Segment.attach(instance)
        assert (other.geometry, other.segment_id, other.created_at_ms) == (
            GEOMETRY,
            segment.segment_id,
            segment.created_at_ms,
        )

    @pytest.mark.parametrize("read_only", [False, True])
    def test_never_changes_the_segment(self, instance: str, path: Path, read_only: bool) -> None:  # noqa: FBT001
        """Attaching changes neither size nor a byte of a segment in use."""
        before = path.read_bytes()
        Segment.attach(instance, read_only=read_only)
        assert path.read_bytes() == before

    def test_sees_what_others_store(self, instance: str, segment: Segment) -> None:
        """Two attachments show the same memory, both ways."""
        other = Segment.attach(instance)
        assert segment.lane(1, 0).try_publish(PAYMENT)
        assert other.lane(1, 0).peek(0) == PAYMENT
        other.lane(1, 0).advance(1)
        assert segment.lane(1, 0).depth == 0

    def test_read_only_can_look_at_everything_and_store_nothing(self, instance: str, segment: Segment) -> None:
        """A read-only attachment reads every part, and each attempt to write is an error that leaves memory alone."""
        segment.lane(0, 0).try_publish(PAYMENT)
        segment.table(0).insert(0, PAYMENT)
        segment.journal(0).append(Ended(State.SETTLED, 0, 1, 1990, 0))
        segment.roster(0).add(Member(1, 0))
        watcher = Segment.attach(instance, read_only=True)
        found = watcher.table(0).find(PAYMENT.correlation_id)
        assert found is not None
        assert found.state is State.WAITING
        assert watcher.lane(0, 0).peek(0) == PAYMENT
        assert watcher.journal(0).head == 1
        assert watcher.roster(0).members() == [Member(1, 0)]
        assert watcher.worker_counters(0).get(WorkerCount.ACCEPTED) == 0
        for write in (
            lambda: watcher.lane(0, 0).try_publish(PAYMENT),
            lambda: watcher.table(0).insert(1, PAYMENT),
            lambda: watcher.journal(0).begin_life(),
            lambda: watcher.roster(0).add(Member(2, 0)),
            lambda: watcher.worker_counters(0).beat(),
        ):
            with pytest.raises(TypeError, match="read-only"):
                write()

    def test_none_is_a_sentence(self, instance: str) -> None:
        """A segment that isn't there is named."""
        with pytest.raises(SegmentMissing, match=f"^there is no segment /gateway-{instance}$"):
            Segment.attach(instance)

    @pytest.mark.usefixtures("segment")
    def test_one_that_goes_meanwhile_is_missing(self, instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Between the look at its name and its opening somebody may remove it."""
        monkeypatch.setattr(posix_ipc, "SharedMemory", refuse(posix_ipc.ExistentialError("gone")))
        with pytest.raises(SegmentMissing, match=f"^there is no segment /gateway-{instance}$"):
            Segment.attach(instance)

    @pytest.mark.usefixtures("segment")
    def test_another_users_is_a_sentence(self, instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A segment that may not be opened is named."""
        monkeypatch.setattr(posix_ipc, "SharedMemory", refuse(posix_ipc.PermissionsError("no")))
        with pytest.raises(SegmentForbidden, match=f"^segment /gateway-{instance} is another user's$"):
            Segment.attach(instance)

    @pytest.mark.usefixtures("segment")
    def test_a_segment_in_a_closed_folder_is_forbidden(self, instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Somebody may have changed the mode of the volume's folder: then the segment in it is out of reach."""
        monkeypatch.setattr(Path, "lstat", refuse(PermissionError(errno.EACCES, "closed")))
        for look in (Segment.attach, Segment.fingerprint):
            with pytest.raises(SegmentForbidden, match=f"^segment /gateway-{instance} is another user's$"):
                look(instance)

    def test_without_descriptors_it_is_neither_missing_nor_damaged(self, segment: Segment, instance: str) -> None:
        """A process that can't open the segment now must not take it for missing or damaged."""
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            with pytest.raises(OSError, match=r"(?i)open") as attaching:
                Segment.attach(instance)
            with pytest.raises(OSError, match=r"(?i)open") as looking:
                Segment.fingerprint(instance)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert not {type(attaching.value), type(looking.value)} & {SegmentIncompatible, SegmentMissing}
        assert segment.geometry == GEOMETRY

    @pytest.mark.parametrize("content", [b"", bytes(5), bytes(GEOMETRY.size)])
    def test_a_half_made_segment_is_not_ready(self, instance: str, content: bytes) -> None:
        """Without magic, of whatever size, it is being created or was left half-way; it stays as it is."""
        segment_path(instance).write_bytes(content)
        with pytest.raises(SegmentNotReady, match="has no magic: it is being created, or its creator died half-way$"):
            Segment.attach(instance)
        assert segment_path(instance).read_bytes() == content

    @pytest.mark.parametrize("length", [12, GEOMETRY.size])
    def test_a_strangers_file_is_none_of_ours(self, instance: str, length: int) -> None:
        """Another magic is named in the refusal."""
        segment_path(instance).write_bytes(b"\x01" * length)
        with pytest.raises(SegmentIncompatible, match=r"is not a gateway's \(magic 0x0101010101010101\)$"):
            Segment.attach(instance)

    def test_another_version_is_named(self, instance: str, path: Path) -> None:
        """Both versions are in the sentence, also when the header's checksum means nothing to us."""
        change(path, layout.HEADER_BODY_OFFSET, (layout.VERSION + 1).to_bytes(8, "little"))
        with pytest.raises(
            SegmentIncompatible, match=f"has version {layout.VERSION + 1}, this program reads {layout.VERSION}$"
        ):
            Segment.attach(instance)

    @pytest.mark.parametrize(
        "offset", range(layout.HEADER_BODY_OFFSET + layout.WORD, layout.HEADER_CHECKSUM_OFFSET + 8)
    )
    def test_a_damaged_header_is_noticed(self, instance: str, path: Path, offset: int) -> None:
        """No byte of the header can change unnoticed."""
        change(path, offset, bytes([path.read_bytes()[offset] ^ 0x10]))
        with pytest.raises(SegmentIncompatible, match="has a damaged header$"):
            Segment.attach(instance)

    @pytest.mark.parametrize("length", [GEOMETRY.size - 1, GEOMETRY.size + 1, layout.HEADER_LENGTH])
    def test_another_size_is_refused(self, instance: str, path: Path, length: int) -> None:
        """A segment that was cut or has grown is refused with both sizes: a read beyond its end would be a SIGBUS."""
        os.truncate(path, length)
        with pytest.raises(SegmentIncompatible, match=f"is {length} bytes, its header says {GEOMETRY.size}$"):
            Segment.attach(instance)

    def test_less_than_a_header_is_refused(self, instance: str, path: Path) -> None:
        """A segment cut within its header is refused with its size."""
        os.truncate(path, 40)
        with pytest.raises(SegmentIncompatible, match="is cut short: 40 bytes$"):
            Segment.attach(instance)

    def test_an_impossible_geometry_is_refused(self, instance: str, path: Path) -> None:
        """A header whose checksum fits but whose numbers cannot be is refused with the number."""
        body = bytearray(path.read_bytes()[layout.HEADER_BODY_OFFSET : layout.HEADER_CHECKSUM_OFFSET])
        body[16:24] = (99).to_bytes(8, "little")
        change(path, layout.HEADER_BODY_OFFSET, bytes(body) + crc32(body).to_bytes(8, "little"))
        with pytest.raises(SegmentIncompatible, match="workers must be 1 to 16, not 99$"):
            Segment.attach(instance)


class TestDescriptors:
    """What a segment keeps open."""

    @pytest.mark.usefixtures("segment")
    def test_only_the_mapping_is_kept(self, instance: str) -> None:
        """An attachment keeps one descriptor, that of its mapping, and gives it back when it is no longer used."""
        before = open_descriptors()
        attached = Segment.attach(instance)
        with fresh_instance() as other:
            created = Segment.create(other, GEOMETRY)
        assert len(open_descriptors()) == len(before) + 2
        del attached, created
        assert open_descriptors() == before

    def test_refusals_keep_nothing(self, instance: str, path: Path) -> None:
        """Refusing to attach, or to create, again and again uses nothing up."""
        os.truncate(path, 40)
        before = open_descriptors()
        for refused in (SegmentIncompatible, SegmentIncompatible):
            with pytest.raises(refused):
                Segment.attach(instance)
        with pytest.raises(SegmentExists):
            Segment.create(instance, GEOMETRY)
        assert open_descriptors() == before


class TestParts:
    """What a segment hands out."""

    def test_no_two_parts_share_memory(self, instance: str, segment: Segment, path: Path) -> None:
        """Filling every part leaves each with just what was put into it."""
        pairs = [(worker, dispatcher) for worker in range(2) for dispatcher in range(2)]
        for number, (worker, dispatcher) in enumerate(pairs):
            while segment.lane(worker, dispatcher).try_publish(Accepted(bytes(16), number, 0)):
                pass
        for dispatcher in range(2):
            table, journal = segment.table(dispatcher), segment.journal(dispatcher)
            for slot in range(len(table)):
                table.insert(slot, Accepted(bytes([255] * 16), 100 + dispatcher, slot))
            while not journal.is_full():
                journal.append(Ended(State.SETTLED, dispatcher, 1, 200 + dispatcher, 0))
            assert segment.roster(dispatcher).add(Member(2**64 - 1, dispatcher))
        rows = [segment.supervisor_counters()]
        rows += [segment.worker_counters(0), segment.worker_counters(1)]
        rows += [segment.dispatcher_counters(0), segment.dispatcher_counters(1)]
        for number, row in enumerate(rows):
            row.begin(300 + number, 0)

        assert not any(path.read_bytes()[layout.HEADER_CHECKSUM_OFFSET + layout.WORD : layout.HEADER_LENGTH])
        other = Segment.attach(instance, read_only=True)
        for number, (worker, dispatcher) in enumerate(pairs):
            lane = other.lane(worker, dispatcher)
            assert (lane.tail, lane.head) == (0, 4)
            assert [lane.peek(position) for position in range(4)] == [Accepted(bytes(16), number, 0)] * 4
        for dispatcher in range(2):
            kept = [kept for _, kept in other.table(dispatcher).scan()]
            assert [payment and payment.amount_cents for payment in kept] == [100 + dispatcher] * 7
            records = [other.journal(dispatcher).read(position) for position in range(4)]
            assert records == [Ended(State.SETTLED, dispatcher, 1, 200 + dispatcher, 0)] * 4
            assert other.roster(dispatcher).members() == [Member(2**64 - 1, dispatcher)]
        assert [row.pid for row in rows] == [300, 301, 302, 303, 304]

    def test_all_of_a_kind_are_in_the_order_of_the_workers(self, segment: Segment) -> None:
        """The lanes to a dispatcher and the rows of the workers are those that a worker's number gives."""
        for worker in range(2):
            segment.worker_counters(worker).begin(400 + worker, 0)
            segment.lane(worker, 1).try_publish(PAYMENT._replace(amount_cents=worker))
        assert [row.pid for row in segment.worker_rows()] == [400, 401]
        peeked = [lane.peek(0) for lane in segment.lanes_to(1)]
        assert peeked == [PAYMENT._replace(amount_cents=worker) for worker in range(2)]
        assert [lane.depth for lane in segment.lanes_to(0)] == [0, 0]

    def test_a_search_stays_in_its_table(self, segment: Segment) -> None:
        """An id in one dispatcher's table, or in a lane, is not found in another's."""
        segment.lane(0, 0).try_publish(PAYMENT)
        segment.table(1).insert(3, PAYMENT)
        assert segment.table(0).find(PAYMENT.correlation_id) is None
        assert segment.table(1).find(PAYMENT.correlation_id) == segment.table(1).read(3)

    def test_a_search_goes_on_after_a_slot_that_is_free(self, segment: Segment) -> None:
        """A payment that was forgotten and came again is found in its new slot: the old one still shows the id."""
        table = segment.table(1)
        table.insert(2, PAYMENT)
        table.apply(2, Event.FOUND_ELSEWHERE)
        table.apply(2, Event.FOLDED)
        table.insert(5, PAYMENT)
        assert table.find(PAYMENT.correlation_id) == table.read(5)
        assert segment.table(0).find(PAYMENT.correlation_id) is None

    def test_a_search_reaches_the_last_slot(self, segment: Segment) -> None:
        """First and last slot of the last table are found."""
        for slot in (0, GEOMETRY.table_slots - 1):
            payment = PAYMENT._replace(correlation_id=bytes([slot] * 16))
            segment.table(1).insert(slot, payment)
            assert segment.table(1).find(payment.correlation_id) == segment.table(1).read(slot)


class TestNoFile:
    """Something else has the name of a segment."""

    @pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: path.symlink_to(path)])
    def test_what_is_no_plain_file_is_refused(self, instance: str, make: Callable[[Path], None]) -> None:
        """A folder, pipe or link is named and not opened: nobody waits for a pipe's other end."""
        path = segment_path(instance)
        make(path)
        before = open_descriptors()
        try:
            looks: list[Callable[[], object]] = [
                lambda: Segment.attach(instance),
                lambda: Segment.attach(instance, read_only=True),
                lambda: Segment.fingerprint(instance),
            ]
            for look in looks:
                with pytest.raises(SegmentIncompatible, match=f"^{path} is no segment but a folder, link or pipe"):
                    look()
        finally:
            path.rmdir() if path.is_dir() else path.unlink()
        assert open_descriptors() == before


class TestFingerprint:
    """Segment.fingerprint."""

    def test_a_missing_segment_has_none(self, instance: str) -> None:
        """No segment, no fingerprint."""
        assert Segment.fingerprint(instance) is None

    def test_stores_do_not_change_it(self, instance: str) -> None:
        """Whatever is stored in a segment, its fingerprint stays the same. Nothing is left open."""
        segment = Segment.create(instance, GEOMETRY)
        before = open_descriptors()
        first = Segment.fingerprint(instance)
        segment.journal(0).append(Ended(State.SETTLED, 0, 1, 1990, 0))
        assert Segment.fingerprint(instance) == first
        assert open_descriptors() == before

    def test_a_later_segment_of_the_same_name_has_another(self, instance: str) -> None:
        """Its id is another one, even if the file system gives the new file the number of the old one."""
        Segment.create(instance, GEOMETRY)
        first = Segment.fingerprint(instance)
        Segment.unlink(instance)
        Segment.create(instance, GEOMETRY)
        second = Segment.fingerprint(instance)
        assert first is not None
        assert second is not None
        assert first.header != second.header


class TestUnlink:
    """Segment.unlink."""

    def test_it_stays_mapped(self, instance: str, segment: Segment) -> None:
        """Nothing of it is left, but whoever has it mapped keeps what it sees."""
        segment.lane(0, 0).try_publish(PAYMENT)
        Segment.unlink(instance)
        assert list(segment_path(instance).parent.glob(f"gateway-{instance}*")) == []
        assert segment.lane(0, 0).peek(0) == PAYMENT

    @pytest.mark.usefixtures("segment")
    def test_locks_stay(self, instance: str) -> None:
        """Who removes it may hold one of them."""
        with take_role(instance, "supervisor"):
            Segment.unlink(instance)
            assert [path.name for path in segment_path(instance).parent.glob(f"gateway-{instance}*")] == [
                f"gateway-{instance}.supervisor.lock"
            ]

    def test_none_is_a_sentence(self, instance: str) -> None:
        """A segment that isn't there is named."""
        with pytest.raises(SegmentMissing, match=f"^there is no segment /gateway-{instance}$"):
            Segment.unlink(instance)

    def test_another_users_is_a_sentence(
        self, instance: str, segment: Segment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A segment that may not be removed is named, and its locks stay."""
        take_role(instance, "worker-0").release()
        monkeypatch.setattr(posix_ipc, "unlink_shared_memory", refuse(posix_ipc.PermissionsError("no")))
        with pytest.raises(SegmentForbidden, match=f"^segment /gateway-{instance} is another user's$"):
            Segment.unlink(instance)
        assert len(list(segment_path(instance).parent.glob(f"gateway-{instance}*"))) == 2


def change(path: Path, offset: int, data: bytes) -> None:
    """Overwrites some bytes of a segment."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)

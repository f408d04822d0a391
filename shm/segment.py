"""The segment: one POSIX shared memory object per instance, mapped by all its processes. Only user of posix_ipc.

- *Created* with all its space reserved at once: a page fault without room would later be a SIGBUS. The magic is stored
  last, so a segment whose creator died half-way is known by it.
- *Attached* without giving a size: with one, posix_ipc would set the size of a segment that is in use (ftruncate(2)).
- *Lasting*: it outlives every process, and the container too if /dev/shm is a volume. An instance removes its segment
  only if that has no magic, so that nothing can have been accepted into it, and replaces it only by a copy with another
  geometry (`shm/migration.py`).
"""

import mmap
import os
import secrets
import stat
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self
from zlib import crc32

import posix_ipc

from shm import layout
from shm.counters import Counters
from shm.errors import (
    SegmentExists,
    SegmentForbidden,
    SegmentFull,
    SegmentIncompatible,
    SegmentMissing,
    SegmentNotReady,
)
from shm.journal import Journal
from shm.lane import Lane
from shm.layout import Geometry
from shm.names import MODE, SHM_FOLDER, segment_name, segment_path
from shm.roster import Roster
from shm.table import Table


class Fingerprint(NamedTuple):
    """What tells a segment from any other that has had the same name. It takes both.

    Args:
        inode: the number of its file. A copy with another geometry keeps the segment's id, but is another file.
        header: the 4,096 bytes of its header, with the random id. The file system gives a number to a later file again.
    """

    inode: int
    header: bytes


class Segment:
    """A mapped segment. Hands out its parts: each call makes a new view of the same memory, and stores nothing.

    Args:
        memory: the mapping, of `geometry.size` bytes.
        geometry: as its header says.
        segment_id: its random id.
        created_at_ms: when it was made, ms UTC.
    """

    def __init__(self, memory: mmap.mmap, geometry: Geometry, segment_id: int, created_at_ms: int) -> None:
        """Use `create` or `attach`."""
        self._memory = memory
        self._view = memoryview(memory)
        self.geometry = geometry
        self.segment_id = segment_id
        self.created_at_ms = created_at_ms

    @classmethod
    def create(cls, instance: str, geometry: Geometry, *, segment_id: int | None = None) -> Self:
        """Makes a new segment, all zero but its header.

        Args:
            instance: whose; it gets the name `/gateway-<instance>`.
            geometry: what has to fit.
            segment_id: of the segment whose place it takes; None: a random number, never 0.

        Raises:
            SegmentExists: there is one already.
            SegmentFull: /dev/shm has no room, or another reason why its memory can't be had, which is named.
            SegmentForbidden: /dev/shm is not ours to write.
            SegmentIncompatible: the geometry is impossible.
            OSError: this process has no descriptors left.
        """
        if problem := geometry.problem():
            raise SegmentIncompatible(problem)
        name = segment_name(instance)
        try:
            handle = posix_ipc.SharedMemory(name, posix_ipc.O_CREX, MODE)
        except posix_ipc.ExistentialError:
            raise SegmentExists(f"segment {name} exists already") from None
        except posix_ipc.PermissionsError:
            raise SegmentForbidden(f"segment {name} may not be made: no permission in {SHM_FOLDER}") from None
        try:
            # Its size goes from 0 to all in one step: who attaches meanwhile never maps a page that is not there.
            os.posix_fallocate(handle.fd, 0, geometry.size)
            memory = mmap.mmap(handle.fd, geometry.size)
        except OSError as error:
            posix_ipc.unlink_shared_memory(name)
            raise SegmentFull(f"no room for {geometry.size} bytes in {SHM_FOLDER}: {error.strerror}") from error
        finally:
            handle.close_fd()
        segment_id = segment_id or secrets.randbits(64) or 1
        created_at_ms = time.time_ns() // 1_000_000
        _write_header(memory, geometry, segment_id, created_at_ms)
        return cls(memory, geometry, segment_id, created_at_ms)

    @classmethod
    def attach(cls, instance: str, *, read_only: bool = False) -> Self:
        """Maps the segment of an instance, whatever its geometry, and stores nothing.

        Args:
            instance: whose.
            read_only: whether every store through this mapping is to be a TypeError.

        Raises:
            SegmentMissing: there is none.
            SegmentForbidden: it is another user's.
            SegmentNotReady: it has no magic (yet).
            SegmentIncompatible: its header is another version's, damaged, or does not fit its size; or no plain file.
            OSError: this process has no descriptors left.
        """
        name = segment_name(instance)
        try:
            _require_file(instance)
            handle = posix_ipc.SharedMemory(name, read_only=read_only)
        except posix_ipc.ExistentialError:
            raise SegmentMissing(f"there is no segment {name}") from None
        except (posix_ipc.PermissionsError, PermissionError):
            raise SegmentForbidden(f"segment {name} is another user's") from None
        try:
            header = os.pread(handle.fd, layout.HEADER_LENGTH, 0)
            geometry, segment_id, created_at_ms = _read_header(header, handle.size, name)
            access = mmap.ACCESS_READ if read_only else mmap.ACCESS_WRITE
            memory = mmap.mmap(handle.fd, geometry.size, access=access)
        finally:
            handle.close_fd()
        return cls(memory, geometry, segment_id, created_at_ms)

    @staticmethod
    def fingerprint(instance: str) -> Fingerprint | None:
        """The fingerprint of the segment that has an instance's name now, without mapping it; None if there is none.

        Raises:
            SegmentForbidden: it is another user's.
            SegmentIncompatible: it is not a plain file.
            OSError: as `attach`.
        """
        name = segment_name(instance)
        try:
            descriptor = os.open(_require_file(instance), os.O_RDONLY | os.O_CLOEXEC)
            try:
                return Fingerprint(os.fstat(descriptor).st_ino, os.pread(descriptor, layout.HEADER_LENGTH, 0))
            finally:
                os.close(descriptor)
        except (SegmentMissing, FileNotFoundError):
            return None
        except PermissionError:
            raise SegmentForbidden(f"segment {name} is another user's") from None

    @staticmethod
    def unlink(instance: str) -> None:
        """Removes an instance's segment; processes that have it mapped keep their mapping. Its lock files stay.

        Raises:
            SegmentMissing: there is none.
            SegmentForbidden: it is another user's.
        """
        name = segment_name(instance)
        try:
            posix_ipc.unlink_shared_memory(name)
        except posix_ipc.ExistentialError:
            raise SegmentMissing(f"there is no segment {name}") from None
        except posix_ipc.PermissionsError:
            raise SegmentForbidden(f"segment {name} is another user's") from None

    def lane(self, worker: int, dispatcher: int) -> Lane:
        """The lane from a worker to a dispatcher."""
        view = self._part(self.geometry.lane_offset(worker, dispatcher), self.geometry.lane_length)
        return Lane(view, self.geometry.lane_slots)

    def lanes_to(self, dispatcher: int) -> list[Lane]:
        """The lanes to a dispatcher, by web worker."""
        return [self.lane(worker, dispatcher) for worker in range(self.geometry.workers)]

    def journal(self, dispatcher: int) -> Journal:
        """A dispatcher's journal, with its base."""
        offset = self.geometry.area_offset(dispatcher)
        records = self._part(offset + layout.BASE_PAGE_LENGTH, self.geometry.journal_length)
        return Journal(self.base_page(dispatcher), records, self.geometry.journal_records)

    def roster(self, dispatcher: int) -> Roster:
        """A dispatcher's roster."""
        return Roster(self.base_page(dispatcher))

    def table(self, dispatcher: int) -> Table:
        """A dispatcher's table."""
        start = self.geometry.area_offset(dispatcher) + layout.BASE_PAGE_LENGTH + self.geometry.journal_length
        view = self._part(start, self.geometry.table_length)
        return Table(view, self.geometry.table_slots, partial(_search, self._memory, start, self.geometry.table_length))

    def base_page(self, dispatcher: int) -> memoryview:
        """The page that holds a dispatcher's base, journal head, life and roster."""
        return self._part(self.geometry.area_offset(dispatcher), layout.BASE_PAGE_LENGTH)

    def supervisor_counters(self) -> Counters:
        """The supervisor's row."""
        return self._counters(0)

    def worker_counters(self, worker: int) -> Counters:
        """A web worker's row."""
        return self._counters(1 + worker)

    def worker_rows(self) -> list[Counters]:
        """The rows of all web workers."""
        return [self.worker_counters(worker) for worker in range(self.geometry.workers)]

    def dispatcher_counters(self, dispatcher: int) -> Counters:
        """A dispatcher's row."""
        return self._counters(1 + self.geometry.workers + dispatcher)

    def _counters(self, index: int) -> Counters:
        return Counters(self._part(self.geometry.counters_offset(index), layout.COUNTERS_LENGTH))

    def _part(self, offset: int, length: int) -> memoryview:
        return self._view[offset : offset + length]


def _search(memory: mmap.mmap, base: int, length: int, needle: bytes, start: int) -> int:
    """Finds bytes in one part of a mapping; offsets are from that part's `base`. -1: not found."""
    found = memory.find(needle, base + start, base + length)
    return found if found < 0 else found - base


def _write_header(memory: mmap.mmap, geometry: Geometry, segment_id: int, created_at_ms: int) -> None:
    """Stores the body and its checksum, then the magic."""
    body = layout.HEADER_BODY.pack(
        layout.VERSION,
        geometry.size,
        geometry.workers,
        geometry.dispatchers,
        geometry.lane_slots,
        geometry.table_slots,
        geometry.journal_records,
        created_at_ms,
        segment_id,
    )
    memory[layout.HEADER_BODY_OFFSET : layout.HEADER_CHECKSUM_OFFSET] = body
    checksum = crc32(body).to_bytes(layout.WORD, "little")
    memory[layout.HEADER_CHECKSUM_OFFSET : layout.HEADER_CHECKSUM_OFFSET + layout.WORD] = checksum
    with memoryview(memory) as view, view.cast("Q") as words:
        words[layout.HEADER_MAGIC // layout.WORD] = layout.MAGIC


def _require_file(instance: str) -> Path:
    """The path of a segment, if it leads to a plain file.

    Opening a pipe would wait for its other end, and for folders and links posix_ipc raises various errors.

    Raises:
        SegmentMissing: there is nothing.
        SegmentIncompatible: it is no plain file.
    """
    path = segment_path(instance)
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        raise SegmentMissing(f"there is no segment {segment_name(instance)}") from None
    if not stat.S_ISREG(mode):
        raise SegmentIncompatible(f"{path} is no segment but a folder, link or pipe: remove it")
    return path


def _read_header(header: bytes, length: int, name: str) -> tuple[Geometry, int, int]:
    """Geometry, id and time of creation (ms UTC) from a header that fits the file's length, or as `attach` raises."""
    magic = int.from_bytes(header[: layout.WORD], "little")
    if magic == 0:
        raise SegmentNotReady(f"segment {name} has no magic: it is being created, or its creator died half-way")
    if magic != layout.MAGIC:
        raise SegmentIncompatible(f"segment {name} is not a gateway's (magic {magic:#018x})")
    if length < layout.HEADER_LENGTH:
        raise SegmentIncompatible(f"segment {name} is cut short: {length} bytes")
    body = header[layout.HEADER_BODY_OFFSET : layout.HEADER_CHECKSUM_OFFSET]
    version, size, workers, dispatchers, lane_slots, table_slots, journal_records, created_at_ms, segment_id = (
        layout.HEADER_BODY.unpack(body)
    )
    if version != layout.VERSION:
        raise SegmentIncompatible(f"segment {name} has version {version}, this program reads {layout.VERSION}")
    checksum = header[layout.HEADER_CHECKSUM_OFFSET : layout.HEADER_CHECKSUM_OFFSET + layout.WORD]
    if int.from_bytes(checksum, "little") != crc32(body):
        raise SegmentIncompatible(f"segment {name} has a damaged header")
    geometry = Geometry(workers, dispatchers, lane_slots, table_slots - journal_records, journal_records)
    if problem := geometry.problem():
        raise SegmentIncompatible(f"segment {name}: {problem}")
    if not size == geometry.size == length:
        raise SegmentIncompatible(f"segment {name} is {length} bytes, its header says {size}")
    return geometry, segment_id, created_at_ms

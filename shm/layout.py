"""Where every byte of a segment is. Layout only: no behaviour, and no offset is written down anywhere else.

All numbers are unsigned, little-endian, 8 bytes long and 8-byte aligned, unless said otherwise; such a number is called
a *word*. Each word has one writer at a time, named in brackets. How a writer makes a change visible, and why that is
safe, is said below the map.

```text
segment   +----------+----------+---------+-----+---------+--------------+-----+
          | header   | counters | lane    | ... | lane    | area         | ... |
          | 4,096    | 512 each | (0,0)   |     | (w,d)   | dispatcher 0 |     |
          +----------+----------+---------+-----+---------+--------------+-----+
lane      | head 64 [worker] | tail 64 [dispatcher] | slots, 64 each [worker]   |
area      | base page 4,096 | journal, 32 a record | table, 64 a slot  [dispatcher]

header       0 magic, written last    8 version    16 size in bytes    24 workers    32 dispatchers
            40 lane slots            48 table slots    56 journal records    64 created at, ms UTC
            72 segment id, random, never 0    80 CRC-32 of bytes 8..79              [supervisor, once]

counters     0 heartbeat, µs of CLOCK_MONOTONIC    8 pid    16 phase    24 started at, ms UTC
            32 sleeping (1: wants its eventfd written)    64.. counts, one word each (see counters.py)
            [the process; heartbeat and phase by the supervisor before its start and after its end]

lane slot    0 sequence = position + 1    8 id, 16 bytes    24 amount, cents    32 accepted at, µs UTC
            40 CRC-32 (u32) of bytes 0..39    44 padding, zero

table slot   0 state word    8 CRC-32 (u32) of bytes 16..47 and generation (u32)    12 mark, 4 bytes    16 id, 16 bytes
            32 amount, cents    40 accepted at, µs UTC    48 requestedAt, ms UTC (word)    56 conflicts (word)
state word   bits 0..7 state    8..15 processor    16..31 attempts, at most 65,535
            32..63 generation: times the slot was taken, modulo 2**32. The CRC covers it, so that the body of one
            payment does not go with the state word of another

base page    0 selector: commits so far; the copy in force is selector % 2    8 life: times a dispatcher started
            64 journal head: records ever appended; its store is the settlement    128 base copy 0    256 base copy 1
           512 roster length    576.. roster, 16 bytes a member: segment id, dispatcher
base copy    0 epoch    8 journal tail    16 epoch start: first position that counts    24 folded until, ms UTC
            32 count, 40 cents at default    48 count, 56 cents at fallback    64 CRC-32 of bytes 0..63

journal      0 sequence = position + 1    8 requestedAt, ms UTC (48 bits), processor (8), kind (8)
record      16 amount, cents    24 table slot (u32)    28 CRC-32 (u32) of bytes 0..27
            kind: 1 settled, 2 duplicate, 3 refused
```

**Commits.** A word can be stored in one step, a body of several words can't. So a writer stores the body first, and
then one word that makes it count: the magic, a lane's head, a slot's state word, a journal's head, a base's selector or
a roster's length. No reader believes a body that its word does not vouch for. This relies on two things.

*The word is stored in one step.* `memoryview.cast("Q")` does so: CPython copies the 8 bytes with a `memcpy` of constant
size (`pack_single` in Objects/memoryobject.c), for which an optimizing compiler emits one move (seen in the machine
code of CPython 3.11 by GCC 12), and x86-64 guarantees that an aligned move of 8 bytes is one access. Loads are the
same. `struct.pack_into` won't do: it clears its target before it packs, and another process was seen to read the zero.

*The body's stores come before the word's.* Each is a C call of its own out of the interpreter's loop, which the
compiler can't reorder; so in the program they do. What follows depends on who looks:

- After a crash: a process is killed between two instructions, on any processor, so all stores before that point have
  been made and none after it. Of the body any part may be there (`memmove` may go in any order). The word is whole or
  not there. That is all that recovery needs.
- While the writer runs: x86-64 lets no other processor see a store before an earlier one (a string move is a store as
  well), nor a load before an earlier one (Intel 64 SDM, volume 3, "Memory Ordering"). Processors with a weaker order,
  such as aarch64, may show the word before the body. A reader there notices nearly always, by sequence or CRC-32 (which
  misses one random mixture in 2**32); but no checksum covers a slot's requestedAt and conflicts, nor the roster.

x86-64 does let a load overtake an earlier store to another word. Nothing in this package relies on that order; the
wake-up of a sleeping dispatcher would, so its sleep is bounded (`IDLE_MS` in server/dispatcher.py).
"""

import struct
from typing import NamedTuple
from zlib import crc32

MAGIC = int.from_bytes(b"GATEWAY\x01", "little")
VERSION = 1

WORD = 8
CACHE_LINE = 64  # of x86-64; words of two writers on one line would slow each other down (false sharing)
PAGE = 4096

HEADER_LENGTH = PAGE
HEADER_MAGIC = 0
HEADER_BODY = struct.Struct("<9Q")  # version .. segment id
HEADER_BODY_OFFSET = 8
HEADER_CHECKSUM_OFFSET = 80

COUNTERS_LENGTH = 512
COUNTERS_HEARTBEAT = 0
COUNTERS_PID = 8
COUNTERS_PHASE = 16
COUNTERS_STARTED_AT = 24
COUNTERS_SLEEPING = 32
COUNTERS_COUNTS = 64

LANE_HEAD = 0
LANE_TAIL = CACHE_LINE
LANE_SLOTS_OFFSET = 2 * CACHE_LINE
LANE_SLOT_LENGTH = 64
LANE_SLOT_BODY = struct.Struct("<Q16sQQ")  # sequence, id, amount in cents, accepted at in µs
LANE_SLOT = struct.Struct("<Q16sQQI20x")  # the body, its checksum, padding
LANE_ID = 8  # where the id begins
ID_LENGTH = 16

TABLE_SLOT_LENGTH = 64
TABLE_STATE = 0
TABLE_BODY = 8
TABLE_MARK = 12
TABLE_ID = 16
TABLE_REQUESTED_AT = 48
TABLE_CONFLICTS = 56
MARK = b"\xffid:"  # before each id: a search for both hardly meets other bytes, not even for the nil UUID
TABLE_SLOT_IDENTITY = struct.Struct("<16sQQ")  # id, amount in cents, accepted at in µs: what the checksum covers
TABLE_SLOT_BODY = struct.Struct("<I4s16sQQQQ")  # checksum, mark, identity, requestedAt, conflicts
TABLE_SLOT = struct.Struct("<QI4s16sQQQQ")
GENERATION = struct.Struct("<I")

STATE_MASK = 0xFF
STATE_PROCESSOR_SHIFT = 8
STATE_PROCESSOR_MASK = 0xFF
STATE_ATTEMPTS_SHIFT = 16
STATE_ATTEMPTS_MAX = 0xFFFF
STATE_GENERATION_SHIFT = 32
STATE_GENERATION_MASK = 0xFFFF_FFFF

BASE_PAGE_LENGTH = PAGE
BASE_SELECTOR = 0
BASE_LIFE = 8
BASE_JOURNAL_HEAD = CACHE_LINE
BASE_COPIES = (128, 256)
BASE_BODY = struct.Struct("<8Q")
BASE_COPY = struct.Struct("<8QQ")  # the body and its checksum
ROSTER_LENGTH_OFFSET = 512
ROSTER_MEMBERS = 576
ROSTER_MEMBER = struct.Struct("<QQ")
ROSTER_MEMBERS_MAX = 64  # instances x dispatchers ever seen, retired ones too; two are usual

JOURNAL_RECORD_LENGTH = 32
JOURNAL_RECORD_BODY = struct.Struct("<QQQI")  # sequence, (requestedAt, processor, kind), amount in cents, table slot
JOURNAL_RECORD = struct.Struct("<QQQII")  # the body and its checksum
JOURNAL_REQUESTED_AT_MASK = (1 << 48) - 1  # ms UTC until the year 10889
JOURNAL_PROCESSOR_SHIFT = 48
JOURNAL_KIND_SHIFT = 56
JOURNAL_BYTE_MASK = 0xFF

WORKERS_MAX = 16  # one accepts over 3,000 payments a second (docs/performance.md), more than the processors take
DISPATCHERS_MAX = 8  # each has a connection to Redis and its own part of the memory
SLOTS_MIN = 2  # two journal records fill a cache line, so the table after them begins on one
SLOTS_MAX = 1 << 24  # of a lane, or waiting, or records: a table is 2 GiB at most, far beyond need


class Geometry(NamedTuple):
    """The numbers that decide a segment's size and where everything in it begins. Offsets and lengths are in bytes.

    Args:
        workers: web workers, 1 to `WORKERS_MAX`.
        dispatchers: dispatchers, 1 to `DISPATCHERS_MAX`.
        lane_slots: slots of each lane, a power of two.
        waiting_slots: table slots kept for payments that have not ended.
        journal_records: records of each journal, a power of two; as many ended payments stay remembered.
    """

    workers: int
    dispatchers: int
    lane_slots: int
    waiting_slots: int
    journal_records: int

    @property
    def table_slots(self) -> int:
        """Slots of each table: enough for every waiting payment and every remembered one."""
        return self.waiting_slots + self.journal_records

    @property
    def lane_length(self) -> int:
        """Bytes of one lane."""
        return LANE_SLOTS_OFFSET + self.lane_slots * LANE_SLOT_LENGTH

    @property
    def journal_length(self) -> int:
        """Bytes of one journal."""
        return self.journal_records * JOURNAL_RECORD_LENGTH

    @property
    def table_length(self) -> int:
        """Bytes of one table."""
        return self.table_slots * TABLE_SLOT_LENGTH

    @property
    def area_length(self) -> int:
        """Bytes of one dispatcher's area."""
        return BASE_PAGE_LENGTH + self.journal_length + self.table_length

    @property
    def lanes_offset(self) -> int:
        """Where the first lane begins: after the counters of the supervisor, the workers and the dispatchers."""
        return HEADER_LENGTH + (1 + self.workers + self.dispatchers) * COUNTERS_LENGTH

    @property
    def areas_offset(self) -> int:
        """Where the first dispatcher's area begins: the first page after the lanes."""
        end = self.lanes_offset + self.workers * self.dispatchers * self.lane_length
        return -(-end // PAGE) * PAGE

    @property
    def size(self) -> int:
        """Bytes of the whole segment."""
        return self.areas_offset + self.dispatchers * self.area_length

    def dispatcher_of(self, correlation_id: bytes) -> int:
        """The dispatcher that an id belongs to: the CRC-32 of its 16 bytes, modulo the number of dispatchers.

        All processes and all versions must agree on it: what was accepted under this id before lies in that
        dispatcher's lanes and table.
        """
        return crc32(correlation_id) % self.dispatchers

    def counters_offset(self, index: int) -> int:
        """Where the counters of process `index` begin: 0 supervisor, then the workers, then the dispatchers."""
        return HEADER_LENGTH + index * COUNTERS_LENGTH

    def lane_offset(self, worker: int, dispatcher: int) -> int:
        """Where the lane from `worker` to `dispatcher` begins."""
        return self.lanes_offset + (worker * self.dispatchers + dispatcher) * self.lane_length

    def area_offset(self, dispatcher: int) -> int:
        """Where the area of `dispatcher` begins: base page, journal, table."""
        return self.areas_offset + dispatcher * self.area_length

    def problem(self) -> str | None:
        """A sentence on the first number that is out of bounds, or None if all are possible."""
        bounds = {"workers": WORKERS_MAX, "dispatchers": DISPATCHERS_MAX, "waiting_slots": SLOTS_MAX}
        for name, most in bounds.items():
            if not 1 <= getattr(self, name) <= most:
                return f"{name} must be 1 to {most}, not {getattr(self, name)}"
        for name in ("lane_slots", "journal_records"):
            count = getattr(self, name)
            if not SLOTS_MIN <= count <= SLOTS_MAX or count & (count - 1):
                return f"{name} must be a power of two from {SLOTS_MIN} to {SLOTS_MAX}, not {count}"
        return None


# If one of these failed, a word could straddle two cache lines and its store would no longer be one access, records
# would overlap, or a checksum would cover the wrong bytes.
assert HEADER_BODY_OFFSET + HEADER_BODY.size == HEADER_CHECKSUM_OFFSET, "the header's checksum follows its body"
assert LANE_SLOT.size == LANE_SLOT_LENGTH == CACHE_LINE, "a lane slot is one cache line"
assert TABLE_SLOT.size == TABLE_SLOT_LENGTH == CACHE_LINE, "a table slot is one cache line"
assert TABLE_STATE == 0, "a table slot begins with its state word"
assert TABLE_BODY + TABLE_SLOT_BODY.size == TABLE_SLOT_LENGTH, "a table slot is its state word and its body"
assert TABLE_MARK + len(MARK) == TABLE_ID, "the mark stands right before the id"
assert TABLE_ID + TABLE_SLOT_IDENTITY.size == TABLE_REQUESTED_AT, "requestedAt follows the identity"
assert TABLE_REQUESTED_AT % WORD == TABLE_CONFLICTS % WORD == 0, "words that change alone are aligned"
assert JOURNAL_RECORD.size == JOURNAL_RECORD_LENGTH, "two journal records are one cache line"
assert BASE_COPIES[0] + BASE_COPY.size <= BASE_COPIES[1], "the base's copies do not overlap"
assert BASE_COPIES[1] + BASE_COPY.size <= ROSTER_LENGTH_OFFSET, "the roster follows the base"
assert ROSTER_MEMBERS + ROSTER_MEMBERS_MAX * ROSTER_MEMBER.size <= BASE_PAGE_LENGTH, "the roster fits its page"

"""What the scripts of `server/redis_scripts.py` do to the hash, in Python: same arguments, same answers.

A slow test runs both on random sequences and compares. Time is an argument: the model's own clock.
"""

from collections.abc import Callable

Reply = bytes | int | list["Reply"] | None


class RedisModel:
    """One Redis server's data.

    Args:
        now_ms: its own clock, ms.

    Attributes:
        hash: the one hash that the totals are kept in.
    """

    def __init__(self, now_ms: Callable[[], int]) -> None:
        """Begins empty."""
        self.hash: dict[bytes, bytes] = {}
        self._now_ms = now_ms
        self._leases: dict[bytes, int] = {}  # key -> when it expires

    def empty(self) -> None:
        """Everything is gone, as after a restart without persistence."""
        self.hash.clear()
        self._leases.clear()

    def run(self, command: str, arguments: list[bytes]) -> Reply:
        """One command, by its name here: the scripts', or Redis's own."""
        method: Callable[[list[bytes]], Reply] = getattr(self, f"_{command}")
        return method(arguments)

    def _flush(self, arguments: list[bytes]) -> Reply:
        member, header, builds_on, roster, count = arguments[:5]
        found = self.hash.get(member + b"|h", b"")
        mine, theirs, base = _version(header), _version(found), _version(builds_on)
        epoch = int(self.hash.get(b"epoch", b"0"))
        if mine[0] > epoch:
            epoch = mine[0]
            self.hash[b"epoch"] = b"%d" % epoch
        has_base = not builds_on or theirs == base or (theirs > base and theirs[1] == mine[1])
        applied = mine[0] == epoch and theirs < mine and has_base
        if applied:
            self._apply(member, header, arguments[5:], int(count), everything=not builds_on)
        if mine[0] == epoch and theirs < base:
            self.hash.pop(member + b"|h", None)
        members = self._meet(roster)
        health = (self.hash.get(b"health.0", b""), self.hash.get(b"health.1", b""))
        is_purged = int(self.hash.get(b"purged", b"0")) == epoch
        return [int(applied), found, epoch, int(is_purged), members, *health]

    def _apply(self, member: bytes, header: bytes, parts: list[bytes], count: int, *, everything: bool) -> None:
        if everything:
            for field in [field for field in self.hash if field.startswith(member + b"|")]:
                del self.hash[field]
        for index in range(0, 2 * count, 2):
            self.hash[member + b"|" + parts[index]] = parts[index + 1]
        for field in parts[2 * count :]:
            self.hash.pop(member + b"|" + field, None)
        self.hash[member + b"|h"] = header
        self.hash[member + b"|seen"] = b"%d" % self._now_ms()

    def _meet(self, roster: bytes) -> bytes:
        members = [name for name in self.hash.get(b"roster", b"").split(b",") if name]
        members += [name for name in dict.fromkeys(roster.split(b",")) if name and name not in members]
        if members:
            self.hash[b"roster"] = b",".join(members)
        return b",".join(members)

    def _names(self, arguments: list[bytes]) -> Reply:
        prefix = arguments[0] + b"|"
        header = self.hash.get(prefix + b"h", b"")
        return [header, *sorted(name for name in self.hash if name.startswith(prefix))]

    def _hmget(self, arguments: list[bytes]) -> Reply:
        return [self.hash.get(name) for name in arguments]

    def _summary(self, arguments: list[bytes]) -> Reply:
        rows: list[Reply] = []
        for member in self.hash.get(b"roster", b"").split(b","):
            if member:
                header = self.hash.get(member + b"|h", b"")
                fields = self._touched(member, header, arguments) if header and arguments[0] else []
                rows.append([member, header, self.hash.get(member + b"|seen", b"0"), fields])
        purge = self.hash.get(b"epoch", b"0"), self.hash.get(b"purged", b"0")
        return [b"%d" % self._now_ms(), *purge, *rows]

    def _touched(self, member: bytes, header: bytes, arguments: list[bytes]) -> list[Reply]:
        words = [int(word) for word in header.split()]
        first, last = max(int(arguments[0]), words[7]), words[8]
        if arguments[1]:
            last = min(last, int(arguments[1]))
        last_cut = 3 + int(arguments[2])
        cut = [b"m" + minute for minute in arguments[3:last_cut]]
        names = [b"m%d" % minute for minute in range(first, last + 1)]
        names += [b"s" + second for second in arguments[last_cut:]]
        fields: list[Reply] = []
        for name in names:
            value = self.hash.get(member + b"|" + name)
            if value is not None:
                fields += [name, value[:24] if name.startswith(b"m") and name not in cut else value]
        return fields

    def _purge(self, arguments: list[bytes]) -> Reply:
        before = self.hash.get(b"epoch", b"0")
        if b"roster" not in self.hash or before != arguments[1]:
            return 0
        epoch = max(int(arguments[0]), int(before) + 1)
        self.hash[b"epoch"] = self.hash[b"purged"] = b"%d" % epoch
        return epoch

    def _hset(self, arguments: list[bytes]) -> Reply:
        new = arguments[0] not in self.hash
        self.hash[arguments[0]] = arguments[1]
        return int(new)

    def _lease(self, arguments: list[bytes]) -> Reply:
        """Takes a lease: `SET key 1 NX PX milliseconds`."""
        key, milliseconds = arguments
        now_ms = self._now_ms()
        if self._leases.get(key, 0) > now_ms:
            return None
        self._leases[key] = now_ms + int(milliseconds)
        return b"OK"

    def _pttl(self, arguments: list[bytes]) -> Reply:
        """Tells how long a lease still lasts, in ms; -2 if there is none."""
        left_ms = self._leases.get(arguments[0], 0) - self._now_ms()
        return left_ms if left_ms > 0 else -2

    def _pexpire(self, arguments: list[bytes]) -> Reply:
        """Has a lease end in so many ms; tells whether there is one."""
        key, milliseconds = arguments
        if self._leases.get(key, 0) <= self._now_ms():
            return 0
        self._leases[key] = self._now_ms() + int(milliseconds)
        return 1


def _version(header: bytes) -> tuple[int, int, int]:
    words = header.split(b" ")
    if len(words) < 3:
        return -1, -1, -1
    return int(words[0]), int(words[1]), int(words[2])

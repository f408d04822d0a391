"""Which child is pending, alive or dead: the supervisor's memory of its children. No system calls; time is an argument.

A role without a process is *pending* until a process is forked for it: at once if the last one lived long, else after a
pause that grows, so that a child that can't live does not use up the machine.
"""

from typing import NamedTuple

from server.config import Config
from shm import dispatcher_role, worker_role

PAUSE_MIN_MS = 100  # after the second short life in a row
PAUSE_MAX_MS = 5000
SHORT_LIFE_MS = 2000  # a child that dies sooner would probably do so again: the next is forked after a pause


class Role(NamedTuple):
    """One of the processes that an instance is to have.

    Args:
        kind: `worker` or `dispatcher`.
        number: which one of its kind.
    """

    kind: str
    number: int

    def __str__(self) -> str:
        """The name, as in the names of locks: `worker-0`."""
        return worker_role(self.number) if self.kind == "worker" else dispatcher_role(self.number)


def roles_of(config: Config) -> list[Role]:
    """Every role of an instance but the supervisor's, dispatchers before the workers that hand over to them."""
    roles = [Role("dispatcher", number) for number in range(config.dispatchers)]
    return roles + [Role("worker", number) for number in range(config.web_workers)]


class Child(NamedTuple):
    """A living child.

    Args:
        pid: its process.
        forked_at_ms: when it was forked, on the ticking clock.
    """

    pid: int
    forked_at_ms: int


class Children:
    """All roles, and which process plays each.

    Args:
        roles: every role, in the order in which they are to be filled.
    """

    def __init__(self, roles: list[Role]) -> None:
        """Begins with no child alive and every role due at once."""
        self._alive: dict[Role, Child] = {}
        self._due_ms: dict[Role, int] = dict.fromkeys(roles, 0)
        self._pause_ms: dict[Role, int] = dict.fromkeys(roles, 0)

    def due(self, now_ms: int, kind: str | None = None) -> list[Role]:
        """The roles to fill now, of one kind or all."""
        return [role for role, due_ms in self._due_ms.items() if due_ms <= now_ms and kind in {None, role.kind}]

    def born(self, role: Role, pid: int, now_ms: int) -> None:
        """Notes the process that was forked for a role."""
        self._alive[role] = Child(pid, now_ms)
        del self._due_ms[role]

    def died(self, pid: int, now_ms: int) -> Role | None:
        """Notes a process's end: its role, which is pending again; None if the process was no child of the instance."""
        role = next((role for role, alive in self._alive.items() if alive.pid == pid), None)
        if role is None:
            return None
        alive = self._alive.pop(role)
        if now_ms - alive.forked_at_ms >= SHORT_LIFE_MS:
            self._pause_ms[role] = 0
            self._due_ms[role] = now_ms
        else:
            self.put_off(role, now_ms)
        return role

    def put_off(self, role: Role, now_ms: int) -> None:
        """Makes a role that has no process due again after a pause, which grows each time."""
        self._due_ms[role] = now_ms + self._pause_ms[role]
        self._pause_ms[role] = min(max(self._pause_ms[role] * 2, PAUSE_MIN_MS), PAUSE_MAX_MS)

    def alive(self, kind: str | None = None) -> dict[Role, Child]:
        """The living children by role, of one kind or all."""
        return {role: child for role, child in self._alive.items() if kind in {None, role.kind}}

    def wait_ms(self, now_ms: int, most_ms: int) -> int:
        """In how many ms a role is due, at most `most_ms`."""
        return max(0, min([most_ms, *(due_ms - now_ms for due_ms in self._due_ms.values())]))

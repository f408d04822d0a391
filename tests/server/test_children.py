"""server/children.py: who is pending, alive and dead, without a single process."""

from server.children import PAUSE_MAX_MS, PAUSE_MIN_MS, SHORT_LIFE_MS, Child, Children, Role, roles_of
from server.config import load

DISPATCHER = Role("dispatcher", 0)
WORKERS = Role("worker", 0), Role("worker", 1)
ROLES = [DISPATCHER, *WORKERS]


def family() -> Children:
    """All three, born at 0: pids 10, 11, 12."""
    children = Children(ROLES)
    for pid, role in enumerate(ROLES, 10):
        children.born(role, pid, 0)
    return children


class TestChildren:
    """Children."""

    def test_everyone_is_due_at_first(self) -> None:
        """In the order given: dispatchers before the workers that hand over to them."""
        assert Children(ROLES).due(0) == ROLES
        assert Children(ROLES).wait_ms(0, 500) == 0

    def test_the_born_are_alive_and_no_longer_due(self) -> None:
        """With their pids and birthdays, all or of one kind."""
        children = Children(ROLES)
        children.born(WORKERS[1], 12, 7)
        assert children.due(1000) == [DISPATCHER, WORKERS[0]]
        assert children.alive() == {WORKERS[1]: Child(12, 7)}
        children.born(DISPATCHER, 13, 8)
        assert children.alive("dispatcher") == {DISPATCHER: Child(13, 8)}
        assert children.alive("worker") == {WORKERS[1]: Child(12, 7)}

    def test_a_stranger_is_nobody(self) -> None:
        """The first process also reaps processes it did not fork; they change nothing."""
        children = family()
        assert children.died(99, 5) is None
        assert list(children.alive()) == ROLES

    def test_a_long_life_is_replaced_at_once(self) -> None:
        """Its role is due the moment it is reaped, and it can't die twice."""
        children = family()
        assert children.died(11, SHORT_LIFE_MS) == WORKERS[0]
        assert children.due(SHORT_LIFE_MS) == [WORKERS[0]]
        assert list(children.alive()) == [DISPATCHER, WORKERS[1]]
        assert children.died(11, SHORT_LIFE_MS) is None

    def test_short_lives_are_replaced_more_and_more_slowly(self) -> None:
        """At once the first time, then after pauses that double up to a bound; the others are not held up."""
        children, now_ms, pauses = family(), 0, []
        for pid in range(100, 110):
            alive = children.alive()[DISPATCHER]
            assert children.died(alive.pid, now_ms) == DISPATCHER
            pauses.append(children.wait_ms(now_ms, 60_000))
            assert children.due(now_ms + pauses[-1] - 1) == []
            now_ms += pauses[-1]
            assert children.due(now_ms) == [DISPATCHER]
            children.born(DISPATCHER, pid, now_ms)
        assert pauses == [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]
        assert (PAUSE_MIN_MS, PAUSE_MAX_MS) == (100, 5000)
        children.died(11, now_ms)
        assert children.due(now_ms) == [WORKERS[0]]

    def test_a_long_life_forgives(self) -> None:
        """After one, the next short life is replaced at once again."""
        children = family()
        for pid in (10, 20, 30):
            children.died(pid, 100)
            children.born(DISPATCHER, pid + 10, 100)
        children.died(40, 100 + SHORT_LIFE_MS)
        children.born(DISPATCHER, 50, 5000)
        children.died(50, 5000)
        assert children.due(5000) == [DISPATCHER]

    def test_waits_no_longer_than_told(self) -> None:
        """The supervisor also looks at heartbeats, whether anybody is due or not."""
        children = family()
        assert children.wait_ms(0, 500) == 500
        children.died(10, 0)
        assert children.wait_ms(0, 500) == 0
        children.born(DISPATCHER, 20, 0)
        children.died(20, 0)
        assert (children.wait_ms(0, 500), children.wait_ms(40, 500), children.wait_ms(1000, 500)) == (100, 60, 0)

    def test_names(self) -> None:
        """A role is called as its lock is."""
        assert [str(role) for role in ROLES] == ["dispatcher-0", "worker-0", "worker-1"]


class TestRolesOf:
    """roles_of."""

    def test_dispatchers_first(self) -> None:
        """Each of both kinds once, with the name of its lock."""
        roles = roles_of(load({"WEB_WORKERS": "2", "DISPATCHERS": "3"}))
        assert [str(role) for role in roles] == ["dispatcher-0", "dispatcher-1", "dispatcher-2", "worker-0", "worker-1"]
        assert roles_of(load({"WEB_WORKERS": "2"})) == ROLES

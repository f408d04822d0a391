"""Tests of tools/launcher/leftovers.py."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shm import FileLock, Segment, SegmentMissing, lock_path, take_role
from tests.tools.ring_view.segments import Filled, unique_instance
from tools.launcher.leftovers import DEAD_WITHIN_S, clear


def left(instance: str) -> list[str]:
    """What an instance has in /dev/shm."""
    return sorted(
        path.name.removeprefix(f"gateway-{instance}") for path in Path("/dev/shm").glob(f"gateway-{instance}*")
    )


def stopped() -> Iterator[Filled]:
    """A segment of an instance that was stopped, gone afterwards."""
    segment = Filled()
    take_role(segment.instance, "supervisor").release()
    yield segment
    try:
        segment.close()
    except SegmentMissing:
        lock_path(segment.instance, "supervisor").unlink(missing_ok=True)


filled = pytest.fixture(stopped, name="filled")
other = pytest.fixture(stopped, name="other")


class TestClear:
    """clear."""

    def test_settled_payments_keep_nothing(self, filled: Filled) -> None:
        """The segment and its lock files are gone, without a word."""
        filled.settle(1, 0)
        assert clear([filled.instance], time.sleep) == []
        assert left(filled.instance) == []

    def test_unsettled_payments_keep_their_segment(self, filled: Filled) -> None:
        """Which is named, with their number."""
        filled.settle(1, 0)
        filled.wait(2)
        filled.publish(3)
        (told,) = clear([filled.instance], time.sleep)
        assert told.startswith(f"segment /gateway-{filled.instance} stays: it holds 2 accepted payments that are not")
        assert Segment.attach(filled.instance, read_only=True).lane(0, 0).depth == 1

    def test_who_belongs_together_stays_together(self, filled: Filled, other: Filled) -> None:
        """Without one of them the totals of the rest would never be whole again."""
        filled.settle(1, 0)
        other.wait(2)
        third = unique_instance()
        take_role(third, "supervisor").release()  # it began, and made no segment
        told = clear([filled.instance, third, other.instance], time.sleep)
        lock_path(third, "supervisor").unlink()
        assert len(told) == 2
        assert told[0] == f"segment /gateway-{filled.instance} stays: its totals belong to what stays beside it"
        assert told[1].startswith(f"segment /gateway-{other.instance} stays: it holds 1 accepted payments")
        assert [bool(left(one.instance)) for one in (filled, other)] == [True, True]

    @pytest.mark.parametrize("role", ["supervisor", "worker-1", "dispatcher-0"])
    def test_a_living_process_keeps_it(self, filled: Filled, role: str) -> None:
        """It may yet accept a payment, or settle one."""
        slept: list[float] = []
        with take_role(filled.instance, role):
            told = clear([filled.instance], slept.append)
        assert told == [f"segment /gateway-{filled.instance} stays: another process is {role} of {filled.instance}"]
        assert "" in left(filled.instance)
        assert sum(slept) == pytest.approx(DEAD_WITHIN_S)

    def test_a_dying_process_is_waited_for(self, filled: Filled) -> None:
        """One killed a moment ago still holds its role."""
        dying = take_role(filled.instance, "worker-0")
        assert clear([filled.instance], lambda _: dying.release()) == []
        assert left(filled.instance) == []

    def test_nobody_was_there(self) -> None:
        """Then nothing is, and nothing is made."""
        instance = unique_instance()
        assert clear([instance], time.sleep) == []
        assert left(instance) == []

    def test_an_instance_that_made_no_segment(self) -> None:
        """Its lock files go."""
        instance = unique_instance()
        for role in ("supervisor", "worker-0", "dispatcher-0"):
            take_role(instance, role).release()
        assert clear([instance], time.sleep) == []
        assert left(instance) == []

    def test_an_unfinished_segment(self, filled: Filled) -> None:
        """Nothing was ever accepted into it, so it goes."""
        filled.put_word(0, 0)
        assert clear([filled.instance], time.sleep) == []
        assert left(filled.instance) == []

    def test_a_segment_that_cannot_be_read(self, filled: Filled) -> None:
        """It stays, with the reason."""
        filled.put_word(0, 1)
        (told,) = clear([filled.instance], time.sleep)
        assert told.startswith(f"segment /gateway-{filled.instance} stays: segment /gateway-{filled.instance} is not")
        assert "" in left(filled.instance)

    def test_another_users(self, filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
        """It stays, with the reason."""

        def refuse(*_: object, **__: object) -> FileLock:
            raise PermissionError(13, "Permission denied", "/dev/shm/lock")

        monkeypatch.setattr("tools.launcher.leftovers.take_role", refuse)
        reason = "/dev/shm/lock can't be opened (Permission denied): another user's, or not writable"
        assert clear([filled.instance], time.sleep) == [f"segment /gateway-{filled.instance} stays: {reason}"]

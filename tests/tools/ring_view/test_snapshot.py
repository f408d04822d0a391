"""The plain data of a look and what follows from it."""

import dataclasses

import pytest

from tools.ring_view.snapshot import HEARTBEAT_STALE_MS, Moment, Money, Process, processor_name


def process(lock_pid: int | None, heartbeat_age_ms: int | None) -> Process:
    """A process of which only its signs of life matter."""
    return Process("worker-0", 12, "ready", 1000, lock_pid, heartbeat_age_ms, sleeping=False, counts={})


class TestMoment:
    """`Moment`."""

    def test_time_passed_is_by_the_monotonic_clock(self) -> None:
        """A calendar that is set back does not make a look end before it began."""
        assert Moment(9_000_000, 1_000_000).ms_until(Moment(5_000_000, 1_002_500)) == 2

    def test_now_moves_on(self) -> None:
        """The monotonic clock does not go back."""
        assert Moment.now().ms_until(Moment.now()) >= 0


class TestMoney:
    """`Money`."""

    def test_sums(self) -> None:
        """Counts and cents add up apart."""
        assert Money(1, 1990) + Money(2, 10) == Money(3, 2000)


class TestProcess:
    """`Process`."""

    @pytest.mark.parametrize(
        ("lock_pid", "heartbeat_age_ms", "alive"),
        [
            (12, 0, True),
            (12, HEARTBEAT_STALE_MS + 1, True),
            (12, None, True),
            (None, HEARTBEAT_STALE_MS, True),
            (None, HEARTBEAT_STALE_MS + 1, False),
            (None, None, False),
        ],
    )
    def test_alive_by_lock_or_by_heart(self, lock_pid: int | None, heartbeat_age_ms: int | None, alive: bool) -> None:  # noqa: FBT001
        """A process lives if it holds its lock, or, where locks can't be seen, if its heartbeat is of a moment ago."""
        assert process(lock_pid, heartbeat_age_ms).alive is alive

    def test_who_said_goodbye_is_gone(self) -> None:
        """A process that ended in order does not seem to live on because of a heartbeat a moment ago."""
        gone = dataclasses.replace(process(None, 0), phase="gone")
        assert not gone.alive

    def test_a_look_can_not_be_changed(self) -> None:
        """What was seen stays as it was seen."""
        with pytest.raises(dataclasses.FrozenInstanceError):
            process(None, None).pid = 13  # type: ignore[misc]


class TestProcessorName:
    """`processor_name`."""

    @pytest.mark.parametrize(("index", "name"), [(0, "default"), (1, "fallback"), (9, "processor 9")])
    def test_names(self, index: int, name: str) -> None:
        """The two processors have names, others their index."""
        assert processor_name(index) == name

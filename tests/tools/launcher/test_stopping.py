"""Tests of tools/launcher/stopping.py."""

import signal
import sys
import weakref
from collections.abc import Iterator

import pytest

from tools.launcher.errors import Stop
from tools.launcher.stopping import SAME_S, SIGNALS, SLICE_S, Stopping


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.signals: dict[float, signal.Signals] = {}  # what comes by when

    def clock(self) -> float:
        """What time it is, s."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Lets time pass, and signals come."""
        self.now_s += seconds
        for at_s in [at_s for at_s in self.signals if at_s <= self.now_s]:
            signal.raise_signal(self.signals.pop(at_s))


@pytest.fixture
def time() -> Time:
    """A clock of the test's own."""
    return Time()


@pytest.fixture
def stopping(time: Time) -> Iterator[Stopping]:
    """One that listens; the process's handlers come back."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS}  # nohup may have had one ignored
    stopping = Stopping(time.clock, time.sleep)
    stopping.listen()
    yield stopping
    for number, handler in before.items():
        signal.signal(number, handler)


class TestStopping:
    """Stopping."""

    def test_a_pause_takes_its_time(self, stopping: Stopping, time: Time) -> None:
        """When nobody wants anything."""
        stopping.pause(1)
        assert time.now_s == pytest.approx(101)

    @pytest.mark.parametrize("number", SIGNALS)
    def test_a_signal_ends_a_pause(self, stopping: Stopping, time: Time, number: signal.Signals) -> None:
        """Whichever it is, within a slice."""
        time.signals[100.5] = number
        with pytest.raises(Stop):
            stopping.pause(1)
        assert time.now_s <= 100.5 + SLICE_S

    def test_a_signal_between_pauses_is_not_lost(self, stopping: Stopping, time: Time) -> None:
        """It interrupts nothing, and ends the next pause before it has begun."""
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Stop):
            stopping.pause(1)
        assert time.now_s == 100

    def test_before_anything_was_started_it_interrupts(self, stopping: Stopping) -> None:
        """Whatever is done then can be left as it is."""
        stopping.interrupt()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)

    def test_an_interrupt_that_got_lost_is_found(self, stopping: Stopping, monkeypatch: pytest.MonkeyPatch) -> None:
        """The interpreter drops what a callback of its own raises, and imports are full of those."""
        lost = []
        monkeypatch.setattr(sys, "unraisablehook", lambda what: lost.append(what.exc_type))
        stopping.interrupt()
        module = Time()
        watched = weakref.ref(module, lambda _: signal.raise_signal(signal.SIGINT))
        del module
        assert (watched(), lost) == (None, [KeyboardInterrupt])
        stopping.listen()
        with pytest.raises(Stop):
            stopping.check()

    def test_while_winding_up_only_a_further_signal_counts(self, stopping: Stopping, time: Time) -> None:
        """The first is being handled already."""
        signal.raise_signal(signal.SIGINT)
        stopping.acknowledge()
        stopping.pause(1)
        time.signals[101.5] = signal.SIGINT
        with pytest.raises(Stop):
            stopping.pause(1)

    def test_two_at_once_are_one_wish(self, stopping: Stopping, time: Time) -> None:
        """`timeout` sends its signal to the process and to its group."""
        signal.raise_signal(signal.SIGTERM)
        stopping.acknowledge()
        time.signals[100 + SAME_S / 2] = signal.SIGTERM
        stopping.pause(1)

    @pytest.mark.usefixtures("stopping")
    def test_a_hangup_that_is_ignored_stays_so(self, time: Time) -> None:
        """By `nohup`; the other signals count all the same."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        stopping = Stopping(time.clock, time.sleep)
        for take in (stopping.interrupt, stopping.listen):
            take()
            signal.raise_signal(signal.SIGHUP)
        stopping.pause(1)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Stop):
            stopping.check()

    def test_in_the_end_nothing_counts(self, stopping: Stopping) -> None:
        """What is left to do is short."""
        stopping.ignore()
        signal.raise_signal(signal.SIGINT)
        stopping.check()

"""Tests of tools/benchmark/stopping.py."""

import signal

import pytest

from tools.benchmark import stopping


@pytest.mark.usefixtures("listening")
class TestListen:
    """What a signal does."""

    @pytest.mark.parametrize("number", stopping.SIGNALS)
    def test_the_first_interrupts_and_no_other(self, number: signal.Signals) -> None:
        """What is put right after it is not cut off by a second one, whichever that is."""
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        for further in stopping.SIGNALS:
            signal.raise_signal(further)

    def test_an_ignored_hangup_stays_so(self) -> None:
        """As `nohup` wants it, also after the bench is interrupted."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        stopping.listen()
        signal.raise_signal(signal.SIGHUP)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.usefixtures("listening")
class TestPutOff:
    """What must not be cut off."""

    def test_a_signal_meanwhile_interrupts_at_the_end(self) -> None:
        """However many come."""
        done = []

        @stopping.uninterrupted()
        def put_right() -> None:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            done.append("all")

        with pytest.raises(KeyboardInterrupt):
            put_right()
        assert done == ["all"]
        signal.raise_signal(signal.SIGINT)

    def test_without_one_signals_are_heeded_again(self) -> None:
        """The next run can be interrupted."""
        with stopping.uninterrupted():
            pass
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    def test_an_error_is_what_is_told(self) -> None:
        """It ends the bench just as well."""

        @stopping.uninterrupted()
        def put_right() -> None:
            signal.raise_signal(signal.SIGINT)
            raise ValueError("so and so")

        with pytest.raises(ValueError, match="so and so"):
            put_right()

    def test_once_interrupted_nothing_more_comes(self) -> None:
        """The second Ctrl-C of somebody in a hurry."""
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with stopping.uninterrupted():
            signal.raise_signal(signal.SIGINT)

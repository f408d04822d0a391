"""Tests of tools/benchmark/child.py."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tools.benchmark import child
from tools.benchmark.child import lines, started, status
from tools.benchmark.errors import GeneratorError

TALKER = "import sys; print('one', flush=True); sys.stdout.write('two'); sys.stdout.flush()"
SLEEPER = "import signal, sys, time; signal.signal(signal.SIGINT, {}); print('up', flush=True); time.sleep(60)"


def python(program: str) -> tuple[str, ...]:
    """The command that runs a small program."""
    return (sys.executable, "-c", program)


@pytest.mark.slow
class TestChild:
    """Real processes."""

    def test_lines_come_whole_and_silence_is_told(self) -> None:
        """A last line without an end counts too."""
        with started(python(f"{TALKER}; import time; time.sleep(0.2)"), stdout=subprocess.PIPE, stderr=-1) as process:
            assert process.stdout is not None
            said = list(lines(process.stdout, 0.05))
            assert status(process, "it") == 0
        assert [line for line in said if line] == ["one", "two"]
        assert "" in said

    @pytest.mark.parametrize("handler", ["signal.SIG_DFL", "signal.SIG_IGN"])
    def test_is_gone_when_the_block_is_left(self, handler: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """By Ctrl-C's signal, or killed if it does not mind that."""
        monkeypatch.setattr(child, "STOP_S", 0.2)
        began_s = time.monotonic()
        with started(python(SLEEPER.format(handler)), stdout=subprocess.PIPE, stderr=-1) as process:
            assert process.stdout is not None
            assert next(lines(process.stdout, 5.0)) == "up"
        assert process.poll() is not None
        assert time.monotonic() - began_s < 30

    def test_is_gone_though_a_signal_comes_meanwhile(self, listening: None, monkeypatch: pytest.MonkeyPatch) -> None:
        """While it is waited for, after an error; that Ctrl-C ends the bench then."""
        del listening
        monkeypatch.setattr(child, "STOP_S", 0.05)
        context = started(python(SLEEPER.format("signal.SIG_IGN")), stdout=subprocess.PIPE, stderr=-1)
        process = context.__enter__()
        assert process.stdout is not None
        assert next(lines(process.stdout, 5.0)) == "up"
        wait = process.wait

        def wait_and_be_told(timeout: float | None = None) -> int:
            monkeypatch.undo()
            os.kill(os.getpid(), signal.SIGINT)
            return wait(timeout)

        monkeypatch.setattr(process, "wait", wait_and_be_told)
        with pytest.raises(KeyboardInterrupt):
            context.__exit__(None, None, None)
        assert process.returncode == -signal.SIGKILL

    def test_one_that_stays_is_a_sentence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It closed its output and did not end."""
        monkeypatch.setattr(child, "STOP_S", 0.05)
        with (
            started(python("import time; time.sleep(60)"), stdout=subprocess.DEVNULL, stderr=-1) as process,
            pytest.raises(GeneratorError, match="it closed its output and did not end"),
        ):
            status(process, "it")

    def test_gets_its_input(self) -> None:
        """Through a pipe, if wanted."""
        command = python("print(input())")
        with started(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=-1) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"hello\n")
            assert [line for line in lines(process.stdout, 5.0) if line] == ["hello"]

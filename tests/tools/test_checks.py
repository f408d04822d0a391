"""What `./tools/test` runs: which steps for which command line, and what becomes of them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tools import checks
from tools.checks import (
    ALL,
    CONTAINERS,
    FAST,
    USUAL,
    Choice,
    Outcome,
    Step,
    main,
    read_command_line,
    require_programs_of,
    run_command,
    run_steps,
    steps_of,
    verdict,
)
from tools.debian import SetupError
from tools.environment import EXIT_INTERRUPTED, ROOT


class TestReadCommandLine:
    """What the person may ask for."""

    @pytest.mark.parametrize(
        ("words", "tests"),
        [([], USUAL), (["--fast"], FAST), (["--containers"], ALL), (["--only-containers"], CONTAINERS)],
    )
    def test_each_option_is_a_set_of_tests(self, words: list[str], tests: str) -> None:
        """One option at most; without any, everything but the container tests."""
        assert read_command_line(words) == Choice(tests, tests == CONTAINERS, [])

    def test_what_follows_two_dashes_is_pytests(self) -> None:
        """Pytest's own options pass as they are, a second `--` too."""
        assert read_command_line(["--fast", "--", "-k", "lane", "--", "x"]).pytest_args == ["-k", "lane", "--", "x"]

    @pytest.mark.parametrize("words", [["--fast", "--containers"], ["--quick"], ["lane"]])
    def test_mistakes_end_with_status_2(self, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        """A contradiction or an unknown word is told with the usage."""
        with pytest.raises(SystemExit) as ending:
            read_command_line(words)
        assert ending.value.code == 2
        assert "usage: tools/test" in capsys.readouterr().err


class TestStepsOf:
    """The steps of a choice."""

    def test_format_lint_types_tests(self) -> None:
        """All four with the Python given, pytest with coverage and the person's own words last."""
        steps = steps_of(Choice(USUAL, only_tests=False, pytest_args=["-x"]), "py")
        assert [step.name for step in steps] == ["format", "lint", "types", "tests"]
        assert {step.command[0] for step in steps} == {"py"}
        assert steps[-1].command == ["py", "-m", "pytest", "-m", USUAL, "--cov", "--cov-report=term", "-x"]

    def test_fast(self) -> None:
        """Without coverage, which would double the minute that they take."""
        steps = steps_of(Choice(FAST, only_tests=False, pytest_args=["-x"]), "py")
        assert [step.name for step in steps] == ["format", "lint", "types", "tests"]
        assert steps[-1].command == ["py", "-m", "pytest", "-m", FAST, "-x"]

    def test_a_path_is_not_taken_for_what_to_cover(self) -> None:
        """Pytest's bare `--cov` would swallow a word that follows it."""
        words = steps_of(Choice(USUAL, only_tests=False, pytest_args=["tests/shm"]), "py")[-1].command
        assert words[words.index("--cov") + 1].startswith("-")

    def test_only_container_tests(self) -> None:
        """The second part of a full run repeats nothing of the first."""
        steps = steps_of(Choice(CONTAINERS, only_tests=True, pytest_args=[]), "py")
        assert steps == [Step("container tests", ["py", "-m", "pytest", "-m", CONTAINERS])]


class TestRequirePrograms:
    """The programs that tests start."""

    @pytest.fixture
    def required(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Note what is required instead of installing it."""
        names: list[str] = []
        monkeypatch.setattr(checks, "require_programs", names.extend)
        return names

    def test_fast_tests_need_none(self, required: list[str]) -> None:
        """An ordinary user on a bare machine can run the fast tests."""
        require_programs_of(Choice(FAST, only_tests=False, pytest_args=[]))
        assert required == []

    def test_slow_tests_need_haproxy_and_redis(self, required: list[str]) -> None:
        """They talk to the real ones."""
        require_programs_of(Choice(USUAL, only_tests=False, pytest_args=[]))
        assert required == ["haproxy", "redis-server"]

    @pytest.mark.usefixtures("required")
    @pytest.mark.parametrize("docker", [None, "/bin/false"])
    def test_container_tests_need_docker(self, docker: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
        """No Docker, or one that doesn't answer, is a sentence."""
        monkeypatch.setattr(checks, "find_program", lambda _command: docker)
        with pytest.raises(SetupError, match="need a running Docker engine"):
            require_programs_of(Choice(ALL, only_tests=False, pytest_args=[]))

    def test_with_docker_all_is_well(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An engine that answers is enough."""
        monkeypatch.setattr(checks, "find_program", lambda _command: "/bin/true")
        require_programs_of(Choice(CONTAINERS, only_tests=True, pytest_args=[]))


class TestRunSteps:
    """One step after the other."""

    def test_all_run_whatever_fails(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A failed step doesn't hide what the next would have found; each is timed."""
        statuses = iter([1, 0])
        times = iter([10.0, 12.0, 20.0, 20.5])
        steps = [Step("lint", ["py", "-m", "ruff", ""]), Step("types", ["py", "-m", "mypy"])]
        outcomes = run_steps(steps, run=lambda _: next(statuses), clock=lambda: next(times))
        assert outcomes == [Outcome("lint", 1, 2.0), Outcome("types", 0, 0.5)]
        assert "== lint: -m ruff ''\n== lint: FAILED (exit status 1), 2.0 s\n" in capsys.readouterr().err

    def test_verdict(self) -> None:
        """A line for the last summary."""
        assert verdict(Outcome("types", 0, 3.14)) == "types: ok, 3.1 s"


class TestRunCommand:
    """A step's command and its end."""

    def test_runs_in_the_projects_folder(self) -> None:
        """The command's status is returned; it runs where the settings are, from wherever it was started."""
        assert run_command(["sh", "-c", f'test "$PWD" = "{ROOT}" && exit 7']) == 7

    @pytest.mark.slow
    @pytest.mark.parametrize(("ending", "stop"), [(KeyboardInterrupt, ""), (SystemExit, "exit 0")])
    def test_is_ended_with_this_process(
        self, ending: type[BaseException], stop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It may stop in order; if it does not, it is killed. (It waits until it is waited for.)"""
        monkeypatch.setattr(checks, "STOP_WAIT_S", 0.05)
        noted = tmp_path / "pid"
        script = f'trap "{stop}" INT; echo $$ > {noted}; sleep 0.1; kill -USR1 $PPID; while :; do sleep 0.01; done'

        def interrupt(_signal: int, _frame: object) -> None:
            raise ending

        usual = signal.signal(signal.SIGUSR1, interrupt)
        try:
            with pytest.raises(ending):
                run_command(["sh", "-c", script])
        finally:
            signal.signal(signal.SIGUSR1, usual)
        with pytest.raises(ProcessLookupError):
            os.kill(int(noted.read_text(encoding="ascii")), 0)


class TestMain:
    """The whole, without running the real steps."""

    @pytest.fixture(autouse=True)
    def quiet(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither start anew in `.venv`, nor install, nor take over SIGTERM."""
        monkeypatch.setattr(checks, "reexec", lambda *, dev: None)
        monkeypatch.setattr(checks, "require_programs_of", lambda _choice: None)
        monkeypatch.setattr(signal, "signal", lambda *_: None)

    @pytest.mark.parametrize(("statuses", "expected"), [([0, 0], 0), ([0, 1], 1), ([4, 0], 1)])
    def test_status_is_1_if_any_step_failed(
        self, statuses: Sequence[int], expected: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One failed step among many fails the whole."""
        outcomes = [Outcome("x", status, 0.0) for status in statuses]
        monkeypatch.setattr(checks, "run_steps", lambda _steps: outcomes)
        assert main([]) == expected

    @pytest.mark.parametrize(("error", "expected"), [(SetupError("no Docker"), 1), (KeyboardInterrupt(), 130)])
    def test_ends_cleanly(
        self,
        error: BaseException,
        expected: int,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """What is missing is a sentence; Ctrl-C is a status."""

        def fail(_steps: Sequence[Step]) -> list[Outcome]:
            raise error

        monkeypatch.setattr(checks, "run_steps", fail)
        assert main(["--fast"]) == expected
        assert str(error) in capsys.readouterr().err


class TestProgram:
    """`tools/test` itself."""

    @pytest.mark.slow
    @pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, EXIT_INTERRUPTED), (signal.SIGTERM, 143)])
    def test_a_signal_ends_it_and_its_step(self, number: signal.Signals, status: int, tmp_path: Path) -> None:
        """Ctrl-C reaches the whole group, SIGTERM this process alone: either way nothing runs on."""
        hung = tmp_path / "test_hung.py"
        started = tmp_path / "started"
        hung.write_text(
            f"import os, pathlib, time\n\ndef test_hung() -> None:\n"
            f"    pathlib.Path({str(started)!r}).write_text(str(os.getpid()))\n    time.sleep(60)\n",
            encoding="ascii",
        )
        program = str(ROOT / "tools" / "test")
        words = [sys.executable, program, "--fast", "--", "--rootdir", str(tmp_path), str(hung)]
        with subprocess.Popen(words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, process_group=0) as process:
            deadline = time.monotonic() + 60
            while not (started.exists() and started.read_text(encoding="ascii")):
                assert time.monotonic() < deadline, "the tests did not begin"
                time.sleep(0.05)
            if number == signal.SIGINT:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
            assert process.wait(timeout=30) == status
        with pytest.raises(ProcessLookupError):
            os.kill(int(started.read_text(encoding="ascii")), 0)

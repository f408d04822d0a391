"""What `./tools/test` runs: format, lint, types, tests. A step runs even if an earlier one failed.

Only the standard library is used: the command line is read before `.venv` exists.
"""

from __future__ import annotations  # an older Python must get as far as the message that it is too old

import argparse
import shlex
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from tools.debian import SetupError, find_program, require_programs, say
from tools.environment import EXIT_INTERRUPTED, ROOT, reexec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import FrameType

ASK_TIMEOUT_S = 60  # an engine that takes longer than this hangs
STOP_WAIT_S = 30  # for an interrupted step, whose tests must stop the processes they started
EXIT_TERMINATED = 143  # 128 + SIGTERM, as shells say it

FAST = "not slow and not containers"
USUAL = "not containers"
ALL = ""
CONTAINERS = "containers"


class Step(NamedTuple):
    """One thing to check: its name, and the command that ends with status 0 if all is well."""

    name: str
    command: list[str]


class Outcome(NamedTuple):
    """The result of a step: exit status and seconds."""

    name: str
    status: int
    took_s: float


class Choice(NamedTuple):
    """What the command line asks for.

    Args:
        tests: pytest's marker expression.
        only_tests: leave out format, lint, types and coverage.
        pytest_args: handed to pytest as they are.
    """

    tests: str
    only_tests: bool
    pytest_args: list[str]


def read_command_line(arguments: Sequence[str]) -> Choice:
    """Reads the command line; on `--help` or a mistake the process ends here."""
    parser = argparse.ArgumentParser(
        prog="tools/test",
        description="Run format, lint, types and tests, with branch coverage if not --fast. Makes .venv if needed. "
        "The slow tests use HAProxy and Redis, whose Debian packages are installed if missing (as root).",
        epilog="Everything after -- goes to pytest, e.g. ./tools/test --fast -- -k lane -x",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--fast", dest="tests", action="store_const", const=FAST, help="leave out the slow tests and coverage"
    )
    which.add_argument(
        "--containers", dest="tests", action="store_const", const=ALL, help="run the container tests too (needs Docker)"
    )
    which.add_argument(
        "--only-containers", dest="tests", action="store_const", const=CONTAINERS, help="run only the container tests"
    )
    parser.set_defaults(tests=USUAL)
    ours, pytest_args = _split(arguments)
    tests: str = parser.parse_args(ours).tests
    return Choice(tests, tests == CONTAINERS, pytest_args)


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits a command line at its first `--`."""
    words = list(arguments)
    if "--" not in words:
        return words, []
    place = words.index("--")
    return words[:place], words[place + 1 :]


def steps_of(choice: Choice, python: str) -> list[Step]:
    """Lists the steps in order: the quick ones first.

    Args:
        choice: what the command line asks for.
        python: the Python whose ruff, mypy and pytest are meant.
    """
    pytest = [python, "-m", "pytest", "-m", choice.tests]
    if choice.only_tests:
        return [Step("container tests", [*pytest, *choice.pytest_args])]
    coverage = [] if choice.tests == FAST else ["--cov", "--cov-report=term"]  # which takes as long again
    return [
        Step("format", [python, "-m", "ruff", "format", "--check"]),
        Step("lint", [python, "-m", "ruff", "check"]),
        Step("types", [python, "-m", "mypy"]),
        Step("tests", [*pytest, *coverage, *choice.pytest_args]),
    ]


def require_programs_of(choice: Choice) -> None:
    """Makes sure that the programs exist which the tests start.

    Raises:
        SetupError: one is missing and can't be installed here.
    """
    if choice.tests in {USUAL, ALL}:
        require_programs(("haproxy", "redis-server"))
    if choice.tests in {ALL, CONTAINERS}:
        docker = find_program("docker")
        if docker is None or not (_succeeds(docker, "compose", "version") and _succeeds(docker, "info")):
            message = "The container tests need a running Docker engine with Compose v2 (`docker compose version`)."
            raise SetupError(message)


def _succeeds(*command: str | Path) -> bool:
    """Whether a command ends in time and with exit status 0."""
    try:
        return subprocess.run(command, check=False, capture_output=True, timeout=ASK_TIMEOUT_S).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def run_command(command: Sequence[str]) -> int:
    """Runs one command in the project's folder to its end; if this process is interrupted, so is the command."""
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:  # the terminal has sent it to the command too
            _await_end(process)
            raise
        except SystemExit:  # SIGTERM, which reaches this process alone
            process.send_signal(signal.SIGINT)
            _await_end(process)
            raise


def _await_end(process: subprocess.Popen[bytes]) -> None:
    """Gives an interrupted command time to stop what it started, then kills it."""
    try:
        process.wait(timeout=STOP_WAIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def run_steps(
    steps: Sequence[Step],
    run: Callable[[Sequence[str]], int] = run_command,
    clock: Callable[[], float] = time.monotonic,
) -> list[Outcome]:
    """Runs all steps, saying which and how long each took."""
    outcomes = []
    for step in steps:
        say(f"== {step.name}: {shlex.join(step.command[1:])}")
        started = clock()
        status = run(step.command)
        outcomes.append(Outcome(step.name, status, clock() - started))
        say(f"== {verdict(outcomes[-1])}\n")
    return outcomes


def verdict(outcome: Outcome) -> str:
    """A line on the result of a step."""
    word = "ok" if outcome.status == 0 else f"FAILED (exit status {outcome.status})"
    return f"{outcome.name}: {word}, {outcome.took_s:.1f} s"


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Turns SIGTERM into an orderly end."""
    sys.exit(EXIT_TERMINATED)


def main(arguments: Sequence[str]) -> int:
    """Runs what the command line asks for.

    Returns:
        Exit status: 0 if every step passed, 1 if one failed or couldn't begin, 2 for a wrong command line.
    """
    choice = read_command_line(arguments)
    reexec(dev=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        require_programs_of(choice)
        outcomes = run_steps(steps_of(choice, sys.executable))
    except SetupError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    for outcome in outcomes:
        say(verdict(outcome))
    return int(any(outcome.status for outcome in outcomes))

"""`tools/run` from its command line to its exit status."""

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tools.debian import SetupError, require_debian_package
from tools.environment import ROOT
from tools.launcher import docker
from tools.launcher.errors import LaunchError
from tools.launcher.fleet import Fleet, port_is_free
from tools.launcher.leftovers import clear
from tools.launcher.options import Options, read_command_line
from tools.launcher.plan import Programs, instances_of, ports_of, services_of
from tools.launcher.status import Watch

EXIT_FAILED = 1
LINE_EVERY_S = 1.0
LOOK_S = 0.2
TRY = (
    "curl -i http://127.0.0.1:{port}/payments -H 'Content-Type: application/json' "
    '-d \'{{"correlationId":"\'$(cat /proc/sys/kernel/random/uuid)\'","amount":19.90}}\''
)


class Stop(Exception):
    """Somebody wants the run to end: Ctrl-C, SIGTERM, or the time is over."""


def start(arguments: Sequence[str] | None = None) -> int:
    """Runs everything until it is told to stop; returns the exit status."""
    options = read_command_line(sys.argv[1:] if arguments is None else arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        if options.docker:
            docker.run(options, say=say, show=lambda line: show(line, sys.stdout.isatty()))
        else:
            _run_here(options)
    except Stop:
        return 0
    except (LaunchError, SetupError) as error:
        say(f"tools/run: {error}")
        return EXIT_FAILED
    return 0


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Stop


def say(sentence: str) -> None:
    """Prints a line for people."""
    print(sentence, flush=True)


def show(line: str, live: bool) -> None:  # noqa: FBT001
    """Prints the status line: over the one before on a terminal."""
    print(f"\r{line}\033[K" if live else line, end="" if live else "\n", flush=True)


def _run_here(options: Options) -> None:
    for port, whose in ports_of(options).items():
        if not port_is_free(port):
            raise LaunchError(f"port {port} (for {whose}) is in use; choose another, see --help")
    programs = Programs(
        Path(sys.executable),
        None if options.single else require_debian_package("haproxy", "haproxy"),
        None if options.single else require_debian_package("redis-server", "redis-server"),
        ROOT,
    )
    folder = Path(tempfile.mkdtemp(prefix="gateway-run-"))
    fleet = Fleet(services_of(options, programs, folder), ROOT)
    try:
        for service in fleet.start():
            say(f"  {service.name:20} {service.uses}")
        say("Try it:\n  " + TRY.format(port=options.port))
        say("Ctrl-C stops everything.")
        _watch(fleet, options)
    finally:
        _wind_up(fleet, options, folder)


def _watch(fleet: Fleet, options: Options) -> NoReturn:
    """Shows how payments are doing and replaces what dies, until stopped."""
    watch = Watch(instances_of(options))
    live = sys.stdout.isatty()
    end_s = None if options.seconds is None else time.monotonic() + options.seconds
    next_line_s = 0.0
    shown = ""
    while end_s is None or time.monotonic() < end_s:
        for told in fleet.replace_dead():
            say(f"\n{told}" if live else told)
        if time.monotonic() >= next_line_s:
            next_line_s = time.monotonic() + LINE_EVERY_S
            line = str(watch.look())
            if live or line != shown:
                show(line, live)
            shown = line
        time.sleep(LOOK_S)
    raise Stop


def _wind_up(fleet: Fleet, options: Options, folder: Path) -> None:
    """Stops everything, whatever signal comes meanwhile; a second Ctrl-C stops at once."""
    say("")
    try:
        for told in fleet.stop():
            say(told)
    except Stop:
        say("stopping at once")
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        fleet.kill()
        for told in clear(instances_of(options)):
            say(told)
        shutil.rmtree(folder, ignore_errors=True)
        say("stopped")

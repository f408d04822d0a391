"""Runs services, replaces those that die, and stops them in order; leaves no process behind, even if it is killed."""

import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from tools.launcher.errors import LaunchError
from tools.launcher.plan import Service, stop_groups
from tools.launcher.tail import Tail

UP_WITHIN_S = 30.0  # a slow machine has to compile the modules first
LOOK_S = 0.05
RESTART_PAUSE_S = 0.5  # between two starts of the same service
BEGINNING_S = 1.0  # a program that starts logs a lot of routine lines
SHORT_LIFE_S = 3.0
SHORT_LIVES_MAX = 5  # early deaths in a row: the cause will not go away by itself
LOG_END_LINES = 15
KILLED_WITHIN_S = 5.0  # a process that SIGKILL does not end by then hangs in the kernel
_PR_SET_PDEATHSIG = 1  # prctl(2)

_libc = ctypes.CDLL(None)


class _Running:
    """A service and its present process."""

    def __init__(self, service: Service, process: subprocess.Popen[bytes]) -> None:
        self.service = service
        self.process = process
        self.tail = Tail(service.log)
        self.started_at_s = time.monotonic()
        self.short_lives = 0
        self.early_lines: list[str] = []

    def lives(self) -> bool:
        """Tells whether the process has not ended."""
        return self.process.poll() is None

    def replace(self, process: subprocess.Popen[bytes]) -> None:
        """Replaces the process by another one."""
        self.process = process
        self.started_at_s = time.monotonic()
        self.early_lines = []

    def new_lines(self) -> list[str]:
        """Reads what it has logged since the last call; its first lines count only if it died right after its start."""
        lines = self.tail.lines()
        if self.service.is_gateway or time.monotonic() - self.started_at_s > BEGINNING_S:
            return lines
        self.early_lines = [*self.early_lines, *lines][-LOG_END_LINES:]
        if self.lives():
            return []
        words, self.early_lines = self.early_lines, []
        return words


class Fleet:
    """The running services of one run.

    Args:
        services: what runs, in the order of starting.
        root: the project's folder, where they run.
        pause: waits so many seconds, or raises Stop.
        say: shows the user a message, or what a service has logged.
    """

    def __init__(
        self, services: Sequence[Service], root: Path, pause: Callable[[float], None], say: Callable[[str], None]
    ) -> None:
        self._services = list(services)
        self._root = root
        self._pause = pause
        self._say = say
        self._running: dict[str, _Running] = {}

    def start(self) -> Iterator[Service]:
        """Starts the services one after the other, each when the one before is up; yields each once it is up.

        Raises:
            LaunchError: one ended, or was not up in time.
            Stop: raised by `pause`.
        """
        for service in self._services:
            running = self._running[service.name] = _Running(service, self._spawn(service))
            self._wait_until_up(running)
            self._tell(running)
            yield service

    def _spawn(self, service: Service) -> subprocess.Popen[bytes]:
        with service.log.open("ab") as log:
            return subprocess.Popen(
                service.command,
                cwd=self._root,
                env={**os.environ, **service.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C goes to this process alone, which stops the others in order
                preexec_fn=partial(end_with_parent, os.getpid()),  # noqa: PLW1509  this process has no threads
            )

    def _wait_until_up(self, running: _Running) -> None:
        service = running.service
        deadline_s = time.monotonic() + UP_WITHIN_S
        while not _takes_connections(service.listens):
            if not running.lives():
                raise LaunchError(
                    f"{service.name} ended with status {running.process.returncode} while it was started"
                    f"{_log_end(running.tail)}"
                )
            if time.monotonic() > deadline_s:
                raise LaunchError(f"{service.name} was not up within {UP_WITHIN_S:.0f} s{_log_end(running.tail)}")
            self._pause(LOOK_S)

    def look_after(self) -> None:
        """Shows what the services have logged, and restarts those that have died.

        Raises:
            LaunchError: one dies as soon as it is started, again and again.
        """
        for running in self._running.values():
            has_died = not running.lives()  # before the end of its log is read
            self._tell(running)
            if has_died:
                self._replace(running)

    def _replace(self, running: _Running) -> None:
        service, status = running.service, running.process.returncode
        lived_s = time.monotonic() - running.started_at_s
        if lived_s < RESTART_PAUSE_S:
            return
        running.short_lives = running.short_lives + 1 if lived_s < SHORT_LIFE_S else 0
        if running.short_lives >= SHORT_LIVES_MAX:
            raise LaunchError(
                f"{service.name} ended {SHORT_LIVES_MAX} times right after its start, last with status {status}"
            )
        running.replace(self._spawn(service))
        self._say(f"{service.name} ended with status {status}; started again")

    def stop(self) -> None:
        """Stops everything in order, and kills what does not stop in time.

        Raises:
            Stop: raised by `pause`; services that have not stopped yet go on running.
        """
        for group in stop_groups(self._services):
            members = [self._running[service.name] for service in group if service.name in self._running]
            living = [running for running in members if running.lives()]
            if not living:
                continue
            self._say("stopping " + ", ".join(running.service.name for running in living))
            for running in living:
                running.process.send_signal(running.service.stop_signal)
            self._wait_for_end(living)

    def _wait_for_end(self, living: Sequence[_Running]) -> None:
        deadline_s = time.monotonic() + max(running.service.stop_within_s for running in living)
        while any(running.lives() for running in living) and time.monotonic() < deadline_s:
            self._pause(LOOK_S)
        for running in living:
            if running.service.is_gateway:
                self._tell(running)
            if running.lives():
                self._say(f"{running.service.name} did not stop within {running.service.stop_within_s:.0f} s: killed")
                _kill(running.process)

    def kill(self) -> None:
        """Ends everything at once."""
        for running in self._running.values():
            _kill(running.process)

    def _tell(self, running: _Running) -> None:
        for line in running.new_lines():
            self._say(f"{running.service.name}: {line}")


def _takes_connections(listens: int | Path) -> bool:
    with socket.socket(socket.AF_UNIX if isinstance(listens, Path) else socket.AF_INET) as probe:
        probe.settimeout(LOOK_S)
        try:
            probe.connect(str(listens) if isinstance(listens, Path) else ("127.0.0.1", listens))
        except OSError:
            return False
    return True


def _log_end(tail: Tail) -> str:
    """Reads the end of a service's log, for the message on why it did not start."""
    lines = tail.lines()[-LOG_END_LINES:]
    return ":" + "".join(f"\n  {line}" for line in lines) if lines else ""


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait(KILLED_WITHIN_S)


def end_with_parent(parent: int) -> None:
    """Runs in the child: has the kernel send it SIGTERM when the launcher dies, for whatever reason."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # the launcher died before the call
        os._exit(1)

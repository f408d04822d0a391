"""Runs services, replaces those that die, and stops them in order; leaves no process behind, even if it is killed."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from tools.launcher.errors import LaunchError
from tools.launcher.plan import Service, stop_order

UP_WITHIN_S = 30.0  # a slow machine compiles the modules first
LOOK_S = 0.05
RESTART_PAUSE_S = 0.5  # between two starts of the same service
RESTARTS_MAX = 1000  # of one service in one run; more is no accident any more
LAST_WORDS_MAX = 1500  # characters
_PR_SET_PDEATHSIG = 1  # prctl(2)

_libc = ctypes.CDLL(None)


def port_is_free(port: int) -> bool:
    """Whether nobody listens on a port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Fleet:
    """The running services of one run.

    Args:
        services: what runs, in the order of starting.
        root: the project's folder, where they run.
    """

    def __init__(self, services: list[Service], root: Path) -> None:
        self._services = services
        self._root = root
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._started_at_s: dict[str, float] = {}
        self._restarts: dict[str, int] = {service.name: 0 for service in services}

    def start(self) -> Iterable[Service]:
        """Starts one service after the other, each when the one before is up; yields each that is.

        Raises:
            LaunchError: one ended, or was not up in time.
        """
        for service in self._services:
            self._spawn(service)
            self._wait_until_up(service)
            yield service

    def _spawn(self, service: Service) -> None:
        self._started_at_s[service.name] = time.monotonic()
        with contextlib.ExitStack() as stack:
            output = stack.enter_context(service.log.open("ab")) if service.log else None
            self._running[service.name] = subprocess.Popen(
                service.command,
                cwd=self._root,
                env={**os.environ, **service.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C goes to this process alone, which stops the others in order
                preexec_fn=_end_with_parent,  # noqa: PLW1509  this process has no threads
            )

    def _wait_until_up(self, service: Service) -> None:
        deadline_s = time.monotonic() + UP_WITHIN_S
        while not _is_up(service):
            status = self._running[service.name].poll()
            if status is not None:
                raise LaunchError(
                    f"{service.name} ended with status {status} while it was started{_last_words(service)}"
                )
            if time.monotonic() > deadline_s:
                raise LaunchError(f"{service.name} was not up within {UP_WITHIN_S:.0f} s")
            time.sleep(LOOK_S)

    def replace_dead(self) -> list[str]:
        """Starts again what has died; returns a sentence for each.

        Raises:
            LaunchError: one has died too often.
        """
        told = []
        for service in self._services:
            status = self._running[service.name].poll()
            if status is None or time.monotonic() - self._started_at_s[service.name] < RESTART_PAUSE_S:
                continue
            self._restarts[service.name] += 1
            if self._restarts[service.name] > RESTARTS_MAX:
                raise LaunchError(f"{service.name} has died {RESTARTS_MAX} times")
            if service.path is not None and service.name == "redis":
                service.path.unlink(missing_ok=True)
            self._spawn(service)
            told.append(f"{service.name} ended with status {status}; started again")
        return told

    def stop(self) -> Iterable[str]:
        """Stops everything in order; yields a name before each, and a sentence for what had to be killed."""
        for service in stop_order(self._services):
            process = self._running.get(service.name)
            if process is None or process.poll() is not None:
                continue
            yield f"stopping {service.name}"
            process.send_signal(signal.SIGUSR1 if service.name == "haproxy" else signal.SIGTERM)
            try:
                process.wait(service.stop_within_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                yield f"{service.name} did not stop within {service.stop_within_s:.0f} s and was killed"

    def kill(self) -> None:
        """Ends everything at once."""
        for process in self._running.values():
            if process.poll() is None:
                process.kill()
                process.wait()


def _is_up(service: Service) -> bool:
    with socket.socket(socket.AF_UNIX if service.path else socket.AF_INET) as probe:
        probe.settimeout(LOOK_S)
        try:
            probe.connect(str(service.path) if service.path else ("127.0.0.1", service.port))
        except OSError:
            return False
    return True


def _last_words(service: Service) -> str:
    """The end of a service's log, for a sentence on why it did not start."""
    if service.log is None or not service.log.exists():
        return ""
    return ":\n" + service.log.read_text(errors="replace")[-LAST_WORDS_MAX:]


def _end_with_parent() -> None:
    """Runs in the child: the kernel sends it SIGTERM when this process dies."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

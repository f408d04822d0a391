"""`tools/run --docker`: runs everything with Docker Compose, from the project's two compose files.

The gateway has a project name of its own here. So its volumes are never those of a gateway that was started from the
same file by other means.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tools.environment import ROOT
from tools.launcher import status
from tools.launcher.errors import LaunchError
from tools.launcher.fleet import end_with_parent
from tools.launcher.tail import Tail

PROJECT = "rinha-payment-gateway-run"
GATEWAY = ("docker", "compose", "--project-name", PROJECT, "--project-directory", str(ROOT))
PROCESSORS_FILE = ROOT / "tools" / "processor" / "docker-compose.yml"
PROCESSORS = ("docker", "compose", "--project-directory", str(PROCESSORS_FILE.parent), "--file", str(PROCESSORS_FILE))
INSTANCES = ("app1", "app2")
LOOKER = f"{PROJECT}-status"  # name of the container that reads the segments
START_WITHIN_S = 900.0  # the first build downloads the base images and all packages
COMMAND_WITHIN_S = 60.0  # for any other command; an instance takes up to 14 s to stop
LOOK_S = 0.1
WORDS_MAX = 2000  # characters of a failed command's output
NO_STATUS = "(looking into the segments)"


def require_docker() -> None:
    """Makes sure that there is a Docker engine with Compose v2 that may be used.

    Raises:
        LaunchError: there isn't; says what to do.
    """
    if shutil.which("docker") is None:
        raise LaunchError("docker is missing: install Docker with Compose v2, or run without --docker")
    for command, lacking in (
        (["docker", "compose", "version"], "Docker's Compose plugin (v2) is missing"),
        (["docker", "info"], "the Docker engine does not answer"),
    ):
        try:
            asked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMMAND_WITHIN_S)
        except subprocess.TimeoutExpired:
            raise LaunchError(f"{lacking}: no answer within {COMMAND_WITHIN_S:.0f} s") from None
        if asked.returncode != 0:
            raise LaunchError(f"{lacking}: {asked.stderr.strip()[-WORDS_MAX:]}")


class Composed:
    """The containers of one run.

    Args:
        folder: of this run, for the commands' output.
        pause: waits so many seconds, or raises Stop.
        say: shows a message to the user.
    """

    def __init__(self, folder: Path, pause: Callable[[float], None], say: Callable[[str], None]) -> None:
        self._folder = folder
        self._pause = pause
        self._say = say
        self._looker: subprocess.Popen[bytes] | None = None
        self._seen = Tail(folder / "status.log")
        self._status = NO_STATUS

    def start(self) -> None:
        """Builds and starts processors and gateway.

        Raises:
            LaunchError: a command failed.
            Stop: raised by `pause`.
        """
        self._say("building and starting the simulated processors (the first time takes minutes)")
        self._run(*PROCESSORS, "up", "--build", "--detach", "--wait", within_s=START_WITHIN_S)
        self._say("building and starting Redis, two instances and HAProxy")
        self._run(*GATEWAY, "up", "--build", "--detach", "--wait", within_s=START_WITHIN_S)
        self._start_looking()
        for name, about in (
            ("processors", "http://127.0.0.1:8001 (default) and http://127.0.0.1:8002 (fallback), token 123"),
            ("haproxy", "http://127.0.0.1:9999  statistics at http://127.0.0.1:9990"),
            ("containers", f"docker compose -p {PROJECT} ps"),
        ):
            self._say(f"  {name:20} {about}")

    def _start_looking(self) -> None:
        """Starts a container that reads the segments: in the instances' own it would use up their CPU share."""
        with (self._folder / "status.log").open("ab") as log, Path(status.__file__).open(encoding="utf-8") as source:
            self._looker = subprocess.Popen(
                [*self._in_a_container("--name", LOOKER), "-c", source.read(), *INSTANCES],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=partial(end_with_parent, os.getpid()),  # noqa: PLW1509  this process has no threads
            )

    @staticmethod
    def _in_a_container(*options: str) -> list[str]:
        """Begins a command that runs Python beside the instances: with their volumes, but not on their CPU share."""
        return [*GATEWAY, "run", "--rm", "--no-deps", "--no-TTY", *options, "--entrypoint", "python", INSTANCES[0]]

    def look_after(self) -> None:
        """Does nothing: Docker itself restarts what dies."""

    def status(self) -> str:
        """Reads the last status that the container has printed."""
        for line in self._seen.lines():
            numbers = line.split()
            if len(numbers) == len(status.Status._fields) and all(number.isdecimal() for number in numbers):
                self._status = str(status.Status(*map(int, numbers)))
        return self._status

    def stop(self) -> None:
        """Stops everything in order, and removes the volumes if nothing unsettled is in them.

        Raises:
            LaunchError: a command failed.
        """
        self._say("stopping instances, HAProxy, Redis and processors")
        self._end_looker()
        self._pause = time.sleep
        try:
            self._stop_gateway()
        finally:
            self._run(*PROCESSORS, "down")

    def _stop_gateway(self) -> None:
        """Stops instances, then the rest; their volumes stay if they could not be stopped: they may hold payments."""
        remove: tuple[str, ...] = ()
        try:
            self._run(*GATEWAY, "stop", *INSTANCES)  # while HAProxy, Redis and the processors still serve them
            staying = self._unsettled()
            for told in staying:
                self._say(told)
            remove = () if staying else ("--volumes",)
        finally:
            self._run(*GATEWAY, "down", *remove)

    def _end_looker(self) -> None:
        """Ends the container that reads the segments; if it does not end, the others are stopped all the same."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                ["docker", "rm", "--force", LOOKER], capture_output=True, check=False, timeout=COMMAND_WITHIN_S
            )
        if self._looker is not None:
            self._looker.kill()
            self._looker.wait()

    def _unsettled(self) -> list[str]:
        """Makes a message for each segment that stays; a segment that can't be read stays."""
        if not self._run("docker", "volume", "ls", "--quiet", "--filter", f"name=^{PROJECT}_shm$").strip():
            return []
        told = []
        try:
            present = {listed["instance"] for listed in self._view()}
            for instance in sorted(present):
                unsettled = self._view(instance)["unsettled"]
                if unsettled:
                    told.append(
                        f"segment /gateway-{instance} stays in the volume {PROJECT}_shm: it holds {unsettled} accepted "
                        "payments that are not settled; the next run takes them up"
                    )
        except (LaunchError, ValueError, KeyError) as error:
            told.append(f"the volume {PROJECT}_shm stays, its segments could not be read: {error}")
        return told

    def _view(self, *instance: str) -> Any:
        """Reads what `tools/dump_ring --json` shows of an instance, or of all."""
        return json.loads(self._run(*self._in_a_container(), "-m", "tools.ring_view", "--json", *instance))

    def _run(self, *command: str, within_s: float | None = None) -> str:
        """Runs a command to its end and returns what it printed; the end of the run interrupts it.

        Raises:
            LaunchError: it failed, or took too long.
            Stop: raised by `pause`.
        """
        out, err = self._folder / "out", self._folder / "err"
        with out.open("wb") as printed, err.open("wb") as said:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=printed, stderr=said, start_new_session=True
            )
        within_s = COMMAND_WITHIN_S if within_s is None else within_s
        deadline_s = time.monotonic() + within_s
        try:
            while process.poll() is None:
                if time.monotonic() > deadline_s:
                    raise LaunchError(f"{_shown(command)} took over {within_s:.0f} s")
                self._pause(LOOK_S)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.returncode != 0:
            raise LaunchError(f"{_shown(command)} failed:\n{err.read_text(errors='replace').strip()[-WORDS_MAX:]}")
        return out.read_text(errors="replace")


def _shown(command: Sequence[str]) -> str:
    return " ".join(command).replace(f"{ROOT}/", "").replace(str(ROOT), ".")

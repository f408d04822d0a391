"""`tools/run --docker`: the same with Docker Compose, from the project's two compose files."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from tools.environment import ROOT
from tools.launcher.errors import LaunchError
from tools.launcher.options import Options
from tools.launcher.status import Status

GATEWAY = ("docker", "compose", "--project-directory", str(ROOT))
PROCESSORS = (
    *("docker", "compose", "--project-directory", str(ROOT / "tools" / "processor")),
    *("--file", str(ROOT / "tools" / "processor" / "docker-compose.yml")),
)
INSTANCES = ("app1", "app2")
UP_WITHIN_S = 60.0
ASK_WITHIN_S = 5.0
LINE_EVERY_S = 5.0  # a look into the segments runs in the instance's container and costs its quota 0.2 s
COMMAND_WITHIN_S = 900  # the first build downloads the base images
STOP_WITHIN_S = 90
CURL = "curl -i http://127.0.0.1:9999/payments -H 'Content-Type: application/json' -d '{...}'"


def run(options: Options, *, say: Callable[[str], None], show: Callable[[str], None]) -> None:
    """Builds and starts both compose projects, shows how payments are doing, and stops them in the end.

    Raises:
        LaunchError: Docker or Compose is missing or failed.
    """
    if shutil.which("docker") is None:
        raise LaunchError("docker is missing: install Docker with Compose v2, or run without --docker")
    try:
        say("building and starting the simulated processors")
        _compose(PROCESSORS, "up", "--build", "--detach", "--wait")
        say("building and starting Redis, two instances and HAProxy")
        _compose(GATEWAY, "up", "--build", "--detach", "--wait")
        _wait_until_up()
        say("payments: http://127.0.0.1:9999   statistics: http://127.0.0.1:9990   processors: :8001 and :8002")
        say(f"Try it:\n  {CURL}\nCtrl-C stops everything.")
        end_s = None if options.seconds is None else time.monotonic() + options.seconds
        while end_s is None or time.monotonic() < end_s:
            show(str(look()))
            time.sleep(LINE_EVERY_S if end_s is None else min(LINE_EVERY_S, max(end_s - time.monotonic(), 0)))
    finally:
        _wind_up(say)


def _wind_up(say: Callable[[str], None]) -> None:
    say("\nstopping")
    try:
        _compose(GATEWAY, "stop", "app1", "app2")  # while HAProxy, Redis and the processors still serve them
        left = "the volumes with the segments stay; remove them with: docker compose down --volumes"
        _compose(GATEWAY, "down")
    finally:
        _compose(PROCESSORS, "down")
    say(f"stopped; {left}")


def _compose(base: tuple[str, ...], *arguments: str) -> str:
    command = [*base, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_WITHIN_S, check=False)
    except subprocess.TimeoutExpired:
        raise LaunchError(f"{' '.join(command)} took over {COMMAND_WITHIN_S} s") from None
    if done.returncode != 0:
        raise LaunchError(f"{' '.join(command)} failed:\n{done.stderr.strip()[-2000:]}")
    return done.stdout


def _wait_until_up() -> None:
    deadline_s = time.monotonic() + UP_WITHIN_S
    while True:
        try:
            with urllib.request.urlopen("http://127.0.0.1:9999/health", timeout=ASK_WITHIN_S):
                return
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > deadline_s:
                raise LaunchError(f"port 9999 did not answer within {UP_WITHIN_S:.0f} s: {error}") from None
        time.sleep(0.2)


def look() -> Status:
    """How payments are doing, from the segments in both containers."""
    statuses = [_look_into(instance) for instance in INSTANCES]
    return Status(
        sum(status.accepted for status in statuses),
        (sum(status.settled[0] for status in statuses), sum(status.settled[1] for status in statuses)),
        sum(status.waiting for status in statuses),
        sum(status.unknown for status in statuses),
    )


def _look_into(instance: str) -> Status:
    answer = _compose(GATEWAY, "exec", "--no-TTY", instance, "python", "-m", "tools.ring_view", "--json", instance)
    return status_of(json.loads(answer))


def status_of(snapshot: dict[str, Any]) -> Status:
    """The status of one instance, from what `tools/dump_ring --json` says of it."""
    counts = [(process["role"], process["counts"]) for process in snapshot["processes"]]
    workers = [count for role, count in counts if role.startswith("worker")]
    dispatchers = [count for role, count in counts if role.startswith("dispatcher")]
    return Status(
        sum(count["accepted"] for count in workers),
        (
            sum(count["settled_default"] for count in dispatchers),
            sum(count["settled_fallback"] for count in dispatchers),
        ),
        snapshot["unsettled"],
        sum(count["unknown"] for count in dispatchers),
    )

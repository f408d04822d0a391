"""Runs k6 on `load.js`: writes its plan, reads its events, polls its progress, and ends it, whatever happens."""

import contextlib
import dataclasses
import json
import resource
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import Any

from tools.benchmark import child
from tools.benchmark.endpoints import Endpoint, free_port
from tools.benchmark.errors import EndpointError, GeneratorError
from tools.benchmark.events import Event, parse
from tools.benchmark.scenario import Scenario

SCRIPT = Path(__file__).with_name("load.js")
TICK_S = 1.0
PROGRESS_TIMEOUT_S = 0.5
GRACE_S = 90.0  # beyond the load: starting 600 users, the last answers, writing the metrics
REMARKS_MAX = 10
# With a fourth of Go's usual garbage collections k6 takes a quarter less CPU (550 users, 2 cores). The gateway runs on
# the same machine.
GARBAGE = "GOGC=400"


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of load.js. `run` differs in every run; the same `seed` makes the same amounts."""

    scenario: Scenario
    run: str
    seed: int
    target: str
    processors: tuple[str, str]
    token: str


@dataclass(frozen=True, slots=True)
class Generated:
    """The result of a load: k6's metrics, its own CPU seconds, and its last complaints."""

    metrics: dict[str, Any]
    cpu_s: float
    remarks: list[str]


@dataclass(frozen=True, slots=True)
class Progress:
    """How many payments of a load have been answered, and how."""

    accepted: int
    failed: int


def k6_path() -> Path:
    """Returns the k6 that is installed beside this Python; raises GeneratorError."""
    path = Path(sys.executable).with_name("k6")
    if not path.exists():
        raise GeneratorError(f"k6 is not at {path}: it is one of the packages of requirements-dev.lock.")
    return path


def document(plan: Plan, metrics_path: Path) -> dict[str, Any]:
    """The plan in the form that load.js reads."""
    return dataclasses.asdict(plan) | {"metrics_path": str(metrics_path)}


def generate(plan: Plan, on_event: Callable[[Event], None], on_tick: Callable[[Progress], None]) -> Generated:
    """Runs the load to its end; raises GeneratorError if k6 gives up or hangs.

    Args:
        plan: what to do.
        on_event: called at once for each event.
        on_tick: called about once a second.
    """
    with _written(plan) as (plan_path, metrics_path):
        port = free_port()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        remarks: deque[str] = deque(maxlen=REMARKS_MAX)
        with child.started(_command(plan_path, port), stdout=DEVNULL, stderr=PIPE) as process:
            deadline_s = plan.scenario.load.duration_s + GRACE_S
            for said in _listen(process, port, deadline_s, on_tick):
                if isinstance(said, str):
                    remarks.append(said)
                else:
                    on_event(said)
            status = child.status(process, "k6")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if status or not metrics_path.exists():
            raise GeneratorError(f"k6 gave up (status {status}). Its last words: " + " | ".join(remarks))
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Generated(json.loads(metrics_path.read_bytes()), cpu_s, list(remarks))


@contextlib.contextmanager
def _written(plan: Plan) -> Iterator[tuple[Path, Path]]:
    """Writes the plan into a folder of its own for one load; yields its path, and where the metrics will be."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)
    except OSError as error:
        raise GeneratorError(f"There is no folder for k6's plan: {error.strerror or error}.") from error
    with folder:
        plan_path, metrics_path = Path(folder.name, "plan.json"), Path(folder.name, "metrics.json")
        try:
            plan_path.write_text(json.dumps(document(plan, metrics_path)), encoding="utf-8")
        except OSError as error:
            raise GeneratorError(f"k6's plan can't be written to {plan_path}: {error.strerror}.") from error
        yield plan_path, metrics_path


def _command(plan_path: Path, port: int) -> list[str]:
    """The command that starts k6 with this plan; k6 answers questions on its progress at this port."""
    options = ["--quiet", "--no-usage-report", "--no-color", "--log-format", "json", "--log-output", "stderr"]
    options += ["--address", f"127.0.0.1:{port}", "--env", f"PLAN={plan_path}"]
    return ["env", GARBAGE, str(k6_path()), "run", *options, str(SCRIPT)]


def _listen(
    process: Popen[bytes], port: int, deadline_s: float, on_tick: Callable[[Progress], None]
) -> Iterator[Event | str]:
    """Yields k6's lines until it closes its output; raises GeneratorError after `deadline_s`."""
    stream = process.stderr
    if stream is None:
        raise GeneratorError("k6 was started without a pipe for its output.")
    started_s = next_tick_s = time.monotonic()
    for line in child.lines(stream, TICK_S):
        now_s = time.monotonic()
        if line and (said := parse(line)) is not None:
            yield said
        if now_s - started_s > deadline_s:
            raise GeneratorError(f"k6 did not end within {deadline_s:.0f} s.")
        if now_s >= next_tick_s:
            next_tick_s = now_s + TICK_S
            if (progress := _progress(port)) is not None:
                on_tick(progress)


def _progress(port: int) -> Progress | None:
    """Asks k6 for its counters, which does not disturb the target. None while k6 can't be asked."""
    k6 = Endpoint("k6", f"http://127.0.0.1:{port}")

    def counter(name: str) -> int:
        status, shown = k6.try_ask("GET", f"/v1/metrics/{name}", timeout_s=PROGRESS_TIMEOUT_S)
        if status == HTTPStatus.NOT_FOUND:
            return 0  # a counter to which nothing has been added yet
        return int(json.loads(shown)["data"]["attributes"]["sample"]["count"])

    try:
        return Progress(counter("accepted"), counter("refused") + counter("unanswered"))
    except (EndpointError, KeyError, TypeError, ValueError):
        return None

"""Runs the open-loop generator: passes it its plan, reads its messages, and ends it, whatever happens."""

import fcntl
import sys
import time
from collections import deque
from collections.abc import Callable
from subprocess import PIPE, STDOUT

from tools.benchmark import child
from tools.benchmark.errors import GeneratorError
from tools.benchmark.openloop import plan as plans
from tools.benchmark.openloop.messages import Message, decode
from tools.benchmark.openloop.plan import LoadPlan
from tools.benchmark.targets import ROOT

GRACE_S = 30.0  # beyond the load: its start, and the last answers
REMARKS_MAX = 10
# Room for several minutes of lines: the generator must never wait for the bench, which may wait for a slow processor.
PIPE_BYTES = 1 << 20
COMMAND = (sys.executable, "-m", "tools.benchmark.openloop")


def run_load(
    plan: LoadPlan, on_message: Callable[[Message], None], on_tick: Callable[[], None], tick_s: float
) -> list[str]:
    """Runs the load to its end and returns the lines that are no messages; raises GeneratorError if it can't be run.

    Args:
        plan: what to do.
        on_message: called at once for each message.
        on_tick: called about every `tick_s`.
        tick_s: seconds between two calls of `on_tick`.
    """
    plans.check(plan)
    remarks: deque[str] = deque(maxlen=REMARKS_MAX)
    with child.started(COMMAND, stdin=PIPE, stdout=PIPE, stderr=STDOUT, folder=ROOT) as process:
        if process.stdin is None or process.stdout is None:
            raise GeneratorError("The generator was started without pipes.")
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        process.stdin.write(plans.encode(plan).encode())
        process.stdin.close()
        started_s = next_tick_s = time.monotonic()
        for line in child.lines(process.stdout, tick_s):
            now_s = time.monotonic()
            if line and (message := decode(line)) is not None:
                on_message(message)
            elif line:
                remarks.append(line)
            if now_s - started_s > plan.duration_s + GRACE_S:
                raise GeneratorError(f"The generator did not end within {plan.duration_s + GRACE_S:.0f} s.")
            if now_s >= next_tick_s:
                next_tick_s = now_s + tick_s
                on_tick()
        status = child.status(process, "The generator")
    if status:
        raise GeneratorError(f"The generator gave up (status {status}). Its last words: " + " | ".join(remarks))
    return list(remarks)

"""Chaos with real processes: `python3 -m tests.integration.chaos --help`.

The whole stack under load while a seeded script kills, stops and empties; auditors compare all the while, and in the
end every payment is looked for. Whose part is what: `stack` (processes), `faults` (the script), `havoc` (carries it
out), `traffic` (clients), `auditing` (the rules).
"""

import argparse
import asyncio
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random, SystemRandom
from typing import NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from tools.environment import reexec

    reexec(dev=True)

from tests.integration.auditing import Auditor, Processors, Row, Told, Verdict, judge, totals_of
from tests.integration.faults import DELAY_MS_MAX, Fault, draw_faults, draw_weather
from tests.integration.havoc import Havoc
from tests.integration.stack import Stack, running_stack
from tests.integration.traffic import Traffic
from tools.launcher.errors import LaunchError

RATE = 300
SEED_MAX = 1_000_000
AUDIT_EVERY_S = 2.0
PROGRESS_EVERY_S = 1.0
LOOK_S = 0.05
SETTLE_WITHIN_S = 180.0  # a backlog of a long outage on a starved machine, and the last questions about unknown ones
PUBLISHED_WITHIN_S = 20.0
WINDOWS = 40  # compared in the end
WINDOW_BACK_MS = 60_000
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


class Failed(Exception):
    """A run found something wrong."""


class Report(NamedTuple):
    """What came of a run.

    Args:
        seed: of its script.
        havoc: what happened.
        answers: of the clients' requests.
        verdict: on every payment.
        auditor: what was audited on the way.
        failures: everything that is wrong, a sentence each; none in a good run.
    """

    seed: int
    havoc: Havoc
    answers: Counter[str]
    verdict: Verdict
    auditor: Auditor
    failures: list[str]

    def times(self, fault: Fault) -> int:
        """How often a fault happened."""
        return self.havoc.happened[fault]

    def __str__(self) -> str:
        """For people."""
        audits, verdict = self.auditor, self.verdict
        happened = ", ".join(f"{fault.value} {self.times(fault)}" for fault in Fault)
        answers = ", ".join(f"{what} {times:,}" for what, times in self.answers.most_common())
        audited = f"{audits.equal} equal at once, {audits.later} a moment later, {audits.named} named unknown"
        lines = [
            f"seed {self.seed}: {self.havoc.kills} kills ({happened})",
            f"requests: {answers}",
            f"payments: {verdict}",
            f"audits: {audited}, {audits.unavailable} without an answer; lag {audits.lag_s_max:.3f} s undisturbed",
            *(f"FAILED: {failure}" for failure in self.failures),
        ]
        return "\n".join(lines)


async def run_chaos(stack: Stack, seed: int, seconds: float, show: Callable[[str], None], rate: int = RATE) -> Report:
    """Breaks a stack that takes payments for so long, waits until all is settled, and judges.

    Args:
        stack: what is to be broken.
        seed: what the script and the clients follow from.
        seconds: how long load and faults last.
        show: is told how it goes, a line at a time.
        rate: requests per second.
    """
    traffic = Traffic(stack.port, rate, Random(f"traffic {seed}"))
    processors = Processors(stack.processor_ports)
    auditor = Auditor(stack.port, processors)
    havoc = Havoc(stack, processors, auditor)
    try:
        async with asyncio.TaskGroup() as group:
            keeper = group.create_task(stack.keep())
            background = [
                group.create_task(audit(auditor)),
                group.create_task(_progress(traffic, havoc, auditor, show)),
            ]
            weather = group.create_task(havoc.change_weather_by(draw_weather(seed, seconds)))
            breaking = group.create_task(havoc.break_by(draw_faults(seed, seconds)))
            await traffic.run(seconds)
            await asyncio.wait([weather, breaking])
            for task in background:
                task.cancel()
            show("load and faults are over; waiting until all is settled")
            failures, verdict = await settle_and_judge(
                stack.settle, traffic, processors, auditor, Random(f"windows {seed}")
            )
            keeper.cancel()
    finally:
        auditor.close()
        processors.close()
    return Report(seed, havoc, traffic.answers, verdict, auditor, failures)


async def audit(auditor: Auditor) -> None:
    """Audits every two seconds, until cancelled."""
    while True:
        await asyncio.sleep(AUDIT_EVERY_S)
        await auditor.audit()


async def _progress(traffic: Traffic, havoc: Havoc, auditor: Auditor, show: Callable[[str], None]) -> None:
    begun_s = time.monotonic()
    while True:
        await asyncio.sleep(PROGRESS_EVERY_S)
        audits = auditor.equal + auditor.later + auditor.named
        show(
            f"{time.monotonic() - begun_s:5.0f} s  answered 202: {traffic.answers['202']:,}  kills {havoc.kills}  "
            f"audits {audits} + {auditor.unavailable} unanswered  failures {len(auditor.failures)}"
        )


async def settle_and_judge(
    settle: Callable[[float], Awaitable[int]],
    traffic: Traffic,
    processors: Processors,
    auditor: Auditor,
    rng: Random,
) -> tuple[list[str], Verdict]:
    """Waits until all is settled, then compares everything with everything.

    Args:
        settle: waits at most so many seconds until all accepted payments have ended; how many have not.
        traffic: what was promised.
        processors: what is stored.
        auditor: what the gateway tells.
        rng: for windows.

    Returns:
        A sentence for each thing that is wrong, those that the auditor found on the way included; and the verdict.
    """
    failures = list(auditor.failures)
    unsettled = await settle(SETTLE_WITHIN_S)
    if unsettled:
        failures.append(f"{unsettled} payments are not settled")
    await asyncio.sleep(DELAY_MS_MAX / 1000 + 1)  # a request given up on may still be asleep in a processor
    rows = await processors.rows()
    verdict = judge(traffic.sent, rows)
    failures += [f"{one} was accepted and is nowhere: {traffic.story_of(one)}" for one in verdict.lost]
    failures += [f"{one} was charged twice: {traffic.story_of(one)}" for one in verdict.twice]
    failures += [f"{row} was not sent like this: {traffic.story_of(row.correlation_id)}" for row in verdict.foreign]
    failures += await _compare_summaries(auditor, rows, rng)
    return failures, verdict


async def _compare_summaries(auditor: Auditor, rows: list[list[Row]], rng: Random) -> list[str]:
    """Sentences on what differs between the gateway's summaries, of all time and of random windows, and the rows."""
    deadline_s = time.monotonic() + PUBLISHED_WITHIN_S
    expected = Told(totals_of(rows), 0)
    while (told := await auditor.summary()) != expected and time.monotonic() < deadline_s:
        await asyncio.sleep(LOOK_S)
    failures = [] if told == expected else [f"the summary of all time is {told}, the processors have {expected}"]
    last_ms = max((row.requested_at_ms for each in rows for row in each), default=0)
    for _ in range(WINDOWS):
        from_ms, to_ms = sorted(last_ms - rng.randrange(WINDOW_BACK_MS) for _ in range(2))
        told, expected = await auditor.summary(from_ms, to_ms), Told(totals_of(rows, from_ms, to_ms), 0)
        if told != expected:
            failures.append(f"the summary of {from_ms} to {to_ms} ms is {told}, the processors have {expected}")
    return failures


def main(arguments: Sequence[str]) -> int:
    """Run chaos as the command line asks for; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.integration.chaos",
        description="Starts the whole stack, pays through it, and kills, stops and empties what a seeded script says; "
        "then looks for every payment. Exit status 0: nothing lost, nothing charged twice, not a cent of difference.",
        epilog="A failed run names the folder with its logs and segments. Ctrl-C ends a run and all its processes.",
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="of load and faults (default %(default)s)")
    parser.add_argument("--seed", type=int, help="what the script follows from (default: a fresh one)")
    parser.add_argument("--rate", type=int, default=RATE, help="requests per second (default %(default)s)")
    chosen = parser.parse_args(arguments)
    seed = chosen.seed if chosen.seed is not None else SystemRandom().randrange(SEED_MAX)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    show = partial(print, flush=True)
    show(f"seed {seed}, {chosen.seconds:.0f} s at {chosen.rate} requests/s")
    where = "nothing was started"
    try:
        with running_stack() as stack:
            where = f"logs and segments are in {stack.folder}"
            report = asyncio.run(run_chaos(stack, seed, chosen.seconds, show, chosen.rate))
            show(str(report))
            if report.failures:
                raise Failed("the run failed")
    except (LaunchError, Failed) as error:
        show(f"{error}; {where}")
        return EXIT_FAILED
    except KeyboardInterrupt:
        show(f"interrupted; {where}")
        return EXIT_INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

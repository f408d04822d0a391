"""The generator's process: a plan in, messages out. See the package's docstring."""

import asyncio
import gc
import resource
import signal
import sys
import time
from collections.abc import Callable

import uvloop

from tools.benchmark.openloop import plan as plans
from tools.benchmark.openloop.messages import Began, Finished, Message, encode
from tools.benchmark.openloop.plan import LoadPlan
from tools.benchmark.openloop.requests import PaymentRequests, SummaryRequests
from tools.benchmark.openloop.schedule import groups
from tools.benchmark.openloop.stream import Stream

EXIT_CANNOT_CONNECT = 3
INTERVAL_S = 1.0
LEAD_NS = 50_000_000  # between the last preparation and the first request


async def carry_out(plan: LoadPlan, say: Callable[[Message], None]) -> None:
    """Runs a whole load; raises OSError if nothing accepts connections at the plan's address."""
    address, summaries = (plan.host, plan.port), SummaryRequests(plan)
    rates = [[each.payments_per_s for each in plan.phases], [each.summaries_per_s for each in plan.phases]]

    def end_interval() -> None:
        for stream in streams:
            say(stream.take())

    def begin(phase: int) -> None:
        if phase:
            end_interval()
        say(Began(time.monotonic_ns(), phase, streams[0].next_turn, _cpu_s()))

    streams = [Stream(PaymentRequests(plan), address, first_turn=plan.first_turn, on_phase=begin)]
    if any(rates[1]):
        streams.append(Stream(summaries, address))
    try:
        for stream, per_s in zip(streams, rates, strict=False):
            await stream.connect(min(plan.connections, max(per_s)))
        cpu_s, start_ns = _cpu_s(), time.monotonic_ns() + LEAD_NS
        for stream, per_s in zip(streams, rates, strict=False):
            spans = [(rate, each.duration_ms) for rate, each in zip(per_s, plan.phases, strict=True)]
            stream.start(groups(spans, start_ns))
        over = asyncio.gather(*(stream.over.wait() for stream in streams))
        while not over.done():
            await asyncio.wait([over], timeout=INTERVAL_S)
            end_interval()
    finally:
        for stream in streams:
            stream.close()
    say(Finished(time.monotonic_ns(), _cpu_s() - cpu_s, summaries.samples))


def _cpu_s() -> float:
    """The CPU seconds that this process has used so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _say(message: Message) -> None:
    sys.stdout.write(encode(message) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Reads the plan, carries it out, and returns the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the bench ends it so
    plan = plans.decode(sys.stdin.read())
    gc.collect()
    gc.freeze()
    gc.disable()  # no objects made while it runs form reference cycles
    try:
        uvloop.run(carry_out(plan, _say))
    except OSError as error:
        sys.stdout.write(f"{plan.host}:{plan.port} takes no connections: {error}\n")
        return EXIT_CANNOT_CONNECT
    return 0


if __name__ == "__main__":
    sys.exit(main())

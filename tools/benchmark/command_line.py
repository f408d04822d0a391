"""The bench's commands and options; `tools/bench` only calls `main`."""

import argparse
import os
import secrets
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tools.arguments import seconds, whole_number
from tools.benchmark import drain, saturate, soak, stopping, summary, targets
from tools.benchmark import scenario as scenarios
from tools.benchmark.choices import processors_of, scenario_of, targets_of
from tools.benchmark.endpoints import TOKEN
from tools.benchmark.errors import BenchError, UnreadError, UnwrittenError
from tools.benchmark.openrun import Setup
from tools.benchmark.outcome import Outcome
from tools.benchmark.progress import Screen
from tools.benchmark.report import card_lines
from tools.benchmark.run import Order, carry_out
from tools.benchmark.settling import SETTLE_S
from tools.benchmark.sheet import Sheet
from tools.benchmark.sheet_report import sheet_lines
from tools.benchmark.sitting import Result, sit
from tools.benchmark.targets import Target

EXIT_GOOD = 0
EXIT_WRONG = 1  # the gateway did something it must not
EXIT_NOT_RUN = 2
EXIT_INTERRUPTED = 130
RESULTS = targets.ROOT / "bench-results"
CONNECTIONS = 64
_SEED_MAX = 1_000_000
_SECONDS = seconds(0.1, 86_400.0)  # polling more often would disturb the measurement
PROCESSORS = "http://localhost:8001,http://localhost:8002"

DESCRIPTION = """\
Runs a load against the gateway and prints a score card. The processors must run already (for the simulated ones:
docker compose -f tools/processor/docker-compose.yml up -d); they and the gateway's totals are emptied first.

the contest's load, by k6; the score is compared with the best possible if all stages were known beforehand:
  preview     60 s, 1 to 550 users, six stages of processors slow and failing
  final       300 s, 1 to 603 users, ten stages
  load FILE   a scenario of your own (see tools/benchmark/scenarios)
  floor       HAProxy answering by itself under the same load and limits: what everything else is compared with
  hop         the same with a process behind HAProxy that only answers

payments at a constant rate that does not depend on the answers, by a generator that uses little CPU:
  saturate    3,000/s for 60 s, accepted and settled; --search finds the highest rate, --beyond doubles it
  drain       both processors fail for 30 s: when is the backlog gone, and does accepting suffer
  summary     a million settled payments, then summaries of all kinds of windows, compared with the processors'
  soak        300/s for an hour, after a million payments: does memory grow

Ends with 0 if all is well, 1 if the gateway refused, lost, doubled or misreported anything or a container ended, 2 if
it can't be run or its output can't be written. Missed goals are reported but don't change the exit status."""


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = argparse.ArgumentParser(
        prog="bench", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (("preview", "the contest's preview"), ("final", "its final"), ("load", "your own scenario")):
        command = commands.add_parser(name, help=text)
        if name == "load":
            command.add_argument("scenario", metavar="FILE", help="a scenario file (.json)")
        _add_against(command)
        _add_scenario_options(command)
    for name, text in (("floor", "HAProxy alone"), ("hop", "HAProxy and nothing but an answer behind it")):
        bare = commands.add_parser(name, help=text)
        bare.add_argument("--scenario", default="preview", metavar="NAME", help="preview (if left out), final, FILE")
        _add_against(bare)
        _add_scenario_options(bare)
    _add_open_commands(commands)
    return top


def _add_open_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the commands of constant rates."""
    add = _adder(commands.add_parser("saturate", help="a constant rate, accepted and settled"), against=True)
    add("--rate", type=whole_number(), default=3000, metavar="N", help="payments per second (%(default)s)")
    add("--duration-s", type=whole_number(), default=60, metavar="S", help="duration (%(default)s)")
    add("--beyond", action="store_true", help="then twice the rate for a while, and see how it recovers")
    add("--search", action="store_true", help="find the highest sustained rate, beginning with --rate")
    add = _adder(commands.add_parser("drain", help="an outage of both processors, and after"), against=True)
    add("--rate", type=whole_number(), default=300, metavar="N", help="payments per second (%(default)s)")
    add("--calm-s", type=whole_number(), default=20, metavar="S", help="first phase, for comparison (%(default)s)")
    add("--outage-s", type=whole_number(), default=30, metavar="S", help="both processors fail (%(default)s)")
    add("--drain-s", type=whole_number(), default=20, metavar="S", help="payments go on after the outage (%(default)s)")
    add = _adder(commands.add_parser("summary", help="summaries over many payments"), against=False)
    _add_fill(add)
    add("--rate", type=whole_number(), default=300, metavar="N", help="payments per second throughout (%(default)s)")
    add("--summaries", type=whole_number(), default=50, metavar="N", help="summaries per second (%(default)s)")
    add("--duration-s", type=whole_number(), default=60, metavar="S", help="without, then with summaries (%(default)s)")
    add = _adder(commands.add_parser("soak", help="an hour, and memory"), against=False)
    _add_fill(add)
    add("--rate", type=whole_number(), default=300, metavar="N", help="payments per second (%(default)s)")
    add("--duration-s", type=whole_number(), default=3600, metavar="S", help="duration (%(default)s)")
    add("--sample-s", type=_SECONDS, default=60.0, metavar="S", help="how often memory is read (%(default)s)")


def _add_fill(add: Callable[..., argparse.Action]) -> None:
    add("--fill", type=whole_number(), default=1_000_000, metavar="N", help="payments settled first (%(default)s)")
    add("--fill-rate", type=whole_number(), default=2500, metavar="N", help="their rate per second (%(default)s)")


def _adder(command: argparse.ArgumentParser, *, against: bool) -> Callable[..., argparse.Action]:
    """Adds the options that all commands have, and returns the method that adds more."""
    if against:
        _add_against(command)
    _add_options(command)
    command.add_argument(
        "--connections", type=whole_number(), default=CONNECTIONS, metavar="N", help="at most (%(default)s)"
    )
    return command.add_argument


def _add_against(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--against",
        metavar="floor|hop|FILE",
        help="take turns with one of these, or with another docker-compose.yml",
    )


def _add_scenario_options(command: argparse.ArgumentParser) -> None:
    _add_options(command)
    add = command.add_argument
    add("--random-amounts", action="store_true", help="a different amount for every payment")
    add("--random-stages", action="store_true", help="random stages")
    add("--duration-s", type=whole_number(), metavar="S", help="a shorter or longer load, stages in proportion")
    add("--users", type=whole_number(), metavar="N", help="users at the end, for trials")


def _add_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--target", metavar="URL", help="where payments are sent; what runs there is left running (localhost:9999)")
    add(
        "--processors", metavar="URL,URL", default=PROCESSORS, help="default, fallback (localhost:8001, localhost:8002)"
    )
    add("--token", default=TOKEN, help="the processors' admin token")
    add("--repeat", type=whole_number(), default=1, metavar="N", help="run N times, and show medians")
    add("--seed", type=int, metavar="N", help="repeats the amounts, stages and windows of an earlier run")
    add(
        "--settle-s",
        type=_SECONDS,
        default=SETTLE_S,
        metavar="S",
        help="longest wait for what is not settled at the end",
    )
    add("--json", type=Path, metavar="PATH", help="where the result is written (bench-results/COMMAND-TIME.json)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Carries out a command line and returns the exit status."""
    options = parser().parse_args(arguments)
    stopping.listen()
    try:
        return _to_its_end(options, Screen(sys.stdout))
    except UnreadError:
        status = EXIT_INTERRUPTED
    except UnwrittenError as error:
        print(f"bench: {error}", file=sys.stderr)
        status = EXIT_NOT_RUN
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python writes the rest at its end
    return status


def _to_its_end(options: argparse.Namespace, screen: Screen) -> int:
    """Carries out the command; an error becomes a message. Raises UnreadError, UnwrittenError."""
    try:
        return _bench(options, screen)
    except BenchError as error:
        screen.say(f"bench: {error}")
        return EXIT_NOT_RUN
    except KeyboardInterrupt:
        screen.say("bench: interrupted; the generator is gone and the processors are calm again.")
        return EXIT_INTERRUPTED


def _bench(options: argparse.Namespace, screen: Screen) -> int:
    seed = options.seed if options.seed is not None else secrets.randbelow(_SEED_MAX)
    if options.command in {"saturate", "drain", "summary", "soak"}:
        name, rules = options.command, scenarios.read("final").rules
        measure = _open_measure(options, seed, screen)
        screen.say(f"Payments at a constant rate. Seed {seed}.")
    else:
        scenario = scenario_of(options, seed)
        name, rules = scenario.name, scenario.rules
        processors = processors_of(options)
        screen.say(f"{scenario.about} {scenario.size} Seed {seed}.")

        def measure(target: Target) -> Result:
            order = Order(target, processors, scenario, seed, options.token)
            card = carry_out(order, screen, options.settle_s)
            return _result(card, card_lines(card))

    path = options.json or RESULTS / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    good = sit(targets_of(options, rules), options.repeat, measure, path, screen)
    return EXIT_GOOD if good else EXIT_WRONG


def _result(outcome: Outcome, lines: Iterable[str]) -> Result:
    return Result(list(lines), outcome.figures(), outcome.to_document(), outcome.faults())


def _open_measure(options: argparse.Namespace, seed: int, screen: Screen) -> Callable[[Target], Result]:
    """The function that measures a target once at a constant rate."""
    processors = processors_of(options)

    def measure(target: Target) -> Result:
        setup = Setup(target, processors, seed, options.connections, options.settle_s)
        sheet = open_sheet(options, setup, screen)
        return _result(sheet, sheet_lines(sheet))

    return measure


def open_sheet(options: argparse.Namespace, setup: Setup, screen: Screen) -> Sheet:
    """Carries out one of the commands of constant rates."""
    match options.command:
        case "saturate":
            run = saturate.search if options.search else saturate.measure
            return run(setup, saturate.Ask(options.rate, options.duration_s, options.beyond), screen)
        case "drain":
            spans = (options.calm_s, options.outage_s, options.drain_s)
            return drain.measure(setup, drain.Ask(options.rate, *spans), screen)
        case "summary":
            fill = (options.fill, options.fill_rate)
            return summary.measure(
                setup, summary.Ask(*fill, options.rate, options.summaries, options.duration_s), screen
            )
        case _:
            fill = (options.fill, options.fill_rate)
            ask = soak.Ask(*fill, options.rate, options.duration_s, options.sample_s)
            return soak.measure(setup, ask, screen)

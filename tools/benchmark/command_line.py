"""The bench's commands and options, and what follows from them; `tools/bench` only calls `main`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tools.benchmark import scenario as scenarios
from tools.benchmark import targets
from tools.benchmark.card import Card, faults, to_document
from tools.benchmark.compare import medians, ratios
from tools.benchmark.endpoints import TOKEN, Processor, free_port
from tools.benchmark.errors import BenchError, OptionError
from tools.benchmark.events import SIDES
from tools.benchmark.progress import Screen
from tools.benchmark.report import card_lines, medians_lines
from tools.benchmark.run import SETTLE_S, Order, carry_out
from tools.benchmark.scenario import Scenario
from tools.benchmark.targets import Target

EXIT_GOOD = 0
EXIT_WRONG = 1  # the gateway did something it must not
EXIT_NOT_RUN = 2
EXIT_INTERRUPTED = 130
RESULTS = targets.ROOT / "bench-results"
PAUSE_S = 5.0
_SEED_MAX = 1_000_000
PROCESSORS = "http://localhost:8001,http://localhost:8002"
GATEWAY = "http://localhost:9999"

DESCRIPTION = """\
Puts the contest's load on the gateway and prints a score card. The processors must run already (for the simulated ones:
docker compose -f tools/processor/docker-compose.yml up -d); they and the gateway's totals are emptied first.

  preview     60 s, 1 to 550 users, six stages of processors slow and failing
  final       300 s, 1 to 603 users, ten stages
  load FILE   a scenario of your own (see tools/benchmark/scenarios)
  floor       HAProxy answering by itself under the same load and limits: what everything else is compared with

Ends with 0 if all is well, 1 if the gateway refused, lost, doubled or misreported anything, 2 if it can't be run."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(
        prog="bench", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (("preview", "the contest's preview"), ("final", "its final"), ("load", "your own scenario")):
        command = commands.add_parser(name, help=text)
        if name == "load":
            command.add_argument("scenario", metavar="FILE", help="a scenario file (.json)")
        command.add_argument(
            "--against", metavar="floor|FILE", help="take turns with the floor, or with another docker-compose.yml"
        )
        _add_options(command)
    floor = commands.add_parser("floor", help="HAProxy alone")
    floor.add_argument("--scenario", default="preview", metavar="NAME", help="preview (if left out), final, FILE")
    _add_options(floor)
    return top


def _add_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--target", metavar="URL", help="where payments are sent; what runs there is left running (localhost:9999)")
    add(
        "--processors", metavar="URL,URL", default=PROCESSORS, help="default, fallback (localhost:8001, localhost:8002)"
    )
    add("--token", default=TOKEN, help="the processors' admin token")
    add("--repeat", type=_at_least_one, default=1, metavar="N", help="run it so often, and show medians")
    add("--random-amounts", action="store_true", help="every payment another amount")
    add("--random-stages", action="store_true", help="other stages, made up on the spot")
    add("--seed", type=int, metavar="N", help="makes the same amounts and stages again")
    add("--duration-s", type=_at_least_one, metavar="S", help="a shorter or longer load, stages in proportion")
    add("--users", type=_at_least_one, metavar="N", help="as many users at the end, for trials")
    add("--settle-s", type=float, default=SETTLE_S, metavar="S", help="longest wait for what is not settled at the end")
    add("--json", type=Path, metavar="PATH", help="where the result is written (bench-results/SCENARIO-TIME.json)")


def _at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def scenario_of(options: argparse.Namespace, seed: int) -> Scenario:
    """Return the scenario the options ask for; raises ScenarioError."""
    name = getattr(options, "scenario", options.command)
    scenario = scenarios.resized(scenarios.read(name), duration_s=options.duration_s, users_end=options.users)
    if options.random_stages:
        scenario = scenarios.with_random_stages(scenario, seed)
    if options.random_amounts:
        scenario = scenarios.with_random_amounts(scenario)
    return scenario


def processors_of(options: argparse.Namespace) -> tuple[Processor, Processor]:
    """Return both processors; raises OptionError unless two addresses are given."""
    urls = options.processors.split(",")
    if len(urls) != len(SIDES):
        raise OptionError("--processors takes two addresses with a comma between: default, fallback.")
    for url in urls:
        targets.local_port(url)  # raises for what is no address
    default, fallback = (Processor(name, url, options.token) for name, url in zip(SIDES, urls, strict=True))
    return default, fallback


def targets_of(options: argparse.Namespace, scenario: Scenario) -> list[Target]:
    """Return what is to be measured, in turn; raises BenchError.

    A gateway that runs already, or whose address was given, is measured as it is, and the floor beside it on a port of
    its own. With `--against` and nothing running, each is started for its run and stopped after it.
    """
    url = (options.target or GATEWAY).rstrip("/")
    port = targets.local_port(url)
    if options.command == "floor":
        return [targets.floor(port or free_port())]
    against = options.against
    runs = options.target is not None or targets.answers(url)
    ours = targets.gateway(url, scenario.rules, managed=against is not None and not runs)
    if against is None:
        return [ours]
    if against == "floor":
        return [ours, targets.floor(free_port() if runs or not port else port)]
    if runs:
        raise OptionError(f"Stop what runs at {url} first: both gateways are started here in turn, on that port.")
    return [ours, targets.other(Path(against), url)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command line and return the exit status."""
    options = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    screen = Screen(sys.stdout)
    try:
        return _bench(options, screen)
    except BenchError as error:
        screen.say(f"bench: {error}")
        return EXIT_NOT_RUN
    except KeyboardInterrupt:
        screen.say("bench: interrupted; k6 is gone and the processors are calm again.")
        return EXIT_INTERRUPTED


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _bench(options: argparse.Namespace, screen: Screen) -> int:
    seed = options.seed if options.seed is not None else secrets.randbelow(_SEED_MAX)
    scenario, processors = scenario_of(options, seed), processors_of(options)
    in_turn = targets_of(options, scenario)
    started = datetime.now(UTC)
    path = options.json or RESULTS / f"{scenario.name}-{started:%Y%m%dT%H%M%SZ}.json"
    cards: dict[str, list[Card]] = {target.name: [] for target in in_turn}
    screen.say(f"{scenario.about} Seed {seed}.")
    for number in range(options.repeat):
        for target in in_turn if number % 2 == 0 else reversed(in_turn):  # so that neither always comes second
            if any(cards.values()):
                time.sleep(PAUSE_S)
            screen.say(f"run {number + 1} of {options.repeat} on {target.name} ({target.url})")
            with target.up():
                order = Order(target, processors, scenario, seed, options.token)
                card = carry_out(order, screen, options.settle_s)
            cards[target.name].append(card)
            for line in card_lines(card):
                screen.say(line)
            _write(path, result_of(started, cards))
    if options.repeat > 1 or len(in_turn) > 1:
        for line in medians_lines(*_together(cards)):
            screen.say(line)
    screen.say(f"written to {path}")
    return EXIT_WRONG if any(faults(card) for runs in cards.values() for card in runs) else EXIT_GOOD


def _together(cards: dict[str, list[Card]]) -> tuple[dict[str, dict[str, float | None]], dict[str, float] | None]:
    by_target = {name: medians(runs) for name, runs in cards.items() if runs}
    pair = list(by_target.values())
    return by_target, ratios(pair[0], pair[1]) if len(pair) > 1 else None


def result_of(started: datetime, cards: dict[str, list[Card]]) -> dict[str, Any]:
    """Return the whole result as JSON values: where and when, every run's card, medians and ratios."""
    by_target, to_other = _together(cards)
    return {
        "started_at": started.isoformat(timespec="seconds"),
        "machine": {"cpus": os.cpu_count(), "kernel": platform.release(), "architecture": platform.machine()},
        "runs": {name: [to_document(card) for card in runs] for name, runs in cards.items()},
        "medians": by_target,
        "ratios": to_other,
    }


def _write(path: Path, result: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise OptionError(f"The result can't be written to {path}: {error.strerror}.") from error

"""What follows from the command line's options: the scenario, the processors, the targets and their order."""

import argparse
from pathlib import Path

from tools.benchmark import scenario as scenarios
from tools.benchmark import targets
from tools.benchmark.endpoints import Processor, Processors, free_port
from tools.benchmark.errors import OptionError
from tools.benchmark.events import SIDES
from tools.benchmark.scenario import Rules, Scenario
from tools.benchmark.targets import Target

GATEWAY = "http://localhost:9999"
BARE = {"floor", "hop"}  # what a gateway is compared with; they settle nothing


def scenario_of(options: argparse.Namespace, seed: int) -> Scenario:
    """Returns the scenario the options ask for; raises ScenarioError."""
    name = getattr(options, "scenario", options.command)
    scenario = scenarios.resized(scenarios.read(name), duration_s=options.duration_s, users_end=options.users)
    if options.random_stages:
        scenario = scenarios.with_random_stages(scenario, seed)
    if options.random_amounts:
        scenario = scenarios.with_random_amounts(scenario)
    return scenario


def processors_of(options: argparse.Namespace) -> Processors:
    """Returns both processors; raises OptionError unless two addresses are given."""
    urls = options.processors.split(",")
    if len(urls) != len(SIDES):
        raise OptionError("--processors takes two addresses with a comma between: default, fallback.")
    for url in urls:
        targets.local_port(url)  # raises if it is no address
    default, fallback = (Processor(name, url, options.token) for name, url in zip(SIDES, urls, strict=True))
    return default, fallback


def targets_of(options: argparse.Namespace, rules: Rules) -> list[Target]:
    """Returns the targets, in the order of measuring; raises BenchError.

    A gateway that runs already, or whose address was given, is measured as it is, with floor or hop beside it on a port
    of its own. With `--against` and nothing running, each target is started for its run and stopped after it. Floor and
    hop always are.
    """
    url = (options.target or GATEWAY).rstrip("/")
    port = targets.local_port(url)
    against: str | None = getattr(options, "against", None)
    is_bare = options.command in BARE
    runs = not is_bare and (options.target is not None or targets.answers(url))
    if is_bare:
        ours = _bare(options.command, port)
    else:
        ours = targets.gateway(url, rules, managed=against is not None and not runs)
    if against is None:
        return [ours]
    if against in BARE:
        return [ours, _bare(against, None if runs else port)]
    if runs:
        raise OptionError(f"Stop what runs at {url} first: both gateways are started here in turn, on that port.")
    return [ours, targets.other(Path(against), url, rules)]


def _bare(name: str, port: int | None) -> Target:
    """The floor or the hop, at a port that is free if none is given."""
    make = targets.floor if name == "floor" else targets.hop
    return make(port or free_port())

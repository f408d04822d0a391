"""Before and after a load: finds the containers to meter, sets and empties the processors, makes them calm again."""

from typing import NamedTuple

from tools.benchmark import containers, stopping
from tools.benchmark.containers import Container
from tools.benchmark.endpoints import Gateway, Processors
from tools.benchmark.errors import DockerError, EndpointError
from tools.benchmark.scenario import CALM, Condition
from tools.benchmark.targets import Target, local_port


class Found(NamedTuple):
    """The target's containers and the processors', and a message if docker did not list them."""

    ours: list[Container]
    theirs: list[Container]
    notes: list[str]


def metered(target: Target, processors: Processors) -> Found:
    """The containers to meter, each once: both processors may belong to one project."""
    try:
        found = containers.running()
    except DockerError as error:
        return Found([], [], [f"no meters: {error}"])

    def beside(port: int | None) -> list[Container]:
        return containers.beside_port(found, port) if port else []

    theirs = [each for processor in processors for each in beside(local_port(processor.url))]
    return Found(beside(target.local_port), list({each.container_id: each for each in theirs}.values()), [])


def prepare(target: Target, processors: Processors, conditions: tuple[Condition, Condition] = (CALM, CALM)) -> None:
    """Puts both processors into these conditions, and empties them and the gateway's totals; raises EndpointError."""
    for processor, condition in zip(processors, conditions, strict=True):
        processor.set_token()
        processor.behave(condition)
        processor.purge()
    try:
        Gateway(target.url).purge()
    except EndpointError as error:
        raise EndpointError(f"{error} (Its totals must start from zero: set PURGE_ENABLED=1.)") from error


def behave(processors: Processors, condition: Condition) -> None:
    """Puts both processors into the same condition; tries both before it raises EndpointError."""
    problems = []
    for processor in processors:
        try:
            processor.behave(condition)
        except EndpointError as error:
            problems.append(str(error))
    if problems:
        raise EndpointError(" ".join(problems))


def calm(processors: Processors) -> None:
    """Makes both processors answer at once again, uninterrupted; tries both before it raises EndpointError."""
    with stopping.uninterrupted():
        behave(processors, CALM)

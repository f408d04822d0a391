"""The command line of `tools/run`. Standard library only, because it is read before `.venv` exists."""

from __future__ import annotations  # an older Python must get as far as the message that it is too old

import argparse
from typing import TYPE_CHECKING, NamedTuple

from tools.arguments import seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

PORT_MAX = 65_535
SECONDS_MAX = 86_400.0  # a day; without the option a run has no end
DOCKER_PORTS = [9999, 9990, 8001, 8002]  # of payments, HAProxy's statistics, the processors

EPILOG = """\
Ctrl-C (or SIGTERM) stops everything in order: payments under way are settled for up to 5 s, and a segment that still
holds unsettled ones stays in /dev/shm, is named, and is taken up by the next run. A second Ctrl-C stops at once
(not with --docker: containers are always stopped in order).

The instances take further settings from the environment, e.g. IN_FLIGHT_MAX=10 ./tools/run (README.md lists them,
and those that a run sets itself).

exit status: 0 stopped as it was told; 1 could not start or go on; 2 wrong usage; 130 interrupted before it started
"""


class Options(NamedTuple):
    """The options of one run.

    Args:
        docker: with Docker Compose instead of processes of this machine.
        single: one instance with one web worker, without HAProxy and Redis.
        port: for clients.
        stats_port: for operators (HAProxy's statistics).
        processor_ports: of the simulated default and fallback processor.
        seconds: how long to run; None: until Ctrl-C.
    """

    docker: bool
    single: bool
    port: int
    stats_port: int
    processor_ports: tuple[int, int]
    seconds: float | None


def read_command_line(arguments: Sequence[str]) -> Options:
    """Reads the options; ends the process with a message if they make no sense."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    default_port, fallback_port = chosen.processor_ports
    ports = [chosen.port, default_port, fallback_port] + ([] if chosen.single else [chosen.stats_port])
    if len(set(ports)) != len(ports):
        parser.error("the ports must all be different")
    if chosen.docker and [chosen.port, chosen.stats_port, *chosen.processor_ports] != DOCKER_PORTS:
        parser.error("with --docker the ports are those of the compose files: 9999, 9990, 8001 and 8002")
    return Options(
        chosen.docker, chosen.single, chosen.port, chosen.stats_port, (default_port, fallback_port), chosen.seconds
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tools/run",
        description="Starts two simulated payment processors, Redis, two instances and HAProxy, and shows how payments "
        "are doing until Ctrl-C.\nMakes its own Python environment (.venv) first, and installs HAProxy and Redis if "
        "they are missing (needs root).",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--docker", action="store_true", help="the same in containers, with docker compose")
    kind.add_argument("--single", action="store_true", help="one instance with one web worker, no HAProxy, no Redis")
    parser.add_argument("--port", type=_port, default=9999, help="payments come in here (default %(default)s)")
    parser.add_argument("--stats-port", type=_port, default=9990, help="HAProxy's statistics (default %(default)s)")
    parser.add_argument(
        "--processor-ports",
        type=_port,
        nargs=2,
        default=(8001, 8002),
        metavar=("DEFAULT", "FALLBACK"),
        help="of the simulated processors (default 8001 8002)",
    )
    parser.add_argument("--seconds", type=seconds(0, SECONDS_MAX), help="stop by itself after so long")
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= PORT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to {PORT_MAX}")
    return int(text)

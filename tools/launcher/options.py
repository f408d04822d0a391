"""What `tools/run` was asked for."""

import argparse
from collections.abc import Sequence
from typing import NamedTuple

PORT_MAX = 65535


class Options(NamedTuple):
    """The choices of one run.

    Args:
        docker: with Docker Compose instead of processes of this machine.
        single: one instance with one web worker, without HAProxy and Redis.
        port: where payments come in.
        stats_port: where operators look (HAProxy's statistics).
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
    """The options on the command line; ends the process with a sentence if they make no sense."""
    parser = argparse.ArgumentParser(
        prog="tools/run",
        description="Starts two simulated payment processors, Redis, two instances and HAProxy, and shows what happens "
        "until Ctrl-C. Makes its own Python environment; installs HAProxy and Redis if missing (needs root).",
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
    parser.add_argument("--seconds", type=float, help="stop by itself after so long")
    chosen = parser.parse_args(arguments)
    default_port, fallback_port = chosen.processor_ports
    ports = [chosen.port, default_port, fallback_port] + ([] if chosen.single else [chosen.stats_port])
    if len(set(ports)) != len(ports):
        parser.error("the ports must all be different")
    if chosen.docker and ports != [9999, 8001, 8002, 9990]:
        parser.error("with --docker the ports are those of the compose files: 9999, 9990, 8001 and 8002")
    return Options(
        chosen.docker, chosen.single, chosen.port, chosen.stats_port, (default_port, fallback_port), chosen.seconds
    )


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= PORT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to {PORT_MAX}")
    return int(text)

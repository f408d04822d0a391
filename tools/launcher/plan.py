"""Which services run for which options, in the order of starting. Pure."""

import signal
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from shm import PROCESSOR_NAMES
from tools.launcher.options import Options

FEES_PERCENT = ("7", "10")  # the contest's final


class Service(NamedTuple):
    """One program of the run.

    Args:
        name: shown to the user.
        command: its argument list.
        environment: variables it needs in addition to the inherited ones.
        listens: a TCP port of 127.0.0.1, or the path of a unix socket, that takes connections once it is up.
        log: file for what it prints.
        about: a note on it, shown to the user.
        is_gateway: whether it is an instance: stopped first, and its whole log is shown.
        stop_rank: services of the same rank are stopped together, the lowest rank first.
        stop_signal: makes it stop in order.
        stop_within_s: how long that may take.
    """

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    listens: int | Path
    log: Path
    about: str
    is_gateway: bool = False
    stop_rank: int = 2
    stop_signal: signal.Signals = signal.SIGTERM
    stop_within_s: float = 5


class Programs(NamedTuple):
    """Paths of the programs.

    Args:
        python: of the project's environment.
        haproxy: None if it isn't needed.
        redis: None if it isn't needed.
        root: the project's folder.
    """

    python: Path
    haproxy: Path | None
    redis: Path | None
    root: Path


def instances_of(options: Options) -> tuple[str, ...]:
    """The names of the instances."""
    return ("local",) if options.single else ("app1", "app2")


def ports_of(options: Options) -> dict[int, str]:
    """Every TCP port of the run and what it is for."""
    ports = {options.port: "payments"}
    if not options.single:
        ports[options.stats_port] = "HAProxy's statistics"
    for name, port in zip(PROCESSOR_NAMES, options.processor_ports, strict=True):
        ports[port] = f"processor {name}"
    return ports


def services_of(options: Options, programs: Programs, folder: Path) -> list[Service]:
    """The services in the order of starting.

    Args:
        options: what was asked for.
        programs: where the programs are.
        folder: a folder of this run alone, for sockets and logs.
    """
    services = [_processor(options, programs, folder, index) for index in range(len(PROCESSOR_NAMES))]
    if options.single:
        # Set explicitly, so that a REDIS_URL or SIBLINGS of the user's own environment has no effect.
        alone = {"LISTEN": f"tcp:127.0.0.1:{options.port}", "REDIS_URL": "", "SIBLINGS": ""}
        return [*services, _instance("local", options, programs, folder, alone, options.port)]
    redis = folder / "redis.sock"
    shared = {"LISTEN": f"unix:{folder}", "REDIS_URL": f"unix://{quote(str(redis))}"}
    services.append(_redis(programs, folder, redis))
    names = instances_of(options)
    for name in names:
        siblings = ",".join(other for other in names if other != name)
        settings = {**shared, "SIBLINGS": siblings}
        services.append(_instance(name, options, programs, folder, settings, folder / f"{name}-0.sock"))
    return [*services, _haproxy(options, programs, folder)]


def stop_groups(services: list[Service]) -> list[list[Service]]:
    """Who is stopped together, first to last: the instances while HAProxy, Redis and the processors still serve them,
    HAProxy so that nobody is sent to what is gone, then the rest.
    """
    ranks = sorted({service.stop_rank for service in services})
    return [[service for service in services if service.stop_rank == rank] for rank in ranks]


def _processor(options: Options, programs: Programs, folder: Path, index: int) -> Service:
    port, name, fee = options.processor_ports[index], PROCESSOR_NAMES[index], FEES_PERCENT[index]
    command = (
        *(str(programs.python), "-m", "tools.processor", "--name", name),
        *("--port", str(port), "--fee-percent", fee),
    )
    about = f"http://127.0.0.1:{port}  simulated, fee {fee} %, token 123"
    return Service(f"processor {name}", command, {}, port, folder / f"processor-{name}.log", about)


def _instance(
    name: str, options: Options, programs: Programs, folder: Path, more: dict[str, str], listens: int | Path
) -> Service:
    default_port, fallback_port = options.processor_ports
    environment = {
        "INSTANCE": name,
        "PROCESSOR_DEFAULT_URL": f"http://127.0.0.1:{default_port}",
        "PROCESSOR_FALLBACK_URL": f"http://127.0.0.1:{fallback_port}",
        "WEB_WORKERS": "1",  # as haproxy/haproxy.cfg has server lines for
        "PURGE_ENABLED": "1",
        "LOG_LEVEL": "WARNING",
        **more,
    }
    return Service(
        f"instance {name}",
        (str(programs.python), "-m", "server"),
        environment,
        listens,
        folder / f"{name}.log",
        f"segment /gateway-{name}, 1 web worker",
        is_gateway=True,
        stop_rank=0,
        stop_within_s=15,  # LEAVE_S, DRAIN_S, the last flush, and some patience with each
    )


def _redis(programs: Programs, folder: Path, path: Path) -> Service:
    command = (
        *(str(programs.redis), "--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700"),
        *("--save", "", "--appendonly", "no", "--loglevel", "warning", "--dir", str(folder)),
    )
    return Service("redis", command, {}, path, folder / "redis.log", f"{path}  totals, nothing on disk")


def _haproxy(options: Options, programs: Programs, folder: Path) -> Service:
    environment = {
        "GATEWAY_RUN": str(folder),
        "GATEWAY_BIND": f"127.0.0.1:{options.port}",
        "GATEWAY_STATS_BIND": f"127.0.0.1:{options.stats_port}",
    }
    command = (str(programs.haproxy), "-db", "-f", str(programs.root / "haproxy" / "haproxy.cfg"))
    about = f"http://127.0.0.1:{options.port}  statistics at http://127.0.0.1:{options.stats_port}"
    return Service(
        "haproxy",
        command,
        environment,
        options.port,
        folder / "haproxy.log",
        about,
        stop_rank=1,
        stop_signal=signal.SIGUSR1,
        stop_within_s=7,  # hard-stop-after 5 s
    )

"""What has to run for which options, in the order of starting: pure."""

from pathlib import Path
from typing import NamedTuple

from tools.launcher.options import Options

PROCESSOR_NAMES = ("default", "fallback")
FEES_PERCENT = ("7", "10")  # the contest's final
WORKERS = 2  # as haproxy/haproxy.cfg has server lines for


class Service(NamedTuple):
    """One program of the run.

    Args:
        name: for people.
        command: its argument list.
        environment: variables it needs beside the usual ones.
        port: TCP port of 127.0.0.1 that answers once it is up; None if it is up when `path` exists.
        path: socket that exists once it is up; None if there is a port.
        stop_within_s: how long its orderly stop may take.
        log: file for what it prints; None: it goes where this program's goes.
        uses: what is worth knowing about it, for people.
    """

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    port: int | None
    path: Path | None
    stop_within_s: float
    log: Path | None
    uses: str


class Programs(NamedTuple):
    """Where the programs are.

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
    """Every TCP port of the run and whose it is."""
    ports = {options.port: "payments"}
    if not options.single:
        ports[options.stats_port] = "HAProxy's statistics"
    for name, port in zip(PROCESSOR_NAMES, options.processor_ports, strict=True):
        ports[port] = f"processor {name}"
    return ports


def services_of(options: Options, programs: Programs, folder: Path) -> list[Service]:
    """Everything to be started, first to last; stopped in the order of `stop_order`.

    Args:
        options: what was asked for.
        programs: where the programs are.
        folder: a folder of this run alone, for sockets.
    """
    services = [_processor(options, programs, index) for index in range(len(PROCESSOR_NAMES))]
    if options.single:
        listen = f"tcp:127.0.0.1:{options.port}"
        services.append(_instance("local", options, programs, {"LISTEN": listen, "WEB_WORKERS": "1"}))
        return services
    redis = folder / "redis.sock"
    services.append(_redis(programs, redis))
    for name in instances_of(options):
        others = ",".join(other for other in instances_of(options) if other != name)
        shared = {
            "LISTEN": f"unix:{folder}",
            "WEB_WORKERS": str(WORKERS),
            "REDIS_URL": f"unix://{redis}",
            "SIBLINGS": others,
        }
        services.append(_instance(name, options, programs, shared, folder / f"{name}-0.sock"))
    services.append(_haproxy(options, programs, folder))
    return services


def stop_order(services: list[Service]) -> list[Service]:
    """Instances first, while HAProxy, Redis and processors still serve them; then the rest, last started first."""
    last_first = services[::-1]
    return [one for one in last_first if one.name.startswith("instance")] + [
        one for one in last_first if not one.name.startswith("instance")
    ]


def _processor(options: Options, programs: Programs, index: int) -> Service:
    port = options.processor_ports[index]
    name = f"processor {PROCESSOR_NAMES[index]}"
    command = (
        *(str(programs.python), "-m", "tools.processor", "--name", PROCESSOR_NAMES[index]),
        *("--port", str(port), "--fee-percent", FEES_PERCENT[index]),
    )
    uses = f"http://127.0.0.1:{port}  simulated, fee {FEES_PERCENT[index]} %, token 123"
    return Service(name, command, {}, port, None, 5, None, uses)


def _instance(
    name: str, options: Options, programs: Programs, more: dict[str, str], path: Path | None = None
) -> Service:
    default_port, fallback_port = options.processor_ports
    environment = {
        "INSTANCE": name,
        "PROCESSOR_DEFAULT_URL": f"http://127.0.0.1:{default_port}",
        "PROCESSOR_FALLBACK_URL": f"http://127.0.0.1:{fallback_port}",
        "PURGE_ENABLED": "1",
        "LOG_LEVEL": "WARNING",
        **more,
    }
    command = (str(programs.python), "-m", "server")
    port = None if path else options.port
    uses = f"segment /gateway-{name}, {environment['WEB_WORKERS']} web worker(s), 1 dispatcher"
    return Service(f"instance {name}", command, environment, port, path, 15, None, uses)


def _redis(programs: Programs, path: Path) -> Service:
    command = (
        *(str(programs.redis), "--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700"),
        *("--save", "", "--appendonly", "no", "--loglevel", "warning", "--dir", str(path.parent)),
    )
    return Service("redis", command, {}, None, path, 5, path.with_suffix(".log"), f"{path}  totals, nothing on disk")


def _haproxy(options: Options, programs: Programs, folder: Path) -> Service:
    environment = {
        "GATEWAY_RUN": str(folder),
        "GATEWAY_BIND": f"127.0.0.1:{options.port}",
        "GATEWAY_STATS_BIND": f"127.0.0.1:{options.stats_port}",
    }
    command = (str(programs.haproxy), "-db", "-f", str(programs.root / "haproxy" / "haproxy.cfg"))
    uses = f"http://127.0.0.1:{options.port}  statistics at http://127.0.0.1:{options.stats_port}"
    return Service("haproxy", command, environment, options.port, None, 6, folder / "haproxy.log", uses)

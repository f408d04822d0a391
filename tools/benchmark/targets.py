"""The targets: what runs already, the gateway's own compose file, another compose file, the floor or the hop."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tools.benchmark import stopping
from tools.benchmark.containers import ComposeProject
from tools.benchmark.endpoints import Endpoint
from tools.benchmark.errors import DockerError, EndpointError, OptionError
from tools.benchmark.scenario import Rules

ROOT = Path(__file__).resolve().parent.parent.parent
OWN_COMPOSE = ROOT / "docker-compose.yml"
FLOOR_COMPOSE = Path(__file__).parent / "floor" / "docker-compose.yml"
HOP_COMPOSE = FLOOR_COMPOSE.with_name("hop.yml")
READY_S = 120.0
_ASK_AGAIN_S = 0.25
_ASK_TIMEOUT_S = 2.0
_LOCAL = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, slots=True)
class Target:
    """Something that takes payments at `url`.

    Attributes:
        name: for the report.
        url: its origin, http only.
        settles: whether it pays what it accepts; floor and hop do not.
        project: what starts and stops it; None for what runs already and is left running.
    """

    name: str
    url: str
    settles: bool = True
    project: ComposeProject | None = None

    @property
    def local_port(self) -> int | None:
        """The port, if the target is on this machine, where its containers can be metered."""
        return local_port(self.url)

    def answers(self) -> bool:
        """Whether something answers there now."""
        return answers(self.url)

    @contextlib.contextmanager
    def up(self, say: Callable[[str], None] = lambda _: None) -> Iterator[None]:
        """Starts it unless it runs already, waits until it answers, and stops at the end what was started.

        `say` gets a message before it is stopped: that takes a while, and nothing interrupts it.
        """
        if self.project is None:
            if not self.answers():
                raise EndpointError(f"Nothing answers at {self.url}: start the gateway first (./tools/run).")
            yield
            return
        if self.answers():
            raise EndpointError(f"{self.url} is taken: stop what runs there first, so that {self.name} can start.")
        try:
            self.project.start()
            self._wait()
            yield
        finally:
            self._stop(self.project, say)

    def _stop(self, project: ComposeProject, say: Callable[[str], None]) -> None:
        """Stops what was started, also if nobody reads the output any more."""
        with stopping.uninterrupted():
            try:
                say(f"stopping {self.name} …")
            finally:
                project.stop()

    def _wait(self) -> None:
        """Waits until its summary is a success; raises EndpointError after `READY_S`."""
        endpoint = Endpoint(self.name, self.url)
        deadline_s = time.monotonic() + READY_S
        while True:
            try:
                endpoint.ask("GET", "/payments-summary", timeout_s=_ASK_TIMEOUT_S)
            except EndpointError as error:
                if time.monotonic() > deadline_s:
                    raise EndpointError(f"{self.name} was not ready within {READY_S:.0f} s. {error}") from error
                time.sleep(_ASK_AGAIN_S)
            else:
                return


def answers(url: str) -> bool:
    """Whether anything at all answers at this origin."""
    try:
        Endpoint("target", url).try_ask("GET", "/payments-summary", timeout_s=_ASK_TIMEOUT_S)
    except EndpointError:
        return False
    return True


def local_port(url: str) -> int | None:
    """Returns the port of an origin on this machine, else None; raises OptionError if it is no http origin."""
    try:
        parts = urlsplit(url)
        port = parts.port or 80
    except ValueError as error:
        raise OptionError(f"{url} is not an http:// address: {error}.") from error
    if parts.scheme != "http" or not parts.hostname:
        raise OptionError(f"{url} is not an http:// address.")
    return port if parts.hostname in _LOCAL else None


def floor(port: int, own_compose: Path = OWN_COMPOSE) -> Target:
    """Returns the floor at this port, under the limits of the gateway's own HAProxy; raises DockerError."""
    return _bare("floor", FLOOR_COMPOSE, port, own_compose)


def hop(port: int, own_compose: Path = OWN_COMPOSE) -> Target:
    """Returns the hop at this port: HAProxy with a process behind it that only answers; raises DockerError.

    Its HAProxy has the gateway's configuration and limits. Its cost above the floor is the price of having anything
    behind HAProxy.
    """
    return _bare("hop", HOP_COMPOSE, port, own_compose)


def _bare(name: str, file: Path, port: int, own_compose: Path) -> Target:
    if not own_compose.exists():
        raise DockerError(f"{own_compose} is not there: the {name} takes its limits from it.")
    cpus, memory = ComposeProject(own_compose).limits("haproxy")
    variables = {"BARE_PORT": str(port), "BARE_CPUS": cpus, "BARE_MEMORY": memory}
    project = ComposeProject(file, variables, keep_volumes=False)
    return Target(name, f"http://localhost:{port}", settles=False, project=project)


def gateway(url: str, rules: Rules, *, managed: bool) -> Target:
    """The gateway at this address; `managed`: from its compose file, started and stopped for each run.

    A managed one gets the fees of the scenario's rules; one that runs already keeps its own.
    """
    return Target("gateway", url, project=ComposeProject(OWN_COMPOSE, fees_of(rules)) if managed else None)


def fees_of(rules: Rules) -> dict[str, str]:
    """The variables that set the fees in the compose files of the gateway and of the processors."""
    return {
        "FEE_DEFAULT_PERCENT": str(rules.fee_default_percent),
        "FEE_FALLBACK_PERCENT": str(rules.fee_fallback_percent),
    }


def other(compose_file: Path, url: str, rules: Rules) -> Target:
    """Returns another gateway, started from its compose file; raises DockerError if there is no such file.

    It gets the fees like the gateway, as its file may be of another version of the same project.
    """
    if not compose_file.is_file():
        raise DockerError(f"{compose_file} is not there.")
    folder = compose_file.resolve().parent
    return Target(f"{folder.parent.name}/{folder.name}", url, project=ComposeProject(compose_file, fees_of(rules)))

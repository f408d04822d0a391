"""`tools/run` from its options to its exit status."""

import http.client
import sys
import time
from collections.abc import Callable
from http import HTTPStatus

from tools.debian import SetupError
from tools.environment import ROOT
from tools.launcher import docker
from tools.launcher.errors import LaunchError, Stop
from tools.launcher.fleet import Fleet
from tools.launcher.folder import own_folder
from tools.launcher.leftovers import clear
from tools.launcher.machine import exclusive_run, find_programs, found_segments, require_nobody_runs, require_ports
from tools.launcher.options import Options
from tools.launcher.plan import instances_of, ports_of, services_of
from tools.launcher.screen import Screen, this_screen
from tools.launcher.status import Watch
from tools.launcher.stopping import Stopping

EXIT_FAILED = 1
ANSWERS_WITHIN_S = 30.0
ASK_WITHIN_S = 2.0
STATUS_EVERY_S = 1.0
LOOK_S = 0.2
TRY_PAYMENT = (
    "curl -i http://127.0.0.1:{port}/payments -H 'Content-Type: application/json' "
    '-d \'{{"correlationId":"\'$(cat /proc/sys/kernel/random/uuid)\'","amount":19.90}}\''
)
DOCKER_REMEDY = (
    "stop what uses it; if that is a ./tools/run --docker that was killed, docs/operating.md says "
    'how, under "When something is in the way"'
)
TRY_SUMMARY = "curl http://127.0.0.1:{port}/payments-summary"


def start(options: Options) -> int:
    """Runs everything until it is told to stop; returns the exit status.

    Raises:
        KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP during the checks, before anything was started.
    """
    screen, stopping = this_screen(), Stopping()
    stopping.interrupt()  # as long as there is nothing to stop in order
    try:
        if options.docker:
            require_ports(ports_of(options), DOCKER_REMEDY)
            _run_in_docker(options, screen, stopping)
        else:
            require_nobody_runs(instances_of(options))  # before the ports: other ones would not help
            require_ports(ports_of(options), "stop what uses it, or choose another (see --help)")
            _run_here(options, screen, stopping)
    except Stop:
        pass
    except (LaunchError, SetupError) as error:
        sys.stderr.write(f"tools/run: {error}\n")
        return EXIT_FAILED
    screen.say("stopped")
    return 0


def _run_here(options: Options, screen: Screen, stopping: Stopping) -> None:
    instances = instances_of(options)
    programs = find_programs(single=options.single)
    stopping.listen()
    with exclusive_run(instances), own_folder() as folder:
        require_nobody_runs(instances)
        fleet = Fleet(services_of(options, programs, folder), ROOT, stopping.pause, screen.say)
        try:
            for told in found_segments(instances):
                screen.say(told)
            for service in fleet.start():
                screen.say(f"  {service.name:20} {service.about}")
            wait_for_answer(options.port, stopping.pause)
            _invite(options.port, screen)
            watch = Watch(instances)
            _show(options, screen, stopping, fleet.look_after, lambda: str(watch.look()))
        finally:
            _wind_up(fleet, screen, stopping)
            for told in clear(instances, time.sleep):
                screen.say(told)


def _run_in_docker(options: Options, screen: Screen, stopping: Stopping) -> None:
    docker.require_docker()
    stopping.listen()
    with own_folder() as folder:
        composed = docker.Composed(folder, stopping.pause, screen.say)
        try:
            composed.start()
            wait_for_answer(options.port, stopping.pause)
            _invite(options.port, screen)
            _show(options, screen, stopping, composed.look_after, composed.status)
        finally:
            screen.say("")
            stopping.ignore()  # Docker stops the containers in order, within bounded time
            composed.stop()


def _invite(port: int, screen: Screen) -> None:
    screen.say(
        f"Try it:\n  {TRY_PAYMENT.format(port=port)}\n  {TRY_SUMMARY.format(port=port)}\nCtrl-C stops everything."
    )


def _show(
    options: Options,
    screen: Screen,
    stopping: Stopping,
    look_after: Callable[[], None],
    status: Callable[[], str],
) -> None:
    """Shows the status of payments until it is told to stop or the time is over."""
    now_s = time.monotonic()
    end_s = None if options.seconds is None else now_s + options.seconds
    next_status_s = now_s
    while end_s is None or now_s < end_s:
        look_after()
        if now_s >= next_status_s:
            next_status_s = now_s + STATUS_EVERY_S
            screen.show(status())
        screen.check()
        stopping.pause(LOOK_S)
        now_s = time.monotonic()


def _wind_up(fleet: Fleet, screen: Screen, stopping: Stopping) -> None:
    """Stops everything; a further signal stops it at once."""
    stopping.acknowledge()
    screen.say("")
    try:
        fleet.stop()
    except Stop:
        screen.say("stopping at once")
    finally:
        stopping.ignore()
        fleet.kill()


def wait_for_answer(port: int, pause: Callable[[float], None]) -> None:
    """Waits until `GET /health` says that payments are taken.

    Raises:
        LaunchError: it did not within half a minute.
        Stop: raised by `pause`.
    """
    deadline_s = time.monotonic() + ANSWERS_WITHIN_S
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ASK_WITHIN_S)
        try:
            connection.request("GET", "/health")
            answer = str(connection.getresponse().status)
            if answer == str(HTTPStatus.NO_CONTENT.value):
                return
        except (OSError, http.client.HTTPException) as error:
            answer = str(error) or type(error).__name__
        finally:
            connection.close()
        if time.monotonic() > deadline_s:
            raise LaunchError(f"port {port} did not answer within {ANSWERS_WITHIN_S:.0f} s: {answer}")
        pause(LOOK_S)

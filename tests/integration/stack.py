"""The whole gateway as processes of this machine, by the launcher of `tools/run`: whom to kill, when all is settled."""

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shm import (
    Counters,
    Phase,
    RoleTaken,
    Segment,
    SegmentMissing,
    count_unsettled,
    lock_path,
    segment_name,
    take_role,
)
from tests.ports import free_ports
from tests.shm.segments import remove
from tools.environment import ROOT
from tools.launcher.command_line import wait_for_answer
from tools.launcher.errors import LaunchError
from tools.launcher.fleet import Fleet, _Running
from tools.launcher.leftovers import clear
from tools.launcher.machine import find_programs, require_nobody_runs
from tools.launcher.options import Options
from tools.launcher.plan import services_of

INSTANCES = ("app1", "app2")  # as haproxy.cfg names their sockets, so there is one such stack on a machine
TURN_WITHIN_S = 900.0  # another run of this kind takes ten minutes
TURN_LOOK_S = 5.0
LOOK_S = 0.1
DEAD_WITHIN_S = 10.0
SETTLE_LOOK_S = 0.5
SETTINGS = {
    "JOURNAL_RECORDS": "32768",  # small enough to be folded in a long run; remembers twice as long as copies come
    "WAITING_SLOTS": "65536",
}


class HeldFleet(Fleet):
    """A fleet in which some may stay dead for a while.

    Attributes:
        held: names of services that are not started again for now.
    """

    def __init__(self, folder: Path, options: Options, say: Callable[[str], None]) -> None:
        services = [
            service._replace(environment={**service.environment, **SETTINGS}) if service.is_gateway else service
            for service in services_of(options, find_programs(single=False), folder)
        ]
        super().__init__(services, ROOT, time.sleep, say)
        self.held: set[str] = set()

    def pid_of(self, name: str) -> int | None:
        """The process of a service; None while there is none."""
        running = self._running.get(name)
        return running.process.pid if running and running.lives() else None

    def _replace(self, running: _Running) -> None:
        if running.service.name not in self.held:
            super()._replace(running)


class Stack:
    """One run's processes.

    Args:
        folder: for sockets and logs.
        options: the ports.

    Attributes:
        fleet: who runs.
        port: where payments come in.
        processor_ports: of default and fallback.
        redis: Redis's socket.
        said: what the launcher and the instances had to say.
    """

    def __init__(self, folder: Path, options: Options) -> None:
        self.folder = folder
        self.port = options.port
        self.processor_ports = options.processor_ports
        self.redis = folder / "redis.sock"
        self.said = folder / "said.log"
        self.fleet = HeldFleet(folder, options, self._say)
        self._segments: dict[str, Segment] = {}
        self._started: list[str] = []

    def _say(self, sentence: str) -> None:
        with self.said.open("a") as log:
            log.write(f"{time.strftime('%H:%M:%S')} {sentence}\n")

    def start(self) -> None:
        """Starts everything and waits until payments are taken.

        Raises:
            LaunchError: something did not start.
        """
        for service in self.fleet.start():
            self._started.append(service.name)
        wait_for_answer(self.port, time.sleep)
        self._segments = {name: Segment.attach(name, read_only=True) for name in INSTANCES}

    async def keep(self) -> None:
        """Starts again what dies, until cancelled.

        Raises:
            LaunchError: something dies as soon as it is started.
        """
        while True:
            self.fleet.look_after()
            await asyncio.sleep(LOOK_S)

    def top_pid(self, service: str) -> int | None:
        """The first process of a service (`redis`, `haproxy`, `instance app1`); None while it is dead."""
        return self.fleet.pid_of(service)

    def child_pid(self, instance: str, kind: str, number: int) -> int | None:
        """A worker's or dispatcher's process; None while there is none."""
        segment = self._segments[instance]
        rows: dict[str, Callable[[int], Counters]] = {
            "worker": segment.worker_counters,
            "dispatcher": segment.dispatcher_counters,
        }
        pid = rows[kind](number).pid
        supervisor = self.top_pid(f"instance {instance}")
        return pid if supervisor is not None and _parent_of(pid) == supervisor else None

    async def wait_back(self, instance: str, before: int | None, within_s: float) -> None:
        """Waits until an instance has another first process than before, and all its workers serve."""
        deadline_s = time.monotonic() + within_s
        segment = self._segments[instance]
        workers = range(segment.geometry.workers)
        while (
            self.top_pid(f"instance {instance}") in {None, before}
            or any(self.child_pid(instance, "worker", worker) is None for worker in workers)
            or any(segment.worker_counters(worker).phase is not Phase.READY for worker in workers)
        ):
            assert time.monotonic() < deadline_s, f"{instance} did not come back"
            await asyncio.sleep(LOOK_S)

    def unsettled(self) -> int:
        """Accepted payments that have not ended, in both instances."""
        return sum(map(count_unsettled, self._segments.values()))

    async def settle(self, within_s: float) -> int:
        """Waits until everything accepted has ended; how many have not when the time is over."""
        deadline_s = time.monotonic() + within_s
        while (left := self.unsettled()) and time.monotonic() < deadline_s:
            await asyncio.sleep(SETTLE_LOOK_S)
        return left

    def close(self) -> None:
        """Ends everything; whatever was stopped goes on first."""
        for name in ("redis", "haproxy", *(f"instance {instance}" for instance in INSTANCES)):
            pid = self.top_pid(name)
            if pid is not None:
                os.kill(pid, signal.SIGCONT)
        self.fleet.kill()

    def remove_segments(self) -> None:
        """Removes the segments of its instances, once they are dead: nothing in them is anybody's money."""
        for instance in INSTANCES:
            deadline_s = time.monotonic() + DEAD_WITHIN_S
            while f"instance {instance}" in self._started and lock_path(instance, "supervisor").exists():
                try:
                    with take_role(instance, "supervisor", within_s=0):
                        _remove_segment(instance)
                except RoleTaken:  # killed, and not dead yet
                    if time.monotonic() > deadline_s:
                        raise
                    time.sleep(LOOK_S)

    def keep_segments(self) -> None:
        """Copies both segments to the folder, for whoever wants to know what went wrong."""
        for instance in INSTANCES:
            path = Path("/dev/shm") / segment_name(instance).removeprefix("/")
            if path.exists():
                shutil.copy(path, self.folder)


@contextmanager
def running_stack() -> Iterator[Stack]:
    """Runs a stack; its folder stays where it is if anything fails inside.

    Raises:
        LaunchError: it can't be started, or the names of its instances are not to be had in time.
    """
    with _turn():
        folder = Path(tempfile.mkdtemp(prefix="gateway-chaos-"))
        stack = Stack(folder, _free_options())
        try:
            stack.start()
            yield stack
        except KeyboardInterrupt:
            stack.close()
            shutil.rmtree(folder)
            raise
        except BaseException:
            stack.close()
            stack.keep_segments()
            print(f"logs and segments are in {folder}", flush=True)  # noqa: T201  for whoever looks into it
            raise
        else:
            stack.close()
            shutil.rmtree(folder)
        finally:
            stack.remove_segments()


@contextmanager
def _turn() -> Iterator[None]:
    """Holds the right to run such a stack on this machine, after waiting for whoever does.

    Raises:
        LaunchError: somebody still does when the patience is over, or has left payments under these names.
    """
    deadline_s = time.monotonic() + TURN_WITHIN_S
    with (Path(tempfile.gettempdir()) / "gateway-chaos.lock").open("w") as lock:
        while not _is_mine(lock.fileno()):
            if time.monotonic() > deadline_s:
                raise LaunchError(f"another run has not ended within {TURN_WITHIN_S:.0f} s")
            time.sleep(TURN_LOOK_S)
        clear(INSTANCES, time.sleep)
        for instance in INSTANCES:
            with contextlib.suppress(SegmentMissing):
                unsettled = count_unsettled(Segment.attach(instance, read_only=True))
                raise LaunchError(
                    f"segment {segment_name(instance)} of an earlier run holds {unsettled} unsettled payments, which "
                    f"would be paid here; let tools/run settle them, or remove /dev/shm{segment_name(instance)}"
                )
        yield


def _is_mine(lock: int) -> bool:
    """Whether nobody else has the lock of such runs, and nobody runs instances of these names otherwise."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        require_nobody_runs(INSTANCES)
    except (BlockingIOError, LaunchError) as error:
        print(f"waiting for another run to end: {error}", flush=True)  # noqa: T201  pytest shows it with -s
        return False
    return True


def _free_options() -> Options:
    port, stats_port, default_port, fallback_port = free_ports(4)
    return Options(
        docker=False,
        single=False,
        port=port,
        stats_port=stats_port,
        processor_ports=(default_port, fallback_port),
        seconds=None,
    )


def _remove_segment(instance: str) -> None:
    try:
        remove(instance)
    except SegmentMissing:
        lock_path(instance, "supervisor").unlink()


def _parent_of(pid: int) -> int | None:
    """A process's parent; None if it is no more."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[1])

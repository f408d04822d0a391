"""The supervisor: holds the sockets and the segment; forks, watches, restarts, stops in order. First process of an
instance, without threads and without an event loop, so that forking is safe.

Signals: SIGTERM, SIGINT or SIGHUP stop in order (web workers leave, dispatchers settle what they can, totals are
published); another one, half a second later or more, stops at once. On SIGCHLD children that have ended are reaped. The
supervisor waits for signals with sigtimedwait, so no handler ever interrupts it.
"""

import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable

from server import child, dispatcher_process, worker
from server.children import Children, Role, roles_of
from server.config import Config
from server.shm_files import ShmFiles
from shm import Counters, Phase, Segment, SupervisorCount

LOOK_MS = 500  # how often heartbeats are looked at
SAME_MS = 500  # signals to stop this close together count as one: `timeout` sends its own twice
START_WITHIN_MS = 60_000  # a full table is read in 1.4 s, but a starved container may have a tenth of a core
_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_log = logging.getLogger(__name__)


class Supervisor:
    """The parent of one instance's processes; whoever makes it holds the supervisor's lock.

    Args:
        config: all settings.
        segment: the instance's.
        listeners: a listening socket per web worker, by its number.
    """

    def __init__(self, config: Config, segment: Segment, listeners: list[socket.socket]) -> None:
        self._config = config
        self._segment = segment
        self._listeners = listeners
        self._doorbells = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(config.dispatchers)]
        self._children = Children(roles_of(config))
        self._counters = segment.supervisor_counters()
        self._watched: set[int] = {signal.SIGCHLD, *_STOPS}
        self._stopped = False
        self._stop_requested_at_ms = 0
        self._looked_at_us = 0  # when heartbeats were last looked at
        self._awake_since_us = 0  # when this process, and so perhaps all others, last went on after standing still
        self._files = ShmFiles(config.instance)

    def run(self) -> None:
        """Runs the instance until told to stop."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # some who start this ignore it: no child could be waited for
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup: a blocked signal would be seen all the same
            self._watched.discard(signal.SIGHUP)
        signal.pthread_sigmask(signal.SIG_BLOCK, self._watched)
        self._counters.begin(os.getpid(), time.time_ns() // 1_000_000)
        gc.freeze()
        self._counters.phase = Phase.READY
        while not self._stopped:
            self._fill_roles()
            self._look_at_heartbeats()
            self._files.look()
            self._handle(self._next_signal(LOOK_MS))
        self._counters.phase = Phase.GONE

    def _next_signal(self, most_ms: int) -> int | None:
        """Sleeps until a signal comes, a role is due, or it is time to look at heartbeats again."""
        self._counters.beat()
        wait_ms = self._children.wait_ms(_now_ms(), most_ms)
        info = signal.sigtimedwait(self._watched, wait_ms / 1000)
        return None if info is None else info.si_signo

    def _handle(self, number: int | None) -> None:
        if number == signal.SIGCHLD:
            self._reap()
        elif number in _STOPS:
            _log.info("stopping")
            self._stop_in_order()

    def _fill_roles(self, kind: str | None = None) -> None:
        for role in self._children.due(_now_ms(), kind):
            self._fork(role)

    def _fork(self, role: Role) -> None:
        parent = os.getpid()
        row = self._row(role)
        row.phase = Phase.STARTING
        row.beat()  # else the successor would be killed for its predecessor's last one, which is old
        try:
            pid = os.fork()
        except OSError as error:  # no memory, or too many processes: the other children live on
            row.phase = Phase.GONE
            _log.error("%s can't be started now: %s", role, error)
            self._children.put_off(role, _now_ms())
            return
        if pid == 0:
            try:
                os._exit(child.run(str(role), parent, self._work(role)))
            finally:
                os._exit(child.EXIT_CRASH)
        self._children.born(role, pid, _now_ms())
        self._counters.add(SupervisorCount.FORKS)
        _log.info("%s is process %d", role, pid)

    def _work(self, role: Role) -> Callable[[], int]:
        config, segment, number = self._config, self._segment, role.number
        if role.kind == "worker":
            return lambda: worker.serve(config, segment, number, self._listeners[number], self._doorbells)
        return lambda: dispatcher_process.serve(config, segment, number, self._doorbells[number])

    def _row(self, role: Role) -> Counters:
        if role.kind == "worker":
            return self._segment.worker_counters(role.number)
        return self._segment.dispatcher_counters(role.number)

    def _reap(self) -> None:
        """Takes note of every process that has ended, also of orphans that the first process of a container gets."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._note_end(pid, status)

    def _note_end(self, pid: int, status: int) -> None:
        """Notes the end of a process: in its row if it was a child, and in the log unless it ended in order."""
        role = self._children.died(pid, _now_ms())
        if role is None:
            return
        self._row(role).phase = Phase.GONE
        exit_code = os.waitstatus_to_exitcode(status)
        if exit_code == 0 or (exit_code == -signal.SIGTERM and self._stop_requested_at_ms):
            return  # the latter: it was told once more as it was ending
        self._counters.add(SupervisorCount.DEATHS)
        _log.warning("%s ended with %s", role, _describe(exit_code))

    def _look_at_heartbeats(self) -> None:
        """Kills children that live, but whose last heartbeat is too old; once reaped they are replaced."""
        now_us = time.monotonic_ns() // 1000
        if now_us - self._looked_at_us > 2 * LOOK_MS * 1000:  # all stood still: `docker pause`, a starved machine
            self._awake_since_us = now_us
        self._looked_at_us = now_us
        for role, alive in self._children.alive().items():
            row = self._row(role)
            silent_ms = (now_us - max(row.heartbeat_us, self._awake_since_us)) // 1000
            starting_ms = START_WITHIN_MS if row.phase is Phase.STARTING else 0  # recovery does not beat
            if silent_ms > max(self._config.stuck_ms, starting_ms):
                os.kill(alive.pid, signal.SIGKILL)
                self._counters.add(SupervisorCount.KILLS_OF_STUCK)
                _log.error("%s has been silent for %d ms: killed", role, silent_ms)

    def _stop_in_order(self) -> None:
        """Stops web workers first, so that nothing new comes in; then the dispatchers, which settle what they can.

        Until the workers have left, a dispatcher that ends is replaced. It may have crashed; or SIGTERM went to the
        whole process group (systemd sends it so), and it ended before the last payments were accepted.
        """
        self._counters.phase = Phase.LEAVING
        self._stop_requested_at_ms = _now_ms()
        for kind, within_ms in stop_within_ms(self._config).items():
            for alive in self._children.alive(kind).values():
                os.kill(alive.pid, signal.SIGTERM)
            if not self._wait_for_end(kind, within_ms):
                _log.warning("told again: stopping at once")
                break
        self._kill_all()
        self._stopped = True

    def _wait_for_end(self, kind: str, within_ms: int) -> bool:
        """Waits until no child of a kind lives, and kills those left after `within_ms`; False if a second signal came.

        A web worker that hangs must not cost the dispatchers the time in which they settle and say goodbye.
        """
        deadline_ms = _now_ms() + within_ms
        while self._children.alive(kind):
            left_ms = deadline_ms - _now_ms()
            if left_ms <= 0:
                _log.warning("not every %s stopped in time: killed", kind)
                self._kill_all(kind)
                break
            self._counters.beat()
            info = signal.sigtimedwait(self._watched, min(left_ms, LOOK_MS) / 1000)
            if info is not None and info.si_signo in _STOPS and _now_ms() - self._stop_requested_at_ms >= SAME_MS:
                return False
            self._reap()
            self._replace_dispatchers(kind)
        self._replace_dispatchers(kind)
        return True

    def _replace_dispatchers(self, leaving: str) -> None:
        """Forks dispatchers that are missing, if it is the workers that are leaving."""
        if leaving == "worker":
            self._fill_roles("dispatcher")

    def _kill_all(self, kind: str | None = None) -> None:
        """Kills the children that still live, of one kind or all; what they had in hand stays in the segment."""
        for alive in self._children.alive(kind).values():
            os.kill(alive.pid, signal.SIGKILL)
        while self._children.alive(kind):
            self._note_end(*os.waitpid(-1, 0))


def stop_within_ms(config: Config) -> dict[str, int]:
    """How long each kind of child may take to stop, in ms, in the order in which they stop. Docker must wait longer."""
    return {
        "worker": config.leave_ms + worker.STOP_WITHIN_S * 1000 + LOOK_MS,
        "dispatcher": config.drain_ms + dispatcher_process.LAST_FLUSH_WITHIN_MS + LOOK_MS,
    }


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def _describe(exit_code: int) -> str:
    if exit_code < 0:
        try:
            return f"signal {signal.Signals(-exit_code).name}"
        except ValueError:  # most real-time signals have no name
            return f"signal {-exit_code}"
    return f"status {exit_code}"

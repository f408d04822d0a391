"""A web worker: accepts payments and answers look-ups and summaries. Everything here runs in the child process."""

import asyncio
import contextlib
import logging
import signal
import socket
from functools import partial
from types import FrameType

import uvicorn
import uvloop

from server import child
from server.app import build_app
from server.clock import Clock, SystemClock
from server.config import Config
from server.errors import TotalsUnavailable
from server.gate import Gate
from server.listeners import BACKLOG
from server.local_totals import LocalTotals
from server.redis_client import RedisClient
from server.redis_totals import TotalsHash
from server.shared_totals import SharedTotals
from server.shortcut import shortcut_protocol
from server.volume import THIS_VOLUME
from server.volume_members import VolumeMembers
from shm import Counters, Phase, Segment, take_role, worker_role

KEEP_ALIVE_S = 75  # far over HAProxy's 5 s purge of idle connections: the side that reuses them must close first
FOLLOW_EVERY_S = 1.0  # without Redis; a journal folds far less in that time than it holds
STOP_WITHIN_S = 3  # for requests in flight at the end; an answer takes milliseconds

_log = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """uvicorn's server with a heartbeat, and with a stop that lets HAProxy look elsewhere first."""

    def __init__(self, config: uvicorn.Config, gate: Gate, counters: Counters, leave_s: float) -> None:
        super().__init__(config)
        self._gate = gate
        self._counters = counters
        self._leave_s = leave_s
        self._stop = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to serve."""
        await super().startup(sockets)
        self._counters.beat()  # the start may have taken long, and from READY on silence gets a process killed sooner
        self._counters.phase = Phase.READY
        child.unblock_sigterm()

    async def main_loop(self) -> None:
        """Beats until told to stop. uvicorn's own loop wakes up ten times a second: most of an idle worker's work."""
        while not await self.on_tick(1):  # at each tenth tick it would write the date into headers that have none
            self._counters.beat()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(child.BEAT_S):
                    await self._stop.wait()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  uvicorn's interface
        """On SIGTERM has `/health` answer 404, and ends serving `leave_s` later; SIGINT is for the supervisor alone."""
        if self._gate.leaving or sig == signal.SIGINT:
            return
        self._gate.leaving = True
        self._counters.phase = Phase.LEAVING
        asyncio.get_running_loop().call_later(self._leave_s, self._end)

    def _end(self) -> None:
        self.should_exit = True
        self._stop.set()


def serve(config: Config, segment: Segment, worker: int, listener: socket.socket, doorbells: list[int]) -> int:
    """Plays the role of web worker `worker` until told to stop; returns the exit status.

    Args:
        config: all settings.
        segment: as the supervisor has mapped it: by now its name may lead nowhere, or to another segment.
        worker: its number.
        listener: where it takes connections.
        doorbells: an eventfd per dispatcher.

    Raises:
        RoleTaken: another process plays this role.
        OSError: the lock's file can't be opened.
    """
    with take_role(config.instance, worker_role(worker)):
        counters = segment.worker_counters(worker)
        child.begin(counters)
        clock = SystemClock()
        gate = Gate(
            segment,
            worker,
            doorbells,
            recent_ids=config.recent_ids,
            lookups_per_s=config.lookups_per_s,
            clock=clock,
            siblings=config.siblings,
        )
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(config, segment, gate, counters, listener, clock))
        counters.phase = Phase.GONE
    return 0


async def _serve(
    config: Config, segment: Segment, gate: Gate, counters: Counters, listener: socket.socket, clock: Clock
) -> None:
    totals: SharedTotals | LocalTotals
    if config.redis_url:
        volume_members = VolumeMembers(config.siblings, own={config.instance: segment}, clock=clock)
        totals = SharedTotals(TotalsHash(RedisClient(config.redis_url)), volume_members, clock)
    else:
        is_free = partial(THIS_VOLUME.is_role_free, config.instance)
        totals = LocalTotals(segment, counters, is_free, clock)
    app = build_app(gate, totals, amount_cents_max=config.amount_max_cents, purge_enabled=config.purge_enabled)
    settings = uvicorn.Config(
        app,
        http=shortcut_protocol(gate, config.amount_max_cents),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",  # at WARNING it logs each bad request: clients could fill the log
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_WITHIN_S,
    )
    server = _Server(settings, gate, counters, config.leave_ms / 1000)
    async with asyncio.TaskGroup() as group:  # a bug in `_follow` ends the process, and a successor begins anew
        following = group.create_task(_follow(totals)) if isinstance(totals, LocalTotals) else None
        await server.serve(sockets=[listener])
        if following is not None:
            following.cancel()
    await totals.aclose()


async def _follow(totals: LocalTotals) -> None:
    """Keeps up with the journals, so that nothing is folded unread."""
    logged = ""
    while True:
        await asyncio.sleep(FOLLOW_EVERY_S)
        try:
            await totals.follow()
        except TotalsUnavailable as error:
            if str(error) != logged:
                _log.warning("totals can't be kept up to date: %s", error)
            logged = str(error)
        else:
            logged = ""

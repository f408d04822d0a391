"""Carries out the script of `faults`: finds each victim and does to it what the script says."""

import asyncio
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tests.integration.auditing import Auditor, Processors
from tests.integration.faults import KILLS, Fault, Happening, Weather
from tests.integration.stack import INSTANCES, Stack

VICTIM_WITHIN_S = 3.0  # one that is just being replaced is waited for
LOOK_S = 0.05
STUCK_LASTS_S = 7.0  # STUCK_S (5 s), a look at heartbeats, and a start
RESTART_LASTS_S = 10.0  # LEAVE_S, DRAIN_S, and a start
EMPTY_EVERY_S = 1.0
EMPTY_WITHIN_S = 1.0


class Havoc:
    """Breaks a stack.

    Args:
        stack: what is to be broken.
        processors: whose delays and failures change.
        auditor: is told of every disturbance.

    Attributes:
        happened: how often each fault.
    """

    def __init__(self, stack: Stack, processors: Processors, auditor: Auditor) -> None:
        self._stack = stack
        self._processors = processors
        self._auditor = auditor
        self._stopped_redis: int | None = None
        self.happened: Counter[Fault] = Counter()

    @property
    def kills(self) -> int:
        """How many SIGKILLs so far."""
        return sum(KILLS.get(fault, 0) * times for fault, times in self.happened.items())

    async def break_by(self, script: Sequence[Happening]) -> None:
        """Has everything in the script happen at its time."""
        begun_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for happening in script:
                await asyncio.sleep(begun_s + happening.at_s - time.monotonic())
                group.create_task(self._happen(happening))

    async def change_weather_by(self, script: Sequence[Weather]) -> None:
        """Changes delays and failures at their times; in the end both processors are quick and well."""
        begun_s = time.monotonic()
        for weather in script:
            await asyncio.sleep(begun_s + weather.at_s - time.monotonic())
            await self._set(weather)
        for processor in (0, 1):
            await self._set(Weather(0, processor, 0, failing=False))

    async def _set(self, weather: Weather) -> None:
        await self._processors.set(weather.processor, "delay", weather.delay_ms)
        await self._processors.set(weather.processor, "failure", weather.failing)

    async def _happen(self, happening: Happening) -> None:
        match happening.fault:
            case Fault.REDIS_STOPPED:
                done = await self.stop_redis(happening.lasts_s)
            case Fault.REDIS_DEAD:
                done = await self.keep_redis_dead(happening.lasts_s)
            case Fault.REDIS_EMPTIED:
                done = await self.empty_redis(happening.lasts_s)
            case Fault.BOTH_KILLED:
                done = all([await self._strike(f"instance {name}") for name in INSTANCES])
            case _:
                done = await self._strike_one(happening)
        self.happened[happening.fault] += done

    async def _strike_one(self, happening: Happening) -> bool:
        """What happens to one process at one moment."""
        instance = INSTANCES[happening.instance]
        match happening.fault:
            case Fault.WORKER_KILLED:
                return await self._strike(instance, "worker", happening.number)
            case Fault.DISPATCHER_KILLED:
                return await self._strike(instance, "dispatcher", 0)
            case Fault.WORKER_STOPPED:
                return await self._strike(instance, "worker", happening.number, signal.SIGSTOP, STUCK_LASTS_S)
            case Fault.DISPATCHER_STOPPED:
                return await self._strike(instance, "dispatcher", 0, signal.SIGSTOP, STUCK_LASTS_S)
            case Fault.SUPERVISOR_KILLED:
                return await self._strike(f"instance {instance}")
            case Fault.RESTARTED:
                return await self.restart(instance)
            case Fault.HAPROXY_KILLED:
                return await self._strike("haproxy")
            case _:
                return await self._strike("redis")

    async def _strike(
        self,
        service: str,
        kind: str = "",
        number: int = 0,
        what: signal.Signals = signal.SIGKILL,
        lasts_s: float = 0.0,
    ) -> bool:
        """Sends a signal to a service's first process, or to a child of an instance; whether there was one in time."""
        find = partial(self._stack.child_pid, service, kind, number) if kind else partial(self._stack.top_pid, service)
        deadline_s = time.monotonic() + VICTIM_WITHIN_S
        while (pid := find()) is None:
            if time.monotonic() > deadline_s:
                return False
            await asyncio.sleep(LOOK_S)
        self._auditor.disturb(lasts_s)
        os.kill(pid, what)
        return True

    async def restart(self, instance: str) -> bool:
        """Has an instance stop in order; whoever keeps the stack starts it again."""
        return await self._strike(f"instance {instance}", what=signal.SIGTERM, lasts_s=RESTART_LASTS_S)

    async def stop_redis(self, lasts_s: float) -> bool:
        """Has Redis accept and say nothing for so long."""
        pid = self._stack.top_pid("redis")
        if pid is None or self._stopped_redis is not None:
            return False
        self._auditor.disturb(lasts_s)
        self._stopped_redis = pid
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(lasts_s)
        finally:
            self._stopped_redis = None
            if pid == self._stack.top_pid("redis"):  # else it was killed meanwhile
                os.kill(pid, signal.SIGCONT)
        return True

    async def keep_redis_dead(self, lasts_s: float) -> bool:
        """Kills Redis and has it started again after so long."""
        self._stack.fleet.held.add("redis")
        try:
            done = await self._strike("redis", lasts_s=lasts_s)
            await asyncio.sleep(lasts_s)
        finally:
            self._stack.fleet.held.discard("redis")
        return done

    async def empty_redis(self, lasts_s: float) -> bool:
        """Empties it once, and again every second for so long; whether it answered at all."""
        end_s = time.monotonic() + lasts_s
        done = False
        while True:
            self._auditor.disturb()
            done |= empty(self._stack.redis)
            if time.monotonic() + EMPTY_EVERY_S > end_s:
                return done
            await asyncio.sleep(EMPTY_EVERY_S)


def empty(redis: Path) -> bool:
    """Empties Redis; whether it answered."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(EMPTY_WITHIN_S)
        try:
            connection.connect(str(redis))
            connection.sendall(b"FLUSHALL\r\n")
            return connection.recv(64) == b"+OK\r\n"
        except OSError:
            return False

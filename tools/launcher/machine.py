"""Checks before anything starts: free ports, installed programs, no other instances of the same names."""

import errno
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from shm import (
    SUPERVISOR,
    BrokenInvariant,
    RoleTaken,
    Segment,
    SegmentError,
    count_unsettled,
    lock_path,
    segment_name,
    take_role,
)
from tools.debian import Machine, SetupError, require_programs
from tools.environment import ROOT
from tools.launcher.errors import LaunchError
from tools.launcher.plan import Programs

LOOKED_AT_S = 0.2  # a process that only checks whether an instance lives holds its lock for microseconds


def require_ports(ports: Mapping[int, str], remedy: str) -> None:
    """Makes sure that every port of 127.0.0.1 can be listened on.

    Args:
        ports: what each is for, by number.
        remedy: what to do if one is in use.

    Raises:
        LaunchError: one can't; names it.
    """
    for port, whose in ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # ignore closed connections of earlier runs
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise LaunchError(f"port {port} (for {whose}) is in use: {remedy}") from None
                raise LaunchError(f"port {port} (for {whose}) can't be used: {error.strerror}") from None


def find_programs(*, single: bool, machine: Machine | None = None) -> Programs:
    """Finds the programs to start, and installs missing Debian packages.

    Args:
        single: neither HAProxy nor Redis is needed.
        machine: where.

    Raises:
        SetupError: something is missing and can't be installed here; says what to do.
    """
    python = Path(sys.executable)
    if single:
        return Programs(python, None, None, ROOT)
    try:
        haproxy, redis = require_programs(("haproxy", "redis-server"), machine)
    except SetupError as error:
        raise SetupError(f"{error}\nWithout them: ./tools/run --single") from None
    return Programs(python, haproxy, redis, ROOT)


def require_nobody_runs(instances: Sequence[str]) -> None:
    """Makes sure that no instance of these names runs: both would need the same segment.

    Raises:
        LaunchError: one runs, or its lock is another user's.
    """
    for instance in instances:
        if not lock_path(instance, SUPERVISOR).exists():
            continue
        try:
            take_role(instance, SUPERVISOR, within_s=LOOKED_AT_S).release()
        except RoleTaken:
            raise LaunchError(
                f"an instance named {instance} is running already on this machine; stop it first "
                "(another tools/run, or tools/test?)"
            ) from None
        except OSError as error:
            raise LaunchError(
                f"{error.filename} can't be opened ({error.strerror}): another user's instance, or not writable"
            ) from None


@contextmanager
def exclusive_run(instances: Sequence[str]) -> Iterator[None]:
    """Locks these instances for this run: the check of the ports does not keep out a run that starts at the same time.

    Raises:
        LaunchError: another run has it, or its lock is another user's.
    """
    name, role = f"run-{instances[0]}", "run"  # not one of the instance's own locks, which are removed with its segment
    try:
        lock = take_role(name, role, within_s=LOOKED_AT_S)
    except RoleTaken:
        raise LaunchError(f"another tools/run has {' and '.join(instances)} on this machine; stop it first") from None
    except OSError as error:
        raise LaunchError(
            f"{error.filename} can't be opened ({error.strerror}): another user's run, or not writable"
        ) from None
    with lock:
        try:
            yield
        finally:
            lock_path(name, role).unlink(missing_ok=True)


def found_segments(instances: Sequence[str]) -> list[str]:
    """Makes a message for each segment that an earlier run left with payments, settled or not."""
    told = []
    for instance in instances:
        try:
            segment = Segment.attach(instance, read_only=True)
            unsettled, settled = count_unsettled(segment), _count_settled(segment)
        except (SegmentError, BrokenInvariant):
            continue  # none, or one that the instance itself will report
        if unsettled or settled:
            sentence = f"taking up segment {segment_name(instance)} of an earlier run: payments to settle: {unsettled}"
            told.append(sentence + (f"; settled, and unknown to the processors: {settled}" if settled else ""))
    return told


def _count_settled(segment: Segment) -> int:
    """Counts the payments that a summary counts."""
    journals = [segment.journal(dispatcher) for dispatcher in range(segment.geometry.dispatchers)]
    totals = [journal.folded(journal.capacity)[0].all_time for journal in journals]
    return sum(default + fallback for default, _, fallback, _ in totals)

"""`python -m server`: one instance, from its settings to its exit status.

| exit status | meaning |
| --- | --- |
| 0 | stopped in order |
| 1 | crashed; a bug |
| 2 | a setting is wrong; nothing was started |
| 3 | cannot start: port or path in use, segment of another kind, instance running already |
"""

import signal
import sys

if __name__ == "__main__":  # a stop during the start is kept for the supervisor: process 1 of a container would lose it
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})

import argparse
import contextlib
import logging

from server import listeners
from server.children import roles_of
from server.config import Config, from_environment
from server.errors import ConfigError, ListenError
from server.log import NonBlockingHandler, UtcFormatter
from server.supervisor import Supervisor
from shm import (
    SUPERVISOR,
    FileLock,
    Phase,
    RoleTaken,
    Segment,
    SegmentError,
    SegmentForbidden,
    SegmentMissing,
    SegmentNotReady,
    discard_unfinished,
    make_lock_file,
    migrate,
    take_role,
    take_segment,
)

EXIT_STOPPED = 0
EXIT_WRONG_SETTING = 2
EXIT_CANNOT_START = 3

_log = logging.getLogger("server")


def main() -> int:
    """Runs an instance; returns its exit status."""
    argparse.ArgumentParser(
        prog="python -m server",
        description="Runs one instance of the gateway until SIGTERM, SIGINT or SIGHUP. All settings come from the "
        "environment; README.md lists them.",
    ).parse_args()
    try:
        config = from_environment()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_WRONG_SETTING
    handler = NonBlockingHandler()
    handler.setFormatter(UtcFormatter(f"%(asctime)s {config.instance} %(levelname)s %(message)s"))
    logging.basicConfig(level=config.log_level, handlers=[handler])
    try:
        with _lock(config.instance):
            return _run(config)
    except (RoleTaken, ListenError, SegmentError) as error:
        _log.critical("cannot start: %s", error)
    return EXIT_CANNOT_START


def _lock(instance: str) -> FileLock:
    try:
        return take_role(instance, SUPERVISOR)
    except RoleTaken:
        raise RoleTaken(f"an instance named {instance} is running already") from None
    except OSError as error:
        raise SegmentForbidden(f"no lock: {error}") from None


def _require_locks(config: Config) -> None:
    """Makes sure that every child can open its lock file: one that can't would be started again and again."""
    for role in roles_of(config):
        try:
            make_lock_file(config.instance, str(role))
        except OSError as error:
            raise SegmentForbidden(f"no lock: {error}") from None


def _require_unused(instance: str) -> None:
    """Makes sure that no other process uses the segment, before anything of that process is touched: its sockets' files
    would be taken for those of an earlier life and removed.

    Raises:
        RoleTaken: another process uses it.
    """
    with contextlib.suppress(OSError):  # there is none, or it can't be opened: `open_segment` says so
        take_segment(instance).release()


def _say_gone(instance: str) -> None:
    """Says in the supervisor's row that the life before this one is over: if it was killed, it could not.

    The lock is ours by now, so to siblings that life would look alive until this one's row begins, which takes seconds
    if the segment is copied. Meanwhile HAProxy sends them this instance's ids.
    """
    with contextlib.suppress(SegmentError, OSError):  # there is none, or none that siblings could read
        Segment.attach(instance).supervisor_counters().phase = Phase.GONE


def _run(config: Config) -> int:
    _require_unused(config.instance)
    _say_gone(config.instance)
    _require_locks(config)
    sockets = listeners.listen(config.listen, config.instance, config.web_workers)
    try:
        segment = open_segment(config)
        with take_segment(config.instance, within_s=0):
            Supervisor(config, segment, sockets).run()
    finally:
        listeners.close(sockets)
    return EXIT_STOPPED


def open_segment(config: Config) -> Segment:
    """The segment that an earlier life left, or a new one.

    Raises:
        SegmentError: there is a segment that can't be taken up, or no room for a new one.
        RoleTaken: there is a segment of another geometry, and another process uses it.
    """
    discard_unfinished(config.instance)
    try:
        segment = Segment.attach(config.instance)
    except SegmentMissing:
        segment = Segment.create(config.instance, config.geometry)
    except SegmentNotReady:
        # The supervisor that was making it died half-way (its lock is ours now), so nothing was ever accepted into it.
        Segment.unlink(config.instance)
        segment = Segment.create(config.instance, config.geometry)
    if segment.geometry != config.geometry:
        old = segment
        with take_segment(config.instance, within_s=0):
            segment = migrate(old, config.instance, config.geometry)
        _log.info("segment %016x was copied into one of another geometry", segment.segment_id)
        if forgotten := _remembered(old) - _remembered(segment):
            words = "JOURNAL_RECORDS is smaller than before: the ids of the oldest %d ended payments are forgotten"
            _log.warning(words, forgotten)
    _log.info("segment %016x, %d bytes", segment.segment_id, segment.geometry.size)
    return segment


def _remembered(segment: Segment) -> int:
    """How many payments have ended and are remembered with their ids."""
    return sum(segment.journal(dispatcher).depth for dispatcher in range(segment.geometry.dispatchers))


if __name__ == "__main__":
    sys.exit(main())

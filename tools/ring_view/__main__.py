"""`python -m tools.ring_view`, which `tools/dump_ring` starts: prints what a segment holds."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from uuid import UUID

from shm import INSTANCE_PATTERN, Segment, SegmentError, instances_present
from tools.arguments import seconds, whole_number
from tools.ring_view.as_json import to_json
from tools.ring_view.listing import list_segments
from tools.ring_view.locks import read_locks
from tools.ring_view.reading import take_snapshot
from tools.ring_view.searching import STATES, Searcher
from tools.ring_view.snapshot import Listed, Moment, Search, Snapshot
from tools.ring_view.text import IN_DOCKER, list_text, search_text, snapshot_text

EXIT_OK = 0
EXIT_NOT_FOUND = 1
EXIT_NO_SEGMENT = 3
EXIT_REFUSED = 4
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells say it

LIMIT_DEFAULT = 20  # a screenful
LIMIT_MAX = 1_000_000  # bounds memory: about 500 bytes a payment
WATCH_S_MIN, WATCH_S_MAX = 0.5, 3600.0  # reading 200,000 payments takes up to a second of CPU time
HOME_AND_CLEAR = "\x1b[H\x1b[J"  # ECMA-48: cursor to the top, erase what is below

EPILOG = f"""\
It maps the segment read-only and touches no lock, so it never disturbs a running instance. What it prints is the state
at "taken at", give or take the time the reading took. Ages are counted to that moment.

not ended     in the list of segments: counted if nobody runs it, damaged slots included (what a crash left both in
              a lane and in a table counts twice); with "~" (and in JSON where "alive" names somebody) it is what the
              dispatchers counted last, and may be half a second old
lock held by  a pid, or "-" for nobody; "not seen": the process lives by its heartbeat, but who holds its lock can't be
              seen from here, as from another container

exit status: 0 shown; 1 that id was never seen, or is no longer remembered; 2 wrong usage; 3 no such
segment, or not readable; 4 the system refused something: the disk is full, there are no descriptors

{IN_DOCKER}
A container of its own leaves the instance its CPU share (docker compose exec app1 works as well, on that share).
"""

View = Snapshot | Search | list[Listed]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line; a wrong one ends the program with a message and exit status 2."""
    parser = argparse.ArgumentParser(
        prog="dump_ring",
        description="Look into an instance's shared memory, running or left over.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("instance", nargs="?", type=_instance, help="such as app1; without one, --list is assumed")
    parser.add_argument("--list", action="store_true", help="all segments in /dev/shm and what runs (the default)")
    parser.add_argument("--json", action="store_true", help="for programs: exact, amounts in cents and as decimal text")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--state", action="append", choices=STATES, help="list these payments; may be repeated")
    which.add_argument("--id", type=_uuid, metavar="UUID", help="find one payment")
    parser.add_argument(
        "--limit", type=whole_number(LIMIT_MAX), default=LIMIT_DEFAULT, metavar="N", help="payments listed (default 20)"
    )
    parser.add_argument(
        "--watch", type=seconds(WATCH_S_MIN, WATCH_S_MAX), metavar="SECONDS", help="repeat every SECONDS until Ctrl-C"
    )
    parsed = parser.parse_args(arguments)
    if parsed.instance is None and (parsed.state or parsed.id):
        parser.error("--state and --id need an instance")
    if parsed.instance is not None and parsed.list:
        parser.error("--list is about all instances, so it takes none")
    return parsed


def _instance(text: str) -> str:
    if not INSTANCE_PATTERN.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a name of an instance ({INSTANCE_PATTERN.pattern})")
    return text


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a UUID") from None


def look(options: argparse.Namespace) -> View:
    """Reads the segment once. It is mapped anew each time: it may have been replaced.

    Raises:
        SegmentError: there is none, or it can't be read.
    """
    if options.instance is None:
        return list_segments(read_locks(), Moment.now())
    segment = Segment.attach(options.instance, read_only=True)
    if options.id is not None:
        return Searcher(segment, Moment.now).by_id(options.instance, options.id, options.limit)
    if options.state:
        return Searcher(segment, Moment.now).by_state(options.instance, options.state, options.limit)
    return take_snapshot(segment, options.instance, read_locks(), Moment.now)


def as_text(view: View) -> str:
    """Writes a view as text."""
    match view:
        case Snapshot():
            return snapshot_text(view)
        case Search():
            return search_text(view)
        case _:
            return list_text(view)


def main(arguments: Sequence[str] | None = None, *, sleep: Callable[[float], None] = time.sleep) -> int:
    """Shows a view once, or again and again; returns the exit status."""
    options = parse(arguments)
    if options.watch is not None:
        return watch(options, sleep)
    try:
        view = look(options)
    except SegmentError as error:
        hint = "" if instances_present() else f". {IN_DOCKER}"  # where there are others, it is the right place
        print(f"dump_ring: {error}{hint}", file=sys.stderr)
        return EXIT_NO_SEGMENT
    print(to_json(view) if options.json else as_text(view), flush=True)
    if options.id is not None and isinstance(view, Search) and not view.matching:
        print(f"dump_ring: {options.id} was never seen here, or is no longer remembered", file=sys.stderr)
        return EXIT_NOT_FOUND
    return EXIT_OK


def watch(options: argparse.Namespace, sleep: Callable[[float], None]) -> int:
    """Shows a view every so many seconds until Ctrl-C; waits for a segment that is gone. JSON is one line per view."""
    clear = HOME_AND_CLEAR if sys.stdout.isatty() and not options.json else ""
    try:
        while True:
            try:
                view = look(options)
            except SegmentError as error:
                shown = f"dump_ring: {error}"
                print(f"{clear}{shown}" if clear else shown, file=sys.stdout if clear else sys.stderr, flush=True)
            else:
                shown = to_json(view, indent=None) if options.json else as_text(view)
                print(f"{clear}{shown}", flush=True)
            sleep(options.watch)
    except KeyboardInterrupt:
        return EXIT_OK


def start() -> int:
    """Runs the program; no traceback when its reader goes away (`dump_ring app1 | head`) or on Ctrl-C."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return main()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except OSError as error:  # those about a segment are SegmentErrors
        print(f"dump_ring: {error.strerror or error}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python flushes the rest there at its end
        return EXIT_REFUSED


if __name__ == "__main__":
    sys.exit(start())

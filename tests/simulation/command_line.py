"""What `tools/simulate` does with its arguments."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence

from tests.simulation.campaign import SEEDS_ENOUGH, Tally, run_many
from tests.simulation.mutations import MUTATIONS, describe, mutated
from tests.simulation.runner import Outcome, run_seed
from tools.arguments import whole_number

TRACE_LINES = 40  # of a failing seed; --seed prints all
BAR_WIDTH = 30
NAME_WIDTH = 44
EXIT_NOT_RUN = 2
EXIT_INTERRUPTED = 130

EXIT_STATUSES = """\
exit status: 0 all invariants held and, of many seeds, everything was met; 1 not so; 2 wrong usage, or the output can't
be written; 130 interrupted
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one seed or many; the exit status is 0 if all invariants held and, for many, everything was met."""
    options = _parse(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `--seed 3 | head`
    try:
        if options.seed is not None:
            return _replay(options.seed, options.mutation)
        return _campaign(range(options.first, options.first + options.seeds), options.jobs, options.mutation)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    except _UnwrittenError as error:
        print(f"simulate: {error}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python writes the rest at its end
        return EXIT_NOT_RUN


class _UnwrittenError(Exception):
    """The output can't be written, as on a full disk."""


def _say(text: str) -> None:
    """Shows lines. An OSError of the code that is simulated is another matter, and keeps its traceback."""
    try:
        print(text, flush=True)
    except OSError as error:
        raise _UnwrittenError(f"The output can't be written: {error.strerror or error}.") from error


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="simulate",
        description="Runs the gateway's real code in a simulated world full of faults, everything decided by a seed.",
        epilog=f"{EXIT_STATUSES}\nmutations:\n" + "\n".join(f"  {name:28}{describe(name)}" for name in MUTATIONS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--seed", type=int, metavar="N", help="replay one seed and print all that happens")
    which.add_argument("--seeds", type=whole_number(), default=SEEDS_ENOUGH, metavar="N", help="how many (%(default)s)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the first of them (%(default)s)")
    cores = os.cpu_count() or 1
    parser.add_argument(
        "--jobs", type=whole_number(), default=cores, metavar="N", help="processes at once (%(default)s)"
    )
    parser.add_argument("--mutation", choices=list(MUTATIONS), metavar="NAME", help="break a rule: it must be noticed")
    return parser.parse_args(arguments)


def _replay(seed: int, mutation: str | None) -> int:
    outcome = _trace(seed, mutation)
    _say("\n".join(outcome.trace))
    if outcome.failures:
        _say(f"seed {seed} FAILED: {outcome.failures[0]}")
        return 1
    _say(f"seed {seed}: all invariants held, {outcome.virtual_s:.1f} s of virtual time")
    return 0


def _trace(seed: int, mutation: str | None) -> Outcome:
    with mutated(mutation):
        return run_seed(seed, tracing=True)


def _campaign(seeds: range, jobs: int, mutation: str | None) -> int:
    began_s = time.monotonic()
    bar = _Bar(len(seeds), began_s)
    tally = run_many(seeds, processes=jobs, mutation=mutation, on_progress=bar.show)
    bar.end()
    elapsed_s = time.monotonic() - began_s
    _print_coverage(tally)
    _say(
        f"{tally.seeds} seeds in {elapsed_s:.0f} s ({tally.seeds / elapsed_s:.0f} a second), {tally.virtual_s:.0f} s "
        f"of virtual time, {tally.summaries} summaries compared, {len(tally.failures)} seeds failed"
    )
    for failure in sorted(tally.failures):
        _say(f"  seed {failure.seed}: {failure.reason[:200]}")
    if tally.failures:
        first = min(tally.failures)
        _say(f"the end of seed {first.seed} (all of it: tools/simulate --seed {first.seed}):")
        _say("\n".join(_trace(first.seed, mutation).trace[-TRACE_LINES:]))
        return 1
    missing = tally.coverage.missing()
    if missing:
        _say(f"never met, so nothing is known about: {', '.join(missing)}")
        if tally.seeds < SEEDS_ENOUGH:
            _say(f"that is chance with so few seeds; {SEEDS_ENOUGH} meet everything")
        return 1
    return 0


def _print_coverage(tally: Tally) -> None:
    for name, count in tally.coverage.rows():
        _say(f"{name:{NAME_WIDTH}} {count:>10}")
    for name, count in sorted(tally.coverage.exceptions.items()):
        _say(f"known exception: {name} {count:>10}")


class _Bar:
    """A progress bar on the error output, if that is a terminal."""

    def __init__(self, total: int, began_s: float) -> None:
        self._total = total
        self._began_s = began_s
        self._shown = sys.stderr.isatty()

    def show(self, tally: Tally) -> None:
        """Draws it anew."""
        if self._shown:
            part = tally.seeds / self._total
            bar = "#" * int(part * BAR_WIDTH)
            left_s = (time.monotonic() - self._began_s) * (1 / part - 1)
            counts = f"{tally.seeds}/{self._total}, {len(tally.failures)} failed, {left_s:.0f} s left "
            print(f"\r[{bar:{BAR_WIDTH}}] {counts}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leaves its line."""
        if self._shown:
            print(file=sys.stderr)

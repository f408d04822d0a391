"""After a load: waits until everything accepted is settled, then checks the money."""

import time
from collections.abc import Callable, Mapping

from tools.benchmark import reconcile
from tools.benchmark.endpoints import Gateway, Processors
from tools.benchmark.errors import EndpointError
from tools.benchmark.events import Totals
from tools.benchmark.payments import Sent
from tools.benchmark.progress import Screen
from tools.benchmark.reconcile import Answered, Books, Findings

SETTLE_S = 60.0  # the processors are calm by then; the contest's slowest answer takes 5 s
POLL_S = 0.5
AWAKE_S = 1.0  # beyond a processor's delay: a payment that slept so long is stored by then
AGREE_S = 2.0  # and the last payment stored is in the gateway's totals by then


def is_quiet(answered: Answered, last: Books | None, books: Books | None) -> bool:
    """Whether all is settled: everything accepted is paid, gateway and processors agree, and no total changes."""
    if books is None or books.gateway != books.processors:
        return False
    paid = sum(each.count for each in books.processors)
    if not answered.unanswered:
        return paid >= answered.accepted
    return paid >= answered.accepted and books == last  # an unanswered payment may still be stored


def totals_of(processors: Processors, query: str = "") -> tuple[Totals, Totals]:
    """Returns what both processors have stored, or have in the window of `query`; raises EndpointError."""
    default, fallback = processors
    return default.totals(query), fallback.totals(query)


def wait_until_quiet(
    gateway: Gateway, processors: Processors, answered: Answered, screen: Screen, settle_s: float
) -> tuple[Books | None, bool]:
    """Waits until all is settled, `settle_s` at most; returns the last totals (None: no answer) and whether it is."""
    deadline_s = time.monotonic() + settle_s
    books, quiet, problem = None, False, ""
    while not quiet and time.monotonic() < deadline_s:
        last = books
        try:
            books = Books(totals_of(processors), gateway.totals())
        except EndpointError as error:
            books, problem = None, str(error)
        quiet = is_quiet(answered, last, books)
        if not quiet:
            paid = sum(each.count for each in books.processors) if books else 0
            screen.live(f"waiting for what is not settled yet: {paid:,} of {answered.accepted:,}  {problem}")
            time.sleep(POLL_S)
    return books, quiet


def wait_until_awake(
    gateway: Gateway, processors: Processors, answered: Answered, screen: Screen, ended_s: float, delay_s: float
) -> Books | None:
    """The totals once no payment can sleep in a processor any more; None: no answer.

    A processor sleeps before it stores, so the second copy of a payment that was sent twice may be stored late.

    Args:
        gateway: its totals are read.
        processors: likewise.
        answered: how payments were answered.
        screen: shows that it waits.
        ended_s: when the load ended, by `time.time()`.
        delay_s: the longest that a processor slept in that load.
    """
    longest_s = delay_s + AWAKE_S
    left_s = min(ended_s + longest_s - time.time(), longest_s)
    if left_s > 0:
        screen.live(f"waiting {left_s:.1f} s for what may still sleep in a processor")
        time.sleep(left_s)
    return wait_until_quiet(gateway, processors, answered, screen, AGREE_S)[0]


def check(
    processors: Processors,
    answered: Answered,
    failed: Mapping[str, int],
    books: Books,
    sent: Callable[[], Mapping[str, Sent]] | None,
) -> Findings:
    """Checks the money by the processors' rows if they list them, else by totals; raises EndpointError.

    Args:
        processors: they may list rows.
        answered: how payments were answered.
        failed: by id, the status of those without success.
        books: the totals once everything was settled.
        sent: returns every payment that could have been sent, by id; None: rows are not wanted.
    """
    if sent is None:
        return reconcile.by_totals(answered, books)
    default, fallback = (processor.rows() for processor in processors)
    if default is None or fallback is None:
        return reconcile.by_totals(answered, books)
    return reconcile.by_rows(answered, failed, books, (default, fallback), sent())

"""Tests of tools/benchmark/tally.py."""

from tools.benchmark.histogram import Histogram
from tools.benchmark.openloop.messages import LATE, Began, Finished, Interval, Sample
from tools.benchmark.tally import Counts, Tally


def histogram(*values_us: int) -> Histogram:
    """These values."""
    made = Histogram()
    for value_us in values_us:
        made.record(value_us)
    return made


def interval(at_ns: int = 1, phase: int = 0, stream: str = "payments", **changes: object) -> Interval:
    """Three sent: one accepted, one refused, one unanswered."""
    latencies = {"accepted": histogram(100), "refused": histogram(900), LATE: histogram(1)}
    made = Interval(at_ns, stream, phase, 3, 1, 0, {202: 1, 503: 1, 0: 1}, 150, [(1, 503), (2, 0)], latencies)
    return made._replace(**changes)  # type: ignore[arg-type]


class TestCounts:
    """One phase."""

    def test_sorts_answers(self) -> None:
        """Accepted, refused, unanswered, and latencies of answers alone."""
        counts = Counts()
        counts.add(interval())
        counts.add(interval())
        assert (counts.sent, counts.held, counts.cents) == (6, 2, 300)
        assert (counts.accepted, counts.refused, counts.unanswered) == (2, 2, 2)
        assert (counts.answers.count, counts.answers.max_us) == (4, 900)


class TestTally:
    """A whole load."""

    def test_keeps_phases_and_streams_apart(self) -> None:
        """What comes after the end belongs to the last phase."""
        tally = Tally(2)
        for message in (
            Began(1, 0, 0, 0.1),
            interval(1),
            Began(2, 1, 3, 0.2),
            interval(2, phase=1),
            interval(2, phase=1, stream="summaries", failed=[(7, 500)]),
            Began(3, 2, 6, 0.3),
            interval(3, phase=2, statuses={202: 5}, failed=[]),
            Finished(4, 0.5, [Sample("all", None, None, 1, "{}")]),
        ):
            tally.on_message(message)
        assert [each.first_turn for each in tally.began] == [0, 3, 6]
        assert [tally.counts(phase).accepted for phase in (0, 1)] == [1, 6]
        assert tally.counts(1, "summaries").refused == 1
        assert (tally.whole().accepted, tally.whole("summaries").accepted) == (7, 1)
        assert (tally.whole().held, tally.whole().cents, tally.whole().answers.count) == (3, 450, 6)
        assert tally.failed == {1: 503, 2: 0}
        assert (tally.cpu_s, len(tally.samples), len(tally.intervals)) == (0.5, 1, 3)

    def test_between_takes_whole_seconds(self) -> None:
        """Those that ended after the one moment and not after the other."""
        tally = Tally(1)
        for at_ns in (10, 20, 30):
            tally.on_message(interval(at_ns, latencies={"accepted": histogram(at_ns), LATE: histogram(1)}))
        assert tally.between(10, 20).bins == histogram(20).bins
        assert tally.between(0, 30).count == 3

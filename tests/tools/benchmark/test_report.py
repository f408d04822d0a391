"""Tests of tools/benchmark/report.py."""

import dataclasses

from tests.tools.benchmark.samples import RIGHT, a_card, summaries
from tools.benchmark.card import Card
from tools.benchmark.compare import Figures
from tools.benchmark.reconcile import Answered, Finding
from tools.benchmark.report import card_lines, medians_lines

ORACLE = (
    "oracle: default 10, fallback 0, unpaid 0, profit 189.05: ours is 98.95% of it; its score with this p99 is 219.30"
)


def shown(card: Card) -> str:
    """The card as one text."""
    return "\n".join(card_lines(card))


class TestCardLines:
    """The score card."""

    def test_a_good_run(self) -> None:
        """Everything measured is in it, and the verdict is the last line."""
        assert list(card_lines(a_card())) == [
            "small on gateway, 2025-07-20 08:26:40 UTC, run cafe, seed 7",
            "up to 4 users in 3 s",
            "  latency, ms                         requests   p50   p90   p99  p99.9   max",
            "  all                                       10  1.00  2.00  3.00   4.00  5.00",
            "  payment                                   10  1.00  2.00  3.00   4.00  5.00",
            "  summary                                    0     –     –     –      –     –",
            "  admin                                      0     –     –     –      –     –",
            "    from 1 s (0 ms | 0 ms)                  10  1.00  2.00  3.00   4.00  5.00",
            "    from 2 s (100 ms failing | 0 ms)         0     –     –     –      –     –",
            "accepted 10 (199.00), refused 0, unanswered 0",
            "settled at the end: default 9 (179.10), fallback 1 (19.90); waiting 0",
            "all settled 0.5 s after the end",
            "books, row by row: charged twice 0, lost 0, not asked for 0, altered 0; both sides agree: yes",
            "amount 199.00 - fees 11.94 = profit 187.06; bonus 16.00%, fine 0%",
            "score 216.99, 98.95% of 219.30, the most this p99 allows",
            ORACLE,
            "audits 1, different 0",
            "  container  CPU s  µs/payment  of its CPU  throttled  ms    MB  of cap  peak MB  of cap",
            "  app1        0.00         200          1%    2 of 30   5  10.0     25%     20.0     50%",
            "  haproxy     0.00         200          1%    2 of 30   5  10.0     25%     20.0     50%",
            "  together    0.00         400",
            "beside it, CPU s: generator 1.50, processors –; machine idle 42 %",
            "Nothing wrong.",
        ]

    def test_a_difference_shows_both_sides_and_its_time(self) -> None:
        """When it was, over which window, and what each side said of each processor."""
        text = shown(a_card(audits=[summaries((1, 2)), summaries(None)]))
        assert "audits 2, different 2" in text
        assert "  at 08:26:40.123, window 08:26:25.123 to 08:26:38.623:" in text
        assert "    fallback: gateway 2 (0.02), processor 1 (0.01)" in text
        assert "    fallback: gateway no answer, processor 1 (0.01)" in text
        assert text.endswith("WRONG: 2 of 2 audits differ.")

    def test_faults_name_payments(self) -> None:
        """The ids of what went wrong are there to look into."""
        settled = a_card().settled
        assert settled is not None
        findings = dataclasses.replace(RIGHT, by_row=False, twice=Finding(2, ["a", "b"]))
        text = shown(a_card(settled=dataclasses.replace(settled, quiet_s=None, findings=findings)))
        assert "books, by totals only" in text
        assert "  charged twice: a b" in text
        assert "all settled" not in text

    def test_failures_are_told_by_status(self) -> None:
        """0 means that no answer came."""
        text = shown(a_card(answered=Answered(8, 15_920, 1, 1, {503: 1, 0: 1})))
        assert "refused 1, unanswered 1 (by status none: 1, 503: 1)" in text

    def test_the_floor_shows_what_it_has(self) -> None:
        """No settlement and no score."""
        text = shown(a_card(settled=None, score=None, oracle=None, notes=["a remark"]))
        assert "score" not in text
        assert "oracle" not in text
        assert "note: a remark" in text


class TestMediansLines:
    """Several runs."""

    def test_two_targets_have_ratios(self) -> None:
        """One line per figure, a column per target."""
        medians: dict[str, Figures] = {
            "gateway": {"p99 ms": 6.0, "score": 5.0},
            "floor": {"p99 ms": 4.0, "score": None},
        }
        assert list(medians_lines(medians, {"p99 ms": 1.5})) == [
            "  median  gateway  floor  ratio",
            "  p99 ms     6.00   4.00   1.50",
            "  score      5.00      –      –",
        ]

    def test_one_target_has_none(self) -> None:
        """Nothing to compare with."""
        assert list(medians_lines({"floor": {"p99 ms": 4.0}}, None)) == ["  median  floor", "  p99 ms   4.00"]

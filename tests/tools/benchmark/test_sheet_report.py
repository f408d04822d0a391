"""Tests of tools/benchmark/sheet_report.py."""

import dataclasses

from tests.tools.benchmark.samples import LATENCY, a_row, a_sheet, summaries
from tools.benchmark.sheet import Goal, Sheet
from tools.benchmark.sheet_report import sheet_lines


def shown(sheet: Sheet) -> str:
    """The sheet as one text."""
    return "\n".join(sheet_lines(sheet))


class TestSheetLines:
    """The whole sheet."""

    def test_a_good_run(self) -> None:
        """Everything measured is in it, and the verdict is the last line."""
        assert list(sheet_lines(a_sheet(lines=["a line of its own"], notes=["a remark"]))) == [
            "trial on gateway, 2025-07-20 08:26:40 UTC, run cafe, seed 7",
            "  phase   /s  s  sent  accepted  503  other  no answer  not sent  settled  waiting",
            "  load   100  1   100       100    0      0          0         0       99        1",
            "  latency from when it was due, ms   p50   p90   p99  p99.9   max  sent late p99  µs/payment  idle %",
            "  load                              1.00  2.00  3.00   4.00  5.00           3.00          40      42",
            "a line of its own",
            "all settled: 0.5 s after the end",
            "books, row by row: charged twice 0, lost 0, not asked for 0, altered 0; both sides agree: yes",
            "audits 1, different 0",
            "  container  CPU s  µs/payment  of its CPU  throttled  ms    MB  of cap  peak MB  of cap",
            "  app1        0.00          20          1%    2 of 30   5  10.0     25%     20.0     50%",
            "  haproxy     0.00          20          1%    2 of 30   5  10.0     25%     20.0     50%",
            "  together    0.00          40",
            "beside it, CPU s: generator 1.50, processors –; machine idle 42 %",
            "note: a remark",
            "goal: p99 ms 3.00, at most 25: met",
            "Nothing wrong.",
        ]

    def test_goals_say_whether_they_are_met(self) -> None:
        """Missed ones in capitals, what never came among them; what was not measured is not met."""
        goals = [Goal("a", 2.0, at_most=1.0), Goal("b", 2.0, at_least=3.0), Goal("c", None, at_most=1.0)]
        goals.append(Goal("d", None, at_most=1.0, never=True))
        text = shown(a_sheet(goals=goals))
        assert "goal: a 2.00, at most 1: MISSED" in text
        assert "goal: b 2.00, at least 3: MISSED" in text
        assert "goal: c –, at most 1: not measured" in text
        assert "goal: d never, at most 1: MISSED" in text

    def test_a_late_generator_is_told(self) -> None:
        """Its latencies are its own then."""
        late = dataclasses.replace(LATENCY, p99_ms=9.0)
        assert "note: the generator itself sent up to 9.0 ms late" in shown(a_sheet(phases=[a_row(late=late)]))

    def test_the_floor_has_no_settlement(self) -> None:
        """And no audits."""
        text = shown(a_sheet(settles=False, phases=[a_row(settled=None, waiting=None)]))
        assert "settled:" not in text
        assert "audits" not in text

    def test_what_is_wrong_comes_last(self) -> None:
        """With the audits that differ."""
        text = shown(a_sheet(audits=[summaries((1, 2))], quiet_s=None, findings=None))
        assert "all settled: not in the time allowed" in text
        assert "fallback: gateway 2 (0.02), processor 1 (0.01)" in text
        assert text.endswith("WRONG: The books could not be compared.")

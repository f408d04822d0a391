"""Tests of tools/benchmark/progress.py."""

import io

from tests.tools.benchmark.samples import SCENARIO
from tools.benchmark.generator import Progress
from tools.benchmark.progress import APART_S, REWRITE, Screen, line_of


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


class TestLineOf:
    """The live line."""

    def test_says_where_the_run_is(self) -> None:
        """Time, stage, counts and audits."""
        line = line_of(SCENARIO, Progress(1234, 5), since_start_s=2.2, stage=1, audits="audits 2, different 0")
        assert line == (
            "small  2/3 s  stage 2 (100 ms failing | 0 ms)  accepted 1,234  failed 5  audits 2, different 0"
        )

    def test_never_passes_the_end(self) -> None:
        """The last answers come after the load's end; before the first stage none is named."""
        line = line_of(SCENARIO, Progress(0, 0), since_start_s=7.0, stage=None, audits="")
        assert line.startswith("small  3/3 s  accepted 0")


class TestScreen:
    """Where lines go."""

    def test_a_terminal_rewrites_the_live_line(self) -> None:
        """Each live line replaces the last, and a lasting one replaces it for good."""
        stream = Terminal()
        screen = Screen(stream)
        screen.live("one")
        screen.live("two")
        screen.say("done")
        screen.say("more")
        assert stream.getvalue() == f"{REWRITE}one{REWRITE}two{REWRITE}done\nmore\n"

    def test_a_terminal_gets_what_fits(self) -> None:
        """A line that the terminal breaks could not be replaced: each left a piece behind. Others stay whole."""
        stream = Terminal()
        screen = Screen(stream, columns=lambda: 5)
        screen.live("123456")
        screen.say("123456")
        assert stream.getvalue() == f"{REWRITE}1234{REWRITE}123456\n"

    def test_a_file_gets_a_live_line_now_and_then(self) -> None:
        """Where nothing can be rewritten, most live lines are left out."""
        now_s = [0.0]
        stream = io.StringIO()
        screen = Screen(stream, lambda: now_s[0])
        for each in (0.0, 1.0, APART_S - 0.1, APART_S):
            now_s[0] = each
            screen.live(str(each))
        assert stream.getvalue() == f"0.0\n{APART_S}\n"

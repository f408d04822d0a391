"""The program's command line, its looks and its exit codes, in this process."""

import io
import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shm import Segment
from tests import tidy
from tests.tools.ring_view.segments import Filled, payment_id, unique_instance
from tools.ring_view import __main__ as program
from tools.ring_view.__main__ import (
    EXIT_INTERRUPTED,
    EXIT_NO_SEGMENT,
    EXIT_NOT_FOUND,
    EXIT_OK,
    HOME_AND_CLEAR,
    main,
    start,
)
from tools.ring_view.text import IN_DOCKER

ROOT = Path(__file__).resolve().parents[3]
Output = pytest.CaptureFixture[str]


class Naps:
    """Stands for sleeping: notes how long, and does one thing per nap; after those, somebody presses Ctrl-C."""

    def __init__(self, *then: Callable[[], object]) -> None:
        self.seconds: list[float] = []
        self._then = list(then)

    def __call__(self, seconds: float) -> None:
        """One nap."""
        self.seconds.append(seconds)
        if not self._then:
            raise KeyboardInterrupt
        self._then.pop(0)()


class TestMain:
    """`main`, a single look."""

    def test_a_segment(self, filled: Filled, capsys: Output) -> None:
        """An instance's name shows its segment."""
        filled.settle(1, 0)
        assert main([filled.instance]) == EXIT_OK
        shown = capsys.readouterr().out
        assert shown.startswith(f"segment of {filled.instance}: id {filled.segment.segment_id:016x}")
        assert "totals of this epoch: default 1 = 19.90, fallback 0 = 0.00" in shown

    def test_a_segment_as_json(self, filled: Filled, capsys: Output) -> None:
        """With --json the same comes for programs."""
        assert main([filled.instance, "--json"]) == EXIT_OK
        assert json.loads(capsys.readouterr().out)["header"]["instance"] == filled.instance

    @pytest.mark.parametrize("arguments", [[], ["--list"]], ids=["none", "list"])
    def test_all_segments(self, filled: Filled, capsys: Output, arguments: list[str]) -> None:
        """Without an instance, all segments are listed."""
        assert main(arguments) == EXIT_OK
        assert f"  {filled.instance}  " in capsys.readouterr().out

    def test_all_segments_as_json(self, filled: Filled, capsys: Output) -> None:
        """The list, too, can be had for programs."""
        assert main(["--json"]) == EXIT_OK
        assert filled.instance in [row["instance"] for row in json.loads(capsys.readouterr().out)]

    def test_payments_by_state(self, filled: Filled, capsys: Output) -> None:
        """--state lists payments, several states if repeated, up to the limit."""
        for number in range(3):
            filled.wait(number)
        filled.publish(3)
        assert main([filled.instance, "--state", "waiting", "--state", "accepted", "--limit", "2"]) == EXIT_OK
        assert f"{filled.instance}: payments shown 2 of 4" in capsys.readouterr().out

    def test_one_payment(self, filled: Filled, capsys: Output) -> None:
        """--id finds a payment; the id may be written in capitals."""
        filled.wait(0xABC)
        assert main([filled.instance, "--id", str(payment_id(0xABC)).upper()]) == EXIT_OK
        assert str(payment_id(0xABC)) in capsys.readouterr().out

    def test_an_unknown_id(self, filled: Filled, capsys: Output) -> None:
        """An id that is not there has its own exit code and a sentence."""
        assert main([filled.instance, "--id", str(payment_id(1))]) == EXIT_NOT_FOUND
        assert "was never seen here, or is no longer remembered" in capsys.readouterr().err

    @pytest.mark.parametrize(("present", "hint"), [(["app2"], ""), ([], f". {IN_DOCKER}")])
    def test_no_segment(self, capsys: Output, monkeypatch: pytest.MonkeyPatch, present: list[str], hint: str) -> None:
        """A missing segment is a sentence and an exit code; where there is none at all, they may be in Docker."""
        monkeypatch.setattr(program, "instances_present", lambda: present)
        instance = unique_instance()
        assert main([instance]) == EXIT_NO_SEGMENT
        assert capsys.readouterr() == ("", f"dump_ring: there is no segment /gateway-{instance}{hint}\n")

    def test_help_says_what_the_columns_mean(self, capsys: Output) -> None:
        """Those whose heads do not, and how to look in Docker."""
        with pytest.raises(SystemExit, match="0"):
            main(["--help"])
        shown = capsys.readouterr().out
        assert 'with "~"' in shown
        assert '"not seen"' in shown
        assert IN_DOCKER in shown

    def test_an_incompatible_segment(self, filled: Filled, capsys: Output) -> None:
        """A segment of another kind is a sentence and an exit code."""
        filled.put_word(0, 0x1234)
        assert main([filled.instance]) == EXIT_NO_SEGMENT
        assert "is not a gateway's" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["../app1"], "is not a name of an instance"),
            (["app1", "--id", "7"], "'7' is not a UUID"),
            (["app1", "--state", "free"], "invalid choice: 'free'"),
            (["app1", "--state", "waiting", "--id", str(payment_id(1))], "not allowed with argument"),
            (["app1", "--limit", "0"], "is not a whole number from 1 to 1,000,000"),
            (["app1", "--watch", "0.1"], "is not a number of seconds from 0.5 to 3600"),
            (["--state", "waiting"], "--state and --id need an instance"),
            (["app1", "--list"], "--list is about all instances"),
        ],
    )
    def test_wrong_usage(self, capsys: Output, arguments: list[str], sentence: str) -> None:
        """A wrong command line is a sentence and exit code 2."""
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
        assert sentence in capsys.readouterr().err


class TestWatch:
    """`main --watch`."""

    def test_looks_until_interrupted(self, filled: Filled, capsys: Output) -> None:
        """It looks, waits as long as told, looks again, and Ctrl-C is an orderly end."""
        naps = Naps(lambda: filled.publish(1), lambda: filled.publish(2))
        assert main([filled.instance, "--watch", "2"], sleep=naps) == EXIT_OK
        assert naps.seconds == [2.0, 2.0, 2.0]
        shown = capsys.readouterr().out
        assert [f"payments accepted and not ended: {count}\n" in shown for count in range(4)] == [
            True,
            True,
            True,
            False,
        ]
        assert HOME_AND_CLEAR not in shown

    def test_a_screen_is_cleared_before_each_look(self, filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
        """On a terminal each look takes the place of the one before."""
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        main([filled.instance, "--watch", "1"], sleep=Naps(list))
        assert terminal.getvalue().count(f"{HOME_AND_CLEAR}segment of") == 2

    def test_json_is_a_look_a_line(self, filled: Filled, capsys: Output) -> None:
        """A program reads each look as a line."""
        main([filled.instance, "--watch", "1", "--json"], sleep=Naps(list))
        lines = capsys.readouterr().out.splitlines()
        assert [json.loads(line)["header"]["instance"] for line in lines] == [filled.instance] * 2

    def test_a_segment_that_goes_away_is_waited_for(self, capsys: Output) -> None:
        """A segment gone and made anew is shown again, with its new id."""
        first = Filled()
        geometry = first.segment.geometry
        naps = Naps(first.close, lambda: Segment.create(first.instance, geometry))
        main([first.instance, "--watch", "1"], sleep=naps)
        first.close()
        shown, errors = capsys.readouterr()
        assert shown.count(f"segment of {first.instance}") == 2
        assert errors == f"dump_ring: there is no segment /gateway-{first.instance}\n"

    def test_a_missing_segment_on_a_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """On a terminal the sentence takes the screen, so that nothing stale stays on it."""
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        instance = unique_instance()
        main([instance, "--watch", "1"], sleep=Naps())
        assert terminal.getvalue() == f"{HOME_AND_CLEAR}dump_ring: there is no segment /gateway-{instance}\n"


class Terminal(io.StringIO):
    """Text that believes it is a terminal."""

    def isatty(self) -> bool:
        """It does."""
        return True


class TestStart:
    """`start`, what a process runs."""

    @pytest.fixture(autouse=True)
    def _signals(self) -> Iterator[None]:
        """Leaves the signals as they were."""
        before = signal.getsignal(signal.SIGPIPE)
        yield
        signal.signal(signal.SIGPIPE, before)

    def test_exit_code(self, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
        """The exit code is that of the look; a reader that goes away ends the process quietly."""
        monkeypatch.setattr(sys, "argv", ["dump_ring", unique_instance()])
        assert start() == EXIT_NO_SEGMENT
        assert signal.getsignal(signal.SIGPIPE) == signal.SIG_DFL
        assert "there is no segment" in capsys.readouterr().err

    def test_interrupted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Ctrl-C during a look is no traceback."""

        def interrupted() -> int:
            raise KeyboardInterrupt

        monkeypatch.setattr(program, "main", interrupted)
        assert start() == EXIT_INTERRUPTED


class TestImage:
    """The gateway's image, where `python -m tools.ring_view` looks into a segment."""

    def test_has_what_is_imported_from_other_tools(self) -> None:
        """It holds this package, and of the rest of tools/ only the files that are named."""
        sources = [
            tidy.Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
            for path in (ROOT / "tools" / "ring_view").glob("*.py")
        ]
        modules = {item.module for source in sources for item in tidy.imports_of(source)}
        needed = {module for module in modules if module.startswith("tools.") and "ring_view" not in module}
        copied = (ROOT / "Dockerfile").read_text(encoding="utf-8").split()
        let_in = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
        for path in (f"{module.replace('.', '/')}.py" for module in needed):
            assert path in copied
            assert f"!{path}" in let_in

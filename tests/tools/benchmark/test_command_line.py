"""Tests of tools/benchmark/command_line.py."""

import io
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tools.benchmark.samples import Bank, a_card, a_sheet, processors_of, target_of
from tools.benchmark import command_line, drain, saturate, sitting, soak, summary
from tools.benchmark.card import Card
from tools.benchmark.command_line import main, open_sheet, parser
from tools.benchmark.endpoints import free_port
from tools.benchmark.openrun import Setup
from tools.benchmark.progress import Screen
from tools.benchmark.run import Order
from tools.benchmark.sheet import Sheet
from tools.processor.store import ROWS_MAX


@pytest.mark.usefixtures("listening")
class TestMain:
    """A whole command."""

    @pytest.fixture
    def cards(self, monkeypatch: pytest.MonkeyPatch) -> list[Card]:
        """Cards that the runs return, in turn, instead of being run; empty: as if interrupted."""
        listed: list[Card] = []

        def carry_out(order: Order, _screen: object, _settle_s: float) -> Card:
            if not listed:
                raise KeyboardInterrupt
            assert order.seed == 7
            return listed.pop(0)

        monkeypatch.setattr(command_line, "carry_out", carry_out)
        monkeypatch.setattr(sitting, "PAUSE_S", 0.0)
        return listed

    def run(self, bank: Bank, tmp_path: Path, *words: str) -> int:
        """The preview on the bank, with these further words."""
        path = str(tmp_path / "results" / "result.json")
        return main(["preview", "--target", bank.gateway.url, "--seed", "7", "--json", path, *words])

    def test_a_good_run_is_zero_and_written(
        self, bank: Bank, cards: list[Card], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The card is shown, and its JSON is where it was asked for."""
        cards.append(a_card())
        assert self.run(bank, tmp_path) == 0
        assert "Nothing wrong." in capsys.readouterr().out
        result = json.loads((tmp_path / "results" / "result.json").read_text(encoding="utf-8"))
        assert result["runs"]["gateway"][0]["run"] == "cafe"
        assert (result["medians"]["gateway"]["p99 ms"], result["ratios"]) == (3.0, None)

    def test_a_bad_run_is_one(self, bank: Bank, cards: list[Card], tmp_path: Path) -> None:
        """Also if the other runs are good."""
        settled = None
        cards += [a_card(), a_card(settled=settled), a_card(score=None)]
        assert self.run(bank, tmp_path, "--repeat", "3") == 0
        cards.append(a_card(answered=a_card().answered.__class__(1, 1, 1, 0, {})))
        assert self.run(bank, tmp_path) == 1

    def test_several_runs_have_medians(
        self, bank: Bank, cards: list[Card], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Shown after the last card."""
        cards += [a_card(), a_card()]
        assert self.run(bank, tmp_path, "--repeat", "2") == 0
        assert "  median " in capsys.readouterr().out

    def test_an_interrupt_is_130(
        self, bank: Bank, cards: list[Card], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Ctrl-C ends with a sentence and the shells' exit status."""
        assert cards == []
        assert self.run(bank, tmp_path) == 130
        assert capsys.readouterr().out.endswith(
            "bench: interrupted; the generator is gone and the processors are calm again.\n"
        )

    @pytest.mark.parametrize(("hangup", "status"), [(lambda *_: None, 130), (signal.SIG_IGN, 0)])
    def test_a_closed_terminal_interrupts_it_unless_it_is_ignored(
        self, bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangup: Any, status: int
    ) -> None:
        """As `nohup` does it."""

        def carry_out(*_: object) -> Card:
            signal.raise_signal(signal.SIGHUP)
            return a_card()

        monkeypatch.setattr(command_line, "carry_out", carry_out)
        signal.signal(signal.SIGHUP, hangup)
        assert self.run(bank, tmp_path) == status

    def test_without_a_reader_it_ends_in_silence(
        self, bank: Bank, cards: list[Card], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`| head` that has gone; Python has nothing left to write as it ends."""
        cards.append(a_card())
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "w") as pipe:
            monkeypatch.setattr(sys, "stdout", pipe)
            assert self.run(bank, tmp_path) == 130
            pipe.write("still open\n")
            pipe.flush()

    def test_a_full_disk_is_two(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """One sentence on stderr, whether a line is shown or the reason why it can't be run; 1 is for the gateway."""
        with Path("/dev/full").open("w") as full:
            monkeypatch.setattr(sys, "stdout", full)
            path = str(tmp_path / "result.json")
            assert main(["saturate", "--target", f"http://127.0.0.1:{free_port()}", "--json", path]) == 2
        assert capsys.readouterr().err == "bench: The output can't be written: No space left on device.\n"

    def test_what_can_not_be_run_is_two(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A sentence instead of a traceback."""
        path = str(tmp_path / "result.json")
        assert main(["preview", "--target", f"http://127.0.0.1:{free_port()}", "--json", path]) == 2
        assert "bench: Nothing answers at" in capsys.readouterr().out

    def test_a_constant_rate_is_measured_and_written_alike(
        self, bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The sheet is shown, its JSON written, and its faults decide the status."""
        sheets = [a_sheet(), a_sheet(quiet_s=None)]
        monkeypatch.setattr(command_line, "open_sheet", lambda *_: sheets.pop(0))
        path = tmp_path / "result.json"
        words = ["drain", "--target", bank.gateway.url, "--json", str(path)]
        assert main(words) == 0
        assert "Nothing wrong." in capsys.readouterr().out
        assert json.loads(path.read_text(encoding="utf-8"))["runs"]["gateway"][0]["command"] == "trial"
        assert main(words) == 1


class TestOpenSheet:
    """Which command is carried out, and what it is asked for."""

    @pytest.mark.parametrize(
        ("words", "module", "function", "asked"),
        [
            (["saturate"], saturate, "measure", saturate.Ask(3000, 60, beyond=False)),
            (["saturate", "--rate", "9", "--search", "--beyond"], saturate, "search", saturate.Ask(9, 60, beyond=True)),
            (["drain", "--calm-s", "1"], drain, "measure", drain.Ask(300, 1, 30, 20)),
            (["summary", "--fill", "9"], summary, "measure", summary.Ask(9, 2500, 300, 50, 60)),
            (["soak", "--sample-s", "0.5"], soak, "measure", soak.Ask(1_000_000, 2500, 300, 3600, 0.5)),
        ],
    )
    def test_defaults_are_the_goals(
        self, bank: Bank, monkeypatch: pytest.MonkeyPatch, words: list[str], module: Any, function: str, asked: object
    ) -> None:
        """Without options it is what the project has set out to reach."""
        got: list[object] = []

        def carry_out(_setup: Setup, ask: object, _screen: Screen) -> Sheet:
            got.append(ask)
            return a_sheet()

        monkeypatch.setattr(module, function, carry_out)
        setup = Setup(target_of(bank), processors_of(bank), 7, 4, 5.0)
        assert open_sheet(parser().parse_args(words), setup, Screen(io.StringIO())) == a_sheet()
        assert got == [asked]

    def test_the_simulated_processors_have_room_for_a_soak(self) -> None:
        """As it is without options, even if one of the two gets all of it."""
        options = parser().parse_args(["soak"])
        payments = options.fill + (saturate.WARM_UP_MS // 1000 + options.duration_s) * options.rate
        assert payments == 2_080_600 < ROWS_MAX

    @pytest.mark.parametrize("words", [["drain", "--rate", "0"], ["soak", "--against", "floor"], ["saturate", "--x"]])
    def test_what_makes_no_sense_ends_it(self, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        """With a sentence of the parser's."""
        with pytest.raises(SystemExit, match="2"):
            parser().parse_args(words)
        assert "error:" in capsys.readouterr().err

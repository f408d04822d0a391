"""Tests of tools/benchmark/sitting.py."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tools.benchmark.samples import Bank
from tools.benchmark import sitting
from tools.benchmark.errors import OptionError, UnreadError
from tools.benchmark.progress import Screen
from tools.benchmark.sitting import Result, sit
from tools.benchmark.targets import Target


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits between two runs."""
    monkeypatch.setattr(sitting, "PAUSE_S", 0.0)


def measuring(values: dict[str, list[float]], order: list[str]) -> Callable[[Target], Result]:
    """Measure by taking the target's next value; one above 100 is a fault."""

    def measure(target: Target) -> Result:
        order.append(target.name)
        value = values[target.name].pop(0)
        faults = ["too much"] if value > 100 else []
        return Result([f"{target.name} {value}"], {"value": value}, {"value": value}, faults)

    return measure


class TestSit:
    """Several runs."""

    @pytest.fixture
    def pair(self, bank: Bank) -> list[Target]:
        """Two targets that run already."""
        return [Target("ours", bank.gateway.url), Target("floor", bank.gateway.url)]

    def test_targets_take_turns_and_neither_is_always_second(self, pair: list[Target], tmp_path: Path) -> None:
        """The order is turned round each time; medians and the ratio are those of all runs."""
        order: list[str] = []
        stream, path = io.StringIO(), tmp_path / "deep" / "result.json"
        measure = measuring({"ours": [6, 90, 6], "floor": [4, 4, 1]}, order)
        assert sit(pair, 3, measure, path, Screen(stream))
        assert order == ["ours", "floor", "floor", "ours", "ours", "floor"]
        result = json.loads(path.read_text(encoding="utf-8"))
        assert result["medians"] == {"ours": {"value": 6}, "floor": {"value": 4}}
        assert result["ratios"] == {"value": 1.5}
        assert [each["value"] for each in result["runs"]["ours"]] == [6, 90, 6]
        assert "  value   6.00   4.00   1.50" in stream.getvalue()

    def test_one_run_has_no_medians(self, pair: list[Target], tmp_path: Path) -> None:
        """There is nothing to take them of."""
        stream = io.StringIO()
        assert sit(pair[:1], 1, measuring({"ours": [6]}, []), tmp_path / "r.json", Screen(stream))
        assert "  median  " not in stream.getvalue()

    def test_a_fault_in_any_run_is_told(self, pair: list[Target], tmp_path: Path) -> None:
        """Whatever the others were."""
        assert not sit(pair[:1], 2, measuring({"ours": [101, 6]}, []), tmp_path / "r.json", Screen(io.StringIO()))

    def test_what_can_not_be_written_is_a_sentence(self, pair: list[Target], tmp_path: Path) -> None:
        """A folder stands there. The result is shown all the same."""
        stream = io.StringIO()
        with pytest.raises(OptionError, match="can't be written"):
            sit(pair[:1], 1, measuring({"ours": [6]}, []), tmp_path, Screen(stream))
        assert "ours 6" in stream.getvalue()

    def test_what_can_not_be_shown_is_written(self, pair: list[Target], tmp_path: Path) -> None:
        """`| head` has read enough while it ran."""

        class Pipe(io.StringIO):
            """Its reader goes when the result comes."""

            def write(self, text: str) -> int:
                """Refuse the result."""
                if text.startswith("ours 6"):
                    raise BrokenPipeError
                return super().write(text)

        path = tmp_path / "r.json"
        with pytest.raises(UnreadError):
            sit(pair[:1], 1, measuring({"ours": [6]}, []), path, Screen(Pipe()))
        assert json.loads(path.read_text(encoding="utf-8"))["runs"]["ours"] == [{"value": 6}]

"""Tests of tools/benchmark/sitting.py."""

import contextlib
import errno
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.tools.benchmark.samples import Bank
from tools.benchmark import sitting
from tools.benchmark.errors import DockerError, OptionError, UnreadError
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

    @pytest.mark.parametrize("name", ["", "file/r.json", "gone/r.json", "x" * 300])
    def test_where_nothing_can_be_written_nothing_is_run(self, pair: list[Target], tmp_path: Path, name: str) -> None:
        """A folder stands there, or something else in its folder's place; a load would be run for nothing."""
        (tmp_path / "file").touch()
        (tmp_path / "gone").symlink_to(tmp_path / "nowhere" / "at all")
        order: list[str] = []
        with pytest.raises(OptionError, match="can't be written"):
            sit(pair[:1], 1, measuring({"ours": [6]}, order), tmp_path / name, Screen(io.StringIO()))
        assert order == []

    def test_what_can_not_be_written_any_more_is_shown(self, pair: list[Target], tmp_path: Path) -> None:
        """Somebody put a folder there meanwhile."""
        stream, path = io.StringIO(), tmp_path / "r.json"

        def measure(_: Target) -> Result:
            path.mkdir()
            return Result(["ours 6"], {}, {}, [])

        with pytest.raises(OptionError, match="can't be written"):
            sit(pair[:1], 1, measure, path, Screen(stream))
        assert stream.getvalue().endswith("ours 6\n")

    @pytest.mark.parametrize("error", [KeyboardInterrupt, DockerError("no.")])
    def test_what_is_written_stays_and_is_told(
        self, pair: list[Target], tmp_path: Path, error: BaseException | type[BaseException]
    ) -> None:
        """Though a later run is interrupted, or can't be made."""
        stream, path = io.StringIO(), tmp_path / "r.json"
        results = [Result(["ours 6"], {}, {"value": 6}, [])]

        def measure(_: Target) -> Result:
            if not results:
                raise error
            return results.pop()

        with pytest.raises((KeyboardInterrupt, DockerError)):
            sit(pair[:1], 3, measure, path, Screen(stream))
        assert stream.getvalue().endswith(f"1 of 3 runs are written to {path}\n")
        assert json.loads(path.read_text(encoding="utf-8"))["runs"]["ours"] == [{"value": 6}]

    def test_a_result_is_written_before_its_target_is_stopped(
        self, pair: list[Target], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A Ctrl-C then, or containers that can't be stopped, take nothing away."""

        @contextlib.contextmanager
        def up(_: Target, __: object) -> Iterator[None]:
            yield
            raise KeyboardInterrupt

        monkeypatch.setattr(Target, "up", up)
        path = tmp_path / "r.json"
        with pytest.raises(KeyboardInterrupt):
            sit(pair[:1], 1, measuring({"ours": [6]}, []), path, Screen(io.StringIO()))
        assert json.loads(path.read_text(encoding="utf-8"))["runs"]["ours"] == [{"value": 6}]

    def test_an_earlier_result_is_whole_until_the_new_one_is(
        self, pair: list[Target], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A disk that is full half-way takes nothing away."""
        path = tmp_path / "r.json"
        path.write_text("an earlier one", encoding="utf-8")
        real = Path.write_text

        def write_half(self: Path, text: str, encoding: str) -> int:
            real(self, text[:9], encoding=encoding)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(Path, "write_text", write_half)
        with pytest.raises(OptionError, match="No space left"):
            sit(pair[:1], 1, measuring({"ours": [6]}, []), path, Screen(io.StringIO()))
        assert path.read_text(encoding="utf-8") == "an earlier one"

    def test_a_link_is_written_through(self, pair: list[Target], tmp_path: Path) -> None:
        """So are pipes and devices, which must not be replaced."""
        path, real = tmp_path / "r.json", tmp_path / "real.json"
        path.symlink_to(real)
        assert sit(pair[:1], 1, measuring({"ours": [6]}, []), path, Screen(io.StringIO()))
        assert sit(pair[:1], 1, measuring({"ours": [6]}, []), Path(os.devnull), Screen(io.StringIO()))
        assert path.is_symlink()
        assert json.loads(real.read_text(encoding="utf-8"))["runs"]["ours"] == [{"value": 6}]
        assert sorted(each.name for each in tmp_path.iterdir()) == ["r.json", "real.json"]

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

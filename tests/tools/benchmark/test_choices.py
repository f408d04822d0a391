"""Tests of tools/benchmark/choices.py."""

from pathlib import Path

import pytest

from tests.tools.benchmark.samples import RULES, SCENARIO, write_json
from tools.benchmark import targets
from tools.benchmark.choices import processors_of, scenario_of, targets_of
from tools.benchmark.command_line import parser
from tools.benchmark.errors import OptionError
from tools.benchmark.scenario import read, to_document
from tools.benchmark.targets import Target


@pytest.fixture
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing answers anywhere, and floor and hop need no docker."""
    monkeypatch.setattr(targets, "answers", lambda _: False)
    monkeypatch.setattr(targets, "floor", lambda port: Target("floor", f"http://localhost:{port}", settles=False))
    monkeypatch.setattr(targets, "hop", lambda port: Target("hop", f"http://localhost:{port}", settles=False))


class TestScenarioOf:
    """Which load."""

    def test_a_command_is_a_scenario(self) -> None:
        """Without options it is the contest's."""
        assert scenario_of(parser().parse_args(["final"]), seed=1) == read("final")

    def test_options_change_it(self) -> None:
        """Shorter, smaller, with other amounts and stages."""
        words = ["preview", "--duration-s", "20", "--users", "9", "--random-amounts", "--random-stages"]
        made = scenario_of(parser().parse_args(words), seed=1)
        assert (made.load.duration_s, made.load.users_end) == (20, 9)
        assert made.amount.cents_min < made.amount.cents_max
        assert made.stages != read("preview").stages

    def test_a_file_of_ones_own(self, tmp_path: Path) -> None:
        """`load FILE` runs it."""
        path = write_json(tmp_path / "own.json", to_document(SCENARIO))
        assert scenario_of(parser().parse_args(["load", str(path)]), seed=1) == SCENARIO

    def test_the_floor_takes_the_preview_or_another(self) -> None:
        """The floor is under some scenario's load."""
        assert scenario_of(parser().parse_args(["floor"]), seed=1).name == "preview"
        assert scenario_of(parser().parse_args(["floor", "--scenario", "final"]), seed=1).name == "final"


class TestProcessorsOf:
    """Which processors."""

    def test_two_addresses(self) -> None:
        """Default first."""
        default, fallback = processors_of(parser().parse_args(["preview"]))
        assert (default.name, default.url) == ("default", "http://localhost:8001")
        assert (fallback.name, fallback.url) == ("fallback", "http://localhost:8002")

    @pytest.mark.parametrize("urls", ["http://a", "http://a,http://b,http://c", "a,b"])
    def test_anything_else_is_a_sentence(self, urls: str) -> None:
        """Not one, not three, not without a scheme."""
        with pytest.raises(OptionError):
            processors_of(parser().parse_args(["preview", "--processors", urls]))


@pytest.mark.usefixtures("nothing_runs")
class TestTargetsOf:
    """What is measured, in turn."""

    def found(self, *words: str) -> list[tuple[str, str, bool]]:
        """Name, address, and whether the bench starts it."""
        options = parser().parse_args(words)
        return [(each.name, each.url, each.project is not None) for each in targets_of(options, RULES)]

    def test_what_runs_at_the_address(self) -> None:
        """Without --against nothing is started."""
        assert self.found("preview") == [("gateway", "http://localhost:9999", False)]

    @pytest.mark.parametrize("bare", ["floor", "hop"])
    def test_floor_and_hop_alone(self, bare: str) -> None:
        """On the gateway's port, or the one of --target."""
        assert self.found(bare) == [(bare, "http://localhost:9999", False)]
        assert self.found(bare, "--target", "http://localhost:18070")[0][1] == "http://localhost:18070"

    def test_the_hop_against_the_floor(self) -> None:
        """In turn, on one port."""
        assert self.found("hop", "--against", "floor", "--target", "http://localhost:18070") == [
            ("hop", "http://localhost:18070", False),
            ("floor", "http://localhost:18070", False),
        ]

    def test_against_the_floor_with_nothing_running(self) -> None:
        """Both are started in turn, on one port."""
        for bare in ("floor", "hop"):
            gateway, other = self.found("preview", "--against", bare)
            assert gateway == ("gateway", "http://localhost:9999", True)
            assert other[:2] == (bare, "http://localhost:9999")

    def test_against_the_floor_beside_what_runs(self) -> None:
        """A gateway given by its address is left running, so the floor has another port."""
        gateway, floor = self.found("preview", "--against", "floor", "--target", "http://localhost:18070")
        assert gateway == ("gateway", "http://localhost:18070", False)
        assert floor[1] != gateway[1]

    def test_against_another_gateway(self, tmp_path: Path) -> None:
        """Both on one port, each started for its runs."""
        (tmp_path / "docker-compose.yml").touch()
        ours, other = self.found("preview", "--against", str(tmp_path / "docker-compose.yml"))
        assert (ours[1:], other[1:]) == (("http://localhost:9999", True),) * 2

    def test_another_gateway_needs_the_port(self, tmp_path: Path) -> None:
        """What runs there must be stopped by whoever started it."""
        with pytest.raises(OptionError, match="Stop what runs at"):
            self.found("preview", "--against", str(tmp_path / "x.yml"), "--target", "http://localhost:18070")

    def test_a_command_that_compares_with_nothing(self) -> None:
        """It has no --against."""
        assert self.found("soak") == [("gateway", "http://localhost:9999", False)]

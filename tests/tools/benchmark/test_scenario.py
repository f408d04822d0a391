"""Tests of tools/benchmark/scenario.py."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tools.benchmark.samples import SCENARIO, write_json
from tools.benchmark.errors import ScenarioError
from tools.benchmark.scenario import (
    RANDOM_AMOUNTS_CENTS,
    SCENARIOS,
    check,
    parse,
    read,
    resized,
    to_document,
    with_random_amounts,
    with_random_stages,
)


def changed(path: str, value: object) -> dict[str, Any]:
    """The small scenario's document with one member, named by its path, set to a value."""
    document: dict[str, Any] = json.loads(json.dumps(to_document(SCENARIO)))
    *parents, last = path.split(".")
    place: Any = document
    for name in parents:
        place = place[int(name)] if name.isdigit() else place[name]
    place[last] = value
    return document


class TestRead:
    """Scenario files."""

    def test_preview_is_the_contests(self) -> None:
        """The preview: 60 s, 550 users, 19.90, fees of 5 and 15 %, and the six stages of the contest's script."""
        preview = read("preview")
        assert (preview.load.duration_s, preview.load.users_start, preview.load.users_end) == (60, 1, 550)
        assert (preview.amount.cents_min, preview.amount.cents_max) == (1990, 1990)
        assert (preview.audit.every_s, preview.audit.window_start_ms, preview.audit.window_end_ms) == (
            10,
            15_000,
            1_500,
        )
        assert (preview.rules.fee_default_percent, preview.rules.fee_fallback_percent) == (5, 15)
        assert [f"{stage.at_s}: {stage.default}; {stage.fallback}" for stage in preview.stages] == [
            "1: 0 ms; 0 ms",
            "10: 100 ms; 0 ms",
            "20: 100 ms failing; 0 ms",
            "30: 2000 ms failing; 1000 ms failing",
            "40: 20 ms; 20 ms",
            "50: 0 ms; 5000 ms",
        ]

    def test_final_is_the_contests(self) -> None:
        """The final: 300 s, 603 users, 20.05, fees of 7 and 10 %, and the ten stages of the contest's script."""
        final = read("final")
        assert (final.load.duration_s, final.load.users_start, final.load.users_end) == (300, 1, 603)
        assert (final.amount.cents_min, final.amount.cents_max) == (2005, 2005)
        assert (final.audit.every_s, final.audit.window_start_ms, final.audit.window_end_ms) == (10, 15_000, 2_000)
        assert (final.rules.fee_default_percent, final.rules.fee_fallback_percent) == (7, 10)
        assert final.rules.money_from == "processors"
        assert [f"{stage.at_s}: {stage.default}; {stage.fallback}" for stage in final.stages] == [
            "1: 0 ms; 0 ms",
            "30: 1000 ms; 0 ms",
            "60: 500 ms; 0 ms",
            "90: 2000 ms failing; 1000 ms",
            "120: 5000 ms failing; 5 ms",
            "150: 0 ms; 5 ms failing",
            "180: 100 ms; 5 ms",
            "210: 50 ms; 0 ms",
            "240: 103 ms; 10 ms",
            "270: 2000 ms; 0 ms",
        ]

    @pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.json")), ids=lambda path: path.stem)
    def test_each_scenario_is_named_like_its_file(self, path: Path) -> None:
        """What a scenario calls itself is what it is asked for by."""
        assert read(path.stem).name == path.stem

    def test_a_file_of_ones_own_is_read(self, tmp_path: Path) -> None:
        """A name ending with .json is a path."""
        path = write_json(tmp_path / "own.json", to_document(SCENARIO))
        assert read(str(path)) == SCENARIO

    def test_a_missing_file_is_a_sentence(self) -> None:
        """An unknown name says which file is not there."""
        with pytest.raises(ScenarioError, match=r"nonesuch\.json can't be read: No such file"):
            read("nonesuch")

    @pytest.mark.parametrize("content", [b"{", b"\x1f\x8b\x08\xff"])
    def test_a_broken_file_is_a_sentence(self, tmp_path: Path, content: bytes) -> None:
        """What is no JSON is said to be none; what is no text at all, too."""
        path = tmp_path / "broken.json"
        path.write_bytes(content)
        with pytest.raises(ScenarioError, match="is not JSON"):
            read(str(path))


class TestParse:
    """From JSON to a checked scenario."""

    def test_a_document_makes_the_scenario_it_was_made_of(self) -> None:
        """`to_document` and `parse` undo each other, through JSON."""
        assert parse(json.loads(json.dumps(to_document(SCENARIO)))) == SCENARIO

    @pytest.mark.parametrize(
        ("path", "value", "sentence"),
        [
            ("load.duration_s", 0, r"load\.duration_s must be between 1 and 3600, not 0\."),
            ("load.duration_s", True, r"scenario\.load\.duration_s must be of the type int\."),
            ("load.users_end", 0, r"load\.users_end must be between 1 and"),
            ("load.pause_s", 0, r"load\.pause_s must be between 1 and"),
            ("load.speed", 1, r"scenario\.load\.speed must be left out"),
            ("load", [], r"scenario\.load must be an object\."),
            ("amount.cents_min", 0, r"amount\.cents_min must be between 1 and"),
            ("amount.cents_max", 1, r"amount\.cents_max must be between 1990 and"),
            ("audit.window_start_ms", 1000, r"audit\.window_start_ms must be between 1500 and"),
            ("rules.money_from", "me", r"scenario\.rules\.money_from must be one of gateway, processors\."),
            ("rules.money_window_s", 2, r"rules\.money_window_s must be between 3 and"),
            ("rules.fee_default_percent", 101, r"rules\.fee_default_percent must be between 0 and 100, not 101\."),
            ("stages", [], r"stages must be a list with at least one stage\."),
            ("stages", {}, r"scenario\.stages must be a list\."),
            ("stages.0.default.failing", 1, r"scenario\.stages\[0\]\.default\.failing must be of the type bool\."),
            ("stages.1.at_s", 1, r"stages\[1\]\.at_s must be between 2 and 3, not 1\."),
            ("stages.1.at_s", 4, r"stages\[1\]\.at_s must be between 2 and 3, not 4\."),
            ("stages.1.fallback.delay_ms", -1, r"stages\[1\]\.fallback\.delay_ms must be between 0 and"),
        ],
    )
    def test_what_makes_no_sense_is_named(self, path: str, value: object, sentence: str) -> None:
        """A wrong member is refused with its place and what it must be."""
        with pytest.raises(ScenarioError, match=sentence):
            parse(changed(path, value))

    def test_a_missing_member_is_named(self) -> None:
        """Everything must be given: there are no hidden defaults."""
        document = changed("name", "x")
        del document["load"]["users_end"]
        with pytest.raises(ScenarioError, match=r"scenario\.load\.users_end must be given\."):
            parse(document)


class TestSize:
    """How large it is."""

    def test_is_that_of_the_load_as_it_is_run(self) -> None:
        """Not of the one that it was made of."""
        assert read("preview").size == "60 s, 1 to 550 users, 6 stages, money as told by the gateway."
        short = resized(read("final"), duration_s=20, users_end=9)
        assert short.size == "20 s, 1 to 9 users, 10 stages, money as told by the processors."
        assert not any(each.isdecimal() for each in short.about)
        one = dataclasses.replace(short, stages=short.stages[:1])
        assert "1 stage," in one.size


class TestDelayMsMax:
    """How long a payment may sleep in a processor."""

    def test_is_over_all_stages_and_both_sides(self) -> None:
        """The preview's is fallback's in the last stage, the final's is default's in the fifth."""
        assert [read(name).delay_ms_max for name in ("preview", "final")] == [5000, 5000]
        assert SCENARIO.delay_ms_max == 100


class TestRandom:
    """Loads made up on the spot."""

    @given(seed=st.integers(0, 2**32), duration_s=st.integers(1, 400))
    def test_random_stages_always_make_a_scenario(self, seed: int, duration_s: int) -> None:
        """Whatever the seed, the stages fit the load and the last one leaves a processor that can settle."""
        load = to_document(SCENARIO) | {"stages": [to_document(SCENARIO)["stages"][0]]}
        load["load"]["duration_s"], load["rules"]["money_window_s"] = duration_s, duration_s
        made = with_random_stages(parse(load), seed)
        check(made)
        assert made.stages[0].at_s == 1
        last = made.stages[-1]
        assert any(not side.failing and side.delay_ms <= 100 for side in (last.default, last.fallback))

    def test_a_seed_makes_the_same_stages_again(self) -> None:
        """One seed, one list of stages; another seed, another one."""
        preview = read("preview")
        assert with_random_stages(preview, 5) == with_random_stages(preview, 5)
        assert with_random_stages(preview, 5) != with_random_stages(preview, 6)

    def test_random_amounts_span_a_range(self) -> None:
        """Amounts are no longer one price."""
        amount = with_random_amounts(SCENARIO).amount
        assert (amount.cents_min, amount.cents_max) == RANDOM_AMOUNTS_CENTS


class TestResized:
    """Shorter and smaller loads for trials."""

    def test_stages_move_in_proportion(self) -> None:
        """A sixth of the preview's length has its stages at a sixth of their times, at least a second apart."""
        short = resized(read("preview"), duration_s=10, users_end=20)
        assert [stage.at_s for stage in short.stages] == [1, 2, 3, 5, 6, 8]
        assert (short.load.duration_s, short.load.users_end) == (10, 20)

    def test_a_shorter_load_has_as_many_audits(self) -> None:
        """Audits come closer together in a shorter load, and no further apart in a longer one."""
        assert resized(read("preview"), duration_s=12).audit.every_s == 2
        assert resized(read("preview"), duration_s=120).audit.every_s == 10

    def test_nothing_asked_changes_nothing(self) -> None:
        """Without a size the scenario stays as it is."""
        assert resized(read("final")) == read("final")

    def test_too_short_is_a_sentence(self) -> None:
        """Six stages don't fit into three seconds; what is said to be enough is."""
        with pytest.raises(ScenarioError, match=r"^preview takes at least 6 s: its 6 stages are 1 s apart then\.$"):
            resized(read("preview"), duration_s=3)
        assert resized(read("preview"), duration_s=6).stages[-1].at_s == 6
        with pytest.raises(ScenarioError, match=r"^final takes at least 10 s"):
            resized(read("final"), duration_s=8)

"""Tests of tools/benchmark/sheet.py."""

import dataclasses
import json
from math import inf

import pytest

from tests.tools.benchmark.samples import RIGHT, USAGE, a_row, a_sheet, summaries
from tools.benchmark.meters import Metered
from tools.benchmark.outcome import Used
from tools.benchmark.reconcile import Finding
from tools.benchmark.sheet import Goal, Sheet, memory_goal, memory_percent

TWICE = dataclasses.replace(RIGHT, twice=Finding(1, ["a"]))


class TestGoal:
    """What is to be reached."""

    @pytest.mark.parametrize(
        ("goal", "met"),
        [
            (Goal("x", 5.0, at_most=5.0), True),
            (Goal("x", 5.1, at_most=5.0), False),
            (Goal("x", 5.0, at_least=5.0), True),
            (Goal("x", 4.9, at_least=5.0), False),
            (Goal("x", None, at_most=5.0), False),
        ],
    )
    def test_is_met_at_its_limit(self, goal: Goal, met: bool) -> None:  # noqa: FBT001
        """And never when it was not measured."""
        assert goal.is_met is met


class TestMemory:
    """How full the containers are."""

    def test_is_that_of_the_fullest(self) -> None:
        """What is in use at the end, not the peak."""
        full = dataclasses.replace(USAGE, memory_bytes=30_000_000)
        assert memory_percent([Metered("app1", USAGE), Metered("app2", full)]) == 75
        assert not memory_goal(Used([Metered("app2", full)], [], 1.0, 1.0, 1.0)).is_met

    def test_is_not_known_without_a_cap(self) -> None:
        """Or without containers."""
        unlimited = dataclasses.replace(USAGE, memory_limit_bytes=None)
        assert memory_percent([Metered("app1", unlimited), Metered("app2", None)]) is None
        assert memory_percent([]) is None


class TestFaults:
    """What must not happen."""

    def test_a_good_run_has_none(self) -> None:
        """A goal that is missed is no fault."""
        assert a_sheet(goals=[Goal("x", 9.0, at_most=1.0)]).faults() == []

    @pytest.mark.parametrize(
        ("sheet", "fault"),
        [
            (a_sheet(phases=[a_row(refused=2, by_status={503: 2})]), "load: 2 payments refused, 0 not answered, 0 not"),
            (a_sheet(phases=[a_row(unanswered=1)]), "load: 0 payments refused, 1 not answered"),
            (a_sheet(phases=[a_row(held=3)]), "3 not sent because no connection was free."),
            (a_sheet(audits=[summaries((1, 2))]), "1 of 1 audits differ."),
            (a_sheet(quiet_s=None), "Not everything accepted was settled"),
            (a_sheet(findings=None), "The books could not be compared."),
            (a_sheet(findings=TWICE), "1 payments charged more than once."),
            (a_sheet(more_faults=["so and so"]), "so and so"),
            (
                a_sheet(used=Used([Metered("app1", USAGE, ended=True)], [], 1.0, 1.0, 1.0)),
                "app1 ended during the load,",
            ),
            (a_sheet(used=Used([], [Metered("default", None, ended=True)], 1.0, 1.0, 1.0)), "default ended during"),
        ],
    )
    def test_each_is_a_sentence(self, sheet: Sheet, fault: str) -> None:
        """One for every kind."""
        (told,) = sheet.faults()
        assert fault in told

    def test_beyond_the_limit_a_503_is_right(self) -> None:
        """Nothing else is."""
        full = a_row(name="beyond", refused=2, held=1, by_status={202: 100, 503: 2})
        assert a_sheet(phases=[full], may_refuse=("beyond",)).faults() == []
        worse = dataclasses.replace(full, refused=3, by_status={503: 2, 500: 1})
        assert len(a_sheet(phases=[worse], may_refuse=("beyond",)).faults()) == 1

    def test_the_floor_settles_nothing(self) -> None:
        """And is not blamed for it."""
        assert a_sheet(settles=False, quiet_s=None, findings=None).faults() == []


class TestFigures:
    """Worth a median."""

    def test_are_those_of_the_main_phase_and_the_goals(self) -> None:
        """By their names."""
        sheet = a_sheet(phases=[a_row(name="warm-up", refused=1), a_row()], main=1, goals=[Goal("gone s", 2.0)])
        found = sheet.figures()
        assert (found["accepted/s"], found["settled/s"], found["p99 ms"], found["gone s"]) == (100, 99, 3.0, 2.0)
        assert (found["refused"], found["CPU µs/payment"], found["app1 throttled periods"]) == (1, 40, 2)

    def test_what_is_not_known_is_none(self) -> None:
        """The floor settles nothing, and a container was started anew."""
        found = a_sheet(phases=[a_row(settled=None)], used=Used([Metered("app1", None)], [], 1.0, 1.0, 1.0)).figures()
        assert (found["settled/s"], found["CPU µs/payment"], found["app1 throttled periods"]) == (None, None, None)

    def test_what_never_came_is_infinite(self) -> None:
        """For medians; what was not measured is not known."""
        goals = [Goal("gone s", None, at_most=1.0, never=True), Goal("cpu", None, at_most=1.0)]
        found = a_sheet(goals=goals).figures()
        assert (found["gone s"], found["cpu"]) == (inf, None)


class TestToDocument:
    """As JSON."""

    def test_is_json_with_its_verdict(self) -> None:
        """Faults, goals missed, and differences are in it."""
        sheet = a_sheet(
            audits=[summaries((1, 2))], goals=[Goal("x", 9.0, at_most=1.0)], lines=["so"], more={"own": [1]}
        )
        document = json.loads(json.dumps(sheet.to_document()))
        assert document["phases"][0]["answers"]["p99_ms"] == 3.0
        assert (document["goals_missed"], document["cpu_us_per_payment"]) == (["x"], 40)
        assert document["faults"] == ["1 of 1 audits differ."]
        assert (document["told"], document["more"]) == (["so"], {"own": [1]})

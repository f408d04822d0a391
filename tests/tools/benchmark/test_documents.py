"""Tests of tools/benchmark/documents.py; `test_scenario.py` tries it on scenarios."""

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from tools.benchmark.documents import between, build, refuse
from tools.benchmark.errors import ScenarioError


@dataclass
class Inner:
    """A part."""

    size: int


@dataclass
class Outer:
    """Something with a part of every kind."""

    name: str
    kind: Literal["a", "b"]
    parts: tuple[Inner, ...]


DOCUMENT: dict[str, Any] = {"name": "x", "kind": "a", "parts": [{"size": 1}]}


class TestBuild:
    """JSON to dataclasses."""

    def test_builds_every_part(self) -> None:
        """Lists become tuples of their parts."""
        assert build(Outer, DOCUMENT, "it") == Outer("x", "a", (Inner(1),))

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"kind": "c"}, r"it\.kind must be one of a, b\."),
            ({"name": 1}, r"it\.name must be of the type str\."),
            ({"parts": 1}, r"it\.parts must be a list\."),
            ({"parts": [1]}, r"it\.parts\[0\] must be an object\."),
            ({"parts": [{"size": True}]}, r"it\.parts\[0\]\.size must be of the type int\."),
            ({"parts": [{}]}, r"it\.parts\[0\]\.size must be given\."),
            ({"more": 1}, r"it\.more must be left out"),
        ],
    )
    def test_anything_else_is_a_sentence(self, changes: dict[str, Any], sentence: str) -> None:
        """Which member, and what it must be."""
        with pytest.raises(ScenarioError, match=sentence):
            build(Outer, DOCUMENT | changes, "it")


class TestBetween:
    """Bounds."""

    def test_ends_are_included(self) -> None:
        """Beyond them is a sentence."""
        between("it", 1, 1, 1)
        with pytest.raises(ScenarioError, match=r"^it must be between 1 and 2, not 3\.$"):
            between("it", 3, 1, 2)

    def test_refusing_names_the_place(self) -> None:
        """And what belongs there."""
        with pytest.raises(ScenarioError, match=r"^it must be something else\.$"):
            refuse("it", "something else")

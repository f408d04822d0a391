"""Tests of tools/arguments.py."""

import argparse

import pytest

from tools.arguments import seconds, whole_number


class TestWholeNumber:
    """whole_number."""

    @pytest.mark.parametrize("text", ["1", "20"])
    def test_from_one_to_the_most(self, text: str) -> None:
        """Both ends are taken."""
        assert whole_number(20)(text) == int(text)

    @pytest.mark.parametrize("text", ["0", "21", "-1", "1.0", "1e1", " 1", "", "many"])
    def test_nothing_else(self, text: str) -> None:
        """The sentence names both the text and what it may be."""
        with pytest.raises(argparse.ArgumentTypeError) as refused:
            whole_number(20)(text)
        assert str(refused.value) == f"{text!r} is not a whole number from 1 to 20"

    def test_without_a_most(self) -> None:
        """However large."""
        assert whole_number()("1" + "0" * 100) == 10**100
        with pytest.raises(argparse.ArgumentTypeError, match="^'0' is not a whole number from 1$"):
            whole_number()("0")

    def test_a_large_most_is_readable(self) -> None:
        """With commas."""
        with pytest.raises(argparse.ArgumentTypeError, match=" to 1,000,000$"):
            whole_number(1_000_000)("0")


class TestSeconds:
    """seconds."""

    @pytest.mark.parametrize("text", ["0.5", "1", "3600"])
    def test_from_the_least_to_the_most(self, text: str) -> None:
        """Both ends are taken, and fractions."""
        assert seconds(0.5, 3600.0)(text) == float(text)

    @pytest.mark.parametrize("text", ["0.4", "3600.1", "-1", "nan", "inf", "", "often"])
    def test_nothing_else(self, text: str) -> None:
        """The sentence names both the text and what it may be."""
        with pytest.raises(argparse.ArgumentTypeError) as refused:
            seconds(0.5, 3600.0)(text)
        assert str(refused.value) == f"{text!r} is not a number of seconds from 0.5 to 3600"

    def test_anything_above_zero(self) -> None:
        """If no least is wanted; no time at all is still none."""
        assert seconds(0, 60.0)("0.001") == 0.001
        for text in ("0", "-0.0", "-1", "nan", "soon", "61"):
            with pytest.raises(argparse.ArgumentTypeError, match=f"^'{text}' is not a number of seconds up to 60$"):
                seconds(0, 60.0)(text)

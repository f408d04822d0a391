"""shm/errors.py: one tree, drawn at its top, and all of it public."""

import inspect
import re

import pytest

import shm
from shm import errors
from shm.errors import IllegalTransition, SegmentError, ShmError

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value)]


def drawn() -> dict[str, str]:
    """Each error of the drawing with the one it is drawn under."""
    found, above = {}, ["Exception"]
    for indent, name in re.findall(r"^( *)\* (\w+)", errors.__doc__ or "", re.MULTILINE):
        depth = len(indent) // 2
        above = [*above[: depth + 1], name]
        found[name] = above[depth]
    return found


class TestTree:
    """The errors as a whole."""

    def test_is_as_drawn(self) -> None:
        """Every error is in the drawing, below its base."""
        assert {error.__name__: error.__base__.__name__ for error in CLASSES if error.__base__} == drawn()

    @pytest.mark.parametrize("error", CLASSES)
    def test_is_public(self, error: type[Exception]) -> None:
        """Whoever uses the package can name what it raises."""
        assert error.__name__ in shm.__all__

    def test_all_have_one_base(self) -> None:
        """One `except` catches them all, and one those of a segment as a whole."""
        assert all(issubclass(error, ShmError) for error in CLASSES)
        assert {error for error in CLASSES if error.__name__.startswith("Segment")} == {
            error for error in CLASSES if issubclass(error, SegmentError)
        }


class TestIllegalTransition:
    """IllegalTransition."""

    def test_names_state_and_event(self) -> None:
        """The log line alone tells what was tried."""
        assert str(IllegalTransition("SETTLED", "PAID")) == "no transition from SETTLED on PAID"

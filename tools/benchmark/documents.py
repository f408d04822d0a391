"""Decoded JSON to checked dataclasses; a member that is missing, unknown or of a wrong type is an error. Pure."""

import dataclasses
import typing
from typing import Any, Literal

from tools.benchmark.errors import ScenarioError


def build(kind: Any, value: object, where: str) -> Any:
    """Builds `kind` (a dataclass, a tuple of them, int, bool, str or Literal) from a JSON value found at `where`."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            refuse(where, "an object")
        hints = typing.get_type_hints(kind)
        for unknown in sorted(value.keys() - hints.keys()):
            refuse(f"{where}.{unknown}", "left out: there is no such member")
        for missing in sorted(hints.keys() - value.keys()):
            refuse(f"{where}.{missing}", "given")
        members = {name: build(hint, value[name], f"{where}.{name}") for name, hint in hints.items()}
        return kind(**members)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, (list, tuple)):
            refuse(where, "a list")
        item = typing.get_args(kind)[0]
        return tuple(build(item, each, f"{where}[{index}]") for index, each in enumerate(value))
    if typing.get_origin(kind) is Literal:
        if value not in typing.get_args(kind):
            refuse(where, "one of " + ", ".join(typing.get_args(kind)))
    elif type(value) is not kind:  # `isinstance` would let a bool pass for an int
        refuse(where, f"of the type {kind.__name__}")
    return value


def refuse(where: str, must_be: str) -> typing.NoReturn:
    """Raises ScenarioError: the member found at `where` must be something else."""
    raise ScenarioError(f"{where} must be {must_be}.")


def between(where: str, value: int, least: int, most: int) -> None:
    """Raises ScenarioError unless the value is between the two, ends included."""
    if not least <= value <= most:
        refuse(where, f"between {least} and {most}, not {value}")

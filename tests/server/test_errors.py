"""The error tree of an instance."""

import pytest

from server import errors
from server.errors import (
    ConfigError,
    GatewayError,
    LookupUnavailable,
    OutcomeUnknown,
    ProcessorError,
    ProcessorUnreachable,
    TotalsUnavailable,
)

CLASSES = [thing for thing in vars(errors).values() if isinstance(thing, type)]


class TestTree:
    """Who descends from whom."""

    @pytest.mark.parametrize("error", [ConfigError, ProcessorError, LookupUnavailable, TotalsUnavailable])
    def test_one_base(self, error: type[GatewayError]) -> None:
        """Everything the package raises can be caught as GatewayError."""
        assert error.__bases__ == (GatewayError,)

    @pytest.mark.parametrize("error", [ProcessorUnreachable, OutcomeUnknown])
    def test_processor_errors(self, error: type[ProcessorError]) -> None:
        """A call to a processor fails in one of two ways, and neither can be caught as the other."""
        assert error.__bases__ == (ProcessorError,)

    @pytest.mark.parametrize("error", CLASSES)
    def test_drawn(self, error: type[GatewayError]) -> None:
        """Each class stands in the tree at the top of the file."""
        assert errors.__doc__ is not None
        assert f"* {error.__name__}" in errors.__doc__


class TestTotalsUnavailable:
    """The reason for a 503."""

    def test_reason(self) -> None:
        """It carries its reason, as the client is told."""
        error = TotalsUnavailable("instance app2 has not been seen for 2 s")
        assert error.reason == str(error) == "instance app2 has not been seen for 2 s"

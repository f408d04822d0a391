"""The error tree of an instance."""

from http import HTTPStatus

import pytest

from server import errors
from server.errors import (
    ConfigError,
    GatewayError,
    LookupUnavailable,
    OutcomeUnknown,
    ProcessorError,
    ProcessorUnreachable,
    RequestRefused,
    TotalsUnavailable,
)

CLASSES = [thing for thing in vars(errors).values() if isinstance(thing, type) and thing.__module__ == errors.__name__]


class TestTree:
    """Who descends from whom."""

    @pytest.mark.parametrize(
        "error", [ConfigError, ProcessorError, RequestRefused, LookupUnavailable, TotalsUnavailable]
    )
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


class TestRequestRefused:
    """The answer to a bad request."""

    def test_parts(self) -> None:
        """It carries the status, and as its text what the client is told."""
        error = RequestRefused(HTTPStatus.BAD_REQUEST, "The body is nested too deeply.")
        assert (error.status, str(error)) == (400, "The body is nested too deeply.")

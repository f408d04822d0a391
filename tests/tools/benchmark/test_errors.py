"""Tests of tools/benchmark/errors.py."""

import pytest

from tools.benchmark import errors


class TestTree:
    """The error tree."""

    @pytest.mark.parametrize(
        "kind",
        [errors.DockerError, errors.EndpointError, errors.GeneratorError, errors.OptionError, errors.ScenarioError],
    )
    def test_every_error_is_shown_as_a_sentence(self, kind: type[Exception]) -> None:
        """All of them are a BenchError, which the command line shows without a traceback."""
        assert issubclass(kind, errors.BenchError)

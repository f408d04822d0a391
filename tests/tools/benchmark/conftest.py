"""Fixtures of the bench's tests."""

from collections.abc import Iterator

import pytest

from tests.tools.benchmark.samples import Bank


@pytest.fixture
def bank() -> Iterator[Bank]:
    """A gateway and two processors to talk to."""
    made = Bank()
    yield made
    made.close()

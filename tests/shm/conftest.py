"""Fixtures of the shared memory's tests: names of segments that are gone afterwards."""

from collections.abc import Iterator

import pytest

from tests.shm.segments import fresh_instance


@pytest.fixture
def instance() -> Iterator[str]:
    """An instance's name that nobody else uses; its segment and locks are removed afterwards."""
    with fresh_instance() as name:
        yield name

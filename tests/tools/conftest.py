"""What the tools' tests share: a small segment, gone afterwards."""

from collections.abc import Iterator

import pytest

from tests.tools.ring_view.segments import Filled


@pytest.fixture
def filled() -> Iterator[Filled]:
    """A new, empty segment of a unique name."""
    segment = Filled()
    yield segment
    segment.close()

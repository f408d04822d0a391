"""Fixtures of the bench's tests."""

import signal
from collections.abc import Iterator

import pytest

from tests.tools.benchmark.samples import Bank
from tools.benchmark import stopping


@pytest.fixture
def bank() -> Iterator[Bank]:
    """A gateway and two processors to talk to."""
    made = Bank()
    yield made
    made.close()


@pytest.fixture
def listening() -> Iterator[None]:
    """The bench heeds signals, and the tests' own way comes back afterwards."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in stopping.SIGNALS}  # nohup: one is ignored
    stopping.listen()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)

"""An instance that has been away: what it has to verify, and whom it can ask."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from server.copies import Copy
from server.custody import Custody
from server.siblings import Siblings
from server.verification import verify
from shm import Ended
from tests.fakes import FakeClock, FakeProcessor, Paid
from tests.server.fake_area import FakeArea
from tests.server.other_instance import copy_of, sibling_of
from tests.server.scene import text_of


class Returned:
    """An instance that is back: payments that waited, to be verified, and whom they are asked of."""

    def __init__(self, *numbers: int, siblings: tuple[str, ...] = ()) -> None:
        self.area = FakeArea(waiting_slots=64, journal_records=64)
        self.custody = Custody([], self.area.table, self.area.journal, self.area.counters, lambda _: None)
        self.clock = FakeClock()
        self.fakes = (FakeProcessor(), FakeProcessor())
        self.processors = (self.fakes[0].processor(0), self.fakes[1].processor(1))
        self.siblings = Siblings([sibling_of(name, self.clock) for name in siblings], self.clock, [], [])
        for number in numbers:
            self.custody.take(copy_of(number), verified=False)

    def verify(self) -> Coroutine[Any, Any, None]:
        """Verifies everything."""
        return verify(self.custody, self.processors, self.siblings, self.clock)

    def count_gathering(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """A list that gets the number of unverified payments whenever siblings are read for copies."""
        copies, gathered = self.siblings.copies, list[int]()

        def counted(knows: Callable[[bytes], bool]) -> dict[bytes, list[Copy]]:
            gathered.append(len(self.custody.unverified))
            return copies(knows)

        monkeypatch.setattr(self.siblings, "copies", counted)
        return gathered

    def waiting(self) -> list[int]:
        """Numbers of the payments that may be sent."""
        return [int.from_bytes(self.custody.read(slot).correlation_id, "big") for slot in self.custody.waiting]

    def ended(self) -> list[Ended]:
        """The journal."""
        records = [self.area.journal.read(position) for position in range(self.area.journal.head)]
        return [record for record in records if record is not None]


def store(fake: FakeProcessor, number: int, requested_at: str = "2025-07-15T12:00:00.5") -> None:
    """A processor has a payment."""
    fake.stored[text_of(number)] = Paid(text_of(number), "19.90", requested_at)

"""server/outside.py: what the settings come to for one dispatcher."""

from server.config import load
from server.outside import SPARE_CONNECTIONS, Outside, outside_of
from shm import Phase, Segment
from tests.fakes import FakeClock
from tests.server.other_instance import GEOMETRY, copy_of
from tests.shm.segments import fresh_instance


def outside(**settings: str) -> Outside:
    """What one dispatcher of the instance `test-b` reaches with some settings."""
    with fresh_instance() as name:
        return outside_of(load({"INSTANCE": "test-b", **settings}), Segment.create(name, GEOMETRY), 1, FakeClock())


class TestOutsideOf:
    """outside_of: what is made, before anything is asked."""

    def test_connections(self) -> None:
        """Payments that are all in flight leave connections for questions, probes and the health poll."""
        for processor in outside(IN_FLIGHT_MAX="100").processors:
            assert processor._transport._connections_max == 100 + SPARE_CONNECTIONS  # type: ignore[attr-defined]  # noqa: SLF001  what it goes by

    def test_attempt_timeout(self) -> None:
        """An attempt's time-out is in milliseconds among the settings, and in seconds for the client."""
        processor, _ = outside(ATTEMPT_TIMEOUT_S="7").processors
        assert processor._timeout_s == 7.0  # noqa: SLF001  what it goes by

    def test_processors(self) -> None:
        """Each has its number in shared memory, and its own URL."""
        made = outside(PROCESSOR_DEFAULT_URL="http://d:1", PROCESSOR_FALLBACK_URL="http://f:2").processors
        assert [(one.index, str(one._payments_url)) for one in made] == [  # noqa: SLF001  where it sends
            (0, "http://d:1/payments"),
            (1, "http://f:2/payments"),
        ]

    def test_ties_with_a_sibling(self) -> None:
        """The instance whose name sorts first has them, and the other one knows."""
        siblings = outside(SIBLINGS="test-a,test-c", REDIS_URL="redis://127.0.0.1:1").siblings
        assert [one._wins_ties for one in siblings._siblings] == [True, False]  # noqa: SLF001  what they go by

    def test_own_web_workers(self) -> None:
        """The siblings know whether all of them are at work."""
        with fresh_instance() as name:
            config, segment = load({"INSTANCE": "test-b"}), Segment.create(name, GEOMETRY)
            for worker in range(GEOMETRY.workers):
                segment.worker_counters(worker).phase = Phase(worker)
                assert segment.lane(worker, 1).try_publish(copy_of(worker))
            siblings = outside_of(config, segment, 1, FakeClock()).siblings
            assert [row.phase for row in siblings._workers] == [Phase(0), Phase(1)]  # noqa: SLF001  what they go by
            assert [lane.peek(0) for lane in siblings._lanes] == [copy_of(0), copy_of(1)]  # noqa: SLF001  the same

    def test_without_redis(self) -> None:
        """Totals are kept locally."""
        assert outside().totals is None
        assert outside(REDIS_URL="redis://127.0.0.1:1").totals is not None

"""Tests of tools/benchmark/openloop/schedule.py."""

from hypothesis import given
from hypothesis import strategies as st

from tools.benchmark.openloop.schedule import GROUPS_PER_S_MAX, NS_PER_MS, NS_PER_S, Group, groups

SPANS = st.lists(st.tuples(st.integers(0, 9_000), st.integers(1, 400)), min_size=1, max_size=4)


class TestGroups:
    """When requests are due."""

    def test_a_low_rate_is_evenly_spread(self) -> None:
        """Four a second for half a second, then nothing for one."""
        assert list(groups([(4, 500), (0, 1000)], 5)) == [
            Group(5, 0, 0),
            Group(5, 1, 0),
            Group(5 + NS_PER_S // 4, 1, 0),
            Group(5 + NS_PER_S // 2, 0, 1),
            Group(5 + NS_PER_S * 3 // 2, 0, 2),
        ]

    @given(SPANS)
    def test_every_request_is_due_in_its_phase(self, spans: list[tuple[int, int]]) -> None:
        """As many as rate and length say, in order, never more groups a second than the generator can wake up for."""
        found = list(groups(spans, 1_000))
        assert [each.at_ns for each in found] == sorted(each.at_ns for each in found)
        begin_ns = 1_000
        for phase, (rate_per_s, duration_ms) in enumerate(spans):
            own = [each for each in found if each.phase == phase]
            end_ns = begin_ns + duration_ms * NS_PER_MS
            assert own[0] == Group(begin_ns, 0, phase)
            assert sum(each.size for each in own) == rate_per_s * duration_ms // 1000
            assert all(begin_ns <= each.at_ns < end_ns for each in own)
            assert len(own) - 1 <= duration_ms * GROUPS_PER_S_MAX / 1000 + 1
            begin_ns = end_ns
        assert found[-1] == Group(begin_ns, 0, len(spans))

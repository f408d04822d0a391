"""server/rejections.py: who may still take what one processor has rejected, and for how long it waits for that one."""

from hypothesis import given
from hypothesis import strategies as st

from server.rejections import BARRED_MS, BARRED_MS_MAX, LIFTED_AT_ONCE_MAX, Rejections


class TestNote:
    """A rejection."""

    def test_by_one(self) -> None:
        """The other may take it, however often the same one says so."""
        rejections = Rejections()
        assert rejections.note(7, 0, 0)
        assert rejections.note(7, 0, 1)

    def test_by_both(self) -> None:
        """No processor is left that may take it."""
        rejections = Rejections()
        rejections.note(7, 1, 0)
        assert not rejections.note(7, 0, 1)

    def test_of_another(self) -> None:
        """Each payment has rejections of its own, and one that has ended has none."""
        rejections = Rejections()
        rejections.note(7, 1, 0)
        assert rejections.note(8, 0, 0)
        rejections.forget(7)
        rejections.forget(9)
        assert rejections.note(7, 0, 0)


class TestQueue:
    """Waiting."""

    def test_for_the_other_one(self) -> None:
        """In the order in which they came."""
        rejections = Rejections()
        for slot, processor in ((5, 0), (3, 1), (4, 0)):
            rejections.note(slot, processor, 0)
            assert rejections.queue(slot)
        assert [list(queue) for queue in rejections.queues] == [[3], [5, 4]]
        assert len(rejections) == 3

    def test_what_was_not_rejected(self) -> None:
        """A payment that was not rejected is not queued here."""
        rejections = Rejections()
        assert not rejections.queue(7)
        assert not rejections


class TestLift:
    """After a time either may take them."""

    def test_not_before(self) -> None:
        """To the millisecond, counted from the rejection, whatever it was sent to meanwhile."""
        rejections = Rejections()
        rejections.note(7, 0, 1_000)
        rejections.queue(7)
        assert rejections.lift(1_000 + BARRED_MS - 1) == []
        rejections.queues[1].popleft()
        assert rejections.lift(1_000 + BARRED_MS) == [], "it is being sent"
        rejections.queue(7)
        assert rejections.lift(1_000 + BARRED_MS) == [7]
        assert not rejections.queue(7), "it is one like any other now"

    def test_later_each_time(self) -> None:
        """What is rejected again and again is asked for less and less, until it ends."""
        rejections = Rejections()
        now_ms, waits_ms = 0, []
        for _ in range(7):
            rejections.note(7, 0, now_ms)
            rejections.queue(7)
            since_ms = now_ms
            while not rejections.lift(now_ms):
                now_ms += BARRED_MS
            waits_ms.append(now_ms - since_ms)
        assert waits_ms == [BARRED_MS * times for times in (1, 2, 4, 8, 16, 16, 16)]
        rejections.forget(7)
        rejections.note(7, 0, now_ms)
        rejections.queue(7)
        assert rejections.lift(now_ms + BARRED_MS) == [7]

    def test_a_bound(self) -> None:
        """A turn takes so many, of both queues together; the rest comes with the next."""
        rejections = Rejections()
        for slot in range(2 * LIFTED_AT_ONCE_MAX):
            rejections.note(slot, slot % 2, 0)
            rejections.queue(slot)
        first, second = rejections.lift(BARRED_MS), rejections.lift(BARRED_MS)
        assert len(first) == len(second) == LIFTED_AT_ONCE_MAX
        assert sorted(first + second) == [*range(2 * LIFTED_AT_ONCE_MAX)]
        assert not rejections

    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1), st.integers(0, BARRED_MS // 2)), max_size=40))
    def test_everything_is_lifted_once(self, happenings: list[tuple[int, int, int]]) -> None:
        """Whatever comes in whatever order: what waits is lifted in the end, and nothing twice."""
        rejections = Rejections()
        waiting = set[int]()
        now_ms = 0
        for slot, processor, pause_ms in happenings:
            now_ms += pause_ms
            waiting -= set(rejections.lift(now_ms))
            if slot not in waiting and rejections.note(slot, processor, now_ms):
                assert rejections.queue(slot)
                waiting.add(slot)
            assert len(rejections) == len(waiting)
        assert sorted(rejections.lift(now_ms + BARRED_MS_MAX)) == sorted(waiting)

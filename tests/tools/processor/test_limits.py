"""Tests of tools/processor/limits.py."""

from hypothesis import given
from hypothesis import strategies as st

from tools.processor.limits import Passage, RunningLimit, WindowLimit

NOW, LATER, REFUSED = Passage.NOW, Passage.LATER, Passage.REFUSED


class TestRunningLimit:
    """RunningLimit."""

    def test_defaults_are_the_contests(self) -> None:
        """800 run, 500 more wait, any further one is refused."""
        limit = RunningLimit[int]()
        passages = [limit.enter(number) for number in range(1_400)]
        assert passages == [NOW] * 800 + [LATER] * 500 + [REFUSED] * 100
        assert (limit.running, limit.waiting) == (800, 500)

    def test_a_place_goes_to_the_oldest_waiter(self) -> None:
        """Whoever leaves hands the place on, in the order of asking."""
        limit = RunningLimit[str](running_max=1, waiting_max=2)
        assert [limit.enter(name) for name in "abcd"] == [NOW, LATER, LATER, REFUSED]
        assert [limit.leave(), limit.leave(), limit.leave()] == ["b", "c", None]
        assert limit.running == 0

    def test_who_stops_waiting_gets_no_place(self) -> None:
        """An abandoned waiter is skipped; abandoning what runs or was never here changes nothing."""
        limit = RunningLimit[str](running_max=1, waiting_max=2)
        for name in "abc":
            limit.enter(name)
        assert limit.abandon("b")
        assert not limit.abandon("b")
        assert not limit.abandon("a")
        assert limit.leave() == "c"

    @given(st.lists(st.sampled_from(["enter", "leave", "abandon"]), max_size=60))
    def test_it_never_runs_or_keeps_too_many(self, steps: list[str]) -> None:
        """Any order of events keeps both bounds, leaves no place empty while somebody waits, and serves in order."""
        limit = RunningLimit[int](running_max=3, waiting_max=2)
        running, waiting = 0, list[int]()
        for number, step in enumerate(steps):
            if step == "enter":
                expected = NOW if running < 3 else LATER if len(waiting) < 2 else REFUSED
                assert limit.enter(number) is expected
                running += expected is NOW
                waiting += [number] * (expected is LATER)
            elif step == "leave" and running:
                assert limit.leave() == (waiting.pop(0) if waiting else None)
                running = limit.running
            elif step == "abandon" and waiting:
                assert limit.abandon(waiting.pop())
            assert (limit.running, limit.waiting) == (running, len(waiting))
            assert running == 3 or not waiting


class TestWindowLimit:
    """WindowLimit."""

    def test_one_passes_two_wait_the_next_is_refused(self) -> None:
        """The contest's health limit, each waiter served by a window of its own."""
        limit = WindowLimit[str]()
        assert [limit.enter(name, 100.0) for name in "abcd"] == [NOW, LATER, LATER, REFUSED]
        assert limit.next_window_s == 105.0
        assert limit.roll(104.999) == []
        assert limit.roll(105.0) == ["b"]
        assert limit.enter("e", 105.0) is LATER
        assert limit.roll(110.0) == ["c"]
        assert limit.roll(115.0) == ["e"]
        assert limit.next_window_s is None

    def test_windows_follow_without_a_gap(self) -> None:
        """The window is a clock's, not a caller's: two calls may lie close together across its edge."""
        limit = WindowLimit[str]()
        limit.enter("a", 0.0)
        assert limit.roll(9.9) == []
        assert limit.enter("b", 9.9) is NOW
        limit.roll(10.0)
        assert limit.enter("c", 10.0) is NOW
        assert limit.enter("d", 10.1) is LATER

    def test_long_unused_it_begins_anew(self) -> None:
        """After ten idle seconds the next call sets where windows begin."""
        limit = WindowLimit[str]()
        limit.enter("a", 0.0)
        limit.roll(16.0)
        assert limit.enter("b", 16.0) is NOW
        assert limit.enter("c", 16.0) is LATER
        assert limit.next_window_s == 21.0

    def test_a_late_roll_serves_one_per_window_gone_by(self) -> None:
        """Two windows later both waiters have had theirs."""
        limit = WindowLimit[str]()
        for name in "abc":
            limit.enter(name, 0.0)
        assert limit.roll(12.0) == ["b", "c"]
        assert limit.enter("d", 12.0) is LATER
        assert limit.roll(15.0) == ["d"]

    def test_who_stops_waiting_is_not_served(self) -> None:
        """The window goes to the next one."""
        limit = WindowLimit[str]()
        for name in "abc":
            limit.enter(name, 0.0)
        assert limit.abandon("b")
        assert not limit.abandon("b")
        assert limit.roll(5.0) == ["c"]

    def test_unused_it_waits_for_nothing(self) -> None:
        """Before the first call there are no windows."""
        limit = WindowLimit[str]()
        assert limit.next_window_s is None
        assert limit.roll(1_000.0) == []

    @given(st.lists(st.integers(1, 400), max_size=30))
    def test_no_window_serves_two(self, calls_ds: list[int]) -> None:
        """Whenever calls come (in tenths of a second), each window serves one at most, and waiters in order."""
        limit = WindowLimit[int](idle_s=1e9)
        served = [(0, 0)]
        assert limit.enter(0, 0.0) is NOW
        for now_ds in range(1, 600):
            window = now_ds // 50
            served += [(window, caller) for caller in limit.roll(now_ds / 10)]
            if now_ds in calls_ds and limit.enter(now_ds, now_ds / 10) is NOW:
                served.append((window, now_ds))
        windows, callers = zip(*served, strict=True)
        assert len(set(windows)) == len(windows)
        assert list(callers) == sorted(callers)
        assert limit.next_window_s is None

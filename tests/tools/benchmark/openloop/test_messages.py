"""Tests of tools/benchmark/openloop/messages.py."""

import pytest

from tools.benchmark.histogram import Histogram
from tools.benchmark.openloop import messages
from tools.benchmark.openloop.messages import LATE, REFUSED, Account, Began, Finished, Sample, decode, encode


def an_account() -> Account:
    """Two accepted, one refused, one without an answer, one group 5 µs late."""
    account = Account("payments")
    account.sent = 4
    account.count_late(5)
    assert account.count(0, "accepted", 202, 1_000, 150)
    assert account.count(1, "accepted", 200, 3_000, 250)
    assert not account.count(2, "accepted", 503, 500, 1)
    assert not account.count(3, "accepted", 0, 0, 1)
    return account


class TestLines:
    """Messages as lines."""

    def test_arrive_as_they_were_said(self) -> None:
        """Numbers stay numbers, and histograms histograms."""
        said = an_account().take(7, 1, 2)
        heard = decode(encode(said))
        assert isinstance(heard, messages.Interval)
        assert heard._replace(latencies={}) == said._replace(latencies={})
        assert {label: each.bins for label, each in heard.latencies.items()} == {
            label: each.bins for label, each in said.latencies.items()
        }
        finished = Finished(9, 0.5, [Sample("all", None, None, 5, "{}")])
        assert decode(encode(finished)) == finished
        assert decode(encode(Began(1, 2, 3, 0.5))) == Began(1, 2, 3, 0.5)

    @pytest.mark.parametrize("line", ["", "Traceback", "[]", "3", '{"message": "other"}', '{"message": "began"}'])
    def test_anything_else_is_none(self, line: str) -> None:
        """It is kept as a remark by who listens."""
        assert decode(line) is None

    def test_only_histograms_are_more_than_json(self) -> None:
        """A slip of the programmer's."""
        with pytest.raises(TypeError, match="can't be said"):
            encode(Began(1, 2, {3}, 0.5))  # type: ignore[arg-type]


class TestAccount:
    """What is gathered."""

    def test_holds_everything_once(self) -> None:
        """By status, cents of what was accepted, latencies apart, failures by their number."""
        account = an_account()
        taken = account.take(7, 1, 2)
        assert (taken.sent, taken.cents, taken.waiting) == (4, 400, 2)
        assert taken.statuses == {202: 1, 200: 1, 503: 1, 0: 1}
        assert taken.failed == [(2, 503), (3, 0)]
        assert {label: each.count for label, each in taken.latencies.items()} == {"accepted": 2, REFUSED: 1, LATE: 1}
        again = account.take(8, 1, 0)
        assert (again.sent, again.statuses, again.latencies, again.failed) == (0, {}, {}, [])

    def test_does_not_tell_of_all_failures(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Their number has a bound, over all that is taken; the counts have none."""
        monkeypatch.setattr(messages, "FAILURES_NAMED_MAX", 1)
        account = an_account()
        assert account.take(1, 0, 0).failed == [(2, 503)]
        account.count(9, "accepted", 503, 1, 1)
        taken = account.take(2, 0, 0)
        assert (taken.failed, taken.statuses) == ([], {503: 1})

    def test_is_a_histogram_of_microseconds(self) -> None:
        """As they were counted."""
        latencies = an_account().take(0, 0, 0).latencies
        expected = Histogram()
        expected.record(1_000)
        expected.record(3_000)
        assert latencies["accepted"].bins == expected.bins

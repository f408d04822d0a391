"""The look for programs."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shm import take_role
from tests.tools.ring_view.segments import Filled, payment_id
from tools.ring_view.as_json import decimal_text, to_json
from tools.ring_view.locks import read_locks
from tools.ring_view.reading import take_snapshot
from tools.ring_view.searching import Searcher
from tools.ring_view.snapshot import Listed, Moment


class TestDecimalText:
    """`decimal_text`."""

    @pytest.mark.parametrize(("cents", "text"), [(0, "0.00"), (5, "0.05"), (1990, "19.90"), (123456789, "1234567.89")])
    def test_examples(self, cents: int, text: str) -> None:
        """Two decimals, always."""
        assert decimal_text(cents) == text

    @given(st.integers(min_value=0, max_value=2**64))
    def test_exact(self, cents: int) -> None:
        """No cent is lost, however great the amount."""
        assert int(decimal_text(cents).replace(".", "")) == cents


class TestToJson:
    """`to_json`."""

    def test_snapshot(self, filled: Filled) -> None:
        """Everything seen is there, amounts in cents and as text, ids as text that no float can spoil."""
        filled.settle(1, 0, amount_cents=2**53 + 1)
        filled.wait(2)
        with take_role(filled.instance, "supervisor"):
            view = take_snapshot(filled.attach(), filled.instance, read_locks(), Moment.now)
        seen = json.loads(to_json(view))
        assert seen["header"]["segment_id"] == f"{filled.segment.segment_id:016x}"
        assert seen["totals"]["default"] == {"count": 1, "amount_cents": 2**53 + 1, "amount": "90071992547409.93"}
        assert seen["areas"][0]["table"]["states"]["waiting"]["amount"] == "19.90"
        assert (seen["running"], seen["unsettled"]) == (True, 1)
        assert [process["alive"] for process in seen["processes"]] == [True, False, False, False]

    def test_search(self, filled: Filled) -> None:
        """Payments found have their amounts in both ways."""
        filled.wait(1, amount_cents=250)
        found = Searcher(filled.attach(), Moment.now).by_id(filled.instance, payment_id(1), 1)
        (payment,) = json.loads(to_json(found))["payments"]
        assert (payment["amount_cents"], payment["amount"]) == (250, "2.50")
        assert (payment["correlation_id"], payment["processor"]) == (str(payment_id(1)), None)

    def test_list(self) -> None:
        """A list of segments is a list."""
        assert json.loads(to_json([Listed("app1", "a reason")]))[0]["problem"] == "a reason"

    def test_one_line(self) -> None:
        """For a stream of looks each is one line."""
        assert to_json([], indent=None) == "[]"
        assert "\n" not in to_json([Listed("app1", "a reason")], indent=None)

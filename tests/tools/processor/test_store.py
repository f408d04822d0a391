"""Tests of tools/processor/store.py."""

from hypothesis import given
from hypothesis import strategies as st

from tools.processor.store import PaymentStore, Storing, Totals
from tools.processor.wire import US_PER_S, Payment

PAYMENTS = st.builds(
    Payment,
    correlation_id=st.sampled_from([f"id{number}" for number in range(20)]),
    amount_cents=st.integers(-100, 10**6),
    requested_at_us=st.integers(-2 * US_PER_S, 4 * US_PER_S) | st.sampled_from([-1, 0, US_PER_S - 1, US_PER_S]),
)
BOUNDS = st.none() | st.integers(-3 * US_PER_S, 5 * US_PER_S) | st.sampled_from([0, US_PER_S, 2 * US_PER_S - 1])


class TestPaymentStore:
    """PaymentStore."""

    @given(payments=st.lists(PAYMENTS, max_size=40), from_us=BOUNDS, to_us=BOUNDS)
    def test_it_answers_as_a_plain_list_would(
        self, payments: list[Payment], from_us: int | None, to_us: int | None
    ) -> None:
        """Each id is stored once, as first sent, and any window's totals are those of the rows in it."""
        store = PaymentStore()
        model: dict[str, Payment] = {}
        for payment in payments:
            expected = Storing.ALREADY_HERE if payment.correlation_id in model else Storing.STORED
            model.setdefault(payment.correlation_id, payment)
            assert store.add(payment) is expected
        inside = [
            row.amount_cents
            for row in model.values()
            if from_us is None or to_us is None or from_us <= row.requested_at_us <= to_us
        ]
        assert store.totals(from_us, to_us) == Totals(len(inside), sum(inside))
        assert list(store.rows()) == list(model.values())
        assert len(store) == len(model)

    def test_a_row_is_found_by_its_id(self) -> None:
        """A stored id gives its requestedAt and amount, another one nothing."""
        store = PaymentStore()
        store.add(Payment("a", 1990, 5))
        assert store.get("a") == (5, 1990)
        assert store.get("b") is None

    def test_both_ends_of_a_window_are_inside(self) -> None:
        """The microsecond of either end counts, its neighbour outside doesn't."""
        store = PaymentStore()
        for at_us in (9, 10, 20, 21):
            store.add(Payment(str(at_us), 1, at_us))
        assert store.totals(10, 20) == Totals(2, 2)

    def test_one_missing_end_means_everything(self) -> None:
        """As in the contest's processor, whose query says `OR @from IS NULL OR @to IS NULL`."""
        store = PaymentStore()
        store.add(Payment("a", 1, 10))
        assert store.totals(None, 5) == store.totals(15, None) == Totals(1, 1)

    def test_a_full_store_stores_no_more(self) -> None:
        """Beyond its bound it says so; an id already here is still recognised."""
        store = PaymentStore(rows_max=1)
        assert store.add(Payment("a", 1, 1)) is Storing.STORED
        assert store.add(Payment("b", 1, 1)) is Storing.FULL
        assert store.add(Payment("a", 1, 1)) is Storing.ALREADY_HERE
        assert store.totals(None, None) == Totals(1, 1)

    def test_a_purge_forgets_everything(self) -> None:
        """Afterwards totals are zero and an id may come again."""
        store = PaymentStore()
        store.add(Payment("a", 1, 1))
        store.purge()
        assert store.totals(None, None) == store.totals(0, 2) == Totals(0, 0)
        assert store.add(Payment("a", 2, 2)) is Storing.STORED

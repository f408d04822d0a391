"""server/circuit.py: payments whose outcome is unknown make probes rarer, and end an outage when they are paid."""

import pytest

from server.circuit import LIMIT_AFTER_OUTAGE, PROBE_PAUSE_MIN_MS, PROBES_MAX, UNKNOWN_FEW, Circuit, CircuitState
from tests.server.routing_model import NOW_MS, fresh, opened, told


def unclear(unknown: int) -> Circuit:
    """In an outage whose first probe, begun and ended just now, had no clear answer."""
    circuit = opened(ago_ms=PROBE_PAUSE_MIN_MS)
    circuit.begin(1, NOW_MS)
    circuit.fail(1, NOW_MS, is_unclear=True)
    circuit.unknown = unknown
    return circuit


class TestProbes:
    """How often a payment is risked."""

    @pytest.mark.parametrize(("unknown", "pause_ms"), [(7, 100), (8, 500), (16, 1000), (80, 5000), (65_536, 60_000)])
    def test_unknown_payments_make_probes_rarer(self, unknown: int, pause_ms: int) -> None:
        """The more are bound to the processor, the longer until the next one is risked, whatever a poll says."""
        circuit = unclear(unknown)
        told(circuit, 0)
        circuit.probe_at_ms = NOW_MS + PROBE_PAUSE_MIN_MS
        assert not circuit.may_probe(NOW_MS + pause_ms - 1, PROBES_MAX, even_if_slow=True)
        assert circuit.may_probe(NOW_MS + pause_ms, 1)
        assert circuit.may_probe_out_of_turn(NOW_MS + 1) is (unknown < UNKNOWN_FEW)

    def test_a_probe_is_due_once_few_are_unknown(self) -> None:
        """The pause is of those that are unknown now."""
        circuit = unclear(80)
        assert not circuit.may_probe(NOW_MS + 2 * PROBE_PAUSE_MIN_MS, PROBES_MAX)
        circuit.unknown = 7
        assert circuit.may_probe(NOW_MS + 2 * PROBE_PAUSE_MIN_MS, PROBES_MAX)

    def test_a_sure_no_binds_nothing(self) -> None:
        """So it lets probes be frequent again, though as many are unknown as before; and so does a new outage."""
        circuit = unclear(80)
        circuit.begin(2, NOW_MS + 5000)
        circuit.fail(2, NOW_MS + 5000)
        assert circuit.may_probe_out_of_turn(NOW_MS + 5001)
        assert circuit.may_probe(circuit.probe_at_ms, PROBES_MAX)
        circuit = unclear(80)
        circuit.note_paid(NOW_MS)
        circuit.begin(2, NOW_MS)
        circuit.fail(2, NOW_MS, is_unclear=True)
        assert circuit.may_probe(NOW_MS + PROBE_PAUSE_MIN_MS, PROBES_MAX)

    def test_a_day_of_unclear_answers(self) -> None:
        """Each probe leaves a payment unknown: a day binds some 2,000."""
        circuit, now_ms = opened(), NOW_MS
        while now_ms < NOW_MS + 24 * 3_600_000:
            if circuit.may_probe(now_ms, PROBES_MAX):
                circuit.begin(1, now_ms)
                circuit.fail(1, now_ms, is_unclear=True)
                circuit.unknown += 1
            now_ms += 100
        assert 1000 < circuit.unknown < 2000


class TestPaid:
    """Circuit.note_paid."""

    def test_an_unknown_payment_that_is_paid_ends_an_outage(self) -> None:
        """As a probe would: gently, and it is a recovery."""
        circuit = opened(ago_ms=PROBE_PAUSE_MIN_MS)
        circuit.note_paid(NOW_MS)
        assert (circuit.state, circuit.limit) == (CircuitState.CLOSED, LIMIT_AFTER_OUTAGE)
        assert circuit.recovered_at_ms == NOW_MS

    def test_without_an_outage_it_changes_nothing(self) -> None:
        """It has neither to grow gently nor recovered."""
        circuit = fresh()
        circuit.note_paid(NOW_MS)
        assert (circuit.limit, circuit.recovered_at_ms < 0) == (8, True)
